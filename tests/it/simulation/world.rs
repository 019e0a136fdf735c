//! The one world that all ports of a simulation share: its clock, what grows in it, what goes wrong, and what is known of
//! each flow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use flowlogd::{
    checkpoint::{Position, TailState, Tally},
    model::{Hour, HourlyBlob, Reason, Rejected},
    store::Commit,
};
use tokio::time::Instant;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    blobs::{Append, Blobs, Generation, Kind, Record, number_of},
    weather::{Fault, Weather},
};

/// The interfaces of each root.
const N_INTERFACES: usize = 2;

/// Appends up to so many hours after an hour's end: less than hours are listed again.
const LATEST_HOURS: i64 = 30;

/// What one intake has of a tuple.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// How often it accepted the event.
    pub(super) accepted: u32,
    /// The identity and a hash of the event.
    event: Option<(String, u64)>,
    quarantined: Option<Reason>,
}

/// What one intake has.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) tuples: Vec<Settled>,
    /// Offsets of pieces in the quarantine, by blob.
    pieces: HashMap<(String, u64), Reason>,
    /// What the ledger says of each blob.
    ledgers: HashMap<String, Option<Tally>>,
}

/// All that ports share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) blobs: Blobs,
    pub(super) weather: Weather,
    pub(super) accounts: Vec<Account>,
    /// When the simulation begins, by the storage server's clock.
    begins: DateTime<Utc>,
    /// How much was simulated before this life.
    lived: Duration,
    life: Option<Instant>,
    /// Up to when the container has grown.
    grown: Duration,
    /// From when on it does not grow any more.
    grows_until: Duration,
    n_roots: usize,
    /// Whether blobs are also rewritten and deleted.
    is_rewritten: bool,
    trace: u64,
    /// What must not be, in the order in which it was found.
    pub(super) violations: Vec<String>,
    /// A broken disk ends the process at its next commit.
    pub(super) disk_broken: bool,
}

/// The world, for a port.
pub(super) type Shared = Arc<Mutex<World>>;

/// The world, for a moment.
pub(super) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

impl World {
    /// A world that grows for a time.
    pub(super) fn new(
        mut random: fastrand::Rng,
        lasts: Duration,
        n_intakes: usize,
        weather: Weather,
        is_rewritten: bool,
    ) -> Self {
        Self {
            blobs: Blobs::new(),
            weather,
            accounts: (0..n_intakes).map(|_| Account::default()).collect(),
            begins: Hour::from_parts(2026, 3, 1, random.u32(0..24)).unwrap().start(),
            lived: Duration::ZERO,
            life: None,
            grown: Duration::ZERO,
            grows_until: lasts,
            n_roots: random.usize(1..3),
            is_rewritten,
            trace: 0,
            violations: Vec::new(),
            disk_broken: false,
            random,
        }
    }

    /// A life begins now, on a paused clock.
    pub(super) fn begin_life(&mut self) {
        self.life = Some(Instant::now());
    }

    /// A life ends now.
    pub(super) fn end_life(&mut self) {
        self.lived = self.elapsed();
        self.life = None;
    }

    /// So much time passes between two lives.
    pub(super) fn pause(&mut self, pause: Duration) {
        self.lived += pause;
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.lived + self.life.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// The storage server's clock.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.at(self.elapsed())
    }

    fn at(&self, elapsed: Duration) -> DateTime<Utc> {
        self.begins + TimeDelta::from_std(elapsed).unwrap()
    }

    pub(super) fn has(&self, fault: Fault, intake: Option<usize>) -> bool {
        self.weather.has(fault, self.elapsed(), intake)
    }

    /// From when on nothing grows and nothing is wrong any more.
    pub(super) fn is_well_at(&self) -> Duration {
        self.grows_until.max(self.weather.is_over_at())
    }

    /// Notes what a port was asked and answered.
    pub(super) fn note(&mut self, what: &[&[u8]]) {
        let moment = self.elapsed().as_nanos().to_le_bytes();
        for part in [moment.as_slice()].iter().chain(what) {
            self.trace = xxh3_64_with_seed(part, self.trace);
        }
    }

