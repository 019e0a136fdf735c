//! What the driver makes of verdicts, on paused time.

use std::{collections::BTreeSet, fmt, ops::Range};

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::{
    batch::EventPlace,
    intake::{Framing, Selection, stdout::StdoutIntake},
    model::Span,
};

/// Lines; answers by a rule over the events' range and the number of the request.
struct Ruled<Rule> {
    rule: Rule,
    requests: Mutex<Vec<(Instant, Range<usize>)>>,
}

impl<Rule> fmt::Debug for Ruled<Rule> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ruled")
    }
}

#[async_trait]
impl<Rule: Fn(&Range<usize>, usize) -> Verdict + Send + Sync> Intake for Ruled<Rule> {
    fn framing(&self) -> &dyn Framing {
        &StdoutIntake
    }
    async fn attempt(&self, _events: &EncodedEvents, selection: &Selection) -> Verdict {
        let range = bounds(selection);
        let mut requests = self.requests.lock().unwrap();
        requests.push((Instant::now(), range.clone()));
        (self.rule)(&range, requests.len())
    }
}

/// From the first selected event to behind the last.
fn bounds(selection: &Selection) -> Range<usize> {
    let (first, last) = (selection.indexes().next().unwrap(), selection.indexes().last().unwrap());
    first..last + 1
}

/// What became of a batch.
struct Run {
    outcome: Outcome,
    requests: Vec<(Instant, Range<usize>)>,
}

impl Run {
    /// Seconds between the requests.
    fn gaps(&self) -> Vec<u64> {
        self.requests.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect()
    }

    /// The events that belong into the quarantine.
    fn unaccepted(&self) -> BTreeSet<usize> {
        let Outcome::Delivered(unaccepted) = &self.outcome else { panic!("{:?}", self.outcome) };
        unaccepted.iter().map(|unaccepted| unaccepted.event).collect()
    }
}

/// So many events of so many bytes.
fn events(n_events: usize, bytes_each: usize) -> EncodedEvents {
    let mut events = EncodedEvents::default();
    for ordinal in 0..n_events {
        events.bytes.extend(std::iter::repeat_n(b'x', bytes_each));
        let ordinal = u32::try_from(ordinal).unwrap();
        events.finish_event(EventPlace { record: Span { from: 0, to: 1 }, ordinal });
    }
    events
}

fn driver() -> Driver {
    Driver::new(DriverConfig { max_in_flight: 4, ..DriverConfig::default() }, fastrand::Rng::with_seed(7))
}

/// Delivers a batch to an intake with this rule, for at most a day.
async fn deliver(
    driver: &Driver,
    events: &EncodedEvents,
    rule: impl Fn(&Range<usize>, usize) -> Verdict + Send + Sync,
) -> Run {
    let intake = Ruled { rule, requests: Mutex::default() };
    let cancelled = CancellationToken::new();
    let a_day = async {
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        cancelled.cancel();
    };
    let outcome = tokio::select! {
        biased;
        outcome = driver.deliver(&intake, events, &cancelled) => outcome,
        () = a_day => Outcome::Abandoned { reason: driver.last_failure().unwrap_or_default() },
    };
    Run { outcome, requests: intake.requests.into_inner().unwrap() }
}

fn retry(after: Option<u64>) -> Verdict {
    Verdict::Retry { after: after.map(Duration::from_secs), reason: "busy".to_owned(), cause: Cause::Busy }
}

fn blocked() -> Verdict {
    Verdict::Blocked { reason: "wrong key".to_owned() }
}

fn bad_batch() -> Verdict {
    Verdict::BadBatch { reason: "not understood".to_owned(), answer: (400, String::new()) }
}

fn too_large() -> Verdict {
    Verdict::TooLarge { reason: "too large".to_owned(), answer: (413, String::new()) }
}

fn reset() -> Verdict {
    Verdict::Retry { after: None, reason: "reset".to_owned(), cause: Cause::Reset }
}

/// *Scenario*: a failure, one with a wait that the server asks for, then success.
/// *Guarantees*: the batch is delivered, after no less than what the server asked for.
#[tokio::test(start_paused = true)]
async fn failures_that_pass() {
    let script = [retry(None), retry(Some(30)), Verdict::Delivered];
    let run = deliver(&driver(), &events(1, 9), |_, number| script[number - 1].clone()).await;
    assert_eq!(run.outcome, Outcome::Delivered(vec![]));
    assert_eq!(run.gaps(), [0, 30]);
}

