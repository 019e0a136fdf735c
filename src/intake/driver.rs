//! Delivers a batch: attempts until the intake has it. The blob is the queue, so there is no attempt limit and nothing
//! is ever dropped; a batch that cannot be delivered only waits.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{Intake, Verdict, pacer::Pacer};
use crate::{
    batch::EncodedEvents,
    retry::Backoff,
    telemetry::{
        health::Component,
        labels::{Gate, Request},
        metrics::IntakeMetrics,
    },
};

/// An intake that takes nothing for this long makes the process not ready; a shorter fault is nobody's business.
const UNREADY_AFTER: Duration = Duration::from_secs(30);

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverConfig {
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
    pacer: Pacer,
    random: Mutex<fastrand::Rng>,
    /// Set while nothing has been accepted although something is being tried.
    failing: watch::Sender<Option<Failing>>,
    observer: Option<Observer>,
}

/// Where the state of deliveries shows.
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

impl Driver {
    /// A driver whose waits are spread by `random`.
    #[must_use]
    pub fn new(config: DriverConfig, random: fastrand::Rng) -> Self {
        Self {
            config,
            pacer: Pacer::new(config.requests_per_second),
            random: Mutex::new(random),
            failing: watch::Sender::new(None),
            observer: None,
        }
    }

    /// Shows what happens in metrics and in the readiness of the process.
    #[must_use]
    pub fn observed(mut self, metrics: IntakeMetrics, health: Component) -> Self {
        self.observer = Some(Observer { metrics, health });
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
        self.observe(Request::Abandoned);
        Outcome::Abandoned { reason: last_reason }
    }

    /// Completes once nothing has been accepted for `duration` although something was being tried.
    pub async fn failing_for(&self, duration: Duration) {
        let mut failing = self.failing.subscribe();
        loop {
            let since = failing.borrow_and_update().as_ref().map(|failing| failing.since);
            tokio::select! {
                // The sender lives as long as `self`.
                _changed = failing.changed() => {}
                () = until(since.and_then(|since| since.checked_add(duration))) => return,
            }
        }
    }

    /// Why the intake takes nothing at the moment; `None` while it is well, or while nothing was tried.
    #[must_use]
    pub fn last_failure(&self) -> Option<String> {
        self.failing.borrow().as_ref().map(|failing| failing.reason.clone())
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
            self.pacer.turn().await;
            attempt = attempt.saturating_add(1);
            let wait = match intake.attempt(events).await {
                Verdict::Delivered => {
                    self.accepted(attempt, n_events, Request::Delivered);
                    return Outcome::Delivered;
                }
                Verdict::Doubtful { accepted, answer } => {
                    self.accepted(attempt, n_events, Request::Doubtful);
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
                    self.failed(&reason, Request::Retried);
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
                    if self.failed(&reason, Request::Blocked) {
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

    /// Whether the intake is well, as far as is known; an intake that was not asked yet is.
    pub fn note_readiness(&self) {
        if let Some(Observer { health, .. }) = &self.observer
            && self.failing.borrow().is_none()
        {
            health.ready();
        }
    }

    fn observe(&self, request: Request) {
        if let Some(Observer { metrics, .. }) = &self.observer {
            metrics.requested(request);
            if request == Request::Retried {
                metrics.retries.inc();
            }
        }
    }

    fn accepted(&self, attempt: u64, n_events: usize, request: Request) {
        self.observe(request);
        if let Some(Failing { since, .. }) = self.failing.send_replace(None) {
            info!(
                attempt,
                n_events,
                after_ms = since.elapsed().as_millis(),
                "the intake takes batches again"
            );
            if let Some(Observer { metrics, health }) = &self.observer {
                metrics.gate(Gate::Open);
                health.ready();
            }
        }
    }

    /// Notes a failure. Returns whether it is news: another reason than the last, or the same after a long while.
    fn failed(&self, reason: &str, request: Request) -> bool {
        let now = Instant::now();
        let mut is_news = false;
        let mut since = now;
        self.failing.send_if_modified(|failing| {
            let is_first = failing.is_none();
            let state =
                failing.get_or_insert_with(|| Failing { since: now, reason: String::new(), said: now });
            since = state.since;
            is_news = state.reason != reason || now >= state.said + self.config.blocked_cap;
            if is_news {
                reason.clone_into(&mut state.reason);
                state.said = now;
            }
            is_first
        });
        self.observe(request);
        if let Some(Observer { metrics, health }) = &self.observer {
            metrics.gate(if request == Request::Blocked { Gate::Blocked } else { Gate::HalfOpen });
            if request == Request::Blocked || since.elapsed() >= UNREADY_AFTER {
                health.not_ready(&format!("it takes nothing: {reason}"));
            }
        }
        is_news
    }

    fn random(&self) -> f64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).f64()
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
    use std::{collections::VecDeque, ops::Range};

    use async_trait::async_trait;

    use super::*;
    use crate::{
        event::Event,
        intake::{Framing, Overhead},
    };

    /// Answers from a script; the last verdict repeats. Keeps when it was asked.
    #[derive(Debug)]
    struct Scripted {
        script: Mutex<VecDeque<Verdict>>,
        asked: Mutex<Vec<Instant>>,
    }

    impl Framing for Scripted {
        fn overhead(&self) -> Overhead {
            Overhead { fixed: 0, separator: 0 }
        }
        fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
            out.extend_from_slice(event.body);
        }
        fn assemble(&self, events: &[u8], _ranges: &[Range<usize>]) -> Vec<u8> {
            events.to_vec()
        }
        fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
            encoded.to_vec()
        }
    }

    #[async_trait]
    impl Intake for Scripted {
        fn framing(&self) -> &dyn Framing {
            self
        }
        async fn attempt(&self, _events: &EncodedEvents) -> Verdict {
            self.asked.lock().unwrap().push(Instant::now());
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() }
        }
    }