    /// A number that stands for everything that has happened.
    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    /// Lets the container grow up to now.
    pub(super) fn grow(&mut self) {
        let until = self.elapsed().min(self.grows_until);
        while self.grown + Duration::from_secs(60) <= until {
            self.grown += Duration::from_secs(60);
            let now = self.at(self.grown) + TimeDelta::milliseconds(self.random.i64(0..900));
            for root in 0..self.n_roots {
                for interface in 0..N_INTERFACES {
                    self.minute(root, interface, now);
                }
            }
        }
        for account in &mut self.accounts {
            account.tuples.resize(self.blobs.tuples.len(), Settled::default());
        }
    }

    /// What is written for an interface in a minute.
    fn minute(&mut self, root: usize, interface: usize, now: DateTime<Utc>) {
        let open = Hour::containing(now);
        if self.random.u8(0..3) == 0 {
            self.append((root, interface, open), now);
        }
        match self.random.u32(0..2_000) {
            // An hour that is over is written to once more, as a rule a short time after its end.
            0..8 => {
                let longest = if self.random.bool() { 2 } else { LATEST_HOURS };
                let late = Hour::from_number(open.number() - self.random.i64(1..=longest));
                self.append((root, interface, late), now);
            }
            8..10 if self.is_rewritten => {
                let name = Blobs::name(root, interface, open);
                if let Some(blob) = self.blobs.get(&name) {
                    let n_kept = self.random.usize(0..=blob.records().len());
                    self.blobs.rewrite(&name, n_kept, now);
                }
            }
            10..12 if self.is_rewritten => {
                let old = Hour::from_number(open.number() - self.random.i64(0..40));
                self.blobs.delete(&Blobs::name(root, interface, old));
            }
            _ => {}
        }
    }

    fn append(&mut self, place: (usize, usize, Hour), now: DateTime<Utc>) {
        let n_tuples =
            if self.random.u8(0..60) == 0 { self.random.usize(50..400) } else { self.random.usize(0..5) };
        let random = &mut self.random;
        let mut kind = || match random.u16(0..2_000) {
            0 => Kind::Poison,
            1..4 => Kind::Bad,
            _ => Kind::Good,
        };
        let kinds: Vec<Kind> = (0..n_tuples).map(|_| kind()).collect();
        let what = match self.random.u8(0..100) {
            0 => Append::Piece,
            1..4 => Append::Torn,
            _ => Append::Record,
        };
        self.blobs.append(place, what, &kinds, now);
    }

    /// An intake accepts an event.
    pub(super) fn accept(&mut self, intake: usize, number: usize, id: &str, event: &str) {
        let event = (id.to_owned(), xxh3_64(event.as_bytes()));
        let settled = &mut self.accounts[intake].tuples[number];
        settled.accepted += 1;
        match &settled.event {
            Some(known) if *known != event => {
                self.violations
                    .push(format!("tuple {number} comes again as another event: {known:?}, {event:?}"));
            }
            Some(_) => {}
            None => settled.event = Some(event),
        }
    }

    /// Checks what an intake's lane commits: behind no position may there be anything that the intake has not answered for.
    pub(super) fn check(&mut self, intake: usize, commit: &Commit) {
        for (blob, rejected) in &commit.rejected {
            self.quarantine(intake, blob, rejected);
        }
        for change in &commit.positions {
            let ledgers = &mut self.accounts[intake].ledgers;
            let before = ledgers.get(change.blob.name().as_str()).copied().flatten();
            ledgers.insert(change.blob.name().to_string(), change.ledger(before));
            let blob = self.blobs.ever(change.blob.name().as_str()).unwrap();
            let mut generations = blob.generations.iter().rev();
            if !generations.any(|generation| self.is_settled_to(intake, &change.blob, generation, &change.to))
            {
                self.violations.push(format!(
                    "intake {intake}: the position of {} moves to {:?} although not all before it is settled",
                    change.blob.name(),
                    change.to,
                ));
            }
        }
    }

