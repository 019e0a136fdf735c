//! Random changes of a state store: each call is one transaction at most.

use std::collections::BTreeMap;

use anyhow::Context;
use fastrand::Rng;
use flowlogd::{
    checkpoint::{ContextHash, Frontier, Position, SeenThrough, TailState, Tally},
    model::{BlobName, ETag, Hour, HourlyBlob, Origin, Reason, Rejected, Scope, Span},
    store::{
        Commit, FirstHour, PositionChange, StateStore, StoreError,
        sqlite::{QuarantineFilter, ResetFilter, SqliteStore},
    },
};

const ROOTS: [&str; 3] =
    ["flowLogResourceID=/SUB_RG/NETWORKWATCHER_A", "flowLogResourceID=/SUB_RG/NETWORKWATCHER_B", "root"];

const INTAKES: [&str; 2] = ["sekoia", "second"];

/// 2026-11-24T00.
const FIRST_HOUR: i64 = 498_792;

/// Hours in which there are blobs.
const HOURS: i64 = 48;

/// Longest text of a row in the quarantine: a dozen pages of the file and more.
const LONGEST_TEXT: usize = 60_000;

/// Chooses changes and knows what they build on.
#[derive(Debug)]
pub(crate) struct Changes {
    random: Rng,
    positions: BTreeMap<(Scope, HourlyBlob), Position>,
}

impl Changes {
    /// Goes on from what the store holds.
    ///
    /// # Errors
    /// As the store says.
    pub(crate) fn new(store: &SqliteStore, seed: u64) -> anyhow::Result<Self> {
        let mut changes = Self { random: Rng::with_seed(seed), positions: BTreeMap::new() };
        changes.learn(store)?;
        Ok(changes)
    }

    /// Makes the next one.
    ///
    /// # Errors
    /// As the store says.
    pub(crate) fn next(&mut self, store: &mut SqliteStore) -> anyhow::Result<()> {
        let scope = self.scope();
        match self.random.u32(0..20) {
            0 => {
                let proposed = FirstHour::At(Hour::from_number(FIRST_HOUR));
                store.first_hour(&scope, proposed).context("decide the first hour")?;
            }
            1 => {
                let (root, day) = (self.root(), self.hour().day());
                let present: Vec<_> = (0..self.random.u64(0..8)).map(|_| self.blob()).collect();
                store.prune(&scope, root, day, &present).context("prune")?;
                self.learn(store)?;
            }
            2 => {
                let filter = QuarantineFilter { intake: Some(scope.intake), ..QuarantineFilter::default() };
                store.drop_quarantined(&filter).context("drop the quarantine")?;
            }
            3 => {
                let blob = Some(self.blob().name().to_string());
                store.reset(&ResetFilter { blob, ..ResetFilter::default() }).context("reset")?;
                self.learn(store)?;
            }
            _ => {
                let commit = self.commit(scope);
                store.commit(&commit).context("commit")?;
                for PositionChange { blob, to, .. } in commit.positions {
                    self.positions.insert((commit.scope.clone(), blob), to);
                }
            }
        }
        Ok(())
    }

    fn learn(&mut self, store: &SqliteStore) -> anyhow::Result<()> {
        self.positions.clear();
        let known = &mut self.positions;
        let walked = store.for_each_position("", |stored| {
            known.insert((stored.scope, stored.blob), stored.position);
            Ok::<_, StoreError>(())
        });
        Ok(walked.context("read the positions")??)
    }

    fn commit(&mut self, scope: Scope) -> Commit {
        let mut positions = BTreeMap::new();
        for _change in 0..self.random.u32(0..20) {
            let blob = self.blob();
            let from = self.positions.get(&(scope.clone(), blob.clone())).cloned();
            let to = self.position(from.as_ref().and_then(Position::bytes).unwrap_or_default());
            let started_over = self.random.bool();
            let tally = self.tally();
            positions.insert(blob.clone(), PositionChange { blob, from, to, started_over, tally });
        }
        let rejected = (0..self.random.u32(0..3)).map(|_| (self.blob(), self.rejected())).collect();
        let sealed: Vec<Hour> = (0..self.random.u32(0..5)).map(|_| self.hour()).collect();
        let mut frontiers = Vec::new();
        if self.random.bool() {
            frontiers.push((self.root().to_owned(), Frontier::from_parts(self.hour(), sealed)));
        }
        Commit { scope, positions: positions.into_values().collect(), rejected, frontiers }
    }

    fn tally(&mut self) -> Tally {
        let [records, delivered, quarantined, pieces] = [0; 4].map(|_| self.random.u64(0..1_000));
        Tally { records, tuples: delivered.saturating_add(quarantined), delivered, quarantined, pieces }
    }

    fn position(&mut self, from: u64) -> Position {
        let bytes = from.saturating_add(self.random.u64(1..10_000));
        let tail = self.random.choice([TailState::Clean, TailState::Incomplete, TailState::Quarantined]);
        let seen = tail.map(|tail| SeenThrough {
            etag: ETag::new(&format!("0x8DE{:012X}", self.random.u64(..1 << 48))),
            length: bytes.saturating_add(2),
            tail,
        });
        let context = ContextHash::from_number(self.random.u64(..));
        Position { offset: Some((bytes, context)), seen: seen.filter(|_| self.random.bool()) }
    }

    fn rejected(&mut self) -> Rejected {
        let from = self.random.u64(0..20);
        let length = if self.random.u32(0..4) == 0 { LONGEST_TEXT } else { 400 };
        let length = self.random.usize(0..length);
        Rejected {
            reason: Reason::BadRecord,
            detail: String::from("time: expected a text, found none"),
            span: Span { from, to: from.saturating_add(9) },
            ordinal: self.random.bool().then(|| self.random.u32(0..4)),
            context: None,
            text: (0..length).map(|_| self.random.u8(..)).collect(),
            answer: None,
        }
    }

    fn scope(&mut self) -> Scope {
        let origin = Origin { account: String::from("acct"), container: String::from("logs") };
        let intake = self.random.choice(INTAKES).unwrap_or_default().to_owned();
        Scope { origin, intake }
    }

    fn root(&mut self) -> &'static str {
        self.random.choice(ROOTS).unwrap_or_default()
    }

    fn hour(&mut self) -> Hour {
        Hour::from_number(FIRST_HOUR.saturating_add(self.random.i64(0..HOURS)))
    }

    fn blob(&mut self) -> HourlyBlob {
        let (root, hour, card) = (self.root(), self.hour(), self.random.u64(0..4));
        let name = format!("{root}/{}m=00/macAddress={card:012X}/PT1H.json", hour.prefix());
        // The root is a prefix of the name.
        HourlyBlob::new(BlobName::new(name.as_str()), root.len(), hour)
            .unwrap_or_else(|| unreachable!("{name} begins with {root}"))
    }
}
