//! Turns receipts, in whatever order they come, into positions that move in order, and seals hours. The one owner of
//! the tracker and of the frontiers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map, hash_map::Entry},
    time::Duration,
};

use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::{
    Lane, Pass, PassError,
    balance::{self, Mismatch},
    deliver::Receipt,
    plan::{Stretch, frontier_after_walk},
    report::Rejections,
    store_again::StoreAgain,
};
use crate::{
    checkpoint::{Advance, Delta, Frontier, TailState, Tracker},
    model::{BlobName, ETag, Hour, HourlyBlob, Reason, Rejected},
    planted::{self, Bug},
    store::{Commit, PositionChange},
    telemetry::chain,
};

/// At most this many receipts share one commit: each commit waits for the disk once, whatever its size.
const RECEIPTS_PER_COMMIT: usize = 64;

/// What is sent while nothing can be stored is sent again after a restart: after this long no more is.
const PAUSE_SENDING_AFTER: Duration = Duration::from_secs(30);

/// What to do where not all that was read is accounted for.
const LEDGER_MISMATCH: &str = "what was read and what was delivered or quarantined do not agree, the log names the blob: \
                               report it, then restart flowlogd to have the blob read again";

/// What discovery tells about hours.
#[derive(Debug)]
pub(super) enum Found {
    /// A root that is new; its hours from this one on are unsealed.
    Root { root: String, first_hour: Hour },
    /// Which hours of a stretch exist; the others are sealed.
    Walked { root: String, stretch: Stretch, existing: BTreeSet<Hour> },
    /// A sealed hour has something new in it.
    Reopened { root: String, hour: Hour },
    /// An hour of which [`Self::Hour`] was told is not over after all: something in it has just changed.
    Growing { root: String, hour: Hour },
    /// An hour whose time to be sealed has come was listed completely, before any of its blobs was handed to the readers.
    /// Nothing is told of others: there may be no room to hear it for long.
    Hour {
        root: String,
        hour: Hour,
        /// The blobs with something to read, with the version that was listed.
        outstanding: HashMap<HourlyBlob, ETag>,
    },
}

/// What was committed in one pass.
#[derive(Debug, Default)]
pub(super) struct Committed {
    pub(super) events: u64,
    pub(super) quarantined: u64,
    pub(super) rejections: BTreeMap<Reason, Rejections>,
    pub(super) hours_sealed: u64,
    /// Blobs whose position waits because what was read of them is not all accounted for.
    pub(super) unbalanced: HashSet<BlobName>,
    /// Whether reading was stopped because the quarantine is full.
    pub(super) quarantine_full: bool,
    pub(super) failed: Option<PassError>,
}

/// Ends when discovery and delivery have ended, or when the state cannot be stored; then the whole pass is stopped.
pub(super) async fn run(
    lane: &Lane,
    found: mpsc::Receiver<Found>,
    receipts: mpsc::Receiver<Receipt>,
    pass: &Pass,
) -> Committed {
    let mut committer = Committer {
        lane,
        pass,
        tracker: Tracker::default(),
        frontiers: HashMap::new(),
        changed: Vec::new(),
        awaited: HashMap::new(),
        committed: Committed::default(),
    };
    if let Err(error) = committer.run(found, receipts).await {
        pass.stopping.stop_all();
        committer.committed.failed = Some(error);
    }
    committer.committed
}

struct Committer<'a> {
    lane: &'a Lane,
    pass: &'a Pass,
    tracker: Tracker,
    frontiers: HashMap<String, Frontier>,
    /// Roots whose frontier is not stored yet.
    changed: Vec<String>,
    /// For each hour whose time to be sealed has come: the blobs that are not read to their end yet.
    awaited: HashMap<(String, Hour), HashMap<HourlyBlob, ETag>>,
    committed: Committed,
}

