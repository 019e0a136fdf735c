//! F5: the running collector: the only place that spawns tasks.
//!
//! Work goes in passes, one a poll. Within a pass five stages run at once, joined by bounded channels:
//!
//! ```text
//! discover --Work--> collect --Run--> assemble --Batch--> deliver --Receipt--> commit
//!     |                                                                          ^
//!     +--------------------------------- Found ----------------------------------+
//! ```
//!
//! A pass is over when every stage has ended, and a stage ends because the channel before it closed: then all that
//! was read is acknowledged and committed. Stopping cancels discover and collect only; the rest drains, with a
//! deadline above it.

mod assemble;
mod collect;
mod commit;
mod deliver;
mod discover;
mod gunzip;
mod listing;
mod plan;
mod read;
mod report;
pub mod state;

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    batch::BatchLimits,
    checkpoint::ChainError,
    event::EventFormat,
    intake::{Intake, driver::Driver},
    model::Scope,
    storage::{BlobStore, StorageError},
    store::{FirstHour, StoreError},
};

pub use discover::Memory;
pub use report::PassReport;
use state::StateHandle;

/// Works wait here while every reader is busy. A page of listing is held by discovery anyway; more would only hold
/// stale versions.
const WORKS_QUEUED: usize = 64;

/// Runs wait here while the batcher is busy: one for each reader that is likely to be ahead. A run is about
/// [`read::RUN_BYTES`].
const RUNS_QUEUED: usize = 4;

/// One full batch may wait for a free request: more would only hide a slow intake.
const BATCHES_QUEUED: usize = 1;

/// Receipts wait here during a commit; the next commit takes all of them.
const RECEIPTS_QUEUED: usize = 64;

/// Listed hours wait here during a commit.
const FOUND_QUEUED: usize = 64;

/// One container on its way to one intake.
#[derive(Debug)]
pub struct Lane {
    /// Where the blobs are.
    pub storage: Arc<dyn BlobStore>,
    /// Who gets the events.
    pub intake: Arc<dyn Intake>,
    /// How they are delivered.
    pub driver: Arc<Driver>,
    /// Where the positions are.
    pub state: StateHandle,
    /// Whose positions.
    pub scope: Scope,
    /// From when on.
    pub first_hour: FirstHour,
    /// See `Sealed` in the documentation of the settings.
    pub seal_after: Duration,
    /// Blobs read at once.
    pub parallel_blobs: usize,
    /// Largest record, bytes.
    pub record_limit: usize,
    /// Shape of the events.
    pub format: EventFormat,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// Requests at once.
    pub max_in_flight: usize,
}

/// How a pass is stopped.
#[derive(Debug, Clone, Default)]
pub struct Stopping {
    /// Nothing more is listed or read; what was read is still delivered.
    pub reading: CancellationToken,
    /// What is not delivered yet is given up; it is read again at the next start.
    pub delivering: CancellationToken,
}

impl Stopping {
    fn child(&self) -> Self {
        Self { reading: self.reading.child_token(), delivering: self.delivering.child_token() }
    }

    fn stop_all(&self) {
        self.reading.cancel();
        self.delivering.cancel();
    }
}

/// Why a pass did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The container could not be listed. The next pass tries again.
    #[error("look for new flow logs")]
    Storage(#[from] StorageError),
    /// The state could not be read or stored: nothing can be acknowledged any more.
    #[error("keep the positions")]
    Store(#[from] StoreError),
    /// Acknowledgements do not fit together: a bug, and going on could lose events.
    #[error("order the acknowledgements")]
    Chain(#[from] ChainError),
    /// The receiving end is gone for good.
    #[error("deliver events: {0}")]
    Closed(String),
    /// A task panicked.
    #[error("a task of the pipeline ended by itself")]
    Task(#[from] tokio::task::JoinError),
}

impl PassError {
    /// Whether the process must end.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Storage(_))
    }
}

/// One pass over everything new in a lane's container: read, deliver, commit.
pub async fn run_pass(lane: &Arc<Lane>, memory: &mut Memory, stopping: &Stopping) -> PassReport {
    let stopping = stopping.child();
    let (found_sender, found) = mpsc::channel(FOUND_QUEUED);
    let (work_sender, works) = mpsc::channel(WORKS_QUEUED);
    let (run_sender, runs) = mpsc::channel(RUNS_QUEUED);
    let (batch_sender, batches) = mpsc::channel(BATCHES_QUEUED);
    let (receipt_sender, receipts) = mpsc::channel(RECEIPTS_QUEUED);

    let (discovered, collected, (), delivered, committed) = tokio::join!(
        discover::run(lane, memory, found_sender, work_sender, stopping.reading.clone()),
        collect::run(lane, works, run_sender, stopping.reading.clone()),
        assemble::run(lane, runs, batch_sender),
        deliver::run(lane, batches, receipt_sender, &stopping),
        commit::run(lane, found, receipts, &stopping),
    );
    for (name, etag) in &collected.held {
        memory.held.insert(name.clone(), etag.clone());
    }
    PassReport::new(memory.server_now(), discovered, collected, delivered, committed)
}
