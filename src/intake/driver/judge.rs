//! What a verdict means for the events that were sent, and for the gate.

use super::{Driver, SUSPICIOUS_BYTES, gate::Sign, lock};
use crate::{
    intake::{Cause, Verdict},
    planted::{self, Bug},
};

/// One piece of a batch at one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// Counts the attempts for the batch.
    pub(super) number: u64,
    pub(super) n_events: usize,
    pub(super) body_bytes: usize,
    /// How often the connection was reset under it before.
    pub(super) resets: u32,
}

/// What a verdict means for the piece.
#[derive(Debug)]
pub(super) enum Step {
    /// It is done: all events but these were accepted for certain.
    Done { in_doubt: Option<(usize, (u16, String))> },
    /// The intake has answered for each event.
    Part(Part),
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

/// What an intake said of the events of a piece, one by one; they are named by their places in the piece.
#[derive(Debug)]
pub(super) struct Part {
    /// So many were accepted.
    pub(super) n_accepted: usize,
    /// At fault, each with what the intake says of it.
    pub(super) refused: Vec<(usize, String)>,
    /// Refused, but the intake must be at fault.
    pub(super) doubted: Vec<usize>,
    /// Not looked at.
    pub(super) untried: Vec<usize>,
    /// Not taken now.
    pub(super) busy: Vec<usize>,
    /// What happened, for people.
    pub(super) reason: String,
    /// Status and beginning of the answer.
    pub(super) answer: (u16, String),
}

impl Driver {
    /// What a verdict means for the piece and for the gate.
    pub(super) fn judge(&self, verdict: Verdict, attempt: Attempt) -> (Step, Sign) {
        let Attempt { n_events, body_bytes, .. } = attempt;
        match verdict {
            Verdict::BadBatch { .. } if planted::is(Bug::DropOnRefusal) => {
                (Step::Done { in_doubt: None }, Sign::Accepted)
            }
            Verdict::Retry { cause: Cause::Unanswered, .. } if planted::is(Bug::NoAnswerIsAnswer) => {
                (Step::Done { in_doubt: None }, Sign::Accepted)
            }
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
            Verdict::Partial { refused, untried, busy, after, reason, answer } => {
                let n_others = refused.len().saturating_add(untried.len()).saturating_add(busy.len());
                let n_accepted = n_events.saturating_sub(n_others);
                let is_believed = self.are_believed(n_accepted, refused.len());
                let sign = match (is_believed, busy.is_empty(), n_accepted) {
                    (false, ..) => Sign::Blocked,
                    (true, false, _) => Sign::Failed { after, untrusted: false },
                    (true, true, 0) => Sign::Answered,
                    (true, true, _) => Sign::Accepted,
                };
                let (refused, doubted) = if is_believed {
                    (refused, Vec::new())
                } else {
                    (Vec::new(), refused.into_iter().map(|(place, _)| place).collect())
                };
                (Step::Part(Part { n_accepted, refused, doubted, untried, busy, reason, answer }), sign)
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

    /// Whether so many refused events of one answer are at fault themselves. Where others of it were accepted, they are,
    /// unless they are too many; where none was, each counts as one that was refused alone.
    fn are_believed(&self, n_accepted: usize, n_refused: usize) -> bool {
        let mut refusals = lock(&self.refusals);
        let is_believed = if n_accepted > 0 {
            lock(&self.size_limit).taken(self.config.max_bytes);
            refusals.accepted(n_accepted);
            !refusals.is_over_share(n_refused)
        } else {
            (0..n_refused).all(|_| refusals.refused_alone()) && !refusals.is_over_share(n_refused)
        };
        if is_believed {
            refusals.refused(n_refused);
        }
        is_believed
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
}
