//! Finds what is new: lists the unsealed hours of every root, oldest first, and compares with the stored positions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tracing::{info, warn};

use super::{
    Lane, Pass, PassError,
    alarms::RetentionAlarm,
    commit::Found,
    compare::compare,
    gone::{hours_with_positions, say_gone_roots},
    listing::{InOrder, Lister, ListingError, Walked},
    noted::{Held, Noted},
    plan::{self, HourPlan},
    sight::Sight,
    sweep::{self, Sweep},
};
use crate::{
    checkpoint::{Frontier, Position},
    model::{BlobVersion, Hour, HourlyBlob},
    storage::{StorageError, StorageErrorKind},
    telemetry::chain,
};

/// The roots are learned again this often: a new flow log's first hour is open for longer than this.
const ROOT_WALK_EVERY: std::time::Duration = std::time::Duration::from_secs(300);

/// A pass whose events are delivered, only slowly, lists so often and then comes to its end: what is old is looked at
/// once a pass, and hours are sealed then. While the intake takes nothing there is no such end.
const ROUNDS_WHILE_DELIVERING: u64 = 10;

/// After so many listings in a row that failed, no more hours are asked for.
const FAILED_LISTINGS_IN_A_ROW: u32 = 3;

/// A blob with something to read.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// The blob.
    pub(super) blob: HourlyBlob,
    /// The version that the listing showed.
    pub(super) version: BlobVersion,
    /// Where reading starts.
    pub(super) position: Option<Position>,
    /// Whether the blob's time to be sealed has come: a last record that is still incomplete enters the quarantine.
    pub(super) sealing: bool,
}

impl Work {
    /// Bytes of the version that were not read yet.
    pub(super) fn unread_bytes(&self) -> u64 {
        let offset =
            self.position.as_ref().and_then(|position| position.offset).map_or(0, |(offset, _)| offset);
        self.version.length.saturating_sub(offset)
    }
}

/// What discovery keeps from pass to pass; all of it can be learned again.
#[derive(Debug, Default)]
pub struct Memory {
    /// The roots, and what is done for each in turn.
    pub(super) roots: BTreeMap<String, Sweep>,
    roots_learned: Option<Instant>,
    /// Prefixes of years that begin a date.
    years: HashSet<String>,
    /// Prefixes with a date that is not read, as far as that was said already.
    strange: HashSet<String>,
    server_clock: Option<(DateTime<Utc>, Instant)>,
    /// Blobs that are held, with the version that is.
    pub(super) held: Noted<Held>,
    /// Blobs that were gone before they were read to their end, as far as that was said already.
    pub(super) gone: Noted<()>,
    /// Roots that were gone, as far as that was said already.
    pub(super) gone_roots: HashSet<String>,
    /// How long the blobs were whose reading did not reach their end, bytes.
    pub(super) lengths: Noted<u64>,
    /// Hours that the committer was told to seal when their blobs are read.
    pub(super) awaited: HashSet<(String, Hour)>,
    /// The frontiers that the committer was told of in this pass.
    told: HashMap<String, Frontier>,
    /// Whether what is not delivered is in danger; `None` before the first pass, or where nobody says how long blobs
    /// are kept.
    pub(super) retention: Option<RetentionAlarm>,
    /// Whether an earlier pass stopped because the quarantine was full.
    pub(super) quarantine_full: bool,
}

impl Memory {
    /// The storage server's clock, carried on from its last answer; `None` before the first one.
    pub(super) fn server_now(&self) -> Option<DateTime<Utc>> {
        let (date, at) = self.server_clock?;
        Some(date.checked_add_signed(TimeDelta::from_std(at.elapsed()).ok()?).unwrap_or(date))
    }
}

/// What discovery did in one pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) list_calls: u64,
    pub(super) blobs_listed: u64,
    pub(super) held: u64,
    pub(super) gone: u64,
    /// The newest Last-Modified that a listing showed.
    pub(super) newest_change: Option<DateTime<Utc>>,
    /// Roots known.
    pub(super) roots: u64,
}

