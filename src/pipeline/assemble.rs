//! Collects the readers' runs into batches; what is left leaves when its age is reached, when its memory is wanted, or at
//! the end of the pass.

use tokio::{sync::mpsc, time::Instant};

use super::{Lane, budget::Share};
use crate::batch::{Batch, Batcher, BodySize, EncodedEvents, Run};

/// What an event's place and end take beside its bytes.
const BYTES_BESIDE_EVENT: usize = 40;

/// What the readers hand over.
#[derive(Debug)]
pub(super) enum Handed {
    /// A run, with the memory that it takes.
    Run(Box<Run>, Share),
    /// There is nothing more to read for now: what is waiting for more would wait in vain.
    Idle,
}

/// Ends when the readers have ended, or when nobody takes batches any more.
pub(super) async fn run(
    lane: &Lane,
    mut runs: mpsc::Receiver<Handed>,
    batches: mpsc::Sender<(Batch, Share)>,
) {
    let overhead = lane.intake.body_overhead();
    let size = BodySize { fixed: overhead.fixed, separator: overhead.separator };
    let mut limits = lane.delivery.batch;
    // A batch that needs all of the intake's memory would be the only one in flight.
    limits.max_bytes = limits.max_bytes.min(lane.budget.encoded().total_bytes() / 2);
    let mut batcher = Batcher::new(limits, size);
    // Memory of what the batcher holds.
    let mut held = Share::empty();
    loop {
        let due = batcher.deadline().map(Instant::from_std);
        let ready = tokio::select! {
            biased;
            run = runs.recv() => match run {
                Some(Handed::Run(run, share)) => {
                    held.merge(share);
                    batcher.push(*run, Instant::now().into_std())
                }
                Some(Handed::Idle) => batcher.flush().into_iter().collect(),
                None => break,
            },
            () = sleep_until(due) => batcher.flush().into_iter().collect(),
            () = memory_is_wanted(lane), if !batcher.open().deltas.is_empty() => batcher.flush().into_iter().collect(),
        };
        for batch in ready {
            let share = held.split_off(batch_bytes_in_memory(&batch));
            if batches.send((batch, share)).await.is_err() {
                return;
            }
        }
        // Shares are rounded up, each for itself: what many small runs have too much is given back at once.
        held = held.split_off(batch_bytes_in_memory(batcher.open()));
    }
    if let Some(batch) = batcher.flush() {
        // A delivery that is gone has failed and reports it itself.
        let _unsent = batches.send((batch, held)).await.map_err(drop);
    }
}

/// What events take until they are acknowledged.
pub(super) fn bytes_in_memory(events: &EncodedEvents) -> usize {
    events.bytes.len().saturating_add(events.len().saturating_mul(BYTES_BESIDE_EVENT))
}

fn batch_bytes_in_memory(batch: &Batch) -> usize {
    bytes_in_memory(&batch.events).saturating_add(batch.rejected_bytes)
}

/// Completes when somebody, of any lane of the intake, waits for memory that an open batch may hold, and a request could
/// start now: while none can, a batch may as well grow.
async fn memory_is_wanted(lane: &Lane) {
    let pool = lane.budget.encoded();
    loop {
        pool.short().await;
        lane.driver.has_room().await;
        if pool.is_short() {
            return;
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