    fn retry(after: Option<u64>) -> Verdict {
        Verdict::Retry { after: after.map(Duration::from_secs), reason: "busy".to_owned() }
    }

    fn blocked() -> Verdict {
        Verdict::Blocked { reason: "wrong key".to_owned() }
    }

    /// Runs a script until it is done or an hour has passed; returns the outcome and the seconds between attempts.
    async fn run(script: Vec<Verdict>) -> (Outcome, Vec<u64>) {
        let intake = Scripted { script: Mutex::new(script.into()), asked: Mutex::new(Vec::new()) };
        let driver = Driver::new(DriverConfig::default(), fastrand::Rng::with_seed(7));
        let cancelled = CancellationToken::new();
        let an_hour = async {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            cancelled.cancel();
        };
        let events = EncodedEvents::default();
        let (outcome, ()) = tokio::join!(driver.deliver(&intake, &events, &cancelled), an_hour);
        let asked = intake.asked.into_inner().unwrap();
        let gaps = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        (outcome, gaps)
    }

    /// *Scenario*: two failures, then success; a wait that the server asks for.
    /// *Guarantees*: the batch is delivered, after no less than what the server asked for.
    #[tokio::test(start_paused = true)]
    async fn failures_that_pass() {
        let (outcome, gaps) = run(vec![retry(None), retry(Some(30)), Verdict::Delivered]).await;
        assert_eq!(outcome, Outcome::Delivered);
        assert!(gaps[0] <= 1 && gaps[1] == 30, "{gaps:?}");
    }

    /// *Scenario*: an intake that is never well.
    /// *Guarantees*: it is asked all the time, no wait is over the cap, and giving up names the last reason.
    #[tokio::test(start_paused = true)]
    async fn failures_without_end() {
        let (outcome, gaps) = run(vec![retry(None)]).await;
        assert_eq!(outcome, Outcome::Abandoned { reason: "busy".to_owned() });
        assert!(gaps.len() > 60 && gaps.iter().all(|gap| *gap <= 60), "{gaps:?}");
    }

    /// *Scenario*: a blocked intake, and one that somebody mends.
    /// *Guarantees*: it is looked at after 60 seconds, then ever less often up to five minutes; nothing is lost.
    #[tokio::test(start_paused = true)]
    async fn a_blocked_intake() {
        let (outcome, gaps) = run(vec![blocked()]).await;
        assert_eq!(outcome, Outcome::Abandoned { reason: "wrong key".to_owned() });
        assert_eq!(gaps[..5], [60, 120, 240, 300, 300]);
        let (outcome, _) = run(vec![blocked(), blocked(), Verdict::Delivered]).await;
        assert_eq!(outcome, Outcome::Delivered);
    }

