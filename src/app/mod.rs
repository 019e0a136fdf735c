//! F7: the composition root: builds the components from checked settings and polls until told to stop.

mod build;
mod containers;
mod lane_run;
mod source_run;

use std::{future::Future, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    pipeline::{
        PassError, Stopping,
        state::{self, StateHandle},
    },
    settings::{Limits, Settings, Source},
    store::{StoreError, sqlite::SqliteStore},
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

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Asked to stop, or the one pass is complete.
    Done,
    /// The one pass was still blocked at its deadline.
    Blocked,
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
}

/// Runs the collector until `shutdown` completes, then drains; in [`Mode::Once`], until one pass is complete.
///
/// # Errors
/// [`AppError`] where it cannot start or cannot go on. Nothing is lost then: what was not committed is read again.
pub async fn run(
    settings: Settings,
    mode: Mode,
    shutdown: impl Future<Output = ()>,
) -> Result<Ending, AppError> {
    let Settings { state_dir, sources, intakes, limits, .. } = settings;
    let memory_bytes = limits.memory / intakes.len().max(1);
    let intakes =
        intakes.into_iter().map(|intake| IntakeUnit::new(intake, memory_bytes)).collect::<Result<Vec<_>, _>>()?;
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&state_dir)).await;
    let store = opened.map_err(|error| AppError::Setup(error.into()))?.map_err(AppError::State)?;
    let (state, state_owner) = state::start(Box::new(store));

    let stopping = Stopping::default();
    let finished = CancellationToken::new();
    let work = async {
        let ending = run_sources(sources, &intakes, limits, state, mode, &stopping).await;
        finished.cancel();
        ending
    };
    let (ending, ()) = tokio::join!(work, stop_on(shutdown, &stopping, limits.drain, &finished));
    // Every handle on the state went with the sources; the store is closed once its owner has ended.
    state_owner.await.map_err(|error| AppError::Pipeline(error.into()))?;
    ending
}

/// Runs all sources at once. One that cannot go on stops the others: what they have in flight is read again.
async fn run_sources(
    sources: Vec<Source>,
    intakes: &[IntakeUnit],
    limits: Limits,
    state: StateHandle,
    mode: Mode,
    stopping: &Stopping,
) -> Result<Ending, AppError> {
    let mut runs = Vec::with_capacity(sources.len());
    for source in sources {
        runs.push(SourceRun::new(source, intakes, limits, state.clone()).await?);
    }
    drop(state);
    let mut running: FuturesUnordered<_> = runs.iter().map(|source| source.run(mode, stopping)).collect();
    let mut ending = Ok(Ending::Done);
    while let Some(ended) = running.next().await {
        match ended {
            Ok(Ending::Done) => {}
            Ok(Ending::Blocked) => ending = ending.map(|_done| Ending::Blocked),
            Err(error) => {
                stopping.reading.cancel();
                stopping.delivering.cancel();
                ending = ending.and(Err(error));
            }
        }
    }
    ending
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
