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
    AppError, Obstacle,
    containers::{self, FLOW_LOG_CONTAINERS},
};
use crate::{
    intake::{
        Intake,
        driver::{Driver, DriverConfig},
        http_intake::HttpIntake,
        stdout::StdoutIntake,
    },
    model::{Hour, Scope},
    pipeline::{self, Lane, Memory, PassError, PassReport, Stopping, state},
    settings::{self, Settings, Sink, Start, Storage},
    storage::{Account, StorageErrorKind, azure::AzureAccount, directory::Directory},
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
#[derive(Debug)]
pub(super) struct PollOutcome {
    /// Why not everything that was new is delivered and committed; `None` where it is.
    pub(super) obstacle: Option<Obstacle>,
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
        let account = account(&source)?;
        let intake = intake(&intake_settings.sink)?;
        let config =
            DriverConfig { requests_per_second: intake_settings.requests_per_second, ..Default::default() };
        let driver = Arc::new(Driver::new(config, fastrand::Rng::new()));

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
        let mut source_trouble = self.find_containers().await?;
        let mut intake_trouble = None;
        let mut progress = false;
        let mut missing = Vec::new();
        for (container, (lane, memory)) in &mut self.lanes {
            let report = pipeline::run_pass(lane, memory, stopping).await;
            progress |= report.events > 0 || report.blobs_read > 0;
            if report.abandoned.is_some() {
                intake_trouble.clone_from(&report.abandoned);
            }
            if report.unread.is_some() {
                source_trouble.clone_from(&report.unread);
            }
            match say(&self.source.name, container, report)? {
                Some(Unlisted::Missing) => missing.push(container.clone()),
                Some(Unlisted::Failed(reason)) => source_trouble = Some(reason),
                None => {}
            }
        }
        for container in missing {
            let advice = containers::missing(self.account.as_ref(), &container).await;
            warn!(source = self.source.name, "{advice}");
            self.lanes.remove(&container);
            source_trouble = Some(advice);
        }
        let obstacle = match (intake_trouble, source_trouble) {
            (Some(reason), _) => Some(Obstacle::Intake { name: self.intake_name().to_owned(), reason }),
            (None, Some(reason)) => Some(Obstacle::Source { name: self.source.name.clone(), reason }),
            (None, None) => None,
        };
        Ok(PollOutcome { obstacle, progress })
    }

    /// The intake's name in the settings.
    pub(super) fn intake_name(&self) -> &str {
        &self.intake_settings.name
    }

    /// Opens a lane for each container that is configured or exists. Returns why there is none to look for, if so.
    async fn find_containers(&mut self) -> Result<Option<String>, AppError> {
        let names = match named_container(&self.source) {
            Some(name) => vec![name.to_owned()],
            None => match containers::existing(self.account.as_ref()).await {
                Ok(Ok(names)) => names,
                Ok(Err(advice)) => {
                    warn!(source = self.source.name, "{advice}");
                    return Ok(self.lanes.is_empty().then_some(advice));
                }
                Err(failure) => {
                    let error = chain(&failure).to_string();
                    warn!(source = self.source.name, error, "the containers could not be listed");
                    return Ok(Some(error));
                }
            },
        };
        for name in names {
            if !self.lanes.contains_key(&name) {
                let lane = Arc::new(self.lane(&name).await?);
                self.lanes.insert(name, (lane, Memory::default()));
            }
        }
        Ok(None)
    }

    /// `start` counts from the first start that names a container, whether it exists or not.
    async fn decide_first_hours(&self) -> Result<(), AppError> {
        let named = named_container(&self.source);
        let names = named.map_or_else(|| FLOW_LOG_CONTAINERS.to_vec(), |name| vec![name]);
        for name in names {
            let scope = self.scope(name);
            let (stored, proposed) = self.first_hour(&scope).await?;
            if is_changed(self.source.start, stored, proposed) {
                info!(
                    origin = %scope.origin, first_hour = %stored,
                    "`start` was decided at the first start and stays as it is",
                );
            }
        }
        Ok(())
    }

    /// The stored first hour, and the one that would be stored if there were none.
    async fn first_hour(&self, scope: &Scope) -> Result<(FirstHour, FirstHour), AppError> {
        let proposed = proposed_first_hour(self.source.start, DateTime::from(SystemTime::now()));
        let stored = self.state.first_hour(scope.clone(), proposed).await.map_err(AppError::State)?;
        Ok((stored, proposed))
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
            first_hour: self.first_hour(&scope).await?.0,
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

/// Why a container was not listed.
enum Unlisted {
    /// It does not exist.
    Missing,
    /// The storage server said no, or nothing.
    Failed(String),
}

/// Logs a pass.
fn say(source: &str, container: &str, report: PassReport) -> Result<Option<Unlisted>, AppError> {
    let mut unlisted = None;
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
            PassError::Storage(error) if error.kind == StorageErrorKind::ContainerNotFound => {
                unlisted = Some(Unlisted::Missing);
            }
            PassError::Storage(failure) => {
                let error = chain(&failure).to_string();
                error!(source, container, error, "the source could not be listed; the next poll tries again");
                unlisted = Some(Unlisted::Failed(error));
            }
            fatal @ (PassError::Store(_)
            | PassError::Chain(_)
            | PassError::Closed(_)
            | PassError::Task(_)) => return Err(AppError::Pipeline(fatal)),
        }
    }
    Ok(unlisted)
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

fn account(source: &settings::Source) -> Result<Arc<dyn Account>, AppError> {
    Ok(match &source.storage {
        Storage::Azure(config) => {
            Arc::new(AzureAccount::new(config.clone()).map_err(|error| AppError::Setup(error.into()))?)
        }
        Storage::Directory(config) => Arc::new(Directory::new(config.clone())),
    })
}

fn intake(sink: &Sink) -> Result<Arc<dyn Intake>, AppError> {
    Ok(match sink {
        Sink::Http(config) => {
            Arc::new(HttpIntake::new(config.clone()).map_err(|error| AppError::Setup(error.into()))?)
        }
        Sink::Stdout => Arc::new(StdoutIntake),
    })
}
