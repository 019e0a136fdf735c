//! Lists a container again and compares it with what is stored, hour by hour.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    ops::Range,
    sync::Arc,
};

use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

use super::{
    deep::{Deep, recount},
    judge::{Facts, HourState, Wanted, judge},
    show::Entry,
};
use crate::{
    checkpoint::{ContextHash, Frontier, Position, TailState},
    flowlog::path::{self, DateSpelling},
    model::{BlobVersion, Hour, HourlyBlob, Scope},
    pipeline::{
        filter::BlobFilter,
        listing::{Lister, ListingError, Walked},
        plan,
    },
    settings::Source,
    storage::{BlobStore, StorageError},
    store::{
        FirstHour, StateStore as _, StoreError,
        sqlite::{QuarantineFilter, SqliteStore, StoredPosition},
    },
    telemetry::metrics::Counter,
};

/// Why an audit came to no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditError {
    /// The source could not be listed.
    #[error("list the source again")]
    Unlisted(#[source] StorageError),
    /// A blob could not be read again.
    #[error("read blob {blob} again: {reason}")]
    Unread {
        /// The blob.
        blob: String,
        /// Why.
        reason: String,
    },
    /// The state could not be read.
    #[error("read the state")]
    State(#[source] StoreError),
    /// The result could not be written.
    #[error("write to stdout")]
    Output(#[source] io::Error),
}

impl From<ListingError> for AuditError {
    fn from(error: ListingError) -> Self {
        match error {
            ListingError::Storage(error) => Self::Unlisted(error),
            // Nobody cancels an audit.
            ListingError::Cancelled => Self::Output(io::ErrorKind::Interrupted.into()),
        }
    }
}

impl From<StoreError> for AuditError {
    fn from(error: StoreError) -> Self {
        Self::State(error)
    }
}

/// A container on its way to some intakes.
#[derive(Debug)]
pub(super) struct Container<'a> {
    pub(super) source: &'a Source,
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) filter: &'a BlobFilter,
    /// One for each intake.
    pub(super) scopes: Vec<Scope>,
}

/// How an audit is done.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) hours: Range<Hour>,
    /// Reads blobs again whose records have at most so many bytes; `None`: compares the listing only.
    pub(super) deep: Option<usize>,
}

/// What is stored for an intake, read before the source is listed: what is stored meanwhile was listed too.
struct Lane {
    scope: Scope,
    /// `None` where nothing was decided: the daemon has not begun.
    first_hour: Option<FirstHour>,
    frontiers: HashMap<String, Frontier>,
}

impl Lane {
    fn wanted(&self, filter: &BlobFilter, blob: &HourlyBlob) -> Wanted {
        if !filter.wants(blob.name()) {
            return Wanted::Filtered;
        }
        match self.first_hour {
            Some(FirstHour::At(first)) if blob.hour() < first => Wanted::BeforeFirstHour,
            Some(FirstHour::At(_) | FirstHour::Beginning) | None => Wanted::Yes,
        }
    }

    /// `first_young`: the first hour that is looked at again though it is sealed.
    fn hour(&self, root: &str, hour: Hour, first_young: Hour) -> HourState {
        match self.frontiers.get(root) {
            Some(frontier) if frontier.is_sealed(hour) && hour < first_young => HourState::Over,
            Some(frontier) if frontier.is_sealed(hour) => HourState::Young,
            Some(_) | None => HourState::Open,
        }
    }
}

/// One hour of a root: what the source has, and what is stored for each lane.
struct HourFacts {
    listed: HashMap<HourlyBlob, BlobVersion>,
    stored: Vec<HashMap<HourlyBlob, StoredPosition>>,
    /// For each lane.
    states: Vec<HourState>,
}