/// One pass of discovery. Ends early, without error, when it is cancelled or when the readers are gone.
pub(super) async fn run(
    lane: &Lane,
    memory: &mut Memory,
    found: mpsc::Sender<Found>,
    work: mpsc::Sender<Work>,
    pass: &Pass,
) -> (Counts, Result<(), PassError>) {
    let calls = &lane.metrics.reading.list_calls;
    let lister = Lister::new(lane.storage.as_ref(), &pass.stopping.reading, calls);
    let mut counts = Counts::default();
    let outlet = Outlet { found, work, pass };
    let result = discover(lane, memory, &lister, &mut counts, &outlet).await;
    counts.list_calls = lister.calls();
    if let Some(date) = lister.date() {
        memory.server_clock = Some((date, Instant::now()));
    }
    let result = match result {
        Ok(()) | Err(Stop::Cancelled) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
    };
    (counts, result)
}

/// Why discovery ends before its end.
pub(super) enum Stop {
    Cancelled,
    Failed(PassError),
}

impl From<ListingError> for Stop {
    fn from(error: ListingError) -> Self {
        match error {
            ListingError::Cancelled => Self::Cancelled,
            ListingError::Storage(error) => Self::Failed(PassError::Storage(error)),
        }
    }
}

/// Where discovery's findings go.
pub(super) struct Outlet<'a> {
    found: mpsc::Sender<Found>,
    work: mpsc::Sender<Work>,
    pub(super) pass: &'a Pass,
}

impl Outlet<'_> {
    /// A receiver that is gone has failed and reports it itself.
    pub(super) async fn tell(&self, found: Found) -> Result<(), Stop> {
        self.found.send(found).await.map_err(|_| Stop::Cancelled)
    }

    async fn hand_over(&self, work: Work) -> Result<(), Stop> {
        let Work { blob, version, .. } = &work;
        self.pass.progress.found(blob.hour(), version.last_modified, work.unread_bytes());
        self.work.send(work).await.map_err(|_| Stop::Cancelled)
    }

    /// One blob of each root in turn, so that a root with many does not keep the others waiting.
    pub(super) async fn hand_over_in_turn(&self, roots: Vec<Vec<Work>>) -> Result<(), Stop> {
        let mut roots: Vec<_> = roots.into_iter().map(Vec::into_iter).collect();
        while !roots.is_empty() {
            let mut left = Vec::with_capacity(roots.len());
            for mut root in roots {
                if let Some(work) = root.next() {
                    self.hand_over(work).await?;
                    left.push(root);
                }
            }
            roots = left;
        }
        Ok(())
    }
}

