//! Finds what is new: lists the unsealed hours of every root, oldest first, and compares with the stored positions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Lane, PassError,
    commit::Found,
    listing::{Lister, Listing, ListingError},
    plan::{self, HourPlan},
};
use crate::{
    checkpoint::{Frontier, Position, TailState},
    flowlog::path,
    model::{BlobName, BlobVersion, ETag, Hour, HourlyBlob},
};

/// The roots are learned again this often: a new flow log's first hour is open for longer than this.
const ROOT_WALK_EVERY: std::time::Duration = std::time::Duration::from_secs(300);

/// A blob with something to read.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// The blob.
    pub(super) blob: HourlyBlob,
    /// The version that the listing showed.
    pub(super) version: BlobVersion,
    /// The stored position.
    pub(super) position: Option<Position>,
    /// Whether the blob's time to be sealed has come: a last record that is still incomplete enters the quarantine.
    pub(super) sealing: bool,
}

/// What discovery keeps from pass to pass; all of it can be learned again.
#[derive(Debug, Default)]
pub struct Memory {
    roots: BTreeSet<String>,
    roots_learned: Option<Instant>,
    server_clock: Option<(DateTime<Utc>, Instant)>,
    /// Blobs that are held because of damage, with the version that was found damaged.
    pub(super) held: HashMap<BlobName, ETag>,
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
}

/// One pass of discovery. Ends early, without error, when it is cancelled or when the readers are gone.
pub(super) async fn run(
    lane: &Lane,
    memory: &mut Memory,
    found: mpsc::Sender<Found>,
    work: mpsc::Sender<Work>,
    cancelled: CancellationToken,
) -> (Counts, Result<(), PassError>) {
    let mut lister = Lister::new(lane.storage.as_ref(), &cancelled);
    let mut counts = Counts::default();
    let result = discover(lane, memory, &mut lister, &mut counts, &found, &work).await;
    counts.list_calls = lister.calls;
    if let Some(date) = lister.date {
        memory.server_clock = Some((date, Instant::now()));
    }
    let result = match result {
        Ok(()) | Err(Stop::Cancelled) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
    };
    (counts, result)
}

/// Why discovery ends before its end.
enum Stop {
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

async fn discover(
    lane: &Lane,
    memory: &mut Memory,
    lister: &mut Lister<'_>,
    counts: &mut Counts,
    found: &mpsc::Sender<Found>,
    work: &mpsc::Sender<Work>,
) -> Result<(), Stop> {
    let stored =
        lane.state.frontiers(lane.scope.clone()).await.map_err(|error| Stop::Failed(error.into()))?;
    let frontiers: HashMap<String, Frontier> = stored.into_iter().collect();
    if memory.roots_learned.is_none_or(|learned| learned.elapsed() >= ROOT_WALK_EVERY) {
        memory.roots = lister.roots().await?;
        memory.roots_learned = Some(Instant::now());
        memory.server_clock = lister.date.map(|date| (date, Instant::now()));
    }
    let Some(now) = memory.server_now() else { return Ok(()) };

    let mut to_list: BTreeMap<Hour, Vec<&str>> = BTreeMap::new();
    for root in &memory.roots {
        for hour in hours_of(lane, lister, found, root, frontiers.get(root), now).await? {
            to_list.entry(hour).or_default().push(root);
        }
    }
    for (hour, roots) in to_list {
        for root in roots {
            let listing = lister.list(&format!("{root}/{}", hour.prefix()), None).await?;
            let (hour_found, works) = compare(lane, &mut memory.held, counts, root, hour, listing).await?;
            send(found, hour_found).await?;
            for one in works {
                send(work, one).await?;
            }
        }
    }
    Ok(())
}

/// The hours of a root to list now. Sends the root's frontier where it is new or where a walk moved it.
async fn hours_of(
    lane: &Lane,
    lister: &mut Lister<'_>,
    found: &mpsc::Sender<Found>,
    root: &str,
    known: Option<&Frontier>,
    now: DateTime<Utc>,
) -> Result<Vec<Hour>, Stop> {
    let HourPlan { walk, old, open } = plan::plan(known, lane.first_hour, now, lane.seal_after);
    let frontier = match walk {
        Some(stretch) => plan::frontier_after_walk(known, stretch, lister.hours(root, stretch).await?),
        None => match known.cloned().or_else(|| old.first().or(open.first()).copied().map(Frontier::new)) {
            Some(frontier) => frontier,
            None => return Ok(Vec::new()),
        },
    };
    let walked = walk.map(|stretch| frontier.unsealed_through(stretch.before.previous()).collect::<Vec<_>>());
    let hours =
        walked.unwrap_or(old).into_iter().chain(open.into_iter().filter(|hour| !frontier.is_sealed(*hour)));
    let hours = hours.collect();
    if known != Some(&frontier) {
        send(found, Found::Frontier { root: root.to_owned(), frontier }).await?;
    }
    Ok(hours)
}

/// Compares a complete listing of an hour with the stored positions.
async fn compare(
    lane: &Lane,
    held: &mut HashMap<BlobName, ETag>,
    counts: &mut Counts,
    root: &str,
    hour: Hour,
    listing: Listing,
) -> Result<(Found, Vec<Work>), Stop> {
    let stored = lane.state.positions(lane.scope.clone(), root.to_owned(), hour).await;
    let mut stored: HashMap<HourlyBlob, Position> =
        stored.map_err(|error| Stop::Failed(error.into()))?.into_iter().collect();
    let mut works = Vec::new();
    let mut sealable = is_past(listing.date, hour.end(), lane.seal_after);
    for version in listing.blobs {
        let Some(blob) = path::parse(&version.name) else { continue };
        if blob.root() != root || blob.hour() != hour || version.length == 0 {
            continue;
        }
        counts.blobs_listed = counts.blobs_listed.saturating_add(1);
        let sealing = is_past(listing.date, hour.end().max(version.last_modified), lane.seal_after);
        sealable &= sealing;
        let position = stored.remove(&blob);
        match position.as_ref().and_then(|position| position.seen.as_ref()) {
            Some(seen) if seen.etag == version.etag && (seen.tail != TailState::Incomplete || !sealing) => {
                continue;
            }
            _ => {}
        }
        let is_held = held.get(&version.name) == Some(&version.etag);
        if is_held && !sealing {
            counts.held = counts.held.saturating_add(1);
            sealable = false;
            continue;
        }
        if held.remove(&version.name).is_some() && !is_held {
            warn!(blob = %version.name, "a blob that was held because of damage has changed: reading it again");
        }
        works.push(Work { blob, version, position, sealing });
    }
    let outstanding = works.iter().map(|work| (work.blob.clone(), work.version.etag.clone())).collect();
    let found = Found::Hour { root: root.to_owned(), hour, sealable, outstanding };
    Ok((found, works))
}

/// Whether `now` is `after` or more past `moment`.
fn is_past(now: DateTime<Utc>, moment: DateTime<Utc>, after: std::time::Duration) -> bool {
    now.signed_duration_since(moment).to_std().is_ok_and(|past| past >= after)
}

/// A receiver that is gone has failed and reports it itself.
async fn send<T>(sender: &mpsc::Sender<T>, message: T) -> Result<(), Stop> {
    sender.send(message).await.map_err(|_| Stop::Cancelled)
}
