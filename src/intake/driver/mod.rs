//! Delivers a batch: attempts until the intake has it. The blob is the queue, so there is no attempt limit and nothing
//! is ever dropped: a batch that cannot be delivered waits, and an event that the intake refuses alone enters the
//! quarantine.

mod gate;
mod judge;
mod refusals;
mod remaining;
mod size_limit;
mod standing;
mod tell;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use self::{
    gate::Gate,
    judge::{Attempt, Part, Step},
    refusals::Refusals,
    remaining::{Piece, Remaining},
    size_limit::SizeLimit,
    standing::Standing,
};
use super::{Cause, Intake, Verdict};
use crate::{
    batch::EncodedEvents,
    model::Reason,
    retry::Backoff,
    telemetry::{health::Component, labels::Request, metrics::IntakeMetrics},
};

pub use self::remaining::Unaccepted;

/// A larger body under which the connection is reset twice may be too large for the intake.
const SUSPICIOUS_BYTES: usize = 256 * 1024;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverConfig {
    /// Most requests that are under way at once.
    pub max_in_flight: usize,
    /// Most requests that start in a second.
    pub requests_per_second: Option<u32>,
    /// Largest body that the settings allow, bytes before compression: what was learned of a smaller limit is forgotten
    /// by and by.
    pub max_bytes: usize,
    /// First step of the back-off after a failure that passes by itself.
    pub backoff_base: Duration,
    /// Longest step.
    pub backoff_cap: Duration,
    /// Shortest pause after failures, where the intake is known to want one.
    pub least_pause: Duration,
    /// First pause of a blocked intake: somebody has to act first, so it is not asked often.
    pub blocked_base: Duration,
    /// Longest pause of a blocked intake.
    pub blocked_cap: Duration,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 1,
            requests_per_second: None,
            max_bytes: usize::MAX,
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            least_pause: Duration::ZERO,
            blocked_base: Duration::from_secs(60),
            blocked_cap: Duration::from_secs(300),
        }
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The intake has answered for every event: it has all but these, which belong into the quarantine.
    Delivered(Vec<Unaccepted>),
    /// It was cancelled; nobody knows of these events.
    Abandoned {
        /// What the last attempt came to.
        reason: String,
    },
    /// The receiving end is gone for good.
    Closed {
        /// What happened.
        reason: String,
    },
}

/// Delivers the batches of one intake; all its workers share one.
#[derive(Debug)]
pub struct Driver {
    config: DriverConfig,
    gate: Gate,
    size_limit: Mutex<SizeLimit>,
    refusals: Mutex<Refusals>,
    random: Mutex<fastrand::Rng>,
    standing: Standing,
}

impl Driver {
    /// A driver whose waits are spread by `random`.
    #[must_use]
    pub fn new(config: DriverConfig, random: fastrand::Rng) -> Self {
        Self {
            gate: Gate::new(&config),
            size_limit: Mutex::new(SizeLimit::new()),
            refusals: Mutex::default(),
            random: Mutex::new(random),
            standing: Standing::new(config.blocked_cap),
            config,
        }
    }

    /// Shows what happens in metrics and in the readiness of the process.
    #[must_use]
    pub fn observed(mut self, metrics: IntakeMetrics, health: Component) -> Self {
        self.standing.observed(metrics, health);
        self
    }

    /// Tries until the intake has answered for the events, or until `cancelled`.
    pub async fn deliver(
        &self,
        intake: &dyn Intake,
        events: &EncodedEvents,
        cancelled: &CancellationToken,
    ) -> Outcome {
        let mut last_reason = "no attempt was made".to_owned();
        if cancelled.is_cancelled() {
            return Outcome::Abandoned { reason: last_reason };
        }
        tokio::select! {
            // An answer that is there counts. Without one the attempt is dropped: its events are sent again later.
            biased;
            outcome = self.try_until_done(intake, events, &mut last_reason) => return outcome,
            () = cancelled.cancelled() => {}
        }
        self.standing.count(Request::Abandoned);
        Outcome::Abandoned { reason: last_reason }
    }

    /// Completes once a request could start now.
    pub async fn has_room(&self) {
        self.gate.has_room().await;
    }

    /// Completes once nothing has been accepted for `duration` although something was being tried.
    pub async fn failing_for(&self, duration: Duration) {
        self.standing.failing_for(duration).await;
    }

    /// Why the intake takes nothing at the moment; `None` while it is well, or while nothing was tried.
    #[must_use]
    pub fn last_failure(&self) -> Option<String> {
        self.standing.last_failure()
    }

    /// Whether the intake is well, as far as is known; an intake that was not asked yet is.
    pub fn note_readiness(&self) {
        self.standing.note_readiness();
    }