    fn quarantine(&mut self, intake: usize, blob: &HourlyBlob, rejected: &Rejected) {
        let account = &mut self.accounts[intake];
        if rejected.ordinal.is_none() {
            account.pieces.insert((blob.name().to_string(), rejected.span.from), rejected.reason);
            return;
        }
        let number = number_of(std::str::from_utf8(&rejected.text).unwrap());
        account.tuples[number].quarantined = Some(rejected.reason);
    }

    /// Whether a position may stand where it does, if it is one of this generation of the blob.
    fn is_settled_to(
        &self,
        intake: usize,
        blob: &HourlyBlob,
        generation: &Generation,
        to: &Position,
    ) -> bool {
        let offset = to.bytes().unwrap_or(0);
        let is_boundary = offset == 0
            || offset == Generation::head_bytes()
            || generation.records.iter().any(|record| record.to == offset);
        let n_seen = match &to.seen {
            None => 0,
            Some(seen) => match generation.versions.iter().find(|(etag, _, _)| *etag == seen.etag) {
                Some((_, n_records, _)) => *n_records,
                None => return false,
            },
        };
        let is_whole = to.seen.as_ref().is_none_or(|seen| {
            seen.tail != TailState::Clean || {
                n_seen.checked_sub(1).is_none_or(|last| generation.records[last].to <= offset)
            }
        });
        let before = generation.records.iter().take_while(|record| record.to <= offset);
        is_boundary
            && is_whole
            && before.into_iter().all(|record| self.is_settled(intake, blob.name().as_str(), record))
    }

    fn is_settled(&self, intake: usize, name: &str, record: &Record) -> bool {
        let account = &self.accounts[intake];
        match &record.tuples {
            None => account.pieces.contains_key(&(name.to_owned(), record.from)),
            Some(tuples) => tuples.iter().all(|number| {
                let Settled { accepted, quarantined, .. } = account.tuples[*number];
                accepted > 0 || quarantined.is_some()
            }),
        }
    }

    /// What the ledger must say in the end.
    fn ledger(&self, records: &[Record]) -> Tally {
        let tuples = records.iter().filter_map(|record| record.tuples.as_ref()).flatten();
        let mut ledger = Tally { records: records.len() as u64, ..Tally::default() };
        for number in tuples {
            ledger.tuples += 1;
            match self.blobs.tuples.kind(*number) {
                Kind::Good => ledger.delivered += 1,
                Kind::Poison | Kind::Bad => ledger.quarantined += 1,
            }
        }
        ledger
    }

    /// What is not as it must be once everything is well again: for each intake, by blob.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (intake, account) in self.accounts.iter().enumerate() {
            for blob in self.blobs.existing() {
                let name = blob.name.as_str();
                for record in blob.records() {
                    if !self.is_settled(intake, name, record) {
                        missing.push(format!("intake {intake}: {name} byte {}", record.from));
                    }
                }
            }
            for blob in self.blobs.existing() {
                let expected = self.ledger(blob.records());
                let ledger = account.ledgers.get(blob.name.as_str()).copied().flatten();
                if ledger.map(|ledger| Tally { pieces: 0, ..ledger }) != Some(expected) {
                    missing.push(format!(
                        "intake {intake}: the ledger of {} is {ledger:?}, not {expected:?}",
                        blob.name
                    ));
                }
            }
            for (number, settled) in account.tuples.iter().enumerate() {
                let is_right = match self.blobs.tuples.kind(number) {
                    Kind::Good => settled.quarantined.is_none(),
                    Kind::Poison => {
                        settled.accepted == 0
                            && settled.quarantined.is_none_or(|reason| reason == Reason::Refused)
                    }
                    Kind::Bad => {
                        settled.accepted == 0
                            && settled.quarantined.is_none_or(|reason| reason == Reason::BadTuple)
                    }
                };
                if !is_right {
                    missing.push(format!("intake {intake}: tuple {number} is {settled:?}"));
                }
            }
        }
        missing
    }

    /// Events accepted, and how many of them were duplicates.
    pub(super) fn counts(&self) -> (u64, u64) {
        let settled = self.accounts.iter().flat_map(|account| &account.tuples);
        settled.fold((0, 0), |(events, duplicates), one| {
            (events + u64::from(one.accepted), duplicates + u64::from(one.accepted.saturating_sub(1)))
        })
    }
}