/// *Scenario*: an intake that is never well.
/// *Guarantees*: it is asked all the time, no wait is over the cap, and giving up names the last reason.
#[tokio::test(start_paused = true)]
async fn failures_without_end() {
    let run = deliver(&driver(), &events(1, 9), |_, _| retry(None)).await;
    assert_eq!(run.outcome, Outcome::Abandoned { reason: "busy".to_owned() });
    let gaps = run.gaps();
    assert!(gaps.len() > 1_440 && gaps.iter().all(|gap| *gap <= 60), "{gaps:?}");
}

/// *Scenario*: a blocked intake, one that somebody mends, and one whose certificate is not trusted.
/// *Guarantees*: it is looked at after 60 seconds, then ever less often up to five minutes; nothing is lost.
#[tokio::test(start_paused = true)]
async fn a_blocked_intake() {
    let run = deliver(&driver(), &events(1, 9), |_, _| blocked()).await;
    assert_eq!(run.outcome, Outcome::Abandoned { reason: "wrong key".to_owned() });
    assert_eq!(run.gaps()[..5], [60, 120, 240, 300, 300]);
    let mended =
        deliver(&driver(), &events(1, 9), |_, n| if n < 3 { blocked() } else { Verdict::Delivered }).await;
    assert_eq!(mended.outcome, Outcome::Delivered(vec![]));
    let untrusted =
        || Verdict::Retry { after: None, reason: "certificate".to_owned(), cause: Cause::Untrusted };
    let run = deliver(&driver(), &events(1, 9), |_, _| untrusted()).await;
    assert_eq!(run.gaps()[2..5], [60, 120, 240]);
}

/// *Scenario*: the drain deadline comes before the first attempt, and during an attempt that hangs.
/// *Guarantees*: nothing is sent after it, and a hanging attempt holds up nobody.
#[tokio::test(start_paused = true)]
async fn the_deadline_ends_everything() {
    #[derive(Debug)]
    struct Hanging(Ruled<()>);
    #[async_trait]
    impl Intake for Hanging {
        fn framing(&self) -> &dyn Framing {
            &StdoutIntake
        }
        async fn attempt(&self, _events: &EncodedEvents, selection: &Selection) -> Verdict {
            self.0.requests.lock().unwrap().push((Instant::now(), bounds(selection)));
            std::future::pending().await
        }
    }
    let intake = Hanging(Ruled { rule: (), requests: Mutex::default() });
    let (driver, events) = (driver(), events(1, 9));
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
        assert_eq!(intake.0.requests.lock().unwrap().len(), expected_attempts);
    }
}

/// *Scenario*: verdicts that end a delivery.
/// *Guarantees*: they end it at the first attempt; of a batch in doubt every event belongs into the quarantine.
#[tokio::test(start_paused = true)]
async fn final_verdicts() {
    let answer = (200, "{}".to_owned());
    let doubtful = Verdict::Doubtful { accepted: 1, answer: answer.clone() };
    let run = deliver(&driver(), &events(2, 9), |_, _| doubtful.clone()).await;
    let in_doubt = |event| Unaccepted {
        event,
        reason: Reason::Doubtful,
        detail: "doubtful 1 of 2".to_owned(),
        answer: answer.clone(),
    };
    assert_eq!((run.outcome, run.requests.len()), (Outcome::Delivered(vec![in_doubt(0), in_doubt(1)]), 1));
    let closed = Verdict::Closed { reason: "pipe".to_owned() };
    let run = deliver(&driver(), &events(1, 9), |_, _| closed.clone()).await;
    assert_eq!((run.outcome, run.requests.len()), (Outcome::Closed { reason: "pipe".to_owned() }, 1));
}

/// *Scenario*: an intake that fails, and one that fails and recovers in time.
/// *Guarantees*: the time without success is counted from the first failure, and a success ends it.
#[tokio::test(start_paused = true)]
async fn failing_is_noticed() {
    let driver = driver();
    let events = events(1, 9);
    let begun = Instant::now();
    let deliveries = async {
        let recovers = [retry(Some(100)), Verdict::Delivered];
        deliver(&driver, &events, |_, number| recovers[number - 1].clone()).await;
        deliver(&driver, &events, |_, _| retry(Some(100))).await
    };
    tokio::select! {
        _ = deliveries => panic!("the second delivery cannot end"),
        () = driver.failing_for(Duration::from_secs(150)) => {}
    }
    assert_eq!(begun.elapsed().as_secs(), 250);
}