    async fn try_until_done(
        &self,
        intake: &dyn Intake,
        events: &EncodedEvents,
        last_reason: &mut String,
    ) -> Outcome {
        let mut remaining = Remaining::new(events.len());
        let mut number: u64 = 0;
        while let Some(mut piece) = remaining.next() {
            let n_events = piece.selection.len();
            let body_bytes =
                intake.body_overhead().body_length(n_events, piece.selection.encoded_bytes(events));
            let most = lock(&self.size_limit).bytes().unwrap_or(usize::MAX).min(self.config.max_bytes);
            if n_events > 1 && body_bytes > most {
                remaining.halve(piece);
                continue;
            }
            let permit = self.gate.enter().await;
            number = number.saturating_add(1);
            let attempt = Attempt { number, n_events, body_bytes, resets: piece.resets };
            let verdict = intake.attempt(events, &piece.selection).await;
            if let Verdict::Closed { reason } = verdict {
                return Outcome::Closed { reason };
            }
            if matches!(verdict, Verdict::Retry { cause: Cause::Reset, .. }) {
                piece.resets = piece.resets.saturating_add(1);
            }
            let (step, sign) = self.judge(verdict, attempt);
            let reaction = permit.leave(sign, || self.random());
            self.tell(&step, reaction, attempt);
            match step {
                Step::Done { in_doubt } => {
                    let is_accepted = in_doubt.as_ref().is_none_or(|(accepted, _)| *accepted > 0);
                    if let Some((accepted, answer)) = in_doubt {
                        remaining.unaccepted(doubtful(&piece, accepted, &answer));
                    }
                    if is_accepted {
                        remaining.accepted();
                    }
                }
                Step::Refuse { reason, answer } => remaining.unaccepted(refused(&piece, &reason, &answer)),
                Step::Halve { .. } => remaining.halve(piece),
                Step::Part(part) => {
                    if !part.busy.is_empty() || !part.doubted.is_empty() {
                        last_reason.clone_from(&part.reason);
                    }
                    let busy = self.divide(&mut remaining, &piece, &part);
                    self.again(&mut remaining, busy).await;
                    remaining.again(piece.pick(&part.untried));
                }
                Step::Again { reason } => {
                    *last_reason = reason;
                    self.again(&mut remaining, piece).await;
                }
                Step::Wait { reason } => {
                    *last_reason = reason;
                    remaining.again(piece);
                }
                Step::Doubt { reason } => {
                    *last_reason = reason;
                    remaining.doubt(piece, lock(&self.refusals).is_all_refused());
                }
            }
        }
        Outcome::Delivered(remaining.into_unaccepted())
    }

    /// Puts the events of a piece where the intake's answer wants them. Returns those that it cannot take now.
    fn divide(&self, remaining: &mut Remaining, piece: &Piece, part: &Part) -> Piece {
        for (place, detail) in &part.refused {
            remaining.unaccepted(refused(&piece.pick(&[*place]), detail, &part.answer));
        }
        if part.n_accepted > 0 {
            remaining.accepted();
        }
        if part.doubted.is_empty() {
            return piece.pick(&part.busy);
        }
        if lock(&self.refusals).is_all_refused() {
            remaining.doubt(piece.pick(&part.doubted), true);
        } else {
            remaining.later(piece.pick(&part.doubted));
        }
        piece.pick(&part.busy)
    }

    /// The piece failed, and is sent again before others; it waits alone where only it fails.
    async fn again(&self, remaining: &mut Remaining, mut piece: Piece) {
        if piece.selection.is_empty() {
            return;
        }
        let backoff = Backoff::new(self.config.backoff_base, self.config.backoff_cap);
        let alone_until = piece.failed(self.gate.accepted(), backoff, || self.random());
        remaining.again(piece);
        if let Some(until) = alone_until {
            tokio::time::sleep_until(until).await;
        }
    }

    fn random(&self) -> f64 {
        lock(&self.random).f64()
    }
}

/// All events of a piece, for the quarantine.
fn doubtful(piece: &Piece, accepted: usize, answer: &(u16, String)) -> Vec<Unaccepted> {
    let detail = format!("doubtful {accepted} of {}", piece.selection.len());
    unaccepted(piece, Reason::Doubtful, &detail, answer)
}

/// The one event of a piece, for the quarantine.
fn refused(piece: &Piece, reason: &str, answer: &(u16, String)) -> Vec<Unaccepted> {
    unaccepted(piece, Reason::Refused, reason, answer)
}

fn unaccepted(piece: &Piece, reason: Reason, detail: &str, answer: &(u16, String)) -> Vec<Unaccepted> {
    let of = |event| Unaccepted { event, reason, detail: detail.to_owned(), answer: answer.clone() };
    piece.selection.indexes().map(of).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod day;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watch;
