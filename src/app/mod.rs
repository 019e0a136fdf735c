//! F7: the composition root: builds the components from checked settings and polls until told to stop.

mod collector;
mod containers;

use std::{future::Future, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

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
    let limits = settings.limits;
    let (collector, state_owner) = Collector::build(settings).await?;
    let stopping = Stopping::default();
    let finished = CancellationToken::new();
    let work = async {
        let ended = match mode {
            Mode::Forever => poll_forever(collector, &stopping).await,
            Mode::Once => poll_once(collector, &stopping, limits.once_deadline).await,
        };
        finished.cancel();
        ended
    };
    let (ended, ()) = tokio::join!(work, stop_on(shutdown, &stopping, limits.drain, &finished));
    // Every handle on the state went with the collector; the store is closed once its owner has ended.
    state_owner.await.map_err(|error| AppError::Pipeline(error.into()))?;
    ended
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

async fn poll_forever(mut collector: Collector, stopping: &Stopping) -> Result<(), AppError> {
    loop {
        let due = Instant::now() + collector.poll_interval();
        collector.pass(stopping).await?;
        tokio::select! {
            biased;
            () = stopping.reading.cancelled() => return Ok(()),
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
) -> Result<(), AppError> {
    let driver = collector.driver();
    let intake = collector.intake_name().to_owned();
    let mut blocked_since = Instant::now();
    loop {
        let pass = collector.pass(stopping);
        tokio::pin!(pass);
        let outcome = tokio::select! {
            outcome = &mut pass => outcome?,
            () = driver.failing_for(deadline) => {
                let reason = driver.last_failure().unwrap_or_default();
                let obstacle = Obstacle::Intake { name: intake, reason };
                stopping.reading.cancel();
                stopping.delivering.cancel();
                // What is acknowledged by now is still committed.
                pass.await?;
                return Err(AppError::Blocked { deadline, obstacle });
            }
        };
        if outcome.obstacle.is_none() || stopping.reading.is_cancelled() {
            return Ok(());
        }
        if outcome.progress {
            blocked_since = Instant::now();
        }
        if let Some(obstacle) = outcome.obstacle.filter(|_| blocked_since.elapsed() >= deadline) {
            return Err(AppError::Blocked { deadline, obstacle });
        }
        tokio::select! {
            () = stopping.reading.cancelled() => return Ok(()),
            () = tokio::time::sleep(ONCE_RETRY_AFTER) => {}
        }
    }
}
