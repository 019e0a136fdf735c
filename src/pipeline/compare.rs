//! Compares a complete listing of an hour with the stored positions.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tracing::warn;

use super::{
    Lane, Pass,
    commit::Found,
    discover::{Counts, Memory, Stop, Work},
    gone::{Loss, loss, say_gone},
    listing::Listing,
    noted::HeldFor,
    outstanding::Taken,
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
    let mut taken: HashMap<HourlyBlob, Taken> =
        blobs.iter().map(|(blob, version)| (blob.clone(), pass.outstanding.take(blob, version))).collect();
    let under_way = pass.outstanding.under_way(root);
    let stored = lane.state.positions(lane.scope.clone(), root.to_owned(), hour).await;
    let mut stored: HashMap<HourlyBlob, Position> =
        stored.map_err(|error| Stop::Failed(error.into()))?.into_iter().collect();
    // A complete listing lacks what is not noted anew.
    let mut held = memory.held.take(root, hour);
    let mut lengths = memory.lengths.take(root, hour);
    let mut works = Vec::new();
    let mut is_waited_for = false;
    let mut is_over = is_past(listing.date, hour.end(), lane.rules.seal_after);
    for (blob, version) in blobs {
        let position = stored.remove(&blob);
        lengths.remove(&version.name);
        if !lane.filter.wants(&version.name) {
            continue;
        }
        let sealing = is_past(listing.date, hour.end().max(version.last_modified), lane.rules.seal_after);
        is_over &= sealing;
        if version.length == 0 {
            continue;
        }
        counts.blobs_listed = counts.blobs_listed.saturating_add(1);
        counts.newest_change = counts.newest_change.max(Some(version.last_modified));
        match position.as_ref().and_then(|position| position.seen.as_ref()) {
            Some(seen) if seen.etag == version.etag && (seen.tail != TailState::Incomplete || !sealing) => {
                continue;
            }
            _ => {}
        }
        let held_version = held.remove(&version.name);
        let is_held = held_version.as_ref().is_some_and(|held| held.etag == version.etag);
        if let Some(held) =
            held_version.as_ref().filter(|held| is_held && (!sealing || held.reason == HeldFor::Ledger))
        {
            counts.held = counts.held.saturating_add(1);
            is_waited_for = true;
            memory.held.insert(&version.name, held.clone());
            continue;
        }
        if held_version.is_some() && !is_held {
            warn!(blob = %version.name, "a blob that was held has changed: reading it again");
        }
        match taken.remove(&blob) {
            Some(Taken::Now) => works.push(Work { blob, version, position, sealing }),
            // Its position is about to move: what is new in it comes after that.
            Some(Taken::BeforeItChanged) => is_over = false,
            Some(Taken::Before | Taken::GivenUp) | None => is_waited_for = true,
        }
    }
    for blob in taken.iter().filter_map(|(blob, taken)| (*taken == Taken::Now).then_some(blob)) {
        // There is nothing to read in it.
        pass.outstanding.done(blob);
    }
    // A complete listing lacks them. What a reader has is its to tell.
    for (blob, position) in stored {
        let listed_length = lengths.remove(blob.name());
        if under_way.contains(&blob) {
            continue;
        }
        if let Some(loss) = loss(&position, listed_length) {
            say_gone(lane, memory, counts, blob.name(), loss);
        }
    }
    for (name, length) in lengths {
        if path::parse(&name).is_some_and(|blob| !under_way.contains(&blob)) {
            say_gone(lane, memory, counts, &name, Loss { read_bytes: 0, unread_bytes: Some(length) });
        }
    }
    let key = (root.to_owned(), hour);
    if !is_over {
        let found = memory.awaited.remove(&key).then(|| Found::Growing { root: root.to_owned(), hour });
        return Ok((found, works));
    }
    if is_waited_for {
        return Ok((None, works));
    }
    let outstanding: HashMap<_, _> =
        works.iter().map(|work| (work.blob.clone(), work.version.etag.clone())).collect();
    if !outstanding.is_empty() {
        memory.awaited.insert(key);
    }
    Ok((Some(Found::Hour { root: root.to_owned(), hour, outstanding }), works))
}

/// Whether `now` is `after` or more past `moment`.
fn is_past(now: DateTime<Utc>, moment: DateTime<Utc>, after: std::time::Duration) -> bool {
    now.signed_duration_since(moment).to_std().is_ok_and(|past| past >= after)
}
