//! Delivery against a model: whatever an intake answers, and wherever the process ends, no event is lost.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    batch::{Batch, BatchLimits, Batcher, BodySize, EncodedEvents, EventPlace, Run},
    checkpoint::{ContextHash, Position, Tracker},
    intake::{
        Cause, Framing, Intake, Selection, Verdict,
        driver::{Driver, DriverConfig, Outcome, watch::Watch},
        stdout::StdoutIntake,
    },
    model::{BlobName, Hour, HourlyBlob, Reason, Rejected, Span},
};

const N_SCRIPTS: u64 = 2_500;

/// Long enough for every pause that a script can bring about.
const LONGEST: Duration = Duration::from_secs(3 * 86_400);

/// The largest body that every intake takes.
const LEAST_LIMIT: usize = 60;

/// What happens in one script, as far as it is drawn before.
#[derive(Debug)]
struct Script {
    workers: usize,
    max_in_flight: usize,
    /// Of every blob, of every record: its events.
    blobs: Vec<Vec<Vec<usize>>>,
    n_events: usize,
    bad: BTreeSet<usize>,
    hidden_limit: usize,
    /// So many answers may be false ones.
    faults: u32,
    /// Whether it says of each event what became of it.
    is_itemised: bool,
    /// Whether the faults include a time in which everything is refused.
    refuses_all: bool,
    restarts: u32,
}

impl Script {
    fn new(random: &mut fastrand::Rng) -> Self {
        let mut n_events = 0;
        let mut record = |random: &mut fastrand::Rng| {
            let first = n_events;
            n_events += random.usize(1..5);
            (first..n_events).collect()
        };
        let mut blob = |random: &mut fastrand::Rng| (0..random.usize(1..8)).map(|_| record(random)).collect();
        let blobs = (0..random.usize(1..4)).map(|_| blob(random)).collect();
        let bad = (0..random.usize(0..5)).map(|_| random.usize(0..n_events)).collect();
        let is_faulty = random.u8(0..4) > 0;
        Self {
            workers: random.usize(1..6),
            max_in_flight: random.usize(1..5),
            blobs,
            n_events,
            bad: if random.bool() { bad } else { BTreeSet::new() },
            hidden_limit: if random.bool() { random.usize(LEAST_LIMIT..300) } else { usize::MAX },
            faults: if is_faulty { random.u32(1..40) } else { 0 },
            is_itemised: random.u8(0..3) == 0,
            refuses_all: is_faulty && random.u8(0..3) == 0,
            restarts: if is_faulty { random.u32(0..4) } else { 0 },
        }
    }
}

#[derive(Debug)]
struct World {
    random: fastrand::Rng,
    faults: u32,
    refusing_all: u32,
    accepted: Vec<u32>,
    watch: Watch,
}

#[derive(Debug)]
struct Scripted {
    script: Arc<Script>,
    world: Mutex<World>,
}

/// A request under way; an abandoned one ends as well.
struct UnderWay<'a> {
    intake: &'a Scripted,
    epoch: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Ok(mut world) = self.intake.world.lock() else { return };
        world.watch.end(self.epoch);
    }
}

impl Scripted {
    fn start(&self) -> (UnderWay<'_>, Duration) {
        let mut world = self.world.lock().unwrap();
        let delay = Duration::from_millis(world.random.u64(0..3_000));
        let epoch = world.watch.start();
        assert!(world.watch.in_flight() <= self.script.max_in_flight, "too many requests at once");
        if !self.script.refuses_all {
            world.watch.check(Instant::now());
        }
        (UnderWay { intake: self, epoch }, delay)
    }

