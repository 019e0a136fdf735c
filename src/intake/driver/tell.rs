//! What the driver says of each attempt: in the log, the metrics and the readiness of the process.

use tracing::{debug, error, warn};

use super::{
    Driver,
    gate::Reaction,
    judge::{Attempt, Part, Step},
};
use crate::telemetry::labels::Request;

/// What an operator reads of a blocked intake.
const BLOCKED: &str = "the intake is blocked until somebody acts; everything is kept";

impl Driver {
    /// Notes what happened, and tells of it.
    pub(super) fn tell(&self, step: &Step, reaction: Reaction, attempt: Attempt) {
        let wait_ms = wait_ms(reaction);
        let Attempt { number: attempt, n_events, body_bytes, .. } = attempt;
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
            Step::Part(part) => self.tell_part(part, reaction, attempt),
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
                // All workers and every probe meet the same: it is said once, and again now and then.
                if self.standing.failed(reason, true) {
                    error!(attempt, n_events, reason, wait_ms, "{BLOCKED}");
                } else {
                    debug!(attempt, n_events, reason, wait_ms, "{BLOCKED}");
                }
            }
        }
    }

    fn tell_part(&self, part: &Part, reaction: Reaction, attempt: u64) {
        let Part { n_accepted, refused, doubted, untried, busy, reason, .. } = part;
        let wait_ms = wait_ms(reaction);
        self.standing.count(Request::Partial);
        if *n_accepted > 0 {
            self.standing.moved();
        }
        if let Some((_, first)) = refused.first() {
            let n_refused = refused.len();
            warn!(
                attempt,
                n_refused, first, "the intake refuses events of a batch: they enter the quarantine"
            );
        }
        if !doubted.is_empty() {
            let reason = format!(
                "the intake refuses so many events that they are not believed to be at fault; the last answer: {reason}"
            );
            if self.standing.failed(&reason, true) {
                error!(attempt, n_refused = doubted.len(), reason, wait_ms, "{BLOCKED}");
            }
        } else if !busy.is_empty() {
            self.standing.failed(reason, false);
            warn!(
                attempt,
                n_accepted,
                n_busy = busy.len(),
                reason,
                wait_ms,
                "the intake took a part of a batch and cannot take the rest now; trying again",
            );
        } else {
            debug!(attempt, n_accepted, n_untried = untried.len(), "the intake took a part of a batch");
            if reaction == Reaction::Flows && *n_accepted > 0 {
                self.standing.well(attempt, *n_accepted);
            }
        }
    }
}

/// The pause in milliseconds; 0 without one.
fn wait_ms(reaction: Reaction) -> u64 {
    match reaction {
        Reaction::Flows => 0,
        Reaction::Pauses(pause) | Reaction::Blocks(pause) => {
            u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
        }
    }
}
