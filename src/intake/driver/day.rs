//! A day in minutes: a steady stream of batches meets every kind of trouble, on paused time and with answers as they
//! come over HTTP.

use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    batch::{EncodedEvents, EventPlace},
    event::Event,
    intake::{
        Answer, Framing, Intake, Protocol, Selection, Verdict,
        driver::{Driver, DriverConfig, Outcome, watch::Watch},
        protocols::http_generic::HttpFraming,
        protocols::{http_generic::HttpGeneric, sekoia::Sekoia},
        redaction::Redaction,
    },
    model::{EventId, RecordKey, Secret, Span},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const N_HOURS: usize = 24;

/// A batch is ready every so often. The longest answer takes less, so while all is well no batch waits for another.
const EVERY: Duration = Duration::from_secs(5);
const N_BATCHES: usize = N_HOURS * 720;
const EVENTS_EACH: usize = 2;

const SHORTEST_ANSWER_MS: u64 = 50;
const LONGEST_ANSWER_MS: u64 = 2_000;
const MEAN_ANSWER: f64 = 1.025;
const LONGEST_ANSWER: Duration = Duration::from_millis(LONGEST_ANSWER_MS);

/// The driver's defaults, as they are documented.
const BACKOFF_CAP: Duration = Duration::from_secs(60);
const BLOCKED_CAP: Duration = Duration::from_secs(300);
const LONGEST_RETRY_AFTER: u64 = 600;

/// The virtual day begins then, in seconds since 1970; the intake's own clock is two days ahead.
const BEGINNING: u64 = 1_800_000_000;
const AHEAD: u64 = 2 * 86_400;

/// How the intake is in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Calm,
    /// 503 and nothing else.
    Down,
    /// 429 that asks for 1 to 90 seconds.
    Seconds,
    /// The same, as a date by the intake's own clock.
    Date,
    /// 429 with what no one understands.
    Garbage,
    /// 429 that asks for a week, or for ever.
    Huge,
    /// 401.
    Blocked,
    /// Each answer is the other one: 200, 503, 200, 503.
    Alternating,
    /// A good minute, a bad minute.
    Flapping,
}

use Weather::{Alternating, Blocked, Calm, Date, Down, Flapping, Garbage, Huge, Seconds};

const FAULTS: [Weather; 8] = [Down, Seconds, Date, Garbage, Huge, Blocked, Alternating, Flapping];

impl Weather {
    /// A day with each fault once and four more, and a calm hour after each.
    fn day(random: &mut fastrand::Rng) -> Vec<Self> {
        let mut faults: Vec<Self> = (0..N_HOURS / 2)
            .map(|hour| FAULTS.get(hour).copied().unwrap_or(FAULTS[random.usize(0..8)]))
            .collect();
        random.shuffle(&mut faults);
        faults.into_iter().flat_map(|fault| [fault, Calm]).collect()
    }
}

/// What happened in one hour, counted by answers.
#[derive(Debug, Clone, Default)]
struct Tally {
    accepted: usize,
    failed: usize,
    /// From the hour's beginning, or the end of what the intake asked for before, to the first acceptance.
    recovery: Option<Duration>,
}

#[derive(Debug)]
struct World {
    random: fastrand::Rng,
    watch: Watch,
    /// Of every batch: whether the intake has it.
    accepted: Vec<bool>,
    n_accepted: usize,
    tallies: Vec<Tally>,
    last_start: Option<Instant>,
    /// Somebody must have asked until then.
    asked_by: Instant,
}

/// An intake with a weather, and checks of all that it can see.
#[derive(Debug)]
struct Weathered {
    protocol: Box<dyn Protocol>,
    config: DriverConfig,
    day: Vec<Weather>,
    begun: Instant,
    world: Mutex<World>,
}

/// When a batch is ready, after the beginning.
fn ready(batch: usize) -> Duration {
    EVERY * u32::try_from(batch).unwrap()
}

impl Weathered {
    fn hour(&self, now: Instant) -> usize {
        let hour = usize::try_from((now - self.begun).as_secs() / 3_600).unwrap();
        hour.min(N_HOURS - 1)
    }

