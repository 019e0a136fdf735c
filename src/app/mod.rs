//! F7: the composition root: builds the components from checked settings and polls until told to stop.

pub(crate) mod build;
pub(crate) mod containers;
mod lane_run;
mod source_health;
mod source_run;
mod source_watch;

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    admin,
    model::Scope,
    offload::offload,
    pipeline::{
        PassError, Stopping,
        shared::{self, Sharing},
        state::{self, StateHandle},
    },
    settings::{Limits, Settings, Source},
    store::{StoreError, sqlite::SqliteStore},
    telemetry::{chain, health::Health, metrics::Metrics},
};

use build::IntakeUnit;
use source_run::SourceRun;

/// Whether to go on after the first complete pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Poll until told to stop.
    Forever,
    /// One complete pass over everything new.
    Once,
}

/// The component of the process's readiness that stands for positions and quarantine.
const STORE: &str = "store";

/// The component that stands for the ledger of what was read and what became of it.
const LEDGER: &str = "ledger";

/// Where the process shows how it is.
#[derive(Debug, Clone)]
struct Signs {
    metrics: Metrics,
    health: Health,
}

/// Why a run could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A component could not be set up.
    #[error("cannot start")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The state could not be opened.
    #[error("open the state")]
    State(#[source] StoreError),
    /// The pipeline cannot go on.
    #[error("stopped: going on could lose events")]
    Pipeline(#[source] PassError),
    /// The one pass was still blocked at its deadline.
    #[error("still blocked after {}: giving up", humantime::format_duration(*deadline))]
    Blocked {
        /// How long nothing went on.
        deadline: Duration,
        /// By what.
        #[source]
        obstacle: Obstacle,
    },
}

/// What a pass cannot get past.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// An intake takes nothing.
    #[error("the intake {name} takes nothing: {reason}")]
    Intake {
        /// The intake's name in the settings.
        name: String,
        /// What its last answer came to.
        reason: String,
    },
    /// What was read of some blobs is not all accounted for.
    #[error(
        "the ledger of {n_blobs} blobs on the way to the intake {name} does not balance, the log names them"
    )]
    Ledger {
        /// The intake's name in the settings.
        name: String,
        /// How many blobs.
        n_blobs: u64,
    },
    /// A source cannot be read.
    #[error("the source {name} cannot be read: {reason}")]
    Source {
        /// The source's name in the settings.
        name: String,
        /// The last trouble with it.
        reason: String,
    },
}

/// Runs the collector until `shutdown` completes, then drains; in [`Mode::Once`], until one pass is complete.
///
/// # Errors
/// [`AppError`] where it cannot start, cannot go on or gives up. Nothing is lost then: what was not committed is read again.
pub async fn run(settings: Settings, mode: Mode, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
    let Settings { state_dir, sources, intakes, limits, admin, .. } = settings;
    let signs = Signs { metrics: Metrics::new(SystemTime::now()), health: Health::default() };
    let n_intakes = intakes.len();
    let shared_bytes = shared::memory_for_ranges(n_intakes, limits.memory);
    let memory_bytes = limits.memory.saturating_sub(shared_bytes) / n_intakes.max(1);
    let intakes = intakes
        .into_iter()
        .map(|intake| IntakeUnit::new(intake, memory_bytes, &signs))
        .collect::<Result<Vec<_>, _>>()?;
    let opened = offload(move || SqliteStore::open(&state_dir)).await;
    let store = opened.map_err(|error| AppError::Setup(error.into()))?.map_err(AppError::State)?;
    // Only once the state is locked, so that a second instance learns that, and not that its address is taken. A single
    // pass is over before anybody could ask, and must not get in the way of the service beside it.
    let listener = match admin.listen.filter(|_| mode == Mode::Forever) {
        Some(address) => {
            let listening = admin::listen(address).await;
            Some(listening.map_err(|error| AppError::Setup(error.into()))?)
        }
        None => None,
    };
    let store_metrics = signs.metrics.store();
    store_metrics.quarantine_limit_bytes.set_count(limits.quarantine);
    let (state, state_owner) = state::start(Box::new(store), store_metrics);
    signs.health.component(STORE).ready();
    signs.health.component(LEDGER).ready();
    report_unconfigured(&state, &sources, &intakes).await?;

    let stopping = Stopping::default();
    let finished = CancellationToken::new();
    let work = async {
        let ended = run_sources(sources, &intakes, limits, state, &signs, mode, &stopping).await;
        finished.cancel();
        ended
    };
    let answer = async {
        if let Some(listener) = listener {
            admin::serve(listener, signs.metrics.clone(), signs.health.clone(), finished.clone()).await;
        }
    };
    let (ended, (), ()) = tokio::join!(work, stop_on(shutdown, &stopping, limits.drain, &finished), answer);
    // Every handle on the state went with the sources; the store is closed once its owner has ended.
    state_owner.await.map_err(|error| AppError::Pipeline(error.into()))?;
    ended
}

