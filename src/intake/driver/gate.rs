//! Whether a request may start now: one gate for all workers of an intake, so that none of them waits or hurries alone.
//!
//! A state machine whose time and randomness are arguments ([`State`]), and the door in front of it ([`Gate`]).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::DriverConfig;
use crate::retry::Backoff;

/// So many failures with no answer between them close the gate for a while.
const FAILURES_BEFORE_PAUSE: u32 = 2;

/// So many certificates in a row that are not trusted are a matter of the settings.
const UNTRUSTED_BEFORE_BLOCKED: u32 = 3;

/// What a request came to, as far as the gate is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The intake took the events.
    Accepted,
    /// The intake is there and did not like the events.
    Answered,
    /// It will pass by itself; not before `after` where the intake says so.
    Failed {
        /// `Retry-After`.
        after: Option<Duration>,
        /// Whether the intake's certificate is not trusted.
        untrusted: bool,
    },
    /// Somebody has to act.
    Blocked,
}

/// What a sign did to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Requests go on.
    Flows,
    /// Nobody sends anything for this long; then one request tries.
    Pauses(Duration),
    /// The same, because of something that somebody has to mend.
    Blocks(Duration),
}

/// Where the gate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// As many requests as the window allows.
    Flowing {
        /// Failures since the last answer.
        failures: u32,
    },
    /// None until then; then one.
    Pausing { until: Instant },
    /// One request tries whether the intake is back.
    Probing,
}

/// The state machine.
#[derive(Debug)]
struct State {
    max_in_flight: usize,
    spacing: Duration,
    least_pause: Duration,
    phase: Phase,
    /// Counts the phases: what a request of an earlier one comes to is no news about this one.
    epoch: u64,
    in_flight: usize,
    /// Requests that may be under way at once: one more after a whole window of successes, half as many after a failure.
    window: usize,
    accepted_in_window: usize,
    accepted: u64,
    untrusted: u32,
    backoff: Backoff,
    blocked: Backoff,
    /// No request starts earlier: the spacing wants it, or a wait that was asked for late.
    next_start: Option<Instant>,
}

/// Whether a request may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// Now, as a part of this epoch.
    Now(u64),
    /// Perhaps then.
    At(Instant),
    /// When another request has ended.
    Later,
}

impl State {
    fn new(config: &DriverConfig) -> Self {
        let spacing = config.requests_per_second.and_then(|n| Duration::from_secs(1).checked_div(n));
        Self {
            max_in_flight: config.max_in_flight.max(1),
            spacing: spacing.unwrap_or_default(),
            least_pause: config.least_pause,
            phase: Phase::Flowing { failures: 0 },
            epoch: 0,
            in_flight: 0,
            window: 1,
            accepted_in_window: 0,
            accepted: 0,
            untrusted: 0,
            backoff: Backoff::new(config.backoff_base, config.backoff_cap),
            blocked: Backoff::new(config.blocked_base, config.blocked_cap),
            next_start: None,
        }
    }

    /// Whether a request could start now.
    fn entry(&self, now: Instant) -> Entry {
        match self.phase {
            Phase::Flowing { .. } if self.in_flight >= self.window => return Entry::Later,
            Phase::Probing => return Entry::Later,
            Phase::Pausing { until } if now < until => return Entry::At(until),
            Phase::Flowing { .. } | Phase::Pausing { .. } => {}
        }
        match self.next_start {
            Some(next_start) if now < next_start => Entry::At(next_start),
            Some(_) | None => Entry::Now(self.epoch),
        }
    }

    /// Starts a request, if it may start now.
    fn enter(&mut self, now: Instant) -> Entry {
        let Entry::Now(_) = self.entry(now) else { return self.entry(now) };
        if matches!(self.phase, Phase::Pausing { .. }) {
            self.turn_to(Phase::Probing);
        }
        self.next_start = now.checked_add(self.spacing).filter(|_| !self.spacing.is_zero());
        self.in_flight = self.in_flight.saturating_add(1);
        Entry::Now(self.epoch)
    }