    /// *Scenario*: four workers meet the same block, go on meeting it, another one comes, and a success.
    /// *Guarantees*: each reason is news once, again after the longest pause, and anew after the success; the last
    /// reason can be asked for as long as it holds.
    #[tokio::test(start_paused = true)]
    async fn a_block_is_said_once() {
        let driver = Driver::new(DriverConfig::default(), fastrand::Rng::with_seed(7));
        assert_eq!(driver.last_failure(), None);
        assert_eq!(
            [(); 4].map(|()| driver.failed("wrong key", Request::Blocked)),
            [true, false, false, false]
        );
        assert_eq!(driver.last_failure().as_deref(), Some("wrong key"));
        tokio::time::advance(Duration::from_secs(299)).await;
        assert!(!driver.failed("wrong key", Request::Blocked));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([(); 2].map(|()| driver.failed("wrong key", Request::Blocked)), [true, false]);
        assert_eq!(
            ["wrong url", "wrong url"].map(|reason| driver.failed(reason, Request::Blocked)),
            [true, false]
        );
        assert_eq!(driver.last_failure().as_deref(), Some("wrong url"));
        driver.accepted(9, 1, Request::Delivered);
        assert_eq!(driver.last_failure(), None);
        assert!(driver.failed("wrong url", Request::Blocked));
    }

    /// *Scenario*: the drain deadline comes before the first attempt, and during an attempt that hangs.
    /// *Guarantees*: nothing is sent after it, and a hanging attempt holds up nobody.
    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_everything() {
        #[derive(Debug)]
        struct Hanging(Scripted);
        #[async_trait]
        impl Intake for Hanging {
            fn framing(&self) -> &dyn Framing {
                &self.0
            }
            async fn attempt(&self, events: &EncodedEvents) -> Verdict {
                self.0.attempt(events).await;
                std::future::pending().await
            }
        }
        let script = Mutex::new(VecDeque::from([Verdict::Delivered]));
        let intake = Hanging(Scripted { script, asked: Mutex::default() });
        let driver = Driver::new(DriverConfig::default(), fastrand::Rng::with_seed(7));
        let events = EncodedEvents::default();
        for (seconds, expected_attempts) in [(0, 0), (20, 1)] {
            let cancelled = CancellationToken::new();
            if seconds == 0 {
                cancelled.cancel();
            }
            let deadline = async {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                cancelled.cancel();
            };
            let begun = Instant::now();
            let (outcome, ()) = tokio::join!(driver.deliver(&intake, &events, &cancelled), deadline);
            assert!(matches!(outcome, Outcome::Abandoned { .. }), "{outcome:?}");
            assert_eq!(begun.elapsed().as_secs(), seconds);
            assert_eq!(intake.0.asked.lock().unwrap().len(), expected_attempts);
        }
    }

    /// *Scenario*: verdicts that end a delivery.
    /// *Guarantees*: they end it at the first attempt.
    #[tokio::test(start_paused = true)]
    async fn final_verdicts() {
        let answer = (200, "{}".to_owned());
        let doubtful = Verdict::Doubtful { accepted: 1, answer: answer.clone() };
        assert_eq!(run(vec![doubtful]).await, (Outcome::Doubtful { accepted: 1, answer }, vec![]));
        let closed = Verdict::Closed { reason: "pipe".to_owned() };
        assert_eq!(run(vec![closed]).await, (Outcome::Closed { reason: "pipe".to_owned() }, vec![]));
    }

    /// *Scenario*: an intake that fails, and one that fails and recovers in time.
    /// *Guarantees*: the time without success is counted from the first failure, and a success ends it.
    #[tokio::test(start_paused = true)]
    async fn failing_is_noticed() {
        let driver = Driver::new(DriverConfig::default(), fastrand::Rng::with_seed(7));
        let cancelled = CancellationToken::new();
        let events = EncodedEvents::default();
        let script = |verdicts: Vec<Verdict>| Scripted {
            script: Mutex::new(verdicts.into()),
            asked: Mutex::default(),
        };
        let begun = Instant::now();
        let recovers = script(vec![retry(Some(100)), Verdict::Delivered]);
        let fails = script(vec![retry(Some(100))]);
        let deliveries = async {
            driver.deliver(&recovers, &events, &cancelled).await;
            driver.deliver(&fails, &events, &cancelled).await
        };
        tokio::select! {
            _ = deliveries => panic!("the second delivery cannot end"),
            () = driver.failing_for(Duration::from_secs(150)) => {}
        }
        assert_eq!(begun.elapsed().as_secs(), 250);
    }
}
