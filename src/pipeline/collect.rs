//! Reads several blobs at once, in the order in which discovery found them.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Lane, PassError,
    discover::Work,
    read::{self, ReadEnd, ReadOutcome},
};
use crate::{
    batch::Run,
    model::{BlobName, ETag},
    telemetry::chain,
};

/// What reading came to in one pass.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) blobs_read: u64,
    pub(super) read_calls: u64,
    pub(super) bytes_read: u64,
    pub(super) gone: u64,
    pub(super) failed: u64,
    /// The oldest Last-Modified among the blobs that were read.
    pub(super) oldest_change: Option<DateTime<Utc>>,
    /// Blobs found damaged, with the version that is.
    pub(super) held: Vec<(BlobName, ETag)>,
    pub(super) error: Option<PassError>,
}

/// Ends when there is no more work, when it is cancelled, or when nobody takes runs any more.
pub(super) async fn run(
    lane: &Arc<Lane>,
    mut works: mpsc::Receiver<Work>,
    runs: mpsc::Sender<Run>,
    cancelled: CancellationToken,
) -> Collected {
    let mut readers: JoinSet<ReadEnd> = JoinSet::new();
    let mut collected = Collected::default();
    let mut open = true;
    while open || !readers.is_empty() {
        tokio::select! {
            biased;
            () = cancelled.cancelled(), if open => open = false,
            Some(ended) = readers.join_next() => match ended {
                Ok(end) => note(&mut collected, end),
                Err(error) => {
                    collected.error.get_or_insert(error.into());
                }
            },
            work = works.recv(), if open && readers.len() < lane.parallel_blobs => match work {
                Some(work) => {
                    readers.spawn(read::read_blob(Arc::clone(lane), work, runs.clone(), cancelled.clone()));
                }
                None => open = false,
            },
        }
    }
    collected
}

/// Counts how a reading ended and says so where somebody should know.
fn note(collected: &mut Collected, end: ReadEnd) {
    collected.read_calls = collected.read_calls.saturating_add(end.calls);
    collected.bytes_read = collected.bytes_read.saturating_add(end.bytes);
    let blob = end.version.name;
    match end.outcome {
        ReadOutcome::Complete => {
            collected.blobs_read = collected.blobs_read.saturating_add(1);
            let oldest = collected.oldest_change.get_or_insert(end.version.last_modified);
            *oldest = end.version.last_modified.min(*oldest);
        }
        ReadOutcome::Damaged(damage) => {
            error!(
                %blob, reason = %damage,
                "the blob is damaged and is held at this place until it changes or its hour is sealed; no flow log can be \
                 read behind it",
            );
            collected.held.push((blob, end.version.etag));
        }
        ReadOutcome::Gone { unread } => {
            warn!(%blob, unread_bytes = unread, "the blob was deleted before it was read to its end");
            collected.gone = collected.gone.saturating_add(1);
        }
        ReadOutcome::StillChanging => {
            info!(%blob, "the blob changes faster than it can be read; the next poll goes on");
            collected.failed = collected.failed.saturating_add(1);
        }
        ReadOutcome::Failed(failure) => {
            warn!(%blob, error = %chain(&failure), "the blob could not be read; the next poll tries again");
            collected.failed = collected.failed.saturating_add(1);
        }
        ReadOutcome::Stopped => {}
    }
}
