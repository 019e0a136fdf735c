//! Collects the readers' runs into batches; what is left leaves when its age is reached or at the end of the pass.

use tokio::{sync::mpsc, time::Instant};

use super::Lane;
use crate::batch::{Batch, Batcher, BodySize, Run};

/// Ends when the readers have ended, or when nobody takes batches any more.
pub(super) async fn run(lane: &Lane, mut runs: mpsc::Receiver<Run>, batches: mpsc::Sender<Batch>) {
    let overhead = lane.intake.framing().overhead();
    let size = BodySize { fixed: overhead.fixed, separator: overhead.separator };
    let mut batcher = Batcher::new(lane.batch, size);
    loop {
        let due = batcher.deadline().map(Instant::from_std);
        let ready = tokio::select! {
            biased;
            run = runs.recv() => match run {
                Some(run) => batcher.push(run, Instant::now().into_std()),
                None => break,
            },
            () = sleep_until(due) => batcher.flush().into_iter().collect(),
        };
        for batch in ready {
            if batches.send(batch).await.is_err() {
                return;
            }
        }
    }
    if let Some(batch) = batcher.flush() {
        // A delivery that is gone has failed and reports it itself.
        let _unsent = batches.send(batch).await.map_err(drop);
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