    fn leave(&mut self, epoch: u64, sign: Sign, now: Instant, random: impl FnOnce() -> f64) -> Reaction {
        self.in_flight = self.in_flight.saturating_sub(1);
        if sign == Sign::Accepted {
            self.accepted = self.accepted.saturating_add(1);
        }
        if epoch != self.epoch {
            return self.leave_late(sign, now);
        }
        match sign {
            Sign::Accepted | Sign::Answered => {
                self.answered(sign);
                Reaction::Flows
            }
            Sign::Failed { after, untrusted } => {
                self.untrusted = if untrusted { self.untrusted.saturating_add(1) } else { 0 };
                self.window = (self.window / 2).max(1);
                self.accepted_in_window = 0;
                if self.untrusted >= UNTRUSTED_BEFORE_BLOCKED {
                    return self.block(now);
                }
                let failures = match self.phase {
                    Phase::Flowing { failures } => failures.saturating_add(1),
                    Phase::Pausing { .. } | Phase::Probing => FAILURES_BEFORE_PAUSE,
                };
                if failures < FAILURES_BEFORE_PAUSE && after.is_none() {
                    self.phase = Phase::Flowing { failures };
                    return Reaction::Flows;
                }
                let pause = self.backoff.next(random).max(self.least_pause).max(after.unwrap_or_default());
                self.pause(now, pause);
                Reaction::Pauses(pause)
            }
            Sign::Blocked => self.block(now),
        }
    }

    /// A request of an earlier phase. Only a wait that the intake asks for counts, and it holds in every phase.
    fn leave_late(&mut self, sign: Sign, now: Instant) -> Reaction {
        let asked =
            if let Sign::Failed { after: Some(after), .. } = sign { now.checked_add(after) } else { None };
        self.next_start = self.next_start.max(asked);
        let until = match self.phase {
            Phase::Pausing { until } => asked.max(Some(until)),
            // The probe decides, not what was accepted before the trouble.
            Phase::Probing => asked.max(Some(now)),
            Phase::Flowing { .. } => asked,
        };
        until.map_or(Reaction::Flows, |until| Reaction::Pauses(until.saturating_duration_since(now)))
    }

    /// A request that was given up. A probe leaves its place to another.
    fn give_up(&mut self, epoch: u64, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if epoch == self.epoch && self.phase == Phase::Probing {
            self.pause(now, Duration::ZERO);
        }
    }

    fn answered(&mut self, sign: Sign) {
        if self.phase == Phase::Probing {
            self.turn_to(Phase::Flowing { failures: 0 });
            self.window = 1;
            self.accepted_in_window = 0;
        }
        self.phase = Phase::Flowing { failures: 0 };
        self.untrusted = 0;
        if sign != Sign::Accepted {
            return;
        }
        self.backoff.reset();
        self.blocked.reset();
        self.accepted_in_window = self.accepted_in_window.saturating_add(1);
        if self.accepted_in_window >= self.window {
            self.accepted_in_window = 0;
            self.window = self.window.saturating_add(1).min(self.max_in_flight);
        }
    }

    fn block(&mut self, now: Instant) -> Reaction {
        self.backoff.reset();
        self.window = 1;
        self.accepted_in_window = 0;
        // Nobody else is asked less often because of this intake: no jitter is needed.
        let pause = self.blocked.next(|| 1.0);
        self.pause(now, pause);
        Reaction::Blocks(pause)
    }

    fn pause(&mut self, now: Instant, pause: Duration) {
        self.turn_to(Phase::Pausing { until: now.checked_add(pause).unwrap_or(now) });
    }

    fn turn_to(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch = self.epoch.wrapping_add(1);
    }
}

/// The gate of an intake.
#[derive(Debug)]
pub(super) struct Gate {
    /// Who is next waits alone in it, the others behind, in the order in which they came.
    turnstile: Semaphore,
    state: Mutex<State>,
    changed: Notify,
}

impl Gate {
    pub(super) fn new(config: &DriverConfig) -> Self {
        Self { turnstile: Semaphore::new(1), state: Mutex::new(State::new(config)), changed: Notify::new() }
    }

