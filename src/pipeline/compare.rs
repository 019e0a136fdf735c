//! Compares a complete listing of an hour with the stored positions.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use tracing::warn;

use super::{
    Lane, Pass,
    commit::Found,
    discover::{Counts, Memory, Stop, Work, say_gone},
    listing::Listing,
};
use crate::{
    checkpoint::{Position, TailState},
    flowlog::path,
    model::{Hour, HourlyBlob},
};

/// What the committer must know of the hour, where its time to be sealed has come, and the blobs with something to read.
pub(super) async fn compare(
    lane: &Lane,
    memory: &mut Memory,
    counts: &mut Counts,
    pass: &Pass,
    (root, hour): (&str, Hour),
    listing: Listing,
) -> Result<(Option<Found>, Vec<Work>), Stop> {
    let is_meant = |blob: &HourlyBlob| blob.root() == root && blob.hour() == hour;
    let blobs = listing.blobs.into_iter().filter_map(|version| Some((path::parse(&version.name)?, version)));
    let blobs: Vec<_> = blobs.filter(|(blob, _)| is_meant(blob)).collect();
    // Before the positions are asked for: the position of a blob that is taken here does not move any more.
    let mut taken: HashSet<HourlyBlob> =
        blobs.iter().map(|(blob, _)| blob).filter(|blob| pass.outstanding.take(blob)).cloned().collect();
    let stored = lane.state.positions(lane.scope.clone(), root.to_owned(), hour).await;
    let mut stored: HashMap<HourlyBlob, Position> =
        stored.map_err(|error| Stop::Failed(error.into()))?.into_iter().collect();
    // A complete listing lacks what is not noted anew.
    let mut held = memory.held.take(root, hour);
    let mut works = Vec::new();
    let mut sealable = is_past(listing.date, hour.end(), lane.rules.seal_after);
    for (blob, version) in blobs {
        let position = stored.remove(&blob);
        if version.length == 0 || !lane.filter.wants(&version.name) {
            continue;
        }
        counts.blobs_listed = counts.blobs_listed.saturating_add(1);
        counts.newest_change = counts.newest_change.max(Some(version.last_modified));
        let sealing = is_past(listing.date, hour.end().max(version.last_modified), lane.rules.seal_after);
        sealable &= sealing;
        match position.as_ref().and_then(|position| position.seen.as_ref()) {
            Some(seen) if seen.etag == version.etag && (seen.tail != TailState::Incomplete || !sealing) => {
                continue;
            }
            _ => {}
        }
        let held_version = held.remove(&version.name);
        let is_held = held_version.as_ref() == Some(&version.etag);
        if is_held && !sealing {
            counts.held = counts.held.saturating_add(1);
            sealable = false;
            memory.held.insert(&version.name, version.etag);
            continue;
        }
        if held_version.is_some() && !is_held {
            warn!(blob = %version.name, "a blob that was held because of damage has changed: reading it again");
        }
        if !taken.remove(&blob) {
            // Its position is about to move: what is new in it comes after that.
            sealable = false;
            continue;
        }
        works.push(Work { blob, version, position, sealing });
    }
    // There is nothing to read in them.
    for blob in &taken {
        pass.outstanding.done(blob);
    }
    // A complete listing lacks them.
    for (blob, position) in stored {
        if position.seen.is_none() {
            say_gone(lane, memory, counts, blob.name(), (position.bytes().unwrap_or_default(), None));
        }
    }
    let outstanding = || works.iter().map(|work| (work.blob.clone(), work.version.etag.clone())).collect();
    let found = sealable.then(|| Found::Hour { root: root.to_owned(), hour, outstanding: outstanding() });
    Ok((found, works))
}

/// Whether `now` is `after` or more past `moment`.
fn is_past(now: DateTime<Utc>, moment: DateTime<Utc>, after: std::time::Duration) -> bool {
    now.signed_duration_since(moment).to_std().is_ok_and(|past| past >= after)
}
