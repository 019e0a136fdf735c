//! How an intake stands, for the log, the metrics and the readiness of the process.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};
use tracing::info;

use crate::telemetry::{
    health::Component,
    labels::{Gate, Request},
    metrics::IntakeMetrics,
};

/// An intake that takes nothing for this long makes the process not ready; a shorter fault is nobody's business.
const UNREADY_AFTER: Duration = Duration::from_secs(30);

/// How an intake stands.
#[derive(Debug)]
pub(super) struct Standing {
    /// The same trouble is said again after this time.
    say_again_after: Duration,
    /// Set while nothing has been accepted although something is being tried.
    failing: watch::Sender<Option<Failing>>,
    observer: Option<Observer>,
}

/// Where it shows.
#[derive(Debug)]
struct Observer {
    metrics: IntakeMetrics,
    health: Component,
}

/// An intake that takes nothing.
#[derive(Debug)]
struct Failing {
    /// The first failure.
    since: Instant,
    /// The last reason, of any worker.
    reason: String,
    /// When this reason was last new to the log.
    said: Instant,
}

impl Standing {
    pub(super) fn new(say_again_after: Duration) -> Self {
        Self { say_again_after, failing: watch::Sender::new(None), observer: None }
    }

    pub(super) fn observed(&mut self, metrics: IntakeMetrics, health: Component) {
        self.observer = Some(Observer { metrics, health });
    }

    /// Completes once nothing has been accepted for `duration` although something was being tried.
    pub(super) async fn failing_for(&self, duration: Duration) {
        let mut failing = self.failing.subscribe();
        loop {
            let since = failing.borrow_and_update().as_ref().map(|failing| failing.since);
            tokio::select! {
                biased;
                // The sender lives as long as `self`.
                _changed = failing.changed() => {}
                () = until(since.and_then(|since| since.checked_add(duration))) => return,
            }
        }
    }

    /// Why the intake takes nothing; `None` while it is well, or while nothing was tried.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.failing.borrow().as_ref().map(|failing| failing.reason.clone())
    }

    /// Whether the intake is well, as far as is known; an intake that was not asked yet is.
    pub(super) fn note_readiness(&self) {
        if let Some(Observer { health, .. }) = &self.observer
            && self.failing.borrow().is_none()
        {
            health.ready();
        }
    }

    /// Counts a request.
    pub(super) fn count(&self, request: Request) {
        if let Some(Observer { metrics, .. }) = &self.observer {
            metrics.requested(request);
            if request == Request::Retried {
                metrics.retries.inc();
            }
        }
    }

    /// Something was accepted, and requests go on.
    pub(super) fn well(&self, attempt: u64, n_events: usize) {
        if let Some(Failing { since, .. }) = self.failing.send_replace(None) {
            info!(
                attempt,
                n_events,
                after_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                "the intake takes batches again"
            );
            if let Some(Observer { metrics, health }) = &self.observer {
                metrics.gate(Gate::Open);
                health.ready();
            }
        }
    }

    /// Something was accepted, although there is trouble: it does not stand still.
    pub(super) fn moved(&self) {
        self.failing.send_if_modified(|failing| {
            failing.as_mut().map(|failing| failing.since = Instant::now()).is_some()
        });
    }

    /// Notes a failure. Returns whether it is news: another reason than the last, or the same after a long while.
    pub(super) fn failed(&self, reason: &str, is_blocked: bool) -> bool {
        let now = Instant::now();
        let mut is_news = false;
        let mut since = now;
        self.failing.send_if_modified(|failing| {
            let is_first = failing.is_none();
            let state =
                failing.get_or_insert_with(|| Failing { since: now, reason: String::new(), said: now });
            since = state.since;
            is_news = state.reason != reason || now >= state.said + self.say_again_after;
            if is_news {
                reason.clone_into(&mut state.reason);
                state.said = now;
            }
            is_first
        });
        if let Some(Observer { metrics, health }) = &self.observer {
            metrics.gate(if is_blocked { Gate::Blocked } else { Gate::HalfOpen });
            if is_blocked || since.elapsed() >= UNREADY_AFTER {
                health.not_ready(&format!("it takes nothing: {reason}"));
            }
        }
        is_news
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: four workers meet the same block, go on meeting it, another one comes, and a success.
    /// *Guarantees*: each reason is news once, again after the longest pause, and anew after the success; the last
    /// reason can be asked for as long as it holds.
    #[tokio::test(start_paused = true)]
    async fn a_block_is_said_once() {
        let standing = Standing::new(Duration::from_secs(300));
        let four = |reason: &str| [(); 4].map(|()| standing.failed(reason, true));
        assert_eq!(standing.last_failure(), None);
        assert_eq!(four("wrong key"), [true, false, false, false]);
        assert_eq!(standing.last_failure().as_deref(), Some("wrong key"));
        tokio::time::advance(Duration::from_secs(299)).await;
        assert!(!standing.failed("wrong key", true));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(four("wrong key"), [true, false, false, false]);
        assert_eq!(four("wrong url"), [true, false, false, false]);
        assert_eq!(standing.last_failure().as_deref(), Some("wrong url"));
        standing.well(9, 1);
        assert_eq!(standing.last_failure(), None);
        assert!(standing.failed("wrong url", true));
    }
}
