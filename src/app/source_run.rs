//! One source's life: finds its containers and runs a lane from each of them to each intake.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    AppError, LEDGER, Mode, Obstacle, STORE, Signs, build,
    build::IntakeUnit,
    containers::{self, NothingToRead},
    lane_run::{LaneEnd, LaneRun, ONCE_RETRY_AFTER, Schedule},
    source_health::{Aspect, SourceHealth},
    source_watch::SourceWatch,
};
use crate::{
    flowlog::FLOW_LOG_CONTAINERS,
    model::{Hour, Origin, Scope},
    pipeline::{
        Lane, Memory, ReadLimits, SourceRules, Stopping, filter::BlobFilter, shared::Sharing,
        sight::SourceObserver, state::StateHandle, store_again::StoreAgain,
    },
    settings::{self, Limits, Start},
    storage::{Account, BlobStore},
    store::FirstHour,
    telemetry::chain,
};

/// A source and where its events go.
pub(super) struct SourceRun<'a> {
    settings: settings::Source,
    account: Arc<dyn Account>,
    filter: BlobFilter,
    intakes: &'a [IntakeUnit],
    sharing: Sharing,
    limits: Limits,
    state: StateHandle,
    signs: Signs,
    health: Arc<SourceHealth>,
}

/// How a lane ended, with its container and the place of its intake.
type Ended = (String, usize, Result<LaneEnd, AppError>);

/// What runs for a source.
#[derive(Default)]
struct Running<'a> {
    /// The lanes.
    lanes: FuturesUnordered<LocalBoxFuture<'a, Ended>>,
    /// Containers with the places of the intakes whose lanes run or are done.
    containers: BTreeMap<String, BTreeSet<usize>>,
    /// Containers that were found to be missing.
    lost: Vec<String>,
    /// Whether one of them had been there: its loss is news.
    was_there: bool,
    blocked: Option<Obstacle>,
}

impl Running<'_> {
    /// Lets the lanes go on until `other` completes. `None`: all lanes have ended, as was asked for or because there is
    /// nothing more to do.
    async fn go_on_while<T>(
        &mut self,
        other: impl Future<Output = T>,
        stopping: &Stopping,
    ) -> Result<Option<T>, AppError> {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                Some((container, place, end)) = self.lanes.next(), if !self.lanes.is_empty() => match end? {
                    LaneEnd::Done => {}
                    LaneEnd::Blocked(obstacle) => {
                        self.blocked.get_or_insert(obstacle);
                    }
                    LaneEnd::ContainerMissing { was_there } => {
                        self.was_there |= was_there;
                        self.lose(container, place);
                    }
                },
                () = stopping.reading.cancelled(), if self.lanes.is_empty() => return Ok(None),
                result = &mut other => return Ok(Some(result)),
            }
            if self.is_over() {
                return Ok(None);
            }
        }
    }

    /// Whether every container's lanes are done.
    fn is_over(&self) -> bool {
        self.lanes.is_empty() && !self.containers.is_empty()
    }

    /// Notes that a lane's container is missing. The lane does not wait for the others of its container: one whose intake
    /// is down finds it out only when that is well.
    fn lose(&mut self, container: String, place: usize) {
        if let Entry::Occupied(mut places) = self.containers.entry(container.clone()) {
            places.get_mut().remove(&place);
            if places.get().is_empty() {
                places.remove();
            }
        }
        if !self.lost.contains(&container) {
            self.lost.push(container);
        }
    }
}

impl<'a> SourceRun<'a> {
    /// Sets the source up and decides its first hours; makes no request.
    pub(super) async fn new(
        settings: settings::Source,
        intakes: &'a [IntakeUnit],
        sharing: Sharing,
        limits: Limits,
        state: StateHandle,
        signs: &Signs,
        (mode, stopping): (Mode, &Stopping),
    ) -> Result<Self, AppError> {
        let account = build::account(&settings)?;
        let filter = BlobFilter::new(&settings.filter.include, &settings.filter.exclude)
            .map_err(|error| AppError::Setup(error.into()))?;
        let component = signs.health.component(&format!("source {}", settings.name));
        let health = Arc::new(SourceHealth::new(component));
        let signs = signs.clone();
        let source = Self { settings, account, filter, intakes, sharing, limits, state, signs, health };
        source.decide_first_hours(mode, stopping).await?;
        Ok(source)
    }