    /// Waits until a request may start, and starts it.
    pub(super) async fn enter(&self) -> Permit<'_> {
        let epoch = self.wait_for(|| self.state().enter(Instant::now())).await;
        Permit { gate: self, epoch, is_held: true }
    }

    /// Waits until a request could start.
    pub(super) async fn has_room(&self) {
        self.wait_for(|| self.state().entry(Instant::now())).await;
    }

    /// Waits for the turn, and then until `entry` says that it is time.
    async fn wait_for(&self, entry: impl Fn() -> Entry) -> u64 {
        // It is never closed.
        let _turn = self.turnstile.acquire().await;
        loop {
            match entry() {
                Entry::Now(epoch) => return epoch,
                Entry::Later => self.changed.notified().await,
                Entry::At(moment) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(moment) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    /// How many requests were accepted since the start.
    pub(super) fn accepted(&self) -> u64 {
        self.state().accepted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one request. Dropping it gives the request up.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    gate: &'a Gate,
    epoch: u64,
    is_held: bool,
}

impl Permit<'_> {
    /// The request came to this. `random` is asked for a number from 0 to 1 where a pause is drawn.
    pub(super) fn leave(mut self, sign: Sign, random: impl FnOnce() -> f64) -> Reaction {
        self.is_held = false;
        let reaction = self.gate.state().leave(self.epoch, sign, Instant::now(), random);
        self.gate.changed.notify_one();
        reaction
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_held {
            self.gate.state().give_up(self.epoch, Instant::now());
            self.gate.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FAILED: Sign = Sign::Failed { after: None, untrusted: false };

    fn state() -> State {
        State::new(&DriverConfig { max_in_flight: 4, ..DriverConfig::default() })
    }

    /// Lets in as many as may come; returns their epochs.
    fn enter_all(state: &mut State, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| match state.enter(now) {
            Entry::Now(epoch) => Some(epoch),
            Entry::At(_) | Entry::Later => None,
        })
        .take(100)
        .collect()
    }

    /// *Scenario*: whole windows of successes, then a failure.
    /// *Guarantees*: one request more after each window, never over `max_in_flight`; half of them after a failure.
    #[test]
    fn the_window_grows_by_one_and_halves() {
        let (mut state, now) = (state(), Instant::now());
        let mut sizes = Vec::new();
        for _round in 0..5 {
            let entered = enter_all(&mut state, now);
            sizes.push(entered.len());
            for epoch in entered {
                assert_eq!(state.leave(epoch, Sign::Accepted, now, || 1.0), Reaction::Flows);
            }
        }
        assert_eq!(sizes, [1, 2, 3, 4, 4]);
        let entered = enter_all(&mut state, now);
        assert_eq!(state.leave(entered[0], FAILED, now, || 1.0), Reaction::Flows);
        for epoch in &entered[1..] {
            state.leave(*epoch, Sign::Answered, now, || 1.0);
        }
        assert_eq!(enter_all(&mut state, now).len(), 2);
    }

    /// *Scenario*: four requests fail at once, one of them late with a wait that the intake asks for.
    /// *Guarantees*: there is one pause for all; the failures that come later do not lengthen it, what the intake asks
    /// for does; then one request tries alone, and the pauses double while it fails.
    #[test]
    fn failures_pause_everybody_once() {
        let (mut state, now) = (state(), Instant::now());
        for _round in 0..4 {
            for epoch in enter_all(&mut state, now) {
                state.leave(epoch, Sign::Accepted, now, || 1.0);
            }
        }
        let entered = enter_all(&mut state, now);
        assert_eq!(entered.len(), 4);
        let reactions = [FAILED, FAILED, FAILED].map(|sign| state.leave(entered[0], sign, now, || 1.0));
        assert_eq!(reactions, [Reaction::Flows, Reaction::Pauses(SECOND), Reaction::Pauses(SECOND)]);
        let asked = Sign::Failed { after: Some(SECOND * 7), untrusted: false };
        assert_eq!(state.leave(entered[3], asked, now, || 1.0), Reaction::Pauses(SECOND * 7));
        assert_eq!(state.enter(now + SECOND), Entry::At(now + SECOND * 7));
        let mut now = now + SECOND * 7;
        for seconds in [2, 4, 8] {
            let probe = enter_all(&mut state, now);
            assert_eq!(probe.len(), 1);
            assert_eq!(state.leave(probe[0], FAILED, now, || 1.0), Reaction::Pauses(SECOND * seconds));
            now += SECOND * seconds;
        }
        let probe = enter_all(&mut state, now);
        assert_eq!(state.leave(probe[0], Sign::Accepted, now, || 1.0), Reaction::Flows);
        assert_eq!(enter_all(&mut state, now).len(), 2, "the window begins anew");
    }

    /// *Scenario*: an intake asks for a wait in its answer to an old request, while another one probes, and again after
    /// that has succeeded.
    /// *Guarantees*: the probe opens the gate, and nobody enters before the wait is over.
    #[test]
    fn a_wait_that_is_asked_for_late_holds() {
        let (mut state, now) = (state(), Instant::now());
        for _round in 0..4 {
            for epoch in enter_all(&mut state, now) {
                state.leave(epoch, Sign::Accepted, now, || 1.0);
            }
        }
        let old = enter_all(&mut state, now);
        for epoch in &old[..2] {
            state.leave(*epoch, FAILED, now, || 1.0);
        }
        let now = now + SECOND;
        let probe = enter_all(&mut state, now);
        let asked = |seconds| Sign::Failed { after: Some(SECOND * seconds), untrusted: false };
        assert_ne!(state.leave(old[2], Sign::Accepted, now, || 1.0), Reaction::Flows, "the probe decides");
        assert_eq!(state.leave(old[2], asked(7), now, || 1.0), Reaction::Pauses(SECOND * 7));
        assert_eq!(state.leave(probe[0], Sign::Accepted, now, || 1.0), Reaction::Flows);
        assert_eq!(state.enter(now), Entry::At(now + SECOND * 7));
        assert_eq!(state.leave(old[3], asked(9), now, || 1.0), Reaction::Pauses(SECOND * 9));
        assert_eq!(state.enter(now + SECOND * 7), Entry::At(now + SECOND * 9));
        assert_eq!(enter_all(&mut state, now + SECOND * 9).len(), 2);
    }

    /// *Scenario*: an intake that is blocked, that cannot be found, and one that answers between.
    /// *Guarantees*: pauses of a minute and more; a name or a certificate blocks at the third failure in a row.
    #[test]
    fn blocks_are_looked_at_now_and_then() {
        let (mut state, mut now) = (state(), Instant::now());
        for seconds in [60, 120, 240, 300, 300] {
            let probe = enter_all(&mut state, now);
            assert_eq!(probe.len(), 1);
            assert_eq!(state.leave(probe[0], Sign::Blocked, now, || 0.0), Reaction::Blocks(SECOND * seconds));
            now += SECOND * seconds;
        }
        let probe = enter_all(&mut state, now);
        state.leave(probe[0], Sign::Accepted, now, || 1.0);
        let untrusted = Sign::Failed { after: None, untrusted: true };
        let mut reactions = Vec::new();
        for _failure in 0..3 {
            let entered = enter_all(&mut state, now);
            let (Reaction::Pauses(pause) | Reaction::Blocks(pause)) =
                state.leave(entered[0], untrusted, now, || 1.0)
            else {
                for other in &entered[1..] {
                    state.give_up(*other, now);
                }
                reactions.push(0);
                continue;
            };
            reactions.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(reactions, [0, 1, 60]);
    }

    /// *Scenario*: a probe that is given up, and a limit of two requests a second.
    /// *Guarantees*: another one may try at once; starts are half a second apart, probes included.
    #[test]
    fn a_probe_that_is_given_up_and_spacing() {
        let config =
            DriverConfig { requests_per_second: Some(2), max_in_flight: 4, ..DriverConfig::default() };
        let (mut state, now) = (State::new(&config), Instant::now());
        let Entry::Now(epoch) = state.enter(now) else { panic!() };
        state.leave(epoch, Sign::Accepted, now, || 1.0);
        assert_eq!(state.enter(now), Entry::At(now + SECOND / 2));
        let now = now + SECOND;
        let Entry::Now(epoch) = state.enter(now) else { panic!() };
        state.leave(epoch, Sign::Blocked, now, || 1.0);
        let now = now + SECOND * 60;
        let Entry::Now(probe) = state.enter(now) else { panic!() };
        assert_eq!(state.enter(now), Entry::Later);
        state.give_up(probe, now);
        assert_eq!(state.enter(now), Entry::At(now + SECOND / 2));
        assert!(matches!(state.enter(now + SECOND / 2), Entry::Now(_)));
    }

    /// *Scenario*: twenty workers, an intake that pauses, and one worker that goes away.
    /// *Guarantees*: each of them gets its turn, in order.
    #[tokio::test(start_paused = true)]
    async fn everybody_gets_a_turn_in_order() {
        let gate = Gate::new(&DriverConfig { max_in_flight: 2, ..DriverConfig::default() });
        let order = Mutex::new(Vec::new());
        let worker = |number: u32| {
            let (gate, order) = (&gate, &order);
            async move {
                let permit = gate.enter().await;
                order.lock().unwrap().push(number);
                tokio::time::sleep(SECOND).await;
                match number {
                    3 => drop(permit),
                    5 | 6 => drop(permit.leave(FAILED, || 1.0)),
                    _ => drop(permit.leave(Sign::Accepted, || 1.0)),
                }
            }
        };
        futures_util::future::join_all((0..20).map(worker)).await;
        gate.has_room().await;
        assert_eq!(order.into_inner().unwrap(), (0..20).collect::<Vec<_>>());
        assert_eq!(gate.accepted(), 17);
    }
}