    /// A request for this batch arrives. It must be needed, not too early, and not too late.
    fn arrive(&self, batch: usize) -> (u64, Duration) {
        let mut world = self.world.lock().unwrap();
        let now = Instant::now();
        assert!(!world.accepted[batch], "batch {batch} is sent although it was accepted");
        let epoch = world.watch.start();
        assert!(world.watch.in_flight() <= self.config.max_in_flight, "too many requests at once");
        world.watch.check(now);
        if let (Some(last), Some(most)) = (world.last_start, self.config.requests_per_second) {
            assert!(now - last >= SECOND / most, "{:?} after the last request", now - last);
        }
        world.last_start = Some(now);
        assert!(now <= world.asked_by, "nobody has asked for {:?} more than allowed", now - world.asked_by);
        // In the second half of a calm hour nothing waits any more, and no answer takes until the next batch.
        let hour = self.hour(now);
        if self.day[hour] == Calm && now - self.begun >= HOUR * u32::try_from(hour).unwrap() + HOUR / 2 {
            let late = (now - self.begun).saturating_sub(ready(batch));
            assert!(late <= LONGEST_ANSWER, "batch {batch} waits for {late:?} although all is well");
        }
        let delay = Duration::from_millis(world.random.u64(SHORTEST_ANSWER_MS..=LONGEST_ANSWER_MS));
        (epoch, delay)
    }

    /// The answer that the weather brings, and the wait that it asks for.
    fn answer(&self, world: &mut World) -> (Answer, Option<u64>) {
        let elapsed = self.begun.elapsed();
        let hour = self.hour(Instant::now());
        let random = &mut world.random;
        let date = |wait: u64| {
            let at = Duration::from_secs(BEGINNING + AHEAD + elapsed.as_secs() + wait);
            httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + at)
        };
        let week = 7 * 86_400;
        let (status, retry_after, asked) = match self.day[hour] {
            Calm => (200, None, None),
            Alternating if (world.tallies[hour].accepted + world.tallies[hour].failed).is_multiple_of(2) => {
                (200, None, None)
            }
            Flapping if (elapsed.as_secs() / 60).is_multiple_of(2) => (200, None, None),
            Down | Alternating | Flapping => (503, None, None),
            Blocked => (401, None, None),
            Garbage => {
                let texts = ["soon", "-5", "1.5", "", "Tomorrow, 06 Nov 1994 08:49:37 GMT"];
                (429, Some(texts[random.usize(0..texts.len())].to_owned()), None)
            }
            Seconds => {
                let wait = random.u64(1..=90);
                (429, Some(wait.to_string()), Some(wait))
            }
            Date => {
                let wait = random.u64(1..=90);
                (429, Some(date(wait)), Some(wait))
            }
            Huge => {
                let texts = [week.to_string(), date(week), "9".repeat(40)];
                (429, Some(texts[random.usize(0..3)].clone()), Some(LONGEST_RETRY_AFTER))
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, HeaderValue::try_from(date(0)).unwrap());
        if let Some(text) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::try_from(text).unwrap());
        }
        let ids: &[u8] = if status == 200 { br#"{"event_ids":["a","b"]}"# } else { b"<html>not now</html>" };
        let body = Bytes::from_static(ids);
        (
            Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers,
                body,
                redaction: Redaction::default(),
            },
            asked,
        )
    }

    /// An answer leaves. It must be judged as it was meant.
    fn leave(&self, epoch: u64, batch: usize) -> Verdict {
        let mut world = self.world.lock().unwrap();
        let now = Instant::now();
        let (answer, asked) = self.answer(&mut world);
        let wall_clock = SystemTime::UNIX_EPOCH + Duration::from_secs(BEGINNING) + (now - self.begun);
        let verdict = self.protocol.classify(EVENTS_EACH, &answer, wall_clock);
        let hour = self.hour(now);
        let not_before = world.watch.not_before();
        let tally = &mut world.tallies[hour];
        // No pause is longer than this, and somebody always waits for its end.
        let pause = match &verdict {
            Verdict::Delivered => {
                let hour_begun = self.begun + HOUR * u32::try_from(hour).unwrap();
                let from = not_before.max(Some(hour_begun)).unwrap_or(hour_begun);
                tally.recovery.get_or_insert(now.saturating_duration_since(from));
                tally.accepted += 1;
                BACKOFF_CAP
            }
            Verdict::Retry { after, .. } => {
                assert_eq!(*after, asked.map(Duration::from_secs), "{answer:?}");
                tally.failed += 1;
                BACKOFF_CAP.max(after.unwrap_or_default())
            }
            Verdict::Blocked { .. } => {
                tally.failed += 1;
                BLOCKED_CAP
            }
            Verdict::Doubtful { .. }
            | Verdict::Partial { .. }
            | Verdict::TooLarge { .. }
            | Verdict::BadBatch { .. }
            | Verdict::Closed { .. } => panic!("{answer:?}: {verdict:?}"),
        };
        world.asked_by = world.asked_by.max(now + pause + LONGEST_ANSWER);
        if verdict == Verdict::Delivered {
            world.accepted[batch] = true;
            world.n_accepted += 1;
        }
        world.watch.answered(epoch, &verdict, now);
        world.watch.end(epoch);
        verdict
    }
}

