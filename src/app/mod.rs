//! F7: the composition root: builds the components from checked settings and polls until told to stop.

pub(crate) mod build;
mod collector;
mod containers;

use std::{future::Future, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    pipeline::{PassError, Stopping},
    settings::Settings,
    store::StoreError,
};
use collector::Collector;

/// `run --once` looks again this soon after a pass that did not reach its end.
const ONCE_RETRY_AFTER: Duration = Duration::from_secs(1);

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
    let limits = settings.limits;
    let (collector, state_owner) = Collector::build(settings).await?;
    let stopping = Stopping::default();
    let finished = CancellationToken::new();
    let work = async {
        let ending = match mode {
            Mode::Forever => poll_forever(collector, &stopping).await,
            Mode::Once => poll_once(collector, &stopping, limits.once_deadline).await,
        };
        finished.cancel();
        ending
    };
    let (ending, ()) = tokio::join!(work, stop_on(shutdown, &stopping, limits.drain, &finished));
    // Every handle on the state went with the collector; the store is closed once its owner has ended.
    state_owner.await.map_err(|error| AppError::Pipeline(error.into()))?;
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

async fn poll_forever(mut collector: Collector, stopping: &Stopping) -> Result<Ending, AppError> {
    loop {
        let due = Instant::now() + collector.poll_interval();
        collector.pass(stopping).await?;
        tokio::select! {
            biased;
            () = stopping.reading.cancelled() => return Ok(Ending::Done),
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

/// Passes until one is complete. Gives up when a source or the intake stays blocked for `deadline`; time in which
/// events are delivered does not count.
async fn poll_once(
    mut collector: Collector,
    stopping: &Stopping,
    deadline: Duration,
) -> Result<Ending, AppError> {
    let driver = collector.driver();
    let mut blocked_since = Instant::now();
    loop {
        let delivering = stopping.delivering.clone();
        let give_up = async {
            driver.failing_for(deadline).await;
            error!(deadline_seconds = deadline.as_secs(), "the intake is still blocked: giving up");
            stopping.reading.cancel();
            delivering.cancel();
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            outcome = collector.pass(stopping) => outcome?,
            () = give_up => return Ok(Ending::Blocked),
        };
        if delivering.is_cancelled() {
            return Ok(Ending::Blocked);
        }
        if outcome.complete || stopping.reading.is_cancelled() {
            return Ok(Ending::Done);
        }
        if outcome.progress {
            blocked_since = Instant::now();
        }
        if blocked_since.elapsed() >= deadline {
            error!(deadline_seconds = deadline.as_secs(), "the source is still blocked: giving up");
            return Ok(Ending::Blocked);
        }
        tokio::select! {
            () = stopping.reading.cancelled() => return Ok(Ending::Done),
            () = tokio::time::sleep(ONCE_RETRY_AFTER) => {}
        }
    }
}
