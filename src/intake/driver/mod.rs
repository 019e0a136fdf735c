//! Delivers a batch: attempts until the intake has it. The blob is the queue, so there is no attempt limit and nothing
//! is ever dropped: a batch that cannot be delivered waits, and an event that the intake refuses alone enters the
//! quarantine.

mod gate;
mod refusals;
mod remaining;
mod size_limit;
mod standing;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use self::{
    gate::{Gate, Reaction, Sign},
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

/// One piece of a batch at one attempt.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// Counts the attempts for the batch.
    number: u64,
    n_events: usize,
    body_bytes: usize,
    /// How often the connection was reset under it before.
    resets: u32,
}

/// What a verdict means for the piece.
#[derive(Debug)]
enum Step {
    /// It is done: all events but these were accepted for certain.
    Done { in_doubt: Option<(usize, (u16, String))> },
    /// It is one event, and that is at fault.
    Refuse { reason: String, answer: (u16, String) },
    /// Its halves are tried.
    Halve { reason: String },
    /// It is tried again.
    Again { reason: String },
    /// Somebody has to act; then it is tried again.
    Wait { reason: String },
    /// The intake refuses so much that the events cannot be at fault: other events are tried first.
    Doubt { reason: String },
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
            let n_events = piece.range.len();
            let body_bytes =
                intake.framing().overhead().body_length(n_events, events.encoded_bytes(&piece.range));
            if n_events > 1 && lock(&self.size_limit).bytes().is_some_and(|most| body_bytes > most) {
                remaining.halve(piece);
                continue;
            }
            let permit = self.gate.enter().await;
            number = number.saturating_add(1);
            let attempt = Attempt { number, n_events, body_bytes, resets: piece.resets };
            let verdict = intake.attempt(events, piece.range.clone()).await;
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
                Step::Again { reason } => {
                    *last_reason = reason;
                    let DriverConfig { backoff_base, backoff_cap, .. } = self.config;
                    let backoff = Backoff::new(backoff_base, backoff_cap);
                    let alone_until = piece.failed(self.gate.accepted(), backoff, || self.random());
                    remaining.again(piece);
                    if let Some(until) = alone_until {
                        tokio::time::sleep_until(until).await;
                    }
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

    /// What a verdict means for the piece and for the gate.
    fn judge(&self, verdict: Verdict, attempt: Attempt) -> (Step, Sign) {
        let Attempt { n_events, body_bytes, .. } = attempt;
        match verdict {
            Verdict::Delivered => {
                lock(&self.refusals).accepted(n_events);
                lock(&self.size_limit).taken(self.config.max_bytes);
                (Step::Done { in_doubt: None }, Sign::Accepted)
            }
            Verdict::Doubtful { accepted, answer } => {
                let mut refusals = lock(&self.refusals);
                refusals.accepted(accepted);
                refusals.refused(n_events.saturating_sub(accepted));
                // Nobody can take it back, but the next ones can wait.
                let sign = if refusals.is_over_share(0) { Sign::Blocked } else { Sign::Accepted };
                (Step::Done { in_doubt: Some((accepted, answer)) }, sign)
            }
            Verdict::TooLarge { reason, answer } => {
                lock(&self.size_limit).too_large(body_bytes);
                if n_events > 1 {
                    return (Step::Halve { reason }, Sign::Answered);
                }
                self.refused_alone(reason, answer)
            }
            Verdict::BadBatch { reason, answer } => match n_events {
                0 | 1 => self.refused_alone(reason, answer),
                _ if lock(&self.refusals).is_all_refused() => (Step::Doubt { reason }, Sign::Blocked),
                _ => (Step::Halve { reason }, Sign::Answered),
            },
            Verdict::Retry { after, reason, cause } => {
                let sign = Sign::Failed { after, untrusted: cause == Cause::Untrusted };
                let is_suspicious = cause == Cause::Reset && attempt.resets > 0;
                if is_suspicious && body_bytes > SUSPICIOUS_BYTES && n_events > 1 {
                    lock(&self.size_limit).too_large(body_bytes);
                    return (Step::Halve { reason }, sign);
                }
                (Step::Again { reason }, sign)
            }
            Verdict::Blocked { reason } | Verdict::Closed { reason } => {
                (Step::Wait { reason }, Sign::Blocked)
            }
        }
    }

    /// One event was refused alone: it is at fault, unless so many are that the intake must be.
    fn refused_alone(&self, reason: String, answer: (u16, String)) -> (Step, Sign) {
        let mut refusals = lock(&self.refusals);
        if refusals.refused_alone() {
            refusals.refused(1);
            return (Step::Refuse { reason, answer }, Sign::Answered);
        }
        let what = if refusals.is_all_refused() {
            "the intake refuses each of many events alone"
        } else {
            "the intake refuses more than half of the last thousand events"
        };
        let reason =
            format!("{what}, so the events are not believed to be at fault; the last answer: {reason}");
        (Step::Doubt { reason }, Sign::Blocked)
    }

    /// Notes what happened, and tells of it.
    fn tell(&self, step: &Step, reaction: Reaction, attempt: Attempt) {
        let Attempt { number: attempt, n_events, body_bytes, .. } = attempt;
        let wait_ms = match reaction {
            Reaction::Flows => 0,
            Reaction::Pauses(pause) | Reaction::Blocks(pause) => {
                u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
            }
        };
        match step {
            Step::Done { in_doubt: None } => {
                self.standing.count(Request::Delivered);
                // A late answer does not open a gate that another one has closed.
                if reaction == Reaction::Flows {
                    self.standing.well(attempt, n_events);
                }
            }
            Step::Done { in_doubt: Some((accepted, (_, answer))) } => {
                self.standing.count(Request::Doubtful);
                match reaction {
                    Reaction::Flows => self.standing.well(attempt, n_events),
                    Reaction::Pauses(_) => {}
                    Reaction::Blocks(_) => {
                        let reason = "the intake accepts only a part of more than half of the last events";
                        self.standing.failed(reason, true);
                    }
                }
                error!(
                    n_events,
                    accepted,
                    answer,
                    wait_ms,
                    "the intake accepted a part of a batch and does not say which: all of it enters the quarantine",
                );
            }
            Step::Refuse { reason, .. } => {
                self.standing.count(Request::Refused);
                warn!(attempt, body_bytes, reason, "the intake refuses an event: it enters the quarantine");
            }
            Step::Halve { reason } => {
                self.standing.count(Request::Halved);
                if let Reaction::Flows = reaction {
                    debug!(
                        attempt,
                        n_events, body_bytes, reason, "the intake did not take a batch; trying its halves"
                    );
                } else {
                    self.standing.failed(reason, false);
                    warn!(
                        attempt,
                        n_events,
                        body_bytes,
                        reason,
                        wait_ms,
                        "the intake did not take a batch; trying its halves"
                    );
                }
            }
            Step::Again { reason } => {
                self.standing.count(Request::Retried);
                let is_blocked = matches!(reaction, Reaction::Blocks(_));
                self.standing.failed(reason, is_blocked);
                warn!(attempt, n_events, reason, wait_ms, "the intake did not take a batch; trying again");
            }
            Step::Wait { reason } | Step::Doubt { reason } => {
                self.standing.count(Request::Blocked);
                let message = "the intake is blocked until somebody acts; everything is kept";
                // All workers and every probe meet the same: it is said once, and again now and then.
                if self.standing.failed(reason, true) {
                    error!(attempt, n_events, reason, wait_ms, "{message}");
                } else {
                    debug!(attempt, n_events, reason, wait_ms, "{message}");
                }
            }
        }
    }

    fn random(&self) -> f64 {
        lock(&self.random).f64()
    }
}

/// All events of a piece, for the quarantine.
fn doubtful(piece: &Piece, accepted: usize, answer: &(u16, String)) -> Vec<Unaccepted> {
    let detail = format!("doubtful {accepted} of {}", piece.range.len());
    unaccepted(piece, Reason::Doubtful, &detail, answer)
}

/// The one event of a piece, for the quarantine.
fn refused(piece: &Piece, reason: &str, answer: &(u16, String)) -> Vec<Unaccepted> {
    unaccepted(piece, Reason::Refused, reason, answer)
}

fn unaccepted(piece: &Piece, reason: Reason, detail: &str, answer: &(u16, String)) -> Vec<Unaccepted> {
    let of = |event| Unaccepted { event, reason, detail: detail.to_owned(), answer: answer.clone() };
    piece.range.clone().map(of).collect()
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