#[async_trait]
impl Intake for Weathered {
    fn framing(&self) -> &dyn Framing {
        &*self.protocol
    }
    async fn attempt(&self, events: &EncodedEvents, selection: &Selection) -> Verdict {
        assert_eq!(*selection, Selection::of(0..EVENTS_EACH), "nothing is halved");
        let batch = usize::try_from(events.places[0].record.from).unwrap();
        let (epoch, delay) = self.arrive(batch);
        tokio::time::sleep(delay).await;
        self.leave(epoch, batch)
    }
}

/// Mean and mean square, in seconds, of the longer one of a wait that is asked for and a step of full jitter up to
/// `ceiling`, which is any time from none to `ceiling` with equal chance.
fn pause(asked: f64, ceiling: f64) -> (f64, f64) {
    if asked >= ceiling {
        return (asked, asked.powi(2));
    }
    let mean = (asked.powi(2) + ceiling.powi(2)) / (2.0 * ceiling);
    (mean, (2.0 * asked.powi(3) + ceiling.powi(3)) / (3.0 * ceiling))
}

/// The same for a wait that is one of `asked`, each with equal chance.
fn mean_pause(asked: &[f64], ceiling: f64) -> (f64, f64) {
    let (mut mean, mut square) = (0.0, 0.0);
    let share = (asked.len() as f64).recip();
    for wait in asked {
        let of_wait = pause(*wait, ceiling);
        mean += of_wait.0 * share;
        square += of_wait.1 * share;
    }
    (mean, square)
}

/// Fewest and most requests that may fail in an hour of nothing but failures, which ask for one of these waits each.
///
/// Failures follow each other after a pause and the time of an answer. Of a sum of independent times so many end within
/// an hour: an hour by their mean, with a deviation of `deviation of one / mean` by the root of that number
/// (a renewal process); four deviations hold for all practical purposes. The first steps of the back-off are shorter, so
/// some more come at first, the first failure closes nothing yet, and whatever is under way then fails as well.
fn bounds(asked: &[f64], max_in_flight: usize) -> (f64, f64) {
    let (mean, square) = mean_pause(asked, BACKOFF_CAP.as_secs_f64());
    let period = mean + MEAN_ANSWER;
    let number = HOUR.as_secs_f64() / period;
    let spread = 4.0 * (number * (square - mean.powi(2)).max(0.0)).sqrt() / period;
    let sooner = |ceiling: &f64| 1.0 - mean_pause(asked, *ceiling).0 / mean;
    let at_first: f64 = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0].iter().map(sooner).sum();
    (number - spread - 1.0, number + spread + at_first + 1.0 + max_in_flight as f64)
}

/// What an hour came to is what was necessary.
fn check_hour(weather: Weather, tally: &Tally, before: Option<Weather>, config: &DriverConfig) {
    let least = config.least_pause.as_secs_f64();
    let asked: Vec<f64> = (1..=90).map(|wait| f64::from(wait).max(least)).collect();
    let within = |(fewest, most): (f64, f64)| {
        let failed = tally.failed as f64;
        assert!(fewest <= failed && failed <= most, "{weather:?}: {failed} not within {fewest} and {most}");
        assert_eq!(tally.accepted, 0, "{weather:?}");
    };
    let per_hour = 720;
    match weather {
        Calm => {
            assert_eq!(tally.failed, 0);
            // Twice the back-off's cap is promised; one of it and an answer is what the gate needs.
            let most = if before == Some(Blocked) { BLOCKED_CAP } else { BACKOFF_CAP } + LONGEST_ANSWER;
            assert!(tally.recovery.is_some_and(|took| took <= most), "{:?} after {before:?}", tally.recovery);
        }
        Down | Garbage => within(bounds(&[least], config.max_in_flight)),
        Seconds | Date => within(bounds(&asked, config.max_in_flight)),
        Huge => within(bounds(&[LONGEST_RETRY_AFTER as f64], config.max_in_flight)),
        // One, then after 60, 120 and 240 seconds, then ten or eleven times 300; beside the first whatever is under way.
        Blocked => within((13.0, 14.0 + config.max_in_flight as f64)),
        Alternating => {
            assert!(tally.failed.abs_diff(tally.accepted) <= 1, "{tally:?}");
            // Each batch is needed, and waits alone for a cap or two at most when it is the one that fails.
            assert!((per_hour - 24..=per_hour + 24).contains(&tally.accepted), "{tally:?}");
        }
        Flapping => {
            // In a bad minute whatever is under way fails, one more closes the gate, and full jitter has on average
            // doubled its steps seven times when the minute is over; some of it lies in the next good minute.
            assert!(tally.failed <= 30 * (config.max_in_flight + 8), "{tally:?}");
            assert!(tally.accepted >= per_hour / 2, "{tally:?}");
        }
    }
}