/// *Scenario*: one, three and ten bad events in a thousand, for which a batch is refused whole.
/// *Guarantees*: exactly these are refused, every other one is accepted once, with at most `2 log2(n) + 1` requests for
/// each bad one.
#[tokio::test(start_paused = true)]
async fn bad_events_are_found() {
    let events = events(1_000, 9);
    for bad in [vec![17], vec![0, 500, 999], (0..10).map(|n| n * 97).collect()] {
        let accepted = Mutex::new(Vec::new());
        let run = deliver(&driver(), &events, |range, _| {
            if bad.iter().any(|event| range.contains(event)) {
                return bad_batch();
            }
            accepted.lock().unwrap().extend(range.clone());
            Verdict::Delivered
        })
        .await;
        assert_eq!(run.unaccepted(), bad.iter().copied().collect());
        let mut accepted = accepted.into_inner().unwrap();
        accepted.sort_unstable();
        let good: Vec<usize> = (0..1_000).filter(|event| !bad.contains(event)).collect();
        assert_eq!(accepted, good);
        assert!(run.requests.len() <= bad.len() * 21, "{} requests", run.requests.len());
    }
}

/// *Scenario*: an intake that refuses everything until somebody mends it, with one event that stays bad.
/// *Guarantees*: at most nineteen events are refused before it is blocked, and those are sent again; it is asked once a
/// pause with other events each time; in the end only the bad event is refused.
#[tokio::test(start_paused = true)]
async fn an_intake_that_refuses_everything() {
    let events = events(1_000, 9);
    let begun = Instant::now();
    let is_mended = || begun.elapsed() >= Duration::from_secs(7_200);
    let run = deliver(&driver(), &events, |range, _| {
        if !is_mended() || range.contains(&17) { bad_batch() } else { Verdict::Delivered }
    })
    .await;
    assert_eq!(run.unaccepted(), BTreeSet::from([17]));
    let in_the_first_second = run.requests.iter().filter(|request| request.0 == begun).count();
    assert!((20..=70).contains(&in_the_first_second), "{in_the_first_second}");
    let before = run.requests.iter().filter(|request| request.0 < begun + Duration::from_secs(7_200)).count();
    assert!(before - in_the_first_second <= 26, "{before}");
}

/// *Scenario*: two events of three are bad, thousands of them.
/// *Guarantees*: no more than half of the last thousand enter the quarantine unasked; after that it is blocked.
#[tokio::test(start_paused = true)]
async fn an_intake_that_refuses_most() {
    let events = events(3_000, 9);
    let run = deliver(&driver(), &events, |range, _| {
        if range.clone().any(|event| event % 3 > 0) { bad_batch() } else { Verdict::Delivered }
    })
    .await;
    let Outcome::Abandoned { reason } = run.outcome else { panic!("{:?}", run.outcome) };
    assert!(reason.contains("more than half of the last thousand"), "{reason}");
    let begun = run.requests[0].0;
    let is_refused = |range: &Range<usize>| range.len() == 1 && !range.start.is_multiple_of(3);
    let before_the_pause = run.requests.iter().filter(|(at, range)| *at == begun && is_refused(range));
    assert_eq!(before_the_pause.count(), 501);
}

/// *Scenario*: an intake with a limit that it does not tell: with 413, and with a reset connection; and an event that is
/// too large alone.
/// *Guarantees*: everything within the limit arrives; what was learned holds for the next batch; an event that is too
/// large enters the quarantine at a 413, and is kept at a reset.
#[tokio::test(start_paused = true)]
async fn bodies_that_are_too_large() {
    let batch = events(1_000, 1_000);
    for refusal in [too_large(), reset()] {
        let driver = driver();
        let rule = |range: &Range<usize>, _: usize| {
            if range.len() > 300 { refusal.clone() } else { Verdict::Delivered }
        };
        let run = deliver(&driver, &batch, rule).await;
        assert_eq!(run.outcome, Outcome::Delivered(vec![]));
        let n_too_large = if refusal == reset() { 4 } else { 2 };
        assert_eq!(run.requests.len(), 4 + n_too_large, "{:?}", run.requests);
        let again = deliver(&driver, &batch, rule).await;
        assert_eq!(again.requests.len(), 4, "{:?}", again.requests);
    }
    let run = deliver(&driver(), &events(3, 1_000), |_, _| too_large()).await;
    assert_eq!(run.unaccepted(), BTreeSet::from([0, 1, 2]));
    let run = deliver(&driver(), &events(1, 1_000_000), |_, _| reset()).await;
    assert_eq!(run.outcome, Outcome::Abandoned { reason: "reset".to_owned() });
}