    /// What the intake makes of events, and how many of them it takes, from the first on.
    fn answer(&self, ids: &mut Vec<usize>, body_bytes: usize) -> (usize, Verdict) {
        let mut world = self.world.lock().unwrap();
        let answer = (400, String::new());
        let reason = String::from("scripted");
        let retry = |after, cause| Verdict::Retry { after, reason: String::from("scripted"), cause };
        if world.refusing_all > 0 {
            world.refusing_all -= 1;
            return (0, Verdict::BadBatch { reason, answer });
        }
        if world.faults > 0 && world.random.u8(0..3) > 0 {
            world.faults -= 1;
            let kind = world.random.u8(0..7);
            match kind {
                0 => return (0, retry(None, Cause::Busy)),
                1 => {
                    let after = Duration::from_secs(world.random.u64(0..600));
                    return (0, retry(Some(after), Cause::Busy));
                }
                2 => return (0, retry(None, Cause::Reset)),
                3 => return (0, Verdict::Blocked { reason }),
                4 => return (ids.len(), retry(None, Cause::Unanswered)),
                5 if self.script.refuses_all => {
                    world.refusing_all = world.random.u32(1..60);
                    return (0, Verdict::BadBatch { reason, answer });
                }
                _ if ids.len() > 1 => {
                    let accepted = world.random.usize(1..ids.len());
                    return (accepted, Verdict::Doubtful { accepted, answer });
                }
                _ => {}
            }
        }
        if body_bytes > self.script.hidden_limit {
            return (0, Verdict::TooLarge { reason, answer });
        }
        if self.script.is_itemised {
            let is_busy = world.faults > 0;
            world.faults = world.faults.saturating_sub(1);
            return self.itemise(ids, &mut world.random, is_busy);
        }
        if ids.iter().any(|id| self.script.bad.contains(id)) {
            return (0, Verdict::BadBatch { reason, answer });
        }
        (ids.len(), Verdict::Delivered)
    }

    /// An answer for each event: bad ones are refused; some may be left for later, or not looked at behind a bad one.
    fn itemise(&self, ids: &mut Vec<usize>, random: &mut fastrand::Rng, is_busy: bool) -> (usize, Verdict) {
        let stops = random.bool();
        let (mut refused, mut untried, mut busy, mut taken) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (place, id) in ids.iter().enumerate() {
            if stops && !refused.is_empty() {
                untried.push(place);
            } else if self.script.bad.contains(id) {
                refused.push((place, String::from("bad")));
            } else if is_busy && random.u8(0..4) == 0 {
                busy.push(place);
            } else {
                taken.push(*id);
            }
        }
        let is_all = taken.len() == ids.len();
        *ids = taken;
        let (reason, answer) = (String::from("scripted"), (200, String::new()));
        let partial = Verdict::Partial { refused, untried, busy, after: None, reason, answer };
        (ids.len(), if is_all { Verdict::Delivered } else { partial })
    }

    fn note(&self, epoch: u64, ids: &[usize], verdict: &Verdict) {
        let mut world = self.world.lock().unwrap();
        for id in ids {
            world.accepted[*id] += 1;
        }
        world.watch.answered(epoch, verdict, Instant::now());
    }
}

#[async_trait]
impl Intake for Scripted {
    fn framing(&self) -> &dyn Framing {
        &StdoutIntake
    }
    async fn attempt(&self, events: &EncodedEvents, selection: &Selection) -> Verdict {
        let (under_way, delay) = self.start();
        let ranges = selection.byte_ranges(events);
        let mut ids: Vec<usize> = ranges.into_iter().map(|at| id(&events.bytes[at])).collect();
        let body_bytes = self.framing().overhead().body_length(ids.len(), selection.encoded_bytes(events));
        tokio::time::sleep(delay).await;
        let (taken, verdict) = self.answer(&mut ids, body_bytes);
        if matches!(verdict, Verdict::Retry { cause: Cause::Unanswered, .. }) {
            // The events are taken at once; that there is no answer shows only later.
            for id in &ids {
                self.world.lock().unwrap().accepted[*id] += 1;
            }
            tokio::time::sleep(Duration::from_secs(30)).await;
            self.note(under_way.epoch, &[], &verdict);
        } else {
            self.note(under_way.epoch, &ids[..taken], &verdict);
        }
        verdict
    }
}