fn protocol(seed: u64) -> Box<dyn Protocol> {
    let url = Url::parse("https://intake.example/in").unwrap();
    if seed.is_multiple_of(2) {
        return Box::new(Sekoia::new(&url, &Secret::new("key".to_owned())).unwrap());
    }
    let headers = HeaderMap::new();
    Box::new(HttpGeneric::new(&url, HttpFraming::Ndjson, &headers, &[StatusCode::OK]).unwrap())
}

/// The events of a batch, as the protocol encodes them; their place is the batch's number.
fn events(framing: &dyn Framing, batch: usize) -> EncodedEvents {
    let mut events = EncodedEvents::default();
    let from = u64::try_from(batch).unwrap();
    let record = Span { from, to: from + 1 };
    for ordinal in 0..u32::try_from(EVENTS_EACH).unwrap() {
        let id = EventId { record: RecordKey::new(u128::from(from)), ordinal };
        let event = Event { id, record, time_ms: 0, body: br#"{"flow":1}"#, shared: None };
        framing.encode_event(&event, &mut events.bytes);
        events.finish_event(EventPlace { record, ordinal });
    }
    events
}

async fn live_a_day(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let config = DriverConfig {
        max_in_flight: random.usize(2..=6),
        requests_per_second: [None, Some(2), Some(5)][random.usize(0..3)],
        least_pause: SECOND * if random.bool() { 10 } else { 0 },
        ..DriverConfig::default()
    };
    let day = Weather::day(&mut random);
    let begun = Instant::now();
    let world = World {
        random: random.fork(),
        watch: Watch::default(),
        accepted: vec![false; N_BATCHES],
        n_accepted: 0,
        tallies: vec![Tally::default(); N_HOURS],
        last_start: None,
        asked_by: begun + LONGEST_ANSWER,
    };
    let intake =
        Weathered { protocol: protocol(seed), config, day: day.clone(), begun, world: Mutex::new(world) };
    let driver = Driver::new(config, random.fork());
    let next_batch = Mutex::new(0..N_BATCHES);
    let never = CancellationToken::new();
    let worker = async || {
        loop {
            let Some(batch) = next_batch.lock().unwrap().next() else { return };
            tokio::time::sleep_until(begun + ready(batch)).await;
            let outcome = driver.deliver(&intake, &events(intake.framing(), batch), &never).await;
            assert_eq!(outcome, Outcome::Delivered(vec![]), "batch {batch}");
        }
    };
    let mut workers: FuturesUnordered<_> = (0..random.usize(6..10)).map(|_| worker()).collect();
    while workers.next().await.is_some() {}
    let took = begun.elapsed();
    assert!(took <= ready(N_BATCHES) + LONGEST_ANSWER, "the day takes {took:?}");
    let world = intake.world.lock().unwrap();
    assert_eq!(world.n_accepted, N_BATCHES);
    for (hour, tally) in world.tallies.iter().enumerate() {
        let before = hour.checked_sub(1).map(|before| day[before]);
        check_hour(day[hour], tally, before, &config);
    }
}

/// *Scenario*: several workers deliver a steady stream for a day, in which every other hour is calm and the hours between
/// are of 503, of 429 with every kind of `Retry-After`, of 401, and of an intake that comes and goes.
/// *Guarantees*: every batch is accepted once and never sent again; no more requests fail than the back-off makes
/// necessary, and no fewer; none starts before a wait that was asked for is over, at most ten minutes of it, nor nearer
/// to the last than allowed, nor beside another while the gate is closed; after each fault the intake is asked again
/// within one cap, and the backlog is gone within half an hour.
#[test]
fn a_day_of_weather() {
    for seed in 0..5 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        eprintln!("the day of seed {seed}");
        runtime.block_on(live_a_day(seed));
    }
}
