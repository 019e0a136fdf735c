//! One range of a blob on its way. It borrows nothing of its reader, which parses the range before it meanwhile.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Lane, read_end::ReadOutcome};
use crate::{
    model::{BlobName, ETag},
    storage::{StorageError, StorageErrorKind},
};

/// The bytes of a range of a version, or how the reading ends.
pub(super) async fn fetch(
    lane: Arc<Lane>,
    name: BlobName,
    etag: ETag,
    range: Range<u64>,
    stopping: CancellationToken,
) -> Result<Bytes, ReadOutcome> {
    let read = tokio::select! {
        biased;
        () = stopping.cancelled() => return Err(ReadOutcome::Stopped),
        read = lane.storage.read(&name, range, &etag) => read,
    };
    read.map_err(ended_by)
}

/// How a reading ends where the storage server does not answer as wanted.
pub(super) fn ended_by(error: StorageError) -> ReadOutcome {
    if matches!(error.kind, StorageErrorKind::BlobNotFound | StorageErrorKind::ContainerNotFound) {
        ReadOutcome::Gone { unread: 0 }
    } else {
        ReadOutcome::Failed(error)
    }
}