    /// Runs until it is asked to stop, or until every lane had a complete pass.
    pub(super) async fn run(&self, mode: Mode, stopping: &Stopping) -> Result<(), AppError> {
        let schedule = Schedule {
            mode,
            started: Instant::now(),
            poll_interval: self.settings.poll_interval,
            deadline: self.limits.once_deadline,
        };
        let look_again = match mode {
            Mode::Forever => self.settings.poll_interval,
            Mode::Once => ONCE_RETRY_AFTER,
        };
        let mut running = Running::default();
        // Why there is no container to read.
        let mut trouble = None;
        // The trouble that was said last: the same again is not said again.
        let mut said = None;
        let mut waiting_since = Instant::now();
        loop {
            if mode == Mode::Forever || running.containers.is_empty() {
                let lost = std::mem::take(&mut running.lost);
                for container in &lost {
                    self.health.forget(container);
                }
                if std::mem::take(&mut running.was_there) {
                    said = None;
                }
                // Lanes go on while the storage is asked, however long that takes.
                let Some(looked) = running.go_on_while(self.look(&lost), stopping).await? else {
                    return Ok(());
                };
                match looked {
                    Ok(names) => {
                        if trouble.take().is_some() {
                            self.health.found_containers();
                        }
                        if containers::named(&self.settings).is_none() {
                            said = None;
                        }
                        for container in names {
                            self.open(container, schedule, stopping, &mut running).await?;
                        }
                    }
                    Err(error) => trouble = Some(self.say_on_change(&error, &mut said)),
                }
            }
            let waited = running.go_on_while(tokio::time::sleep(look_again), stopping).await?;
            if waited.is_none() || running.is_over() {
                let deadline = schedule.deadline;
                let blocked = running.blocked.take();
                return blocked.map_or(Ok(()), |obstacle| Err(AppError::Blocked { deadline, obstacle }));
            }
            if !running.lanes.is_empty() {
                waiting_since = Instant::now();
            } else if let Some(reason) = &trouble
                && mode == Mode::Once
                && waiting_since.elapsed() >= schedule.deadline
            {
                let obstacle = Obstacle::Source { name: self.settings.name.clone(), reason: reason.clone() };
                return Err(AppError::Blocked { deadline: schedule.deadline, obstacle });
            }
        }
    }

    /// Looks for containers. Where a container was lost, that is the reason; the next time it is looked for like any.
    async fn look(&self, lost: &[String]) -> Result<Vec<String>, NothingToRead> {
        match lost.first() {
            Some(container) => Err(containers::missing(self.account.as_ref(), container).await),
            None => self.containers().await,
        }
    }

