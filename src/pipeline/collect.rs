//! Reads several blobs at once, in the order in which discovery found them.

use std::{collections::VecDeque, sync::Arc};

use chrono::{DateTime, Utc};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{error, info, warn};

use super::{
    Lane, Pass, PassError,
    assemble::Handed,
    discover::Work,
    progress::Progress,
    read,
    read_end::{ReadCounts, ReadEnd, ReadOutcome},
};
use crate::{
    model::{BlobName, ETag},
    storage::StorageErrorKind,
    telemetry::chain,
};

/// What reading came to in one pass.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) blobs_read: u64,
    pub(super) read_calls: u64,
    pub(super) bytes_read: u64,
    /// Blobs that were deleted before they were read to their end, with the bytes that were read of each, and those that
    /// were not.
    pub(super) gone: Vec<(BlobName, u64, Option<u64>)>,
    pub(super) failed: u64,
    /// Why the last of the failed ones could not be read.
    pub(super) unread: Option<String>,
    /// The oldest Last-Modified among the blobs that were read.
    pub(super) oldest_change: Option<DateTime<Utc>>,
    /// Whether the storage server does not let this process read: others need not be tried now.
    pub(super) is_denied: bool,
    /// Blobs found damaged, with the version that is.
    pub(super) held: Vec<(BlobName, ETag)>,
    pub(super) error: Option<PassError>,
}

/// Ends when there is no more work, when it is cancelled, or when nobody takes runs any more.
pub(super) async fn run(
    lane: &Arc<Lane>,
    works: mpsc::Receiver<Work>,
    runs: mpsc::Sender<Handed>,
    pass: &Arc<Pass>,
    may_read: bool,
) -> Collected {
    let cancelled = &pass.stopping.reading;
    let mut queue = Queue {
        works,
        open: true,
        first: None,
        returned: VecDeque::new(),
        was_returned: true,
        is_unflushed: false,
    };
    let mut readers: JoinSet<ReadEnd> = JoinSet::new();
    let mut collected = Collected::default();
    loop {
        if !may_read || collected.is_denied {
            queue.give_up(pass);
        }
        while readers.len() < lane.limits.parallel_blobs
            && let Some(work) = queue.next(&pass.progress)
        {
            readers.spawn(read::read_blob(Arc::clone(lane), work, runs.clone(), Arc::clone(pass)));
        }
        if !queue.open && readers.is_empty() {
            return collected;
        }
        if readers.is_empty() && queue.is_unflushed && runs.send(Handed::Idle).await.is_ok() {
            queue.is_unflushed = false;
        }
        let free = readers.len() < lane.limits.parallel_blobs;
        tokio::select! {
            biased;
            () = cancelled.cancelled(), if queue.open => queue.close(),
            Some(ended) = readers.join_next() => match ended {
                Ok(end) => queue.returned.extend(note(&mut collected, lane, pass, end)),
                Err(error) => {
                    // Nobody will ever acknowledge its blob.
                    cancelled.cancel();
                    collected.error.get_or_insert(error.into());
                }
            },
            work = queue.works.recv(), if queue.open && free => match work {
                Some(work) => queue.first = Some(work),
                None => queue.open = false,
            },
        }
    }
}

/// The blobs that wait for a reader: those that discovery found, in its order, and those whose turn was over. The two
/// take turns, so neither many small blobs nor a few large ones keep the others waiting.
struct Queue {
    works: mpsc::Receiver<Work>,
    /// Whether discovery may find more.
    open: bool,
    /// The next one of `works`.
    first: Option<Work>,
    returned: VecDeque<Work>,
    /// Whether the last one taken had been read before.
    was_returned: bool,
    /// Whether there was something to read since the batcher was told last that there is not.
    is_unflushed: bool,
}

impl Queue {
    fn next(&mut self, progress: &Progress) -> Option<Work> {
        if self.open && self.first.is_none() {
            self.first = self.works.try_recv().ok();
        }
        let is_turn_of_returned = self.first.is_none() || !self.was_returned;
        if is_turn_of_returned && let Some(work) = self.returned.pop_front() {
            self.was_returned = true;
            self.is_unflushed = true;
            return Some(work);
        }
        let work = self.first.take()?;
        progress.taken(work.blob.hour());
        self.was_returned = false;
        self.is_unflushed = true;
        Some(work)
    }

    /// Leaves what waits to the next pass.
    fn give_up(&mut self, pass: &Pass) {
        let found = self.first.take().into_iter().chain(std::iter::from_fn(|| self.works.try_recv().ok()));
        for work in found.chain(self.returned.drain(..)) {
            pass.outstanding.give_up(work.blob);
        }
    }

    fn close(&mut self) {
        self.open = false;
        self.first = None;
        self.returned.clear();
    }
}

/// Counts how a reading ended and says so where somebody should know. Returns a blob that is to be read on.
fn note(collected: &mut Collected, lane: &Lane, pass: &Pass, end: ReadEnd) -> Option<Work> {
    let metrics = &lane.metrics.reading;
    let ReadCounts { calls, bytes, new_bytes, records, rewritten, .. } = end.counts;
    metrics.read_calls.inc_by(calls);
    metrics.bytes_read.inc_by(bytes);
    metrics.bytes_appended.inc_by(new_bytes);
    metrics.records_read.inc_by(records);
    metrics.blobs_rewritten.inc_by(rewritten);
    collected.read_calls = collected.read_calls.saturating_add(calls);
    collected.bytes_read = collected.bytes_read.saturating_add(bytes);
    if let ReadOutcome::TurnOver(work) = end.outcome {
        return Some(*work);
    }
    pass.progress.blob_done();
    if !matches!(end.outcome, ReadOutcome::Complete) {
        pass.outstanding.give_up(end.blob);
    }
    let blob = end.version.name;
    match end.outcome {
        ReadOutcome::Complete => {
            lane.observer.read();
            metrics.blobs_read.inc();
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
            collected.gone.push((blob, end.version.length.saturating_sub(unread), Some(unread)));
        }
        ReadOutcome::StillChanging => {
            info!(%blob, "the blob changes faster than it can be read; the next poll goes on");
            collected.unread = Some(format!("blob {blob} changes faster than it can be read"));
            metrics.blobs_failed.inc();
            collected.failed = collected.failed.saturating_add(1);
        }
        ReadOutcome::Failed(failure) => {
            let error = chain(&failure).to_string();
            lane.observer.not_read(&failure);
            collected.is_denied |= matches!(failure.kind, StorageErrorKind::Denied { .. });
            warn!(%blob, error, "the blob could not be read; the next poll tries again");
            collected.unread = Some(error);
            metrics.blobs_failed.inc();
            collected.failed = collected.failed.saturating_add(1);
        }
        ReadOutcome::Stopped | ReadOutcome::TurnOver(_) => {}
    }
    None
}