/// Says which intakes and containers have something stored and are in no settings any more: nothing is forgotten
/// silently.
async fn report_unconfigured(
    state: &StateHandle,
    sources: &[Source],
    intakes: &[IntakeUnit],
) -> Result<(), AppError> {
    for Scope { origin, intake } in state.scopes().await.map_err(AppError::State)? {
        if !intakes.iter().any(|unit| unit.name == intake) {
            warn!(
                intake, %origin,
                "positions of an intake that is not configured any more are kept: `flowlogd checkpoints reset --intake \
                 {intake} --yes` forgets them, `flowlogd quarantine drop --intake {intake}` what it has in the \
                 quarantine",
            );
        } else if !sources.iter().any(|source| source_run::is_of(source, &origin)) {
            warn!(
                intake, %origin,
                "positions of a source that is not configured any more are kept: `flowlogd checkpoints reset --source \
                 {origin} --yes` forgets them, `flowlogd quarantine drop --source {origin}` what it has in the \
                 quarantine",
            );
        }
    }
    Ok(())
}

/// Runs all sources at once. One that cannot go on stops the others: what they have in flight is read again. One that
/// is blocked does not.
async fn run_sources(
    sources: Vec<Source>,
    intakes: &[IntakeUnit],
    limits: Limits,
    state: StateHandle,
    signs: &Signs,
    mode: Mode,
    stopping: &Stopping,
) -> Result<(), AppError> {
    let sharing = Sharing::new(intakes.len(), limits.memory);
    let mut runs = Vec::with_capacity(sources.len());
    for source in sources {
        let sharing = sharing.clone();
        let how = (mode, stopping);
        runs.push(SourceRun::new(source, intakes, sharing, limits, state.clone(), signs, how).await?);
    }
    drop(state);
    let mut running: FuturesUnordered<_> = runs.iter().map(|source| source.run(mode, stopping)).collect();
    let mut failures = Vec::new();
    while let Some(ended) = running.next().await {
        if let Err(failure) = ended {
            if !matches!(failure, AppError::Blocked { .. }) {
                stopping.reading.cancel();
                stopping.delivering.cancel();
            }
            failures.push(failure);
        }
    }
    // What ended the run is what counts; the others are only said.
    failures.sort_by_key(|failure| matches!(failure, AppError::Blocked { .. }));
    let mut failures = failures.into_iter();
    let first = failures.next();
    for failure in failures {
        error!(error = %chain(&failure), "failed too");
    }
    first.map_or(Ok(()), Err)
}

/// Stops reading when `shutdown` completes, and delivering when the drain deadline has passed.
async fn stop_on(
    shutdown: impl Future<Output = ()>,
    stopping: &Stopping,
    drain: Duration,
    finished: &CancellationToken,
) {
    tokio::select! {
        () = shutdown => info!(drain_seconds = drain.as_secs(), "asked to stop: delivering what was read"),
        () = finished.cancelled() => return,
    }
    stopping.reading.cancel();
    tokio::select! {
        () = tokio::time::sleep(drain) => {
            warn!("the drain deadline has passed: what is not delivered yet is read again at the next start");
            stopping.delivering.cancel();
        }
        () = finished.cancelled() => {}
    }
}