impl Container<'_> {
    /// Calls `each` with every blob and intake of the hours, in the order of root, hour and blob.
    ///
    /// # Errors
    /// As [`AuditError`] says: what cannot be listed or read is never taken for "no hole".
    pub(super) async fn audit(
        &self,
        state: &mut SqliteStore,
        plan: &Plan,
        progress: &ProgressBar,
        each: &mut impl FnMut(&Entry<'_>) -> io::Result<()>,
    ) -> Result<(), AuditError> {
        let mut lanes = Vec::with_capacity(self.scopes.len());
        for scope in &self.scopes {
            lanes.push(Lane {
                scope: scope.clone(),
                first_hour: state.stored_first_hour(scope)?,
                frontiers: state.frontiers(scope)?.into_iter().collect(),
            });
        }
        let (never, uncounted) = (CancellationToken::new(), Counter::default());
        let lister = Lister::new(self.store.as_ref(), &never, &uncounted);
        let listed_roots = lister.roots(&mut std::collections::HashSet::new()).await?;
        // The walk to the roots begins with a listing.
        let Some(now) = lister.date() else { return Ok(()) };
        let accepted = plan::accepted(now);
        let first_young = plan::first_young_hour(now, self.source.revisit);
        let known_roots = lanes.iter().flat_map(|lane| lane.frontiers.keys().cloned());
        let roots: BTreeSet<String> = listed_roots.iter().cloned().chain(known_roots).collect();
        for root in &roots {
            let mut walked = Walked::default();
            if listed_roots.contains(root) {
                let is_meant =
                    |hours: &Range<Hour>| hours.start < plan.hours.end && hours.end > plan.hours.start;
                walked = lister.hours(root, &accepted, is_meant).await?;
            }
            let mut hours = walked.hours.clone();
            for lane in &lanes {
                hours.extend(stored_hours(state, &lane.scope, root, &plan.hours)?);
            }
            progress.inc_length(u64::try_from(hours.len()).unwrap_or(u64::MAX));
            for hour in hours {
                let exists = walked.hours.contains(&hour).then_some(&walked.spellings);
                let facts = look(state, &lister, &lanes, (root, hour), exists, first_young).await?;
                self.compare(state, &lanes, plan, &facts, each).await?;
                progress.inc(1);
            }
        }
        Ok(())
    }

    async fn compare(
        &self,
        state: &SqliteStore,
        lanes: &[Lane],
        plan: &Plan,
        facts: &HourFacts,
        each: &mut impl FnMut(&Entry<'_>) -> io::Result<()>,
    ) -> Result<(), AuditError> {
        let HourFacts { listed, stored, states } = facts;
        let blobs: BTreeSet<&HourlyBlob> =
            listed.keys().chain(stored.iter().flat_map(HashMap::keys)).collect();
        for blob in blobs {
            // Intakes that stand level share a reading.
            let mut recounts: BTreeMap<u64, (ContextHash, Deep)> = BTreeMap::new();
            for ((lane, stored), hour) in lanes.iter().zip(stored).zip(states) {
                let mut version = listed.get(blob);
                let stored = stored.get(blob);
                if version.is_none() && stored.is_none() {
                    continue;
                }
                let position = stored.map(|stored| &stored.position);
                let wanted = lane.wanted(self.filter, blob);
                let mut recounted = None;
                if let (Some(record_limit), Some(_), Some(at)) =
                    (plan.deep, version, position.and_then(|position| position.offset))
                    && wanted != Wanted::Filtered
                {
                    match self.recount(blob, at, record_limit, &mut recounts).await? {
                        Deep::Counted(counted) => recounted = Some(counted),
                        Deep::Gone => version = None,
                    }
                }
                let verdict = judge(&Facts {
                    wanted,
                    hour: *hour,
                    listed: version,
                    position,
                    ledger: stored.and_then(|stored| stored.ledger),
                    is_rest_kept: is_rest_kept(state, &lane.scope, blob, position)?,
                    recounted,
                });
                let entry = Entry {
                    source: &self.source.name,
                    scope: &lane.scope,
                    blob,
                    seen: version.map(|version| version.length),
                    consumed: position.map(|position| position.bytes().unwrap_or_default()),
                    ledger: stored.and_then(|stored| stored.ledger),
                    is_sealed: *hour != HourState::Open,
                    verdict,
                };
                each(&entry).map_err(AuditError::Output)?;
            }
        }
        Ok(())
    }

    async fn recount(
        &self,
        blob: &HourlyBlob,
        (offset, hash): (u64, ContextHash),
        record_limit: usize,
        known: &mut BTreeMap<u64, (ContextHash, Deep)>,
    ) -> Result<Deep, AuditError> {
        match known.get(&offset) {
            Some((of, deep)) if *of == hash => return Ok(*deep),
            Some(_) | None => {}
        }
        let read = recount(self.store.as_ref(), blob.name(), (offset, hash), record_limit).await;
        let unread = |reason| AuditError::Unread { blob: blob.name().to_string(), reason };
        let deep = read.map_err(unread)?;
        known.insert(offset, (hash, deep));
        Ok(deep)
    }
}

/// What there is of one hour. `exists`: how its dates are spelled, where the source has it.
async fn look(
    state: &SqliteStore,
    lister: &Lister<'_>,
    lanes: &[Lane],
    (root, hour): (&str, Hour),
    exists: Option<&BTreeSet<DateSpelling>>,
    first_young: Hour,
) -> Result<HourFacts, AuditError> {
    let mut stored = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let positions = state.stored_hour(&lane.scope, root, hour)?;
        stored.push(positions.into_iter().map(|stored| (stored.blob.clone(), stored)).collect());
    }
    let mut listed = HashMap::new();
    if let Some(spellings) = exists {
        for version in lister.list_hour(root, hour, spellings).await?.blobs {
            if let Some(blob) =
                path::parse(&version.name).filter(|blob| blob.root() == root && blob.hour() == hour)
            {
                listed.insert(blob, version);
            }
        }
    }
    let states = lanes.iter().map(|lane| lane.hour(root, hour, first_young)).collect();
    Ok(HourFacts { listed, stored, states })
}

/// The hours of a stretch that may have positions.
fn stored_hours(
    state: &mut SqliteStore,
    scope: &Scope,
    root: &str,
    hours: &Range<Hour>,
) -> Result<BTreeSet<Hour>, StoreError> {
    let mut found = BTreeSet::new();
    let mut after = hours.start.day().previous();
    while let Some(day) = state.stored_day(scope, root, Some(after))?.filter(|day| *day < hours.end) {
        found.extend(day.hours_of_day().filter(|hour| hours.contains(hour)));
        after = day;
    }
    Ok(found)
}

/// Whether the record without an end that a position stands before is in the quarantine.
fn is_rest_kept(
    state: &SqliteStore,
    scope: &Scope,
    blob: &HourlyBlob,
    position: Option<&Position>,
) -> Result<bool, StoreError> {
    let seen = position.and_then(|position| position.seen.as_ref());
    if seen.is_none_or(|seen| seen.tail != TailState::Incomplete) {
        return Ok(false);
    }
    let offset = position.and_then(Position::bytes).unwrap_or_default();
    let filter = QuarantineFilter {
        intake: Some(scope.intake.clone()),
        source: Some(scope.origin.clone()),
        blob: Some(blob.name().as_str().to_owned()),
        ..QuarantineFilter::default()
    };
    let mut is_kept = false;
    let visited = state.visit_quarantine(&filter, |entry| {
        is_kept |= entry.rejected.ordinal.is_none() && entry.rejected.span.from >= offset;
        Ok::<_, std::convert::Infallible>(())
    })?;
    visited.unwrap_or_else(|never| match never {});
    Ok(is_kept)
}
