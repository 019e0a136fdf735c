//! Delivers a batch: attempts until the intake has it. The blob is the queue, so there is no attempt limit and nothing
//! is ever dropped; a batch that cannot be delivered only waits.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{Intake, Verdict, pacer::Pacer, standing::Standing};
use crate::{
    batch::EncodedEvents,
    retry::Backoff,
    telemetry::{health::Component, labels::Request, metrics::IntakeMetrics},
};

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverConfig {
    /// Most requests that are under way at once, whoever sends them.
    pub max_in_flight: usize,
    /// Most requests that start in a second.
    pub requests_per_second: Option<u32>,
    /// First step of the back-off after a failure that passes by itself.
    pub backoff_base: Duration,
    /// Longest step.
    pub backoff_cap: Duration,
    /// First pause of a blocked intake: somebody has to act first, so it is not asked often.
    pub blocked_base: Duration,
    /// Longest pause of a blocked intake.
    pub blocked_cap: Duration,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 4,
            requests_per_second: None,
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            blocked_base: Duration::from_secs(60),
            blocked_cap: Duration::from_secs(300),
        }
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The intake has every event.
    Delivered,
    /// The intake accepted `accepted` of the events and does not say which.
    Doubtful {
        /// Events accepted.
        accepted: usize,
        /// Status and beginning of the answer.
        answer: (u16, String),
    },
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
    /// One for each request that may be under way. They are given in the order in which they are asked for, and none is
    /// kept between two attempts, so neither many batches nor one that is refused for ever keep others out.
    slots: Semaphore,
    pacer: Pacer,
    random: Mutex<fastrand::Rng>,
    standing: Standing,
}

impl Driver {
    /// A driver whose waits are spread by `random`.
    #[must_use]
    pub fn new(config: DriverConfig, random: fastrand::Rng) -> Self {
        Self {
            config,
            slots: Semaphore::new(config.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            pacer: Pacer::new(config.requests_per_second),
            random: Mutex::new(random),
            standing: Standing::new(config.blocked_cap),
        }
    }

    /// Shows what happens in metrics and in the readiness of the process.
    #[must_use]
    pub fn observed(mut self, metrics: IntakeMetrics, health: Component) -> Self {
        self.standing.show(metrics, health);
        self
    }

    /// Tries until the intake has the events, or until `cancelled`.
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
        self.standing.observe(Request::Abandoned);
        Outcome::Abandoned { reason: last_reason }
    }

    /// Completes once a request could start now.
    pub async fn has_room(&self) {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await.ok();
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

    /// Shows whether the intake is well, as far as is known; an intake that was not asked yet is.
    pub fn note_readiness(&self) {
        self.standing.note_readiness();
    }

    async fn attempt(&self, intake: &dyn Intake, events: &EncodedEvents) -> Verdict {
        let _slot = self.slots.acquire().await.ok();
        self.pacer.turn().await;
        intake.attempt(events).await
    }

    async fn try_until_done(
        &self,
        intake: &dyn Intake,
        events: &EncodedEvents,
        last_reason: &mut String,
    ) -> Outcome {
        let DriverConfig { backoff_base, backoff_cap, blocked_base, blocked_cap, .. } = self.config;
        let mut backoff = Backoff::new(backoff_base, backoff_cap);
        let mut blocked = Backoff::new(blocked_base, blocked_cap);
        let n_events = events.len();
        let mut attempt: u64 = 0;
        loop {
            attempt = attempt.saturating_add(1);
            let wait = match self.attempt(intake, events).await {
                Verdict::Delivered => {
                    self.standing.accepted(attempt, n_events, Request::Delivered);
                    return Outcome::Delivered;
                }
                Verdict::Doubtful { accepted, answer } => {
                    self.standing.accepted(attempt, n_events, Request::Doubtful);
                    error!(
                        n_events,
                        accepted,
                        answer = answer.1,
                        "the intake accepted a part of a batch and does not say which: all of it enters the quarantine",
                    );
                    return Outcome::Doubtful { accepted, answer };
                }
                Verdict::Closed { reason } => return Outcome::Closed { reason },
                Verdict::Retry { after, reason } => {
                    blocked.reset();
                    let wait = backoff.next(|| self.random()).max(after.unwrap_or_default());
                    self.standing.failed(&reason, Request::Retried);
                    warn!(
                        attempt,
                        n_events,
                        reason,
                        wait_ms = wait.as_millis(),
                        "the intake did not take a batch; trying again"
                    );
                    *last_reason = reason;
                    wait
                }
                Verdict::Blocked { reason } => {
                    backoff.reset();
                    let wait = blocked.next(|| 1.0);
                    let wait_ms = wait.as_millis();
                    let message = "the intake is blocked until somebody acts; everything is kept";
                    // All workers and every probe meet the same: it is said once, and again now and then.
                    if self.standing.failed(&reason, Request::Blocked) {
                        error!(attempt, n_events, reason, wait_ms, "{message}");
                    } else {
                        debug!(attempt, n_events, reason, wait_ms, "{message}");
                    }
                    *last_reason = reason;
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn random(&self) -> f64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}

#[cfg(test)]
mod tests;
