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

pub mod alarms;
mod assemble;
mod balance;
mod budget;
mod collect;
mod commit;
mod compare;
mod deliver;
mod discover;
mod extract;
mod fetch;
pub mod filter;
mod gone;
pub(crate) mod gunzip;
pub(crate) mod listing;
mod noted;
mod outstanding;
pub(crate) mod plan;
mod progress;
mod read;
mod read_end;
mod report;
pub mod shared;
pub mod sight;
pub mod state;
pub mod store_again;
mod sweep;
mod watch_pass;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    batch::BatchLimits,
    checkpoint::ChainError,
    event::EventFormat,
    intake::{Intake, driver::Driver},
    model::Scope,
    storage::{BlobStore, StorageError},
    store::{FirstHour, StoreError},
    telemetry::{health::Component, labels::Poll, metrics::LaneMetrics},
};

pub use budget::Budget;
pub use discover::Memory;
pub use report::{PassReport, Rejections};

use balance::HandedOver;
use filter::BlobFilter;
use gone::{Loss, say_gone};
use noted::{Held, HeldFor};
use outstanding::Outstanding;
use progress::Progress;
use sight::SourceObserver;
use state::StateHandle;
use watch_pass::Watch;

/// Works wait here while every reader is busy, so that the whole of a backlog of this many blobs is known, and its end
/// can be foretold, while its first blobs are read. One takes about 300 bytes.
const WORKS_QUEUED: usize = 16_384;

/// Runs wait here while the batcher is busy: one for each reader that is likely to be ahead. A run is about
/// [`read_end::RUN_BYTES`].
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
    /// Which blobs.
    pub filter: BlobFilter,
    /// The intake's part of the memory.
    pub budget: Budget,
    /// The source's rules.
    pub rules: SourceRules,
    /// The process's limits.
    pub limits: ReadLimits,
    /// The intake's rules.
    pub delivery: DeliveryRules,
    /// Where everything is counted.
    pub metrics: LaneMetrics,
    /// Whether the state can be stored, and the quarantine has room.
    pub store_health: Component,
    /// Whether all that was read is accounted for. Once it is not, it stays so until the process ends.
    pub ledger_health: Component,
    /// Who watches over the source.
    pub observer: Arc<dyn SourceObserver>,
}

/// Limits of reading.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Most blobs read at once.
    pub parallel_blobs: usize,
    /// Largest record, bytes.
    pub record_bytes: usize,
    /// When the quarantine is full, bytes.
    pub quarantine_bytes: u64,
    /// How long a commit is tried for which there is no room; `None`: without end.
    pub store_deadline: Option<Duration>,
}

/// When hours are over; see `Sealed` in the documentation of the settings.
#[derive(Debug, Clone, Copy)]
pub struct SourceRules {
    /// An hour is sealed this long after its end and its last change.
    pub seal_after: Duration,
    /// Sealed hours younger than this are listed again in turn.
    pub revisit: Duration,
    /// Where a pass takes longer than this, what can still grow is listed again; `None`: a pass is over what there was
    /// when it began.
    pub list_again_every: Option<Duration>,
    /// How long the account keeps blobs, where that is known.
    pub retention: Option<Duration>,
}

/// In what portions an intake gets its events.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryRules {
    /// Shape of the events.
    pub format: EventFormat,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// Batches of one lane that are tried at once. How many requests are, the driver says, for all lanes of the intake.
    pub max_in_flight: usize,
}

/// What the stages of one pass share.
#[derive(Debug, Default)]
struct Pass {
    stopping: Stopping,
    progress: Progress,
    outstanding: Outstanding,
    handed_over: HandedOver,
    /// Whether nothing may be sent, because what is acknowledged cannot be stored.
    sending_paused: watch::Sender<bool>,
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
    /// A way to stop a part, that also stops with the whole.
    #[must_use]
    pub fn child(&self) -> Self {
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
    // Where it is full, nothing is read until somebody has made room, after a restart too; but one still looks.
    let was_full = match lane.state.quarantine_usage().await {
        Ok(usage) => usage.bytes >= lane.limits.quarantine_bytes,
        Err(error) => return PassReport { errors: vec![error.into()], ..PassReport::default() },
    };
    if memory.quarantine_full && !was_full {
        lane.store_health.ready();
    }
    let mut watch = Watch::begin(lane, memory);
    let pass = Arc::new(Pass { stopping: stopping.child(), ..Pass::default() });
    let (found_sender, found) = mpsc::channel(FOUND_QUEUED);
    let (work_sender, works) = mpsc::channel(WORKS_QUEUED);
    let (run_sender, runs) = mpsc::channel(RUNS_QUEUED);
    let (batch_sender, batches) = mpsc::channel(BATCHES_QUEUED);
    let (receipt_sender, receipts) = mpsc::channel(RECEIPTS_QUEUED);

    let stages = async {
        tokio::join!(
            discover::run(lane, memory, found_sender, work_sender, &pass),
            collect::run(lane, works, run_sender, &pass, !was_full),
            assemble::run(lane, runs, batch_sender),
            deliver::run(lane, batches, receipt_sender, &pass),
            commit::run(lane, found, receipts, &pass),
        )
    };
    let (mut discovered, collected, (), delivered, mut committed) = tokio::select! {
        biased;
        ended = stages => ended,
        never = watch.go_on(&pass.progress) => match never {},
    };
    watch.end(memory, &pass.progress);
    for (name, etag, length) in pass.outstanding.given_up() {
        memory.lengths.insert(&name, length);
        if committed.unbalanced.contains(&name) {
            memory.held.insert(&name, Held { etag, reason: HeldFor::Ledger });
        }
    }
    committed.quarantine_full |= was_full;
    memory.quarantine_full = committed.quarantine_full;
    for (name, etag) in &collected.held {
        memory.held.insert(name, Held { etag: etag.clone(), reason: HeldFor::Damage });
    }
    for (name, read_bytes, unread_bytes) in &collected.gone {
        let loss = Loss { read_bytes: *read_bytes, unread_bytes: *unread_bytes };
        say_gone(lane, memory, &mut discovered.0, name, loss);
    }
    let report = PassReport::new(memory.server_now(), discovered, collected, delivered, committed);
    lane.metrics.standing.lag.set_seconds(report.lag);
    lane.metrics.standing.blobs_held.set_count(report.held);
    lane.metrics.progress.polled(if report.is_complete() { Poll::Complete } else { Poll::Incomplete });
    lane.driver.note_readiness();
    report
}