/// *Scenario*: one batch that always fails, while three others go on.
/// *Guarantees*: the others are delivered at once; the failing one is tried again ever less often.
#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_alone() {
    let driver = driver();
    let (poison, well) = (events(1, 9), events(2, 9));
    let begun = Instant::now();
    let others = async {
        for _batch in 0..600 {
            deliver(&driver, &well, |_, _| Verdict::Delivered).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        begun.elapsed()
    };
    let poisoned = deliver(&driver, &poison, |_, _| retry(None));
    tokio::pin!(poisoned);
    let elapsed = tokio::select! {
        _ = &mut poisoned => panic!("it cannot be delivered"),
        elapsed = others => elapsed,
    };
    assert!(elapsed < Duration::from_secs(1_200), "{elapsed:?}");
}

/// The intake's word for each event: those of `refused` are at fault, those of `busy` cannot be taken now.
fn partial(refused: &[usize], untried: &[usize], busy: &[usize]) -> Verdict {
    Verdict::Partial {
        refused: refused.iter().map(|place| (*place, format!("no {place}"))).collect(),
        untried: untried.to_vec(),
        busy: busy.to_vec(),
        after: None,
        reason: "some are not taken".to_owned(),
        answer: (200, "{}".to_owned()),
    }
}

/// *Scenario*: an intake that answers for each of six events: two are at fault, two cannot be taken now, of which one is not
/// taken the second time either; and one that stops at the first event that is at fault and does not look at the rest.
/// *Guarantees*: exactly those that are left are sent again, those that were not looked at without a pause; the events at
/// fault enter the quarantine, each with what was said of it.
#[tokio::test(start_paused = true)]
async fn answers_for_each_event() {
    let script = [partial(&[1, 4], &[], &[2, 5]), partial(&[], &[], &[1]), Verdict::Delivered];
    let run = deliver(&driver(), &events(6, 9), |_, number| script[number - 1].clone()).await;
    let sent: Vec<_> = run.requests.iter().map(|(_, range)| range.clone()).collect();
    assert_eq!(sent, [0..6, 2..6, 5..6]);
    let Outcome::Delivered(unaccepted) = &run.outcome else { panic!("{:?}", run.outcome) };
    let told: Vec<_> =
        unaccepted.iter().map(|lost| (lost.event, lost.reason, lost.detail.as_str())).collect();
    assert_eq!(told, [(1, Reason::Refused, "no 1"), (4, Reason::Refused, "no 4")]);

    let stops = |range: &Range<usize>, _| match [2, 3].iter().find(|bad| range.contains(bad)) {
        Some(bad) => {
            let place = bad - range.start;
            partial(&[place], &(place + 1..range.len()).collect::<Vec<_>>(), &[])
        }
        None => Verdict::Delivered,
    };
    let run = deliver(&driver(), &events(6, 9), stops).await;
    let sent: Vec<_> = run.requests.iter().map(|(_, range)| range.clone()).collect();
    assert_eq!((sent, run.gaps()), (vec![0..6, 3..6, 4..6], vec![0, 0]));
    assert_eq!(run.unaccepted(), BTreeSet::from([2, 3]));
}

/// *Scenario*: an intake that refuses every event of several batches, each by itself; after an hour it is mended. Another
/// one refuses more than half of more than a thousand events.
/// *Guarantees*: neither is believed: nothing enters the quarantine that is taken later, and it is asked seldom meanwhile.
#[tokio::test(start_paused = true)]
async fn events_that_are_refused_too_often() {
    let begun = Instant::now();
    let refuses_all = |range: &Range<usize>, _| {
        if begun.elapsed() < Duration::from_secs(3_600) {
            partial(&(0..range.len()).collect::<Vec<_>>(), &[], &[])
        } else {
            Verdict::Delivered
        }
    };
    let run = deliver(&driver(), &events(40, 9), refuses_all).await;
    assert_eq!(run.outcome, Outcome::Delivered(vec![]));
    assert!(run.requests.len() < 40, "{}", run.requests.len());

    let begun = Instant::now();
    let refuses_most = |range: &Range<usize>, _| {
        if range.len() > 1 && begun.elapsed() < Duration::from_secs(3_600) {
            partial(&(0..range.len()).filter(|place| place % 3 > 0).collect::<Vec<_>>(), &[], &[])
        } else {
            Verdict::Delivered
        }
    };
    let run = deliver(&driver(), &events(1_500, 9), refuses_most).await;
    assert_eq!(run.outcome, Outcome::Delivered(vec![]));
}