    /// Runs those of a container's lanes that do not run already.
    async fn open<'b>(
        &'b self,
        container: String,
        schedule: Schedule,
        stopping: &'b Stopping,
        running: &mut Running<'b>,
    ) -> Result<(), AppError> {
        let places = running.containers.entry(container.clone()).or_default();
        if places.len() == self.intakes.len() {
            return Ok(());
        }
        for (place, lane) in self.lanes(&container, schedule.mode).await?.into_iter().enumerate() {
            if places.insert(place) {
                let name = container.clone();
                let run = async move { (name, place, lane.run(schedule, stopping).await) };
                running.lanes.push(Box::pin(run));
            }
        }
        Ok(())
    }

    /// The names of the containers that are configured or exist; where there is none, why.
    async fn containers(&self) -> Result<Vec<String>, NothingToRead> {
        match containers::named(&self.settings) {
            Some(name) => Ok(vec![name.to_owned()]),
            None => containers::existing(self.account.as_ref()).await,
        }
    }

    /// Says that there is nothing to read, unless that was said last; returns it as text.
    fn say_on_change(&self, error: &NothingToRead, said: &mut Option<String>) -> String {
        let text = chain(error).to_string();
        self.health.trouble("", Aspect::Containers, text.clone());
        if said.as_ref() != Some(&text) {
            warn!(source = self.settings.name, error = text, "nothing to read");
            *said = Some(text.clone());
        }
        text
    }

    /// A lane from a container to each intake.
    async fn lanes(&self, container: &str, mode: Mode) -> Result<Vec<LaneRun>, AppError> {
        let handles = self.sharing.handles(self.account.container(container));
        let mut lanes = Vec::with_capacity(handles.len());
        let metrics = self.signs.metrics.source(&self.settings.name);
        let (account, health) = (Arc::clone(&self.account), Arc::clone(&self.health));
        let watch = Arc::new(SourceWatch::new(&self.settings, container, metrics, account, health));
        for (unit, storage) in self.intakes.iter().zip(handles) {
            let observer: Arc<dyn SourceObserver> = Arc::<SourceWatch>::clone(&watch);
            let lane = Arc::new(self.lane(container, unit, storage, mode, observer).await?);
            lanes.push(LaneRun {
                source: self.settings.name.clone(),
                lane,
                memory: Memory::default(),
                was_there: false,
            });
        }
        Ok(lanes)
    }

    async fn lane(
        &self,
        container: &str,
        unit: &IntakeUnit,
        storage: Arc<dyn BlobStore>,
        mode: Mode,
        observer: Arc<dyn SourceObserver>,
    ) -> Result<Lane, AppError> {
        let scope = self.scope(container, unit);
        Ok(Lane {
            storage,
            intake: Arc::clone(&unit.intake),
            driver: Arc::clone(&unit.driver),
            state: self.state.clone(),
            first_hour: self.first_hour(&scope).await?.0,
            scope,
            filter: self.filter.clone(),
            budget: unit.budget.clone(),
            rules: SourceRules {
                seal_after: self.settings.seal_after,
                revisit: self.settings.revisit,
                retention: self.settings.retention,
                list_again_every: (mode == Mode::Forever).then_some(self.settings.poll_interval),
            },
            limits: ReadLimits {
                parallel_blobs: self.limits.parallel_blobs,
                record_bytes: self.limits.record,
                quarantine_bytes: self.limits.quarantine,
                store_deadline: self.store_deadline(mode),
            },
            delivery: unit.delivery,
            metrics: self.signs.metrics.lane(&self.settings.name, &unit.name),
            store_health: self.signs.health.component(STORE),
            ledger_health: self.signs.health.component(LEDGER),
            observer,
        })
    }

    /// `start` counts from the first start that names a container, whether it exists or not.
    async fn decide_first_hours(&self, mode: Mode, stopping: &Stopping) -> Result<(), AppError> {
        let named = containers::named(&self.settings);
        let names = named.map_or_else(|| FLOW_LOG_CONTAINERS.to_vec(), |name| vec![name]);
        for name in names {
            for unit in self.intakes {
                let scope = self.scope(name, unit);
                let Some((stored, proposed)) = self.decide_first_hour(&scope, mode, stopping).await? else {
                    return Ok(());
                };
                if is_changed(self.settings.start, stored, proposed) {
                    info!(
                        origin = %scope.origin, intake = scope.intake, first_hour = %stored,
                        "`start` was decided at the first start and stays as it is",
                    );
                }
            }
        }
        Ok(())
    }

    /// As [`Self::first_hour`]. Where there is no room to store it, tries again until there is; `None` where the process
    /// was asked to stop meanwhile.
    async fn decide_first_hour(
        &self,
        scope: &Scope,
        mode: Mode,
        stopping: &Stopping,
    ) -> Result<Option<(FirstHour, FirstHour)>, AppError> {
        let store_health = self.signs.health.component(STORE);
        let mut again = StoreAgain::within(self.store_deadline(mode));
        loop {
            let error = match self.first_hour(scope).await {
                Ok(decided) => {
                    store_health.ready();
                    return Ok(Some(decided));
                }
                Err(AppError::State(error)) => error,
                Err(failure) => return Err(failure),
            };
            let Some(failed_for) = again.worthwhile_after(&error) else { return Err(AppError::State(error)) };
            warn!(
                error = %chain(&error), failed_for_seconds = failed_for.as_secs(),
                "where to begin cannot be stored, so nothing is read: make room in the state directory; trying again",
            );
            store_health.not_ready(&chain(&error).to_string());
            if !again.pause(&stopping.reading).await {
                return Ok(None);
            }
        }
    }

    /// How long a single pass waits for room in the state directory.
    fn store_deadline(&self, mode: Mode) -> Option<Duration> {
        (mode == Mode::Once).then_some(self.limits.once_deadline)
    }

    /// The stored first hour, and the one that would be stored if there were none.
    async fn first_hour(&self, scope: &Scope) -> Result<(FirstHour, FirstHour), AppError> {
        let proposed = proposed_first_hour(self.settings.start, DateTime::from(SystemTime::now()));
        let stored = self.state.first_hour(scope.clone(), proposed).await.map_err(AppError::State)?;
        Ok((stored, proposed))
    }

    fn scope(&self, container: &str, unit: &IntakeUnit) -> Scope {
        let origin = self.account.container(container).origin().clone();
        Scope { origin, intake: unit.name.clone() }
    }
}

fn proposed_first_hour(start: Start, now: DateTime<Utc>) -> FirstHour {
    match start {
        Start::Earliest => FirstHour::Beginning,
        Start::Now => FirstHour::At(Hour::containing(now)),
        Start::Back(back) => {
            let moment = TimeDelta::from_std(back).ok().and_then(|back| now.checked_sub_signed(back));
            FirstHour::At(Hour::containing(moment.unwrap_or(DateTime::<Utc>::MIN_UTC)))
        }
        Start::At(moment) => FirstHour::At(Hour::containing(moment)),
    }
}

/// Whether `start` is surely not what it was when the first hour was stored. What counts back from the clock comes to
/// later hours as time goes by, never to earlier ones.
fn is_changed(start: Start, stored: FirstHour, proposed: FirstHour) -> bool {
    match (stored, proposed) {
        (FirstHour::At(stored), FirstHour::At(proposed)) if matches!(start, Start::Now | Start::Back(_)) => {
            stored > proposed
        }
        _ => stored != proposed,
    }
}

/// Whether a container is one that a source reads, or would read if it existed.
pub(super) fn is_of(source: &settings::Source, origin: &Origin) -> bool {
    let is_read = match containers::named(source) {
        Some(name) => name == origin.container,
        None => FLOW_LOG_CONTAINERS.contains(&origin.container.as_str()),
    };
    is_read && source.storage.account() == origin.account
}
