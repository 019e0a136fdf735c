//! What is done in turn, a little at each poll: sealed hours that are young enough to be appended to are listed again, and
//! days of which positions are stored, for what is gone from them and for what came to them late.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Timelike as _, Utc};
use tokio::time::Instant;
use tracing::{debug, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Lane,
    commit::Found,
    compare::compare,
    discover::{Counts, Memory, Outlet, Stop},
    listing::{InOrder, Lister, Listing},
    plan,
};
use crate::{
    checkpoint::Frontier,
    flowlog::path::{self, DateSpelling},
    model::{BlobVersion, Hour},
    store::{FirstHour, StoreError},
    telemetry::chain,
};

/// How far the turns of one root are.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The sealed hour that was listed again last.
    revisited: Option<Hour>,
    /// When positions were pruned last, and of which day.
    pruned: Option<(Instant, Hour)>,
    /// How the dates of the root were found spelled.
    pub(super) spellings: BTreeSet<DateSpelling>,
    /// The hour in which that was looked at last.
    pub(super) spelled: Option<Hour>,
}

/// One day of a root is pruned this often: a month of days comes round in little more than a day.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// Lists one sealed hour of each root again, the next one in turn. An hour with something new in it is unsealed, and so is
/// one hour like any other until it is sealed anew.
pub(super) async fn revisit(
    lane: &Lane,
    memory: &mut Memory,
    lister: &Lister<'_>,
    counts: &mut Counts,
    outlet: &Outlet<'_>,
    frontiers: &[(&String, &Frontier)],
    now: DateTime<Utc>,
) -> Result<(), Stop> {
    let first = first_revisited(lane, now);
    let before = plan::first_open_hour(now, lane.rules.seal_after);
    let mut turns = Vec::with_capacity(frontiers.len());
    for (root, frontier) in frontiers {
        let Some(sweep) = memory.roots.get(*root) else { continue };
        let last = sweep.revisited.or_else(|| anywhere(first, before, now));
        if let Some(hour) = next_sealed(frontier, first, before, last) {
            turns.push((root.as_str(), hour, sweep.spellings.clone()));
        }
    }
    let mut listings =
        InOrder::new(turns.iter().map(|(root, hour, spellings)| lister.list_hour(root, *hour, spellings)));
    let mut listed = Vec::with_capacity(turns.len());
    let mut failed = Ok(());
    for (root, hour, _) in &turns {
        match listings.next().await {
            Some(Ok(listing)) => listed.push((*root, *hour, listing)),
            Some(Err(error)) => {
                failed = Err(error.into());
                break;
            }
            None => break,
        }
    }
    // Listings under way may hold what the readers need for room to come: none waits where work is handed over.
    drop(listings);
    for (root, hour, listing) in listed {
        if let Some(sweep) = memory.roots.get_mut(root) {
            sweep.revisited = Some(hour);
        }
        reopen_if_changed(lane, memory, counts, outlet, (root, hour), listing).await?;
    }
    failed
}

/// Unseals an hour where its listing shows something new.
async fn reopen_if_changed(
    lane: &Lane,
    memory: &mut Memory,
    counts: &mut Counts,
    outlet: &Outlet<'_>,
    (root, hour): (&str, Hour),
    listing: Listing,
) -> Result<(), Stop> {
    let (found, works) = compare(lane, memory, counts, outlet.pass, (root, hour), listing).await?;
    if works.is_empty() {
        return Ok(());
    }
    warn!(root, %hour, blobs = works.len(), "a sealed hour has changed: it is read again where it is new");
    outlet.tell(Found::Reopened { root: root.to_owned(), hour }).await?;
    if let Some(found) = found {
        outlet.tell(found).await?;
    }
    outlet.hand_over_in_turn(vec![works]).await
}