/// The event that these bytes are.
fn id(bytes: &[u8]) -> usize {
    String::from_utf8_lossy(bytes).trim_end().parse().unwrap()
}

fn position(records: usize) -> Option<Position> {
    let offset = u64::try_from(records).unwrap();
    (records > 0).then(|| Position { offset: Some((offset, ContextHash::of(b""))), seen: None })
}

/// What is stored: of every blob the records acknowledged, and the quarantine.
struct Stored {
    records: Vec<usize>,
    quarantine: BTreeSet<usize>,
}

fn blob(number: usize) -> HourlyBlob {
    HourlyBlob::new(BlobName::new(format!("root/y=2026/{number}")), 4, Hour::from_number(0)).unwrap()
}

/// Reads on from what is stored, blobs in turns, records cut anywhere.
fn batches(script: &Script, stored: &Stored, random: &mut fastrand::Rng) -> Vec<Batch> {
    let max_age = Duration::from_secs(1);
    let limits = BatchLimits { max_bytes: random.usize(20..300), max_events: random.usize(1..20), max_age };
    let mut batcher = Batcher::new(limits, BodySize { fixed: 1, separator: Some(b',') });
    let mut left = Vec::new();
    for (number, (records, done)) in script.blobs.iter().zip(&stored.records).enumerate() {
        let of = |(index, ids): (usize, &Vec<usize>)| {
            let last = ids.last().copied();
            ids.iter().map(move |id| (index, *id, Some(*id) == last)).collect::<Vec<_>>()
        };
        let events: Vec<_> = records.iter().enumerate().skip(*done).flat_map(of).rev().collect();
        if !events.is_empty() {
            left.push((number, *done, events));
        }
    }
    let mut batches = Vec::new();
    while !left.is_empty() {
        let turn = random.usize(0..left.len());
        let (number, done, events) = &mut left[turn];
        let from = position(*done);
        let mut encoded = EncodedEvents::default();
        for _ in 0..random.usize(1..9) {
            let Some((record, id, ends_record)) = events.pop() else { break };
            encoded.bytes.extend_from_slice(format!("{id:<width$}", width = 4 + id % 17).as_bytes());
            let offset = u64::try_from(record).unwrap();
            encoded.finish_event(EventPlace { record: Span { from: offset, to: offset + 1 }, ordinal: 0 });
            *done += usize::from(ends_record);
        }
        let (to, last) = (position(*done), events.is_empty());
        let blob = blob(*number);
        let (records, tuples) = (0, u64::try_from(encoded.len()).unwrap());
        let (rejected, started_over) = (Vec::new(), false);
        let run = Run { blob, events: encoded, from, to, rejected, records, tuples, started_over, last };
        batches.extend(batcher.push(run, std::time::Instant::now()));
        if last {
            left.remove(turn);
        }
    }
    batches.extend(batcher.flush());
    batches
}

/// What a batch that was delivered stores.
fn commit(batch: Batch, outcome: Outcome, tracker: &mut Tracker, stored: &mut Stored, intake: &Scripted) {
    let Outcome::Delivered(unaccepted) = outcome else { panic!("{outcome:?}") };
    let owners: Vec<(usize, usize)> = batch.owners().collect();
    let ranges: Vec<_> = batch.events.ranges().collect();
    let mut deltas = batch.deltas;
    for lost in unaccepted {
        assert!(matches!(lost.reason, Reason::Doubtful | Reason::Refused));
        deltas[owners[lost.event].1].rejected.push(Rejected {
            reason: lost.reason,
            detail: lost.detail,
            span: batch.events.places[lost.event].record,
            ordinal: None,
            context: None,
            text: batch.events.bytes[ranges[lost.event].clone()].to_vec(),
            answer: Some(lost.answer),
        });
    }
    for delta in deltas {
        let Some(advance) = tracker.acknowledge(delta).unwrap() else { continue };
        stored.quarantine.extend(advance.rejected.iter().map(|rejected| id(&rejected.text)));
        let records = advance.to.and_then(|to| to.bytes()).map_or(0, |bytes| usize::try_from(bytes).unwrap());
        let number = (0..stored.records.len()).find(|number| blob(*number) == advance.blob).unwrap();
        stored.records[number] = records;
        let accepted = &intake.world.lock().unwrap().accepted;
        for passed in intake.script.blobs[number].iter().take(records).flatten() {
            assert!(accepted[*passed] > 0 || stored.quarantine.contains(passed), "event {passed} is passed");
        }
    }
}

