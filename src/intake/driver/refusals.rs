//! Whether single events are at fault, or all that is sent: an intake that refuses nearly everything is not believed,
//! because the log would drain into the quarantine.

use std::collections::VecDeque;

/// Over so many of the last events the share is taken.
const WINDOW_EVENTS: usize = 1_000;

/// More refused ones among them are not believed.
const MOST_REFUSED: usize = WINDOW_EVENTS / 2;

/// So many single events that are refused one after the other, with none accepted between, are not believed either.
const MOST_IN_A_ROW: usize = 20;

/// What became of the last events of an intake.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Stretches of accepted (`true`) and of refused events, together at most [`WINDOW_EVENTS`].
    recent: VecDeque<(bool, usize)>,
    n_events: usize,
    n_refused: usize,
    in_a_row: usize,
}

impl Refusals {
    /// So many events were accepted.
    pub(super) fn accepted(&mut self, n_events: usize) {
        if n_events > 0 {
            self.in_a_row = 0;
            self.push(true, n_events);
        }
    }

    /// So many events enter the quarantine.
    pub(super) fn refused(&mut self, n_events: usize) {
        self.push(false, n_events);
    }

    /// One more event was refused alone. Returns whether that can be believed; where not, it does not count.
    pub(super) fn refused_alone(&mut self) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1).min(MOST_IN_A_ROW);
        !self.is_all_refused() && !self.is_over_share(1)
    }

    /// Whether nothing was accepted for so long that the events cannot be at fault.
    pub(super) fn is_all_refused(&self) -> bool {
        self.in_a_row >= MOST_IN_A_ROW
    }

    /// Whether too many of the last events would be refused ones, with so many more.
    pub(super) fn is_over_share(&self, more: usize) -> bool {
        self.n_refused.saturating_add(more) > MOST_REFUSED
    }

    fn push(&mut self, accepted: bool, n_events: usize) {
        let n_events = n_events.min(WINDOW_EVENTS);
        self.recent.push_back((accepted, n_events));
        self.n_events = self.n_events.saturating_add(n_events);
        if !accepted {
            self.n_refused = self.n_refused.saturating_add(n_events);
        }
        while let Some(over) = self.n_events.checked_sub(WINDOW_EVENTS).filter(|over| *over > 0) {
            let Some((was_accepted, length)) = self.recent.front_mut() else { break };
            let dropped = over.min(*length);
            *length = length.saturating_sub(dropped);
            self.n_events = self.n_events.saturating_sub(dropped);
            if !*was_accepted {
                self.n_refused = self.n_refused.saturating_sub(dropped);
            }
            if *length == 0 {
                self.recent.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: events are refused one after the other from the first on; one is accepted between.
    /// *Guarantees*: the twentieth is not believed, nor any later one, until one is accepted.
    #[test]
    fn twenty_in_a_row() {
        let mut refusals = Refusals::default();
        assert!((0..19).all(|_| refusals.refused_alone()));
        assert!(!refusals.refused_alone() && !refusals.refused_alone());
        refusals.accepted(1);
        assert!(refusals.refused_alone());
    }

    /// *Scenario*: as many events are refused as accepted, then more, then many are accepted.
    /// *Guarantees*: up to half of the last thousand are believed; old ones are forgotten.
    #[test]
    fn half_of_the_last_thousand() {
        let mut refusals = Refusals::default();
        for _ in 0..500 {
            assert!(refusals.refused_alone());
            refusals.refused(1);
            refusals.accepted(1);
        }
        assert!(!refusals.refused_alone());
        refusals.accepted(1);
        assert!(refusals.refused_alone(), "the one that left the window was a refused one");
    }
}