/// Forgets positions of blobs that are gone: of one day of a root, the next one in turn. Only a complete listing of the
/// whole day tells what is gone. It also tells what came to a sealed hour when nobody looked at it any more: after an
/// outage longer than `revisit` there are hours that had not been listed a last time.
pub(super) async fn prune(
    lane: &Lane,
    memory: &mut Memory,
    lister: &Lister<'_>,
    counts: &mut Counts,
    outlet: &Outlet<'_>,
    (root, frontier): (&str, &Frontier),
    now: DateTime<Utc>,
) -> Result<(), Stop> {
    let Some(sweep) = memory.roots.get_mut(root) else { return Ok(()) };
    if !is_prune_due(root, sweep.pruned.map(|(at, _)| at.elapsed()), now) {
        return Ok(());
    }
    let failed = |error: StoreError| Stop::Failed(error.into());
    let (scope, state) = (&lane.scope, &lane.state);
    let day_after = |after| state.stored_day(scope.clone(), root.to_owned(), after);
    let Some(oldest) = day_after(None).await.map_err(failed)? else { return Ok(()) };
    let last = sweep.pruned.map(|(_, day)| day).or_else(|| anywhere(oldest, Hour::containing(now), now));
    let day = day_after(last).await.map_err(failed)?.unwrap_or(oldest);
    // A listing that fails is not tried again at once: the day has its turn when it comes round again.
    sweep.pruned = Some((Instant::now(), day));
    if !frontier.is_sealed(day) {
        return Ok(());
    }
    let Listing { blobs, date, .. } = lister.list_day(root, day, &sweep.spellings).await?;
    let mut hours: BTreeMap<Hour, Vec<BlobVersion>> = BTreeMap::new();
    let mut present = Vec::with_capacity(blobs.len());
    for version in blobs {
        let Some(blob) = path::parse(&version.name) else { continue };
        if frontier.is_sealed(blob.hour()) && is_read(lane, blob.hour()) {
            hours.entry(blob.hour()).or_default().push(version);
        }
        present.push(blob);
    }
    for (hour, blobs) in hours {
        reopen_if_changed(
            lane,
            memory,
            counts,
            outlet,
            (root, hour),
            Listing { blobs, prefixes: Vec::new(), date },
        )
        .await?;
    }
    // A blob that is gone may still be on its way.
    present.extend(outlet.pass.outstanding.under_way(root));
    let pruned = match state.prune(scope.clone(), root.to_owned(), day, present).await {
        Err(error) if error.is_transient() => {
            warn!(
                root, %day, error = %chain(&error),
                "positions of blobs that are gone stay until the day's next turn: make room in the state directory",
            );
            return Ok(());
        }
        pruned => pruned.map_err(failed)?,
    };
    lane.metrics.progress.positions_pruned.inc_by(pruned.blobs);
    if pruned.blobs > 0 {
        debug!(root, %day, positions = pruned.blobs, unfinished = pruned.unfinished, "positions of blobs that are gone were forgotten");
    }
    Ok(())
}

/// Whether it is a root's turn. A process that remembers no turn takes it in one minute of the hour: single passes
/// remember nothing, and would take it each time.
fn is_prune_due(root: &str, elapsed: Option<Duration>, now: DateTime<Utc>) -> bool {
    match elapsed {
        Some(elapsed) => elapsed >= PRUNE_EVERY,
        None => now.minute() == minute_of(root),
    }
}

/// The minute of the hour in which a root has its turn, where none is remembered: roots are spread over the hour, so that
/// no poll lists a day of all of them.
fn minute_of(root: &str) -> u32 {
    u32::try_from(xxh3_64(root.as_bytes()) % 60).unwrap_or_default()
}

/// The oldest hour that is young enough, and not before the first hour of all.
pub(super) fn first_revisited(lane: &Lane, now: DateTime<Utc>) -> Hour {
    let first = plan::first_young_hour(now, lane.rules.revisit);
    match lane.first_hour {
        FirstHour::Beginning => first,
        FirstHour::At(hour) => first.max(hour),
    }
}

/// Whether an hour is one that is read at all.
fn is_read(lane: &Lane, hour: Hour) -> bool {
    match lane.first_hour {
        FirstHour::Beginning => true,
        FirstHour::At(first) => hour >= first,
    }
}

