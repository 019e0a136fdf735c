//! How many requests an account is sent at once: fewer when it asks to slow down or does not answer in time, slowly
//! more when it does, and none before it wants to be asked again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// As many as blobs can be read at once; an account serves thousands, so this is where everybody starts.
const MOST_AT_ONCE: usize = 64;
/// So many good answers in a row make room for one more: at a low limit that takes seconds, not milliseconds.
const ANSWERS_FOR_ONE_MORE: usize = 16;

/// The rule, without time or waiting.
#[derive(Debug)]
struct Limit {
    limit: usize,
    under_way: usize,
    n_good: usize,
    /// Counts the cuts: requests that were under way at a cut do not cut again.
    era: u64,
    /// No request starts before this.
    not_before: Option<Instant>,
}

/// What an answer says about the server's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// It answered.
    Fine,
    /// It asks to slow down, or takes too long to answer, and is to be asked nothing before this time has passed, if it says
    /// so.
    Throttled {
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No answer, or one that says nothing about it.
    Unknown,
}

impl Limit {
    fn new() -> Self {
        Self { limit: MOST_AT_ONCE, under_way: 0, n_good: 0, era: 0, not_before: None }
    }

    /// The era of the request, if one more may go.
    fn try_start(&mut self) -> Option<u64> {
        if self.under_way >= self.limit {
            return None;
        }
        self.under_way = self.under_way.saturating_add(1);
        Some(self.era)
    }

    /// Takes a request's end at `now` into account.
    fn end(&mut self, era: u64, load: Load, now: Instant) {
        if let Load::Throttled { retry_after: Some(retry_after) } = load {
            self.not_before = self.not_before.max(now.checked_add(retry_after));
        }
        match load {
            Load::Throttled { .. } if era == self.era => {
                // Half of what was really under way: a limit that nobody reached says nothing.
                self.limit = self.under_way.min(self.limit).div_euclid(2).max(1);
                self.n_good = 0;
                self.era = self.era.wrapping_add(1);
            }
            Load::Fine => {
                self.n_good = self.n_good.saturating_add(1);
                if self.n_good >= ANSWERS_FOR_ONE_MORE {
                    self.n_good = 0;
                    self.limit = self.limit.saturating_add(1).min(MOST_AT_ONCE);
                }
            }
            Load::Throttled { .. } | Load::Unknown => {}
        }
        self.under_way = self.under_way.saturating_sub(1);
    }
}

/// Lets requests through by the rule.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Mutex<Limit>,
    ended: Notify,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { limit: Mutex::new(Limit::new()), ended: Notify::new() }
    }

    /// Waits until one more request may go. Dropping the turn ends it.
    pub(super) async fn turn(&self) -> Turn<'_> {
        loop {
            // Asked for before the look, so that an end between the two is not missed.
            let ended = self.ended.notified();
            let not_before = self.limit().not_before;
            if let Some(not_before) = not_before.filter(|not_before| *not_before > Instant::now()) {
                tokio::time::sleep_until(not_before).await;
                continue;
            }
            let started = self.limit().try_start();
            if let Some(era) = started {
                return Turn { pace: self, era, load: Load::Unknown };
            }
            ended.await;
        }
    }

    /// How many requests may be under way now.
    #[cfg(test)]
    pub(super) fn at_once(&self) -> usize {
        self.limit().limit
    }

    fn limit(&self) -> MutexGuard<'_, Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's turn.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    era: u64,
    load: Load,
}

impl Turn<'_> {
    /// Ends the turn with what the answer says.
    pub(super) fn end(mut self, load: Load) {
        self.load = load;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut limit = self.pace.limit();
        limit.end(self.era, self.load, Instant::now());
        let (n_free, now) = (limit.limit.saturating_sub(limit.under_way), limit.limit);
        drop(limit);
        if let Load::Throttled { retry_after } = self.load {
            tracing::debug!(
                at_once = now,
                ?retry_after,
                "the storage server asks to slow down or does not answer in time: fewer requests at once"
            );
        }
        if n_free > 0 {
            // All look again: an end can make room for two.
            self.pace.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THROTTLED: Load = Load::Throttled { retry_after: None };

    fn start(limit: &mut Limit, n: usize) -> Vec<u64> {
        (0..n).map_while(|_| limit.try_start()).collect()
    }

    /// Scenario: a full load, all of it throttled at once, then again from a lower load, down to one request. Guarantees:
    /// one wave of refusals halves once, from what was under way, and never below one.
    #[test]
    fn a_wave_of_refusals_halves_once() {
        let mut limit = Limit::new();
        let eras = start(&mut limit, 100);
        assert_eq!(eras.len(), MOST_AT_ONCE);
        for era in eras {
            limit.end(era, THROTTLED, Instant::now());
        }
        assert_eq!((limit.limit, limit.under_way), (32, 0));
        for expected in [4, 2, 1, 1] {
            for era in start(&mut limit, 8) {
                limit.end(era, THROTTLED, Instant::now());
            }
            assert_eq!(limit.limit, expected);
        }
    }

    /// Scenario: good answers, and answers that say nothing, after a cut. Guarantees: sixteen good ones make room for one
    /// more, up to where all began; the others change nothing.
    #[test]
    fn good_answers_make_room_again() {
        let mut limit = Limit::new();
        let one = |limit: &mut Limit, load| {
            let era = limit.try_start().unwrap();
            limit.end(era, load, Instant::now());
        };
        one(&mut limit, THROTTLED);
        assert_eq!(limit.limit, 1);
        for expected in 2..=MOST_AT_ONCE {
            for _ in 0..ANSWERS_FOR_ONE_MORE {
                assert_eq!(limit.limit, expected - 1);
                one(&mut limit, Load::Unknown);
                one(&mut limit, Load::Fine);
            }
            assert_eq!(limit.limit, expected);
        }
        for _ in 0..100 {
            one(&mut limit, Load::Fine);
        }
        assert_eq!(limit.limit, MOST_AT_ONCE);
    }

    /// Scenario: the limit is one; of three requests one is under way, one waits and one gives up waiting. Guarantees: the
    /// one that waits goes when the first ends, and no earlier.
    #[tokio::test(start_paused = true)]
    async fn a_turn_is_waited_for() {
        let pace = Pace::new();
        pace.turn().await.end(THROTTLED);
        let first = pace.turn().await;
        let mut second = Box::pin(pace.turn());
        assert!(futures_util::poll!(&mut second).is_pending());
        {
            let mut third = Box::pin(pace.turn());
            assert!(futures_util::poll!(&mut third).is_pending());
        }
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        second.await.end(Load::Fine);
        assert_eq!(pace.limit().under_way, 0);
    }
}
