//! What the driver makes of verdicts, and when.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::Instant;

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
    let script =
        |verdicts: Vec<Verdict>| Scripted { script: Mutex::new(verdicts.into()), asked: Mutex::default() };
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

/// Takes its time for each answer; refuses one batch for ever. Keeps how many are asked at once.
#[derive(Debug, Default)]
struct Busy {
    under_way: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Intake for Busy {
    fn framing(&self) -> &dyn Framing {
        unreachable!("the driver does not look at the framing")
    }
    async fn attempt(&self, events: &EncodedEvents) -> Verdict {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if events.is_empty() { blocked() } else { Verdict::Delivered }
    }
}

/// *Scenario*: twenty batches of a lane and then one of another, at an intake that takes two at once and a second for
/// each; four more are refused without end.
/// *Guarantees*: no more than two are under way, the other lane's batch goes in its turn, and those that are refused
/// keep nobody out.
#[tokio::test(start_paused = true)]
async fn as_many_at_once_as_the_intake_allows() {
    let config = DriverConfig { max_in_flight: 2, ..DriverConfig::default() };
    let driver = Driver::new(config, fastrand::Rng::with_seed(7));
    let (intake, cancelled) = (Busy::default(), CancellationToken::new());
    let (refused, good) = (EncodedEvents::default(), EncodedEvents { ends: vec![0], ..Default::default() });
    let begun = Instant::now();
    let deliver = async |events: &EncodedEvents| {
        driver.deliver(&intake, events, &cancelled).await;
        begun.elapsed().as_secs()
    };
    let room = async {
        driver.has_room().await;
        begun.elapsed().as_secs()
    };
    let others = async { tokio::join!(join_all((0..20).map(|_| deliver(&good))), deliver(&good), room) };
    let (never, (many, one, room)) = tokio::join!(
        biased;
        async {
            tokio::select! {
                seconds = join_all((0..4).map(|_| deliver(&refused))) => Some(seconds),
                () = tokio::time::sleep(Duration::from_secs(3_600)) => None,
            }
        },
        others,
    );
    assert_eq!(intake.most.load(Ordering::SeqCst), 2);
    assert_eq!((never, many.into_iter().max(), one, room), (None, Some(12), 13, 12));
}