/// Where turns begin if no hour had one yet. Another place at another time: single passes remember nothing, and would
/// list the same hour each time.
fn anywhere(first: Hour, before: Hour, now: DateTime<Utc>) -> Option<Hour> {
    // Steps of the golden section come close to every place soon, whatever the time between two passes.
    const GOLDEN_SECTION: u32 = 0x9E37_79B9;
    let minute = u32::try_from(now.timestamp().div_euclid(60)).unwrap_or_default();
    let n_hours = u32::try_from(before.number().checked_sub(first.number())?).ok()?;
    let place = (u64::from(minute.wrapping_mul(GOLDEN_SECTION)) * u64::from(n_hours)) >> u32::BITS;
    Some(Hour::from_number(first.number().saturating_add(i64::try_from(place).ok()?)))
}

/// The first sealed hour after `last` in `first..before`, or from its beginning on.
fn next_sealed(frontier: &Frontier, first: Hour, before: Hour, last: Option<Hour>) -> Option<Hour> {
    let sealed =
        || (first.number()..before.number()).map(Hour::from_number).filter(|hour| frontier.is_sealed(*hour));
    sealed().find(|hour| last.is_none_or(|last| *hour > last)).or_else(|| sealed().next())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::TimeDelta;

    use super::*;

    /// Scenario: hours 10 to 14, of which some are sealed, in turn. Guarantees: each sealed one comes once before any
    /// comes again; an unsealed one and one outside never.
    #[test]
    fn sealed_hours_come_in_turn() {
        let hour = Hour::from_number;
        let frontier = Frontier::from_parts(hour(12), [hour(13)]);
        let next =
            |last: Option<i64>| next_sealed(&frontier, hour(10), hour(15), last.map(hour)).map(Hour::number);
        assert_eq!(next(None), Some(10));
        assert_eq!(next(Some(10)), Some(11));
        assert_eq!(next(Some(11)), Some(13));
        assert_eq!(next(Some(13)), Some(10));
        assert_eq!(next(Some(3)), Some(10));
        assert_eq!(next_sealed(&frontier, hour(14), hour(15), None), None);
        assert_eq!(next_sealed(&frontier, hour(15), hour(15), None), None);
    }

    /// *Scenario*: a thousand roots whose names are equally long, at the start of a process.
    /// *Guarantees*: each has its turn in one minute of the hour, and no minute has the turns of many.
    #[test]
    fn days_are_pruned_at_all_times() {
        let mut turns = [0; 60];
        for number in 0..1_000 {
            let root = format!("flowLogResourceID=/S_RG/NETWORKWATCHER_LOG{number:04}");
            let begin = Hour::from_number(1_000).start();
            let due = |minute: &usize| {
                is_prune_due(&root, None, begin + TimeDelta::minutes(i64::try_from(*minute).unwrap()))
            };
            let minutes: Vec<usize> = (0..60).filter(due).collect();
            assert_eq!(minutes.len(), 1, "{root}");
            turns[minutes[0]] += 1;
        }
        assert!(turns.iter().all(|n_roots| *n_roots < 50), "{turns:?}");
    }

    /// Scenario: 48 hours, and a single pass a minute or an hour. Guarantees: turns begin at every one of them before
    /// long, and nowhere else.
    #[test]
    fn single_passes_begin_anywhere() {
        let (first, before) = (Hour::from_number(1_000), Hour::from_number(1_048));
        for minutes in [1_i64, 60] {
            let now = |pass| before.start() + TimeDelta::minutes(pass * minutes);
            let begun: BTreeSet<i64> =
                (0..144).filter_map(|pass| anywhere(first, before, now(pass))).map(Hour::number).collect();
            assert_eq!(begun, (1_000..1_048).collect());
        }
        assert_eq!(anywhere(before, first, before.start()), None);
        assert_eq!(anywhere(first, first, first.start()), Some(first));
    }
}