impl Committer<'_> {
    async fn run(
        &mut self,
        mut found: mpsc::Receiver<Found>,
        mut receipts: mpsc::Receiver<Receipt>,
    ) -> Result<(), PassError> {
        self.frontiers = self.lane.state.frontiers(self.lane.scope.clone()).await?.into_iter().collect();
        let (mut discovering, mut delivering) = (true, true);
        while discovering || delivering {
            let mut group = Vec::new();
            // What discovery sent first is also handled first: an hour is known before its blobs are acknowledged.
            tokio::select! {
                biased;
                one = found.recv(), if discovering => match one {
                    Some(one) => self.note(one),
                    None => discovering = false,
                },
                n_received = receipts.recv_many(&mut group, RECEIPTS_PER_COMMIT), if delivering => {
                    delivering = n_received > 0;
                }
            }
            while let Ok(one) = found.try_recv() {
                self.note(one);
            }
            self.commit(group).await?;
        }
        Ok(())
    }

    fn note(&mut self, found: Found) {
        match found {
            Found::Root { root, first_hour } => {
                if let Entry::Vacant(vacant) = self.frontiers.entry(root.clone()) {
                    vacant.insert(Frontier::new(first_hour));
                    self.changed.push(root);
                }
            }
            Found::Walked { root, stretch, existing } => {
                // What this knows is newer than what the walk was planned from.
                let frontier = frontier_after_walk(self.frontiers.get(&root), stretch, existing);
                self.frontiers.insert(root.clone(), frontier);
                self.changed.push(root);
            }
            Found::Reopened { root, hour } => {
                if self.frontiers.get_mut(&root).is_some_and(|frontier| frontier.reopen(hour)) {
                    self.changed.push(root);
                }
            }
            Found::Growing { root, hour } => {
                // Its last blob may have ended between.
                let is_sealed = self.awaited.remove(&(root.clone(), hour)).is_none();
                if is_sealed && self.frontiers.get_mut(&root).is_some_and(|frontier| frontier.reopen(hour)) {
                    self.changed.push(root);
                }
            }
            Found::Hour { root, hour, outstanding } => {
                if outstanding.is_empty() {
                    self.seal(root, hour);
                } else {
                    self.awaited.insert((root, hour), outstanding);
                }
            }
        }
    }

    /// Commits what a group of receipts makes good, together with every frontier that changed.
    async fn commit(&mut self, group: Vec<Receipt>) -> Result<(), PassError> {
        let mut advances: BTreeMap<HourlyBlob, Advance> = BTreeMap::new();
        let mut rejected: Vec<(HourlyBlob, Rejected)> = Vec::new();
        let mut events: u64 = 0;
        // Their memory is given back at the end of this function, when the steps are stored.
        let mut shares = Vec::with_capacity(group.len());
        for receipt in group {
            shares.push(receipt.share);
            events = events.saturating_add(receipt.delivered);
            for delta in receipt.deltas {
                self.acknowledge(delta, &mut advances, &mut rejected)?;
            }
        }
        let mut commit =
            Commit { scope: self.lane.scope.clone(), positions: Vec::new(), rejected, frontiers: Vec::new() };
        let mut ended = Vec::new();
        for (blob, mut advance) in advances {
            if advance.last {
                self.note_end(&blob, &advance);
                ended.push(blob.clone());
            }
            if planted::is(Bug::QuarantineForgets) {
                advance.rejected.clear();
            }
            commit.rejected.extend(advance.rejected.into_iter().map(|rejected| (blob.clone(), rejected)));
            if let (from, Some(to)) = (advance.from, advance.to) {
                let Advance { tally, started_over, .. } = advance;
                commit.positions.push(PositionChange { blob, from, to, tally, started_over });
            }
        }
        self.changed.sort_unstable();
        self.changed.dedup();
        for root in self.changed.drain(..) {
            if let Some(frontier) = self.frontiers.get(&root) {
                commit.frontiers.push((root, frontier.clone()));
            }
        }
        let n_rejected = u64::try_from(commit.rejected.len()).unwrap_or(u64::MAX);
        let mut rejections: BTreeMap<Reason, Rejections> = BTreeMap::new();
        for (blob, rejected) in &commit.rejected {
            let of_reason =
                rejections.entry(rejected.reason).or_insert_with(|| Rejections::new(blob, rejected));
            of_reason.count = of_reason.count.saturating_add(1);
        }
        if !commit.positions.is_empty() || !commit.frontiers.is_empty() || n_rejected > 0 {
            self.store(commit).await?;
            self.lane.metrics.progress.commits.inc();
        }
        for blob in ended {
            self.pass.handed_over.forget(&blob);
            self.pass.progress.acknowledged(blob.hour());
            self.pass.outstanding.done(&blob);
        }
        for (reason, news) in rejections {
            self.lane.metrics.progress.quarantined(reason, news.count);
            match self.committed.rejections.entry(reason) {
                btree_map::Entry::Vacant(none_yet) => {
                    none_yet.insert(news);
                }
                btree_map::Entry::Occupied(mut earlier) => {
                    let count = &mut earlier.get_mut().count;
                    *count = count.saturating_add(news.count);
                }
            }
        }
        self.lane.metrics.progress.events_delivered.inc_by(events);
        self.committed.events = self.committed.events.saturating_add(events);
        self.committed.quarantined = self.committed.quarantined.saturating_add(n_rejected);
        if n_rejected > 0 {
            self.look_at_quarantine().await?;
        }
        Ok(())
    }

    /// Takes a step, if all that it covers is accounted for, and what can be applied with it. What does not balance is not
    /// applied, nor is anything behind it: the position waits. What is rejected is kept all the same.
    fn acknowledge(
        &mut self,
        delta: Delta,
        advances: &mut BTreeMap<HourlyBlob, Advance>,
        kept: &mut Vec<(HourlyBlob, Rejected)>,
    ) -> Result<(), PassError> {
        let blob = delta.blob.clone();
        let mut keep = |rejected: Vec<Rejected>| {
            kept.extend(rejected.into_iter().map(|rejected| (blob.clone(), rejected)));
        };
        if self.committed.unbalanced.contains(blob.name()) {
            keep(delta.rejected);
            return Ok(());
        }
        let mismatch = match balance::check_step(delta.tally) {
            Err(mismatch) => {
                keep(delta.rejected);
                mismatch
            }
            Ok(()) => {
                let Some(advance) = self.tracker.acknowledge(delta)? else { return Ok(()) };
                let handed = self.pass.handed_over.of(&blob);
                match balance::check_reading(advance.acknowledged, handed, advance.last) {
                    Err(mismatch) => {
                        keep(advance.rejected);
                        mismatch
                    }
                    Ok(()) => {
                        merge(advances, advance);
                        return Ok(());
                    }
                }
            }
        };
        for waiting in self.tracker.forget(&blob) {
            keep(waiting.rejected);
        }
        self.hold(&blob, &mismatch);
        Ok(())
    }

    /// Not all that was read of a blob is accounted for: it is not read on, and its hour stays open.
    fn hold(&mut self, blob: &HourlyBlob, mismatch: &Mismatch) {
        error!(
            blob = %blob.name(), error = %mismatch,
            "the ledger of the blob does not balance, which is a bug: its position waits until flowlogd is restarted or the \
             blob changes, and its events are sent again then; please report it",
        );
        self.lane.metrics.progress.ledger_mismatches.inc();
        self.lane.ledger_health.not_ready(LEDGER_MISMATCH);
        self.committed.unbalanced.insert(blob.name().clone());
        self.pass.handed_over.forget(blob);
        self.pass.outstanding.give_up(blob.clone());
    }

    /// Stores a commit. Where there is no room for it, tries again until there is; what is acknowledged waits meanwhile,
    /// and after a while nothing more is sent.
    async fn store(&self, commit: Commit) -> Result<(), PassError> {
        let mut again = StoreAgain::within(self.lane.limits.store_deadline);
        while let Err(error) = self.lane.state.commit(commit.clone()).await {
            let Some(failed_for) = again.worthwhile_after(&error) else { return Err(error.into()) };
            warn!(
                error = %chain(&error), failed_for_seconds = failed_for.as_secs(),
                "what is delivered cannot be stored: make room in the state directory; trying again",
            );
            if failed_for >= PAUSE_SENDING_AFTER && !self.pass.sending_paused.send_replace(true) {
                error!("nothing more is sent until what is delivered can be stored");
                self.lane.store_health.not_ready(&chain(&error).to_string());
            }
            if !again.pause(&self.pass.stopping.delivering).await {
                return Err(error.into());
            }
        }
        if self.pass.sending_paused.send_replace(false) {
            info!("what is delivered can be stored again: sending goes on");
            self.lane.store_health.ready();
        }
        Ok(())
    }

    /// Stops reading where the quarantine is full. What is under way is still delivered.
    async fn look_at_quarantine(&mut self) -> Result<(), PassError> {
        let usage = self.lane.state.quarantine_usage().await?;
        if usage.bytes >= self.lane.limits.quarantine_bytes {
            self.committed.quarantine_full = true;
            self.pass.stopping.reading.cancel();
        }
        Ok(())
    }

    /// Seals a blob's hour if the blob was the last one that the hour waited for.
    fn note_end(&mut self, blob: &HourlyBlob, advance: &Advance) {
        self.tracker.forget(blob);
        let Some(seen) = advance.to.as_ref().and_then(|position| position.seen.as_ref()) else { return };
        if seen.tail == TailState::Incomplete {
            return;
        }
        let Entry::Occupied(mut hour) = self.awaited.entry((blob.root().to_owned(), blob.hour())) else {
            return;
        };
        if hour.get().get(blob) == Some(&seen.etag) {
            hour.get_mut().remove(blob);
        }
        if hour.get().is_empty() {
            let ((root, hour), _) = hour.remove_entry();
            self.seal(root, hour);
        }
    }

    fn seal(&mut self, root: String, hour: Hour) {
        if self.frontiers.get_mut(&root).is_some_and(|frontier| frontier.seal(hour)) {
            debug!(root, %hour, "hour sealed");
            self.lane.metrics.progress.hours_sealed.inc();
            self.committed.hours_sealed = self.committed.hours_sealed.saturating_add(1);
            self.changed.push(root);
        }
    }
}

/// Joins two advances of one blob, the later one behind the earlier one.
fn merge(advances: &mut BTreeMap<HourlyBlob, Advance>, advance: Advance) {
    match advances.get_mut(&advance.blob) {
        Some(earlier) => earlier.join(advance),
        None => {
            advances.insert(advance.blob.clone(), advance);
        }
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
