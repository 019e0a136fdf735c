//! `flowlogd run`.

use std::{io, path::Path};

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing::info;

use super::{
    exit::{Exit, Failure},
    load_settings,
};
use crate::{
    app::{self, AppError, Mode},
    settings::Settings,
    store::StoreError,
    telemetry,
};

/// Arguments of `flowlogd run`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Make one pass over everything new: read, deliver, store the positions, end.
    #[arg(long)]
    pub once: bool,
}

/// Threads for work that blocks: one for the state as long as the process lives, the others for parsing, compressing and
/// looking names up. More would wait for a processor, and the allocator of the GNU C library keeps an area of memory for
/// each.
const BLOCKING_THREADS: usize = 8;

/// Runs the collector until it is asked to stop.
///
/// # Errors
/// As the exit codes say.
pub fn execute(config: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let loaded = load_settings(config)?;
    telemetry::init(&loaded.settings.log).map_err(|error| Failure::new(Exit::CannotStart, error))?;
    info!(version = env!("CARGO_PKG_VERSION"), settings = %loaded.origin, "flowlogd starts");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("start the runtime")
        .map_err(|error| Failure::new(Exit::CannotStart, error))?;
    let mode = if arguments.once { Mode::Once } else { Mode::Forever };
    let ended = runtime.block_on(supervise(loaded.settings, mode));
    // After a second signal there may be work that nobody waits for any more.
    runtime.shutdown_background();
    ended
}

/// Runs the collector; the first signal asks it to stop, the second one ends it where it is.
async fn supervise(settings: Settings, mode: Mode) -> Result<Exit, Failure> {
    let cannot_listen = |error: io::Error| {
        Failure::new(Exit::CannotStart, anyhow::Error::new(error).context("listen for signals"))
    };
    let mut signals = StopSignals::listen().map_err(cannot_listen)?;
    let (ask, asked) = oneshot::channel::<()>();
    let running = app::run(settings, mode, async {
        // The sender is used or outlives this future.
        let _asked = asked.await.map_err(drop);
    });
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return exit_of(ended),
        _first = signals.next() => {}
    }
    let _unasked = ask.send(()).map_err(drop);
    tokio::select! {
        ended = &mut running => exit_of(ended),
        number = signals.next() => Ok(Exit::Signal(number)),
    }
}

fn exit_of(ended: Result<(), AppError>) -> Result<Exit, Failure> {
    let Err(error) = ended else { return Ok(Exit::Success) };
    let exit = match &error {
        AppError::State(StoreError::Locked { .. }) => Exit::Locked,
        AppError::State(StoreError::NewerSchema { .. }) => Exit::Configuration,
        AppError::State(_) | AppError::Setup(_) => Exit::CannotStart,
        AppError::Pipeline(_) => Exit::InputOutput,
        AppError::Blocked { .. } => Exit::Unavailable,
    };
    Err(Failure::new(exit, error))
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The number of the next signal.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}
