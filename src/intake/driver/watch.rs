//! What the gate must be doing, as seen from the intake: for tests that answer as an intake does.

use std::time::Duration;

use tokio::time::Instant;

use crate::intake::Verdict;

/// The first pause of an intake that is blocked.
const BLOCKED: Duration = Duration::from_secs(60);

/// Follows requests and answers, and says what must not have happened.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Counts the phases; an answer to a request of an earlier one is no news.
    epoch: u64,
    pauses: bool,
    failures: u32,
    not_before: Option<Instant>,
    in_flight: usize,
    in_flight_of_epoch: usize,
}

impl Watch {
    /// A request starts: the phase it belongs to.
    pub(super) fn start(&mut self) -> u64 {
        self.in_flight += 1;
        self.in_flight_of_epoch += 1;
        self.epoch
    }

    /// Checks that a request which has just started was allowed to.
    pub(super) fn check(&self, now: Instant) {
        assert!(!self.pauses || self.in_flight_of_epoch == 1, "two probes at once");
        assert!(self.not_before.is_none_or(|then| now >= then), "sooner than asked");
    }

    /// Requests under way, of all phases.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When a request may start at the earliest, as far as the intake has said.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// A request has ended, with or without an answer.
    pub(super) fn end(&mut self, epoch: u64) {
        self.in_flight -= 1;
        if self.epoch == epoch {
            self.in_flight_of_epoch -= 1;
        }
    }

    /// A request of this phase is answered so.
    pub(super) fn answered(&mut self, epoch: u64, verdict: &Verdict, now: Instant) {
        let after = match verdict {
            Verdict::Retry { after, .. } | Verdict::Partial { after, .. } => *after,
            Verdict::Blocked { .. } if self.epoch == epoch => Some(BLOCKED),
            Verdict::Delivered
            | Verdict::Doubtful { .. }
            | Verdict::TooLarge { .. }
            | Verdict::BadBatch { .. }
            | Verdict::Blocked { .. }
            | Verdict::Closed { .. } => None,
        };
        // What the intake asks for holds for everybody, whenever the request was sent.
        self.not_before = self.not_before.max(after.map(|after| now + after));
        if self.epoch != epoch {
            return;
        }
        let is_failure = match verdict {
            Verdict::Retry { .. } | Verdict::Blocked { .. } => true,
            Verdict::Partial { busy, .. } => !busy.is_empty(),
            Verdict::Delivered
            | Verdict::Doubtful { .. }
            | Verdict::TooLarge { .. }
            | Verdict::BadBatch { .. }
            | Verdict::Closed { .. } => false,
        };
        match is_failure {
            false => {
                self.failures = 0;
                if std::mem::take(&mut self.pauses) {
                    self.next_epoch();
                }
            }
            true => {
                self.failures += 1;
                if self.failures >= 2 || self.pauses || after.is_some() {
                    self.pauses = true;
                    self.next_epoch();
                }
            }
        }
    }

    fn next_epoch(&mut self) {
        self.epoch += 1;
        self.in_flight_of_epoch = 0;
    }
}