/// Finds everything once. Where delivering takes longer than a poll, everything is looked for again at each poll, so that
/// nothing waits for an intake to be seen.
async fn discover(
    lane: &Lane,
    memory: &mut Memory,
    lister: &Lister<'_>,
    counts: &mut Counts,
    outlet: &Outlet<'_>,
) -> Result<(), Stop> {
    let began = Instant::now();
    let mut polls = lane.rules.list_again_every.map(|interval| {
        let mut polls = tokio::time::interval_at(began + interval, interval);
        polls.set_missed_tick_behavior(MissedTickBehavior::Skip);
        polls
    });
    memory.awaited.clear();
    memory.told.clear();
    let found_all = look_for_everything(lane, memory, lister, counts, outlet).await;
    outlet.pass.progress.all_found();
    found_all?;
    let Some(polls) = &mut polls else { return Ok(()) };
    let mut n_acknowledged = 0;
    for round in 1_u64.. {
        let n_before = std::mem::replace(&mut n_acknowledged, outlet.pass.progress.n_acknowledged());
        if round > ROUNDS_WHILE_DELIVERING && n_acknowledged > n_before {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = outlet.pass.stopping.reading.cancelled() => return Err(Stop::Cancelled),
            () = outlet.pass.outstanding.empty() => return Ok(()),
            _ = polls.tick() => {}
        }
        match look_for_everything(lane, memory, lister, counts, outlet).await {
            Ok(()) => {
                let snapshot = outlet.pass.progress.snapshot();
                info!(
                    origin = %lane.scope.origin, intake = lane.scope.intake,
                    backlog_blobs = snapshot.backlog_blobs(), backlog_bytes = snapshot.backlog_bytes(),
                    waits_for = lane.driver.last_failure(),
                    "listed again: the poll before is not delivered yet",
                );
            }
            // The first listing of this pass was complete, and there is another one at the next poll.
            Err(Stop::Failed(error)) if !error.is_fatal() => {
                warn!(
                    origin = %lane.scope.origin, intake = lane.scope.intake, error = %chain(&error),
                    "could not list again; the next poll tries it",
                );
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok(())
}

/// Learns the roots where that is due. Returns the storage server's clock.
async fn learn_roots(
    memory: &mut Memory,
    lister: &Lister<'_>,
    counts: &mut Counts,
) -> Result<Option<DateTime<Utc>>, Stop> {
    // Where nothing is known yet, the walk is one call.
    let is_due = |learned: Instant| memory.roots.is_empty() || learned.elapsed() >= ROOT_WALK_EVERY;
    if memory.roots_learned.is_none_or(is_due) {
        let walked = lister.roots(&mut memory.years).await?;
        memory.roots.retain(|root, _| walked.contains(root));
        memory.held.retain_hours(|root, _| walked.contains(root));
        memory.gone.retain_hours(|root, _| walked.contains(root));
        for root in walked {
            memory.roots.entry(root).or_default();
        }
        memory.roots_learned = Some(Instant::now());
        memory.server_clock = lister.date().map(|date| (date, Instant::now()));
    }
    counts.roots = u64::try_from(memory.roots.len()).unwrap_or(u64::MAX);
    Ok(memory.server_now())
}

/// What one poll looks for. Tells the observer what came of it.
async fn look_for_everything(
    lane: &Lane,
    memory: &mut Memory,
    lister: &Lister<'_>,
    counts: &mut Counts,
    outlet: &Outlet<'_>,
) -> Result<(), Stop> {
    let result = discover_everything(lane, memory, lister, counts, outlet).await;
    match &result {
        Ok(()) => {
            if let Some(now) = memory.server_now() {
                lane.observer.listed(Sight { now, roots: counts.roots, newest_change: counts.newest_change });
            }
        }
        Err(Stop::Failed(PassError::Storage(error))) => lane.observer.not_listed(error),
        Err(Stop::Cancelled | Stop::Failed(_)) => {}
    }
    result
}

async fn discover_everything(
    lane: &Lane,
    memory: &mut Memory,
    lister: &Lister<'_>,
    counts: &mut Counts,
    outlet: &Outlet<'_>,
) -> Result<(), Stop> {
    let stored =
        lane.state.frontiers(lane.scope.clone()).await.map_err(|error| Stop::Failed(error.into()))?;
    let mut frontiers: HashMap<String, Frontier> = stored.into_iter().collect();
    let Some(now) = learn_roots(memory, lister, counts).await? else { return Ok(()) };
    // What is not listed any more is not said again either.
    let first_revisited = sweep::first_revisited(lane, now);
    let is_listed = |root: &str, hour: Hour| {
        hour >= first_revisited || frontiers.get(root).is_none_or(|frontier| !frontier.is_sealed(hour))
    };
    memory.gone.retain_hours(is_listed);
    memory.lengths.retain_hours(is_listed);
    say_gone_roots(lane, memory, counts, outlet.pass, &frontiers, Hour::containing(now).next())
        .await
        .map_err(Stop::Failed)?;
    let roots: Vec<String> = memory.roots.keys().cloned().collect();
    let to_list = hours_to_list(lane, memory, lister, outlet, (&roots, &mut frontiers), now).await?;
    list_hours(lane, memory, lister, counts, outlet, to_list).await?;
    let frontiers: Vec<_> = roots.iter().filter_map(|root| Some((root, frontiers.get(root)?))).collect();
    // A day whose listing fails waits for its next turn, an hour is tried again: so the days come first.
    for (root, frontier) in &frontiers {
        sweep::prune(lane, memory, lister, counts, outlet, (root, frontier), now).await?;
    }
    sweep::revisit(lane, memory, lister, counts, outlet, &frontiers, now).await
}

/// The hours to list now, with their roots. Brings the frontiers up to what is known then.
async fn hours_to_list<'a>(
    lane: &Lane,
    memory: &mut Memory,
    lister: &Lister<'_>,
    outlet: &Outlet<'_>,
    (roots, frontiers): (&'a [String], &mut HashMap<String, Frontier>),
    now: DateTime<Utc>,
) -> Result<BTreeMap<Hour, Vec<&'a str>>, Stop> {
    let accepted = &plan::accepted(now);
    let plan_of = |root: &String| {
        let planned = plan::plan(frontiers.get(root), lane.first_hour, now, lane.rules.seal_after);
        let is_walked = planned.walk.is_some() || !is_spelled(memory, root, now);
        (planned, is_walked)
    };
    let plans: Vec<(HourPlan, bool)> = roots.iter().map(plan_of).collect();
    let mut walks = InOrder::new(roots.iter().zip(&plans).map(|(root, (planned, is_walked))| async move {
        if *is_walked {
            lister.hours(root, accepted, |hours| planned.touches(hours)).await.map(Some)
        } else {
            Ok(None)
        }
    }));
    let mut to_list: BTreeMap<Hour, Vec<&str>> = BTreeMap::new();
    for (root, (planned, _)) in roots.iter().zip(&plans) {
        let Some(walked) = walks.next().await else { break };
        let existing = walked?.map(|walked| note_dates(memory, root, walked, now)).unwrap_or_default();
        let known = frontiers.get(root);
        let (hours, frontier) = hours_of(lane, memory, outlet, (root, known), planned, existing).await?;
        for hour in hours {
            to_list.entry(hour).or_default().push(root);
        }
        if let Some(frontier) = frontier {
            frontiers.insert(root.clone(), frontier);
        }
    }
    Ok(to_list)
}

/// Lists hours of roots, oldest first. An hour that cannot be listed does not keep the others waiting: it stays unsealed,
/// and the first such failure is the result. Where several in a row fail, the storage server is at fault.
async fn list_hours(
    lane: &Lane,
    memory: &mut Memory,
    lister: &Lister<'_>,
    counts: &mut Counts,
    outlet: &Outlet<'_>,
    to_list: BTreeMap<Hour, Vec<&str>>,
) -> Result<(), Stop> {
    let mut failed = None;
    let mut n_failed_in_a_row = 0;
    for (hour, roots) in to_list {
        let mut works = Vec::with_capacity(roots.len());
        let mut stop = None;
        let spelled = |root: &str| memory.roots.get(root).map(|sweep| sweep.spellings.clone());
        let asked: Vec<_> = roots.into_iter().filter_map(|root| Some((root, spelled(root)?))).collect();
        let mut listings =
            InOrder::new(asked.iter().map(|(root, spellings)| lister.list_hour(root, hour, spellings)));
        for (root, _) in &asked {
            let Some(listing) = listings.next().await else { break };
            let listing = match listing {
                Ok(listing) => listing,
                Err(ListingError::Storage(error)) if is_of_one_listing(&error) => {
                    n_failed_in_a_row += 1;
                    if n_failed_in_a_row >= FAILED_LISTINGS_IN_A_ROW {
                        stop = Some(ListingError::Storage(error));
                        break;
                    }
                    warn!(root, %hour, error = %chain(&error), "an hour could not be listed; the others go on");
                    failed.get_or_insert(error);
                    continue;
                }
                Err(error) => {
                    stop = Some(error);
                    break;
                }
            };
            n_failed_in_a_row = 0;
            let (hour_found, found_works) =
                compare(lane, memory, counts, outlet.pass, (root, hour), listing).await?;
            if let Some(hour_found) = hour_found {
                outlet.tell(hour_found).await?;
            }
            works.push(found_works);
        }
        // Listings under way may hold what the readers need for room to come: none waits where work is handed over.
        drop(listings);
        // Also where the next listing failed: they are taken, and this pass may go on.
        outlet.hand_over_in_turn(works).await?;
        if let Some(error) = stop {
            return Err(error.into());
        }
    }
    failed.map_or(Ok(()), |error| Err(Stop::Failed(PassError::Storage(error))))
}

/// Whether a failure may be one of this listing alone.
fn is_of_one_listing(error: &StorageError) -> bool {
    match error.kind {
        StorageErrorKind::Other(_)
        | StorageErrorKind::Transient
        | StorageErrorKind::Truncated { .. }
        | StorageErrorKind::Conflict { .. } => true,
        StorageErrorKind::Changed
        | StorageErrorKind::Archived
        | StorageErrorKind::BlobNotFound
        | StorageErrorKind::ContainerNotFound
        | StorageErrorKind::PastEnd
        | StorageErrorKind::Denied { .. }
        | StorageErrorKind::Throttled { .. } => false,
    }
}

/// The hours of a root to list now, with its frontier. `existing`: what a walk found, where there was one. Sends the
/// frontier where it is new or where a walk moved it.
async fn hours_of(
    lane: &Lane,
    memory: &mut Memory,
    outlet: &Outlet<'_>,
    (root, known): (&str, Option<&Frontier>),
    planned: &HourPlan,
    mut existing: BTreeSet<Hour>,
) -> Result<(Vec<Hour>, Option<Frontier>), Stop> {
    let HourPlan { walk, old, open } = planned.clone();
    if let (Some(stretch), Some(frontier)) = (walk, known) {
        let unsealed = frontier.first_unsealed()..stretch.before;
        let read = hours_with_positions(lane, (root, frontier), unsealed).await.map_err(Stop::Failed)?;
        existing.extend(read);
    }
    let frontier = match walk {
        Some(stretch) => plan::frontier_after_walk(known, stretch, existing.iter().copied()),
        None => match known.cloned().or_else(|| old.first().or(open.first()).copied().map(Frontier::new)) {
            Some(frontier) => frontier,
            None => return Ok((Vec::new(), None)),
        },
    };
    let walked = walk.map(|stretch| frontier.unsealed_through(stretch.before.previous()).collect::<Vec<_>>());
    let hours =
        walked.unwrap_or(old).into_iter().chain(open.into_iter().filter(|hour| !frontier.is_sealed(*hour)));
    let hours = hours.collect();
    // The committer may not have come to it yet.
    if known != Some(&frontier) && memory.told.get(root) != Some(&frontier) {
        memory.told.insert(root.to_owned(), frontier.clone());
        let root = root.to_owned();
        let found = match walk {
            Some(stretch) => Found::Walked { root, stretch, existing },
            None => Found::Root { root, first_hour: frontier.first_unsealed() },
        };
        outlet.tell(found).await?;
    }
    Ok((hours, Some(frontier)))
}

/// Whether it is known how the dates of a root are spelled. Where no walk is planned, that is looked at once an hour: a
/// spelling that is new is known before an hour in it can be sealed.
fn is_spelled(memory: &Memory, root: &str, now: DateTime<Utc>) -> bool {
    memory.roots.get(root).is_none_or(|sweep| sweep.spelled == Some(Hour::containing(now)))
}

/// Takes note of how the dates of a root are spelled. Returns the planned hours that exist.
fn note_dates(memory: &mut Memory, root: &str, walked: Walked, now: DateTime<Utc>) -> BTreeSet<Hour> {
    if let Some(sweep) = memory.roots.get_mut(root) {
        sweep.spellings.extend(walked.spellings);
        sweep.spelled = Some(Hour::containing(now));
    }
    for (prefix, reason) in walked.strange {
        if !memory.strange.contains(&prefix) {
            warn!(prefix, %reason, "a date in the container is not that of a flow log");
            memory.strange.insert(prefix);
        }
    }
    walked.hours
}
