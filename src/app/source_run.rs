//! One source's life: finds its containers and runs a lane from each of them to each intake.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    AppError, Mode, Obstacle, Signs, build,
    build::IntakeUnit,
    containers::{self, NothingToRead},
    lane_run::{LaneEnd, LaneRun, ONCE_RETRY_AFTER, Schedule},
    source_watch::SourceWatch,
};
use crate::{
    flowlog::FLOW_LOG_CONTAINERS,
    model::{Hour, Scope},
    pipeline::{
        Lane, Memory, ReadLimits, SourceRules, Stopping, filter::BlobFilter, shared, state::StateHandle,
    },
    settings::{self, Limits, Start, Storage},
    storage::{Account, BlobStore},
    store::FirstHour,
    telemetry::{chain, health::Component, metrics::Metrics},
};

/// A source and where its events go.
pub(super) struct SourceRun<'a> {
    settings: settings::Source,
    account: Arc<dyn Account>,
    filter: BlobFilter,
    intakes: &'a [IntakeUnit],
    limits: Limits,
    state: StateHandle,
    metrics: Metrics,
    health: Component,
}

/// The lanes that run, each with its container.
type Lanes<'a> = FuturesUnordered<LocalBoxFuture<'a, (String, Result<LaneEnd, AppError>)>>;

impl<'a> SourceRun<'a> {
    /// Sets the source up and decides its first hours; makes no request.
    pub(super) async fn new(
        settings: settings::Source,
        intakes: &'a [IntakeUnit],
        limits: Limits,
        state: StateHandle,
        signs: &Signs,
    ) -> Result<Self, AppError> {
        let account = build::account(&settings)?;
        let filter = BlobFilter::new(&settings.filter.include, &settings.filter.exclude)
            .map_err(|error| AppError::Setup(error.into()))?;
        let health = signs.health.component(&format!("source {}", settings.name));
        let metrics = signs.metrics.clone();
        let source = Self { settings, account, filter, intakes, limits, state, metrics, health };
        source.decide_first_hours().await?;
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
        let mut lanes = Lanes::new();
        // Containers with the number of their lanes that run.
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        let mut blocked = None;
        // Why there is no container to read.
        let mut trouble = None;
        // The trouble that was said last: the same again is not said again.
        let mut said = None;
        let mut waiting_since = Instant::now();
        loop {
            if mode == Mode::Forever || open.is_empty() {
                match self.containers().await {
                    Ok(names) => {
                        trouble = None;
                        if named_container(&self.settings).is_none() {
                            said = None;
                        }
                        for container in names {
                            if !open.contains_key(&container) {
                                open.insert(container.clone(), self.intakes.len());
                                for lane in self.lanes(&container).await? {
                                    let name = container.clone();
                                    let run = async move { (name, lane.run(schedule, stopping).await) };
                                    lanes.push(Box::pin(run));
                                }
                            }
                        }
                    }
                    Err(error) => trouble = Some(self.say_on_change(&error, &mut said)),
                }
            }
            let again = tokio::time::sleep(look_again);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    biased;
                    Some((container, end)) = lanes.next(), if !lanes.is_empty() => match end? {
                        LaneEnd::Done => {}
                        LaneEnd::Blocked(obstacle) => {
                            blocked.get_or_insert(obstacle);
                        }
                        LaneEnd::ContainerMissing { was_there } => {
                            if was_there {
                                said = None;
                            }
                            if close(&mut open, &container) {
                                let error = containers::missing(self.account.as_ref(), &container).await;
                                trouble = Some(self.say_on_change(&error, &mut said));
                            }
                        }
                    },
                    () = stopping.reading.cancelled(), if lanes.is_empty() => return Ok(()),
                    () = &mut again => break,
                }
                if lanes.is_empty() && !open.is_empty() {
                    let deadline = schedule.deadline;
                    return blocked.map_or(Ok(()), |obstacle| Err(AppError::Blocked { deadline, obstacle }));
                }
            }
            if !lanes.is_empty() {
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

    /// The names of the containers that are configured or exist; where there is none, why.
    async fn containers(&self) -> Result<Vec<String>, NothingToRead> {
        match named_container(&self.settings) {
            Some(name) => Ok(vec![name.to_owned()]),
            None => containers::existing(self.account.as_ref()).await,
        }
    }

    /// Says that there is nothing to read, unless that was said last; returns it as text.
    fn say_on_change(&self, error: &NothingToRead, said: &mut Option<String>) -> String {
        let text = chain(error).to_string();
        self.health.not_ready(&text);
        if said.as_ref() != Some(&text) {
            warn!(source = self.settings.name, error = text, "nothing to read");
            *said = Some(text.clone());
        }
        text
    }

    /// A lane from a container to each intake.
    async fn lanes(&self, container: &str) -> Result<Vec<LaneRun>, AppError> {
        let handles = shared::share(self.account.container(container), self.intakes.len());
        let mut lanes = Vec::with_capacity(handles.len());
        for (unit, storage) in self.intakes.iter().zip(handles) {
            let lane = Arc::new(self.lane(container, unit, storage).await?);
            let watch = lanes.is_empty().then(|| {
                let metrics = self.metrics.source(&self.settings.name);
                SourceWatch::new(metrics, Arc::clone(&self.account), self.settings.poll_interval)
            });
            lanes.push(LaneRun {
                source: self.settings.name.clone(),
                lane,
                memory: Memory::default(),
                was_there: false,
                health: self.health.clone(),
                watch,
            });
        }
        Ok(lanes)
    }

    async fn lane(
        &self,
        container: &str,
        unit: &IntakeUnit,
        storage: Arc<dyn BlobStore>,
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
            },
            limits: ReadLimits {
                parallel_blobs: self.limits.parallel_blobs,
                record_bytes: self.limits.record,
            },
            delivery: unit.delivery,
            metrics: self.metrics.lane(&self.settings.name, &unit.name),
        })
    }

    /// `start` counts from the first start that names a container, whether it exists or not.
    async fn decide_first_hours(&self) -> Result<(), AppError> {
        let named = named_container(&self.settings);
        let names = named.map_or_else(|| FLOW_LOG_CONTAINERS.to_vec(), |name| vec![name]);
        for name in names {
            for unit in self.intakes {
                let scope = self.scope(name, unit);
                let (stored, proposed) = self.first_hour(&scope).await?;
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

/// Notes that a lane of a container ended. Returns whether it was the last one.
fn close(open: &mut BTreeMap<String, usize>, container: &str) -> bool {
    let Some(n_lanes) = open.get_mut(container) else { return false };
    *n_lanes = n_lanes.saturating_sub(1);
    if *n_lanes > 0 {
        return false;
    }
    open.remove(container);
    true
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

/// The container that the settings name; a directory is one container, named or not.
fn named_container(source: &settings::Source) -> Option<&str> {
    match &source.storage {
        Storage::Directory(config) => Some(&config.container),
        Storage::Azure(_) => source.container.as_deref(),
    }
}