/// Delivers until everything is done (`true`), or until `deadline`, where everything in flight is dropped.
async fn life(intake: &Scripted, stored: &mut Stored, random: &mut fastrand::Rng, lasts: Duration) -> bool {
    let script = &intake.script;
    intake.world.lock().unwrap().watch = Watch::default();
    let config = DriverConfig { max_in_flight: script.max_in_flight, ..DriverConfig::default() };
    let driver = Driver::new(config, fastrand::Rng::with_seed(random.u64(..)));
    let mut waiting = batches(script, stored, random).into_iter();
    let mut tracker = Tracker::default();
    let mut in_flight = FuturesUnordered::new();
    let deadline = Instant::now() + lasts;
    loop {
        while in_flight.len() < script.workers
            && let Some(batch) = waiting.next()
        {
            let (driver, receiver) = (&driver, intake);
            in_flight.push(async move {
                let never = CancellationToken::new();
                let outcome = driver.deliver(receiver, &batch.events, &never).await;
                (batch, outcome)
            });
        }
        tokio::select! {
            ended = in_flight.next() => match ended {
                Some((batch, outcome)) => commit(batch, outcome, &mut tracker, stored, intake),
                None => return true,
            },
            () = tokio::time::sleep_until(deadline) => return false,
        }
    }
}

async fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let script = Arc::new(Script::new(&mut random));
    let world = World {
        random: random.fork(),
        faults: script.faults,
        refusing_all: 0,
        accepted: vec![0; script.n_events],
        watch: Watch::default(),
    };
    let intake = Scripted { script: Arc::clone(&script), world: Mutex::new(world) };
    let mut stored = Stored { records: vec![0; script.blobs.len()], quarantine: BTreeSet::new() };
    for _ in 0..script.restarts {
        let lasts = Duration::from_millis(random.u64(0..200_000));
        life(&intake, &mut stored, &mut random, lasts).await;
    }
    let is_done = life(&intake, &mut stored, &mut random, LONGEST).await;
    let accepted = &intake.world.lock().unwrap().accepted;
    for (event, times) in accepted.iter().enumerate() {
        let (is_bad, is_kept) = (script.bad.contains(&event), stored.quarantine.contains(&event));
        if is_done {
            assert!(*times > 0 || is_kept, "event {event} is lost");
        } else {
            assert!(script.refuses_all, "nothing but an intake that refused everything stays in doubt");
            assert!(*times > 0 || is_kept || is_bad, "event {event} waits without a reason");
        }
        if script.faults == 0 && script.restarts == 0 {
            assert_eq!((*times, is_kept), (u32::from(!is_bad), is_bad), "event {event}");
        }
    }
}

/// *Scenario*: thousands of scripts of answers (taken, taken in part, answered for each event, too large, not understood, busy with and without
/// a wait, reset, blocked, lost), of delays, of workers, and of ends of the process after which all is read again from
/// what was acknowledged.
/// *Guarantees*: every event is accepted or in the quarantine, and no position passes one that is neither; without
/// faults each is accepted once; there are never more requests at once than allowed, nor two while the gate pauses,
/// nor one sooner than the intake asked for.
#[test]
fn no_event_is_lost() {
    for seed in 0..N_SCRIPTS {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(play(seed)))) {
            eprintln!("the script of seed {seed} failed");
            resume_unwind(panic);
        }
    }
}
