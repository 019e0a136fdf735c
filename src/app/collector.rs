//! The components of one source and one intake, and one poll of them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::{
    AppError, build,
    containers::{self, FLOW_LOG_CONTAINERS},
};
use crate::{
    intake::{Intake, driver::Driver},
    model::{Hour, Scope},
    pipeline::{self, Lane, Memory, PassError, PassReport, Stopping, state},
    settings::{self, Settings, Start, Storage},
    storage::{Account, StorageErrorKind},
    store::{FirstHour, sqlite::SqliteStore},
    telemetry::chain,
};

/// Everything that one source and one intake need.
pub(super) struct Collector {
    source: settings::Source,
    account: Arc<dyn Account>,
    intake: Arc<dyn Intake>,
    driver: Arc<Driver>,
    intake_settings: settings::Intake,
    limits: settings::Limits,
    state: state::StateHandle,
    /// The containers that were found, by name.
    lanes: BTreeMap<String, (Arc<Lane>, Memory)>,
}

/// What one poll came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PollOutcome {
    /// Everything that was new is delivered and committed.
    pub(super) complete: bool,
    /// Something was.
    pub(super) progress: bool,
}

impl Collector {
    /// Sets everything up; makes no request. Also returns the task that owns the state.
    pub(super) async fn build(settings: Settings) -> Result<(Self, JoinHandle<()>), AppError> {
        let Settings { state_dir, sources, intakes, limits, .. } = settings;
        let (Some(source), Some(intake_settings)) = (sources.into_iter().next(), intakes.into_iter().next())
        else {
            return Err(AppError::Setup("no source or no intake is configured".into()));
        };
        let account = build::account(&source)?;
        let intake = build::intake(&intake_settings.sink)?;
        let driver = Arc::new(build::driver(&intake_settings));

        let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&state_dir)).await;
        let store = opened.map_err(|error| AppError::Setup(error.into()))?.map_err(AppError::State)?;
        let (state, owner) = state::start(Box::new(store));
        let lanes = BTreeMap::new();
        let collector = Self { source, account, intake, driver, intake_settings, limits, state, lanes };
        collector.decide_first_hours().await?;
        Ok((collector, owner))
    }

    pub(super) fn poll_interval(&self) -> Duration {
        self.source.poll_interval
    }

    pub(super) fn driver(&self) -> Arc<Driver> {
        Arc::clone(&self.driver)
    }

    /// One pass over every container of the source, with one line that says what it came to.
    pub(super) async fn pass(&mut self, stopping: &Stopping) -> Result<PollOutcome, AppError> {
        let mut outcome = PollOutcome { complete: self.find_containers().await?, progress: false };
        let mut missing = Vec::new();
        for (container, (lane, memory)) in &mut self.lanes {
            let report = pipeline::run_pass(lane, memory, stopping).await;
            outcome.complete &= report.is_complete();
            outcome.progress |= report.events > 0 || report.blobs_read > 0;
            if say(&self.source.name, container, report)? {
                missing.push(container.clone());
            }
        }
        for container in missing {
            let advice = containers::missing(self.account.as_ref(), &container).await;
            warn!(source = self.source.name, "{advice}");
            self.lanes.remove(&container);
        }
        Ok(outcome)
    }

    /// Opens a lane for each container that is configured or exists. Returns whether there is any.
    async fn find_containers(&mut self) -> Result<bool, AppError> {
        let names = match named_container(&self.source) {
            Some(name) => vec![name.to_owned()],
            None => match containers::existing(self.account.as_ref()).await {
                Ok(Ok(names)) => names,
                Ok(Err(advice)) => {
                    warn!(source = self.source.name, "{advice}");
                    Vec::new()
                }
                Err(error) => {
                    warn!(source = self.source.name, error = %chain(&error), "the containers could not be listed");
                    return Ok(false);
                }
            },
        };
        for name in names {
            if !self.lanes.contains_key(&name) {
                let lane = Arc::new(self.lane(&name).await?);
                self.lanes.insert(name, (lane, Memory::default()));
            }
        }
        Ok(!self.lanes.is_empty())
    }

    /// `start` counts from the first start that names a container, whether it exists or not.
    async fn decide_first_hours(&self) -> Result<(), AppError> {
        let named = named_container(&self.source);
        let names = named.map_or_else(|| FLOW_LOG_CONTAINERS.to_vec(), |name| vec![name]);
        for name in names {
            self.first_hour(&self.scope(name)).await?;
        }
        Ok(())
    }

    async fn first_hour(&self, scope: &Scope) -> Result<FirstHour, AppError> {
        let proposed = proposed_first_hour(self.source.start, DateTime::from(SystemTime::now()));
        let stored = self.state.first_hour(scope.clone(), proposed).await.map_err(AppError::State)?;
        if stored != proposed && !matches!(self.source.start, Start::Now | Start::Back(_)) {
            info!(origin = %scope.origin, ?stored, "`start` was decided at the first start and stays as it is");
        }
        Ok(stored)
    }

    fn scope(&self, container: &str) -> Scope {
        let origin = self.account.container(container).origin().clone();
        Scope { origin, intake: self.intake_settings.name.clone() }
    }

    async fn lane(&self, container: &str) -> Result<Lane, AppError> {
        let scope = self.scope(container);
        Ok(Lane {
            storage: self.account.container(container),
            intake: Arc::clone(&self.intake),
            driver: Arc::clone(&self.driver),
            state: self.state.clone(),
            first_hour: self.first_hour(&scope).await?,
            scope,
            seal_after: self.source.seal_after,
            parallel_blobs: self.limits.parallel_blobs,
            record_limit: self.limits.record,
            format: self.intake_settings.event_format,
            batch: self.intake_settings.batch,
            max_in_flight: self.intake_settings.max_in_flight,
        })
    }
}

/// Logs a pass. Returns whether the container does not exist.
fn say(source: &str, container: &str, report: PassReport) -> Result<bool, AppError> {
    let mut missing = false;
    let complete = report.is_complete();
    if let Some(reason) = &report.abandoned {
        warn!(source, container, reason, "batches were given up; they are read again");
    }
    info!(
        source,
        container,
        blobs = report.blobs_read,
        bytes = report.bytes_read,
        events = report.events,
        lag_seconds = report.lag.map(|lag| lag.as_secs()),
        quarantined = report.quarantined,
        held = report.held,
        failed = report.failed,
        gone = report.gone,
        listed = report.blobs_listed,
        list_calls = report.list_calls,
        read_calls = report.read_calls,
        hours_sealed = report.hours_sealed,
        "{}",
        if complete { "poll complete" } else { "poll incomplete" },
    );
    for failure in report.errors {
        match failure {
            PassError::Storage(error) if error.kind == StorageErrorKind::ContainerNotFound => missing = true,
            PassError::Storage(failure) => {
                error!(source, container, error = %chain(&failure), "the source could not be listed; the next poll tries again");
            }
            fatal @ (PassError::Store(_)
            | PassError::Chain(_)
            | PassError::Closed(_)
            | PassError::Task(_)) => return Err(AppError::Pipeline(fatal)),
        }
    }
    Ok(missing)
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

/// The container that the settings name; a directory is one container, named or not.
fn named_container(source: &settings::Source) -> Option<&str> {
    match &source.storage {
        Storage::Directory(config) => Some(&config.container),
        Storage::Azure(_) => source.container.as_deref(),
    }
}
