//! The text of a blob from an offset on. Of a compressed blob that is what comes out of it.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    model::{BlobName, BlobVersion},
    pipeline::gunzip::{Gunzip, Unzipped, is_gzip},
    storage::{BlobStore, StorageError, StorageErrorKind},
    telemetry::chain,
};

/// Bytes of one range read.
const READ_BYTES: u64 = 1024 * 1024;

/// First bytes of a blob that show whether it is compressed.
const BEGINNING_BYTES: u64 = 2;

/// Why a record is not there.
#[derive(Debug)]
pub(super) enum Absent {
    /// It is gone for good, or no configured source has it.
    Gone(String),
    /// It cannot be read now.
    Unreadable(String),
}

impl From<StorageError> for Absent {
    fn from(error: StorageError) -> Self {
        match error.kind {
            StorageErrorKind::BlobNotFound | StorageErrorKind::ContainerNotFound => {
                Self::Gone("its blob is gone".to_owned())
            }
            StorageErrorKind::Changed
            | StorageErrorKind::Conflict { .. }
            | StorageErrorKind::Archived
            | StorageErrorKind::Denied { .. }
            | StorageErrorKind::Throttled { .. }
            | StorageErrorKind::PastEnd
            | StorageErrorKind::Truncated { .. }
            | StorageErrorKind::Transient
            | StorageErrorKind::Other(_) => Self::Unreadable(chain(&error).to_string()),
        }
    }
}

/// A text that is being read, pinned to one version of its blob.
#[derive(Debug)]
pub(super) struct BlobText<'a> {
    store: &'a dyn BlobStore,
    version: BlobVersion,
    /// Of a compressed blob.
    gunzip: Option<Gunzip>,
    /// The next byte of the blob to read.
    cursor: u64,
    /// What is wanted of the text and was not returned yet.
    wanted: Range<u64>,
    /// Bytes of a compressed blob's text so far.
    n_unzipped: u64,
}

impl<'a> BlobText<'a> {
    /// The bytes of a blob's text in a range, which may end after the text.
    ///
    /// # Errors
    /// Where the blob is not there or cannot be read.
    pub(super) async fn open(
        store: &'a dyn BlobStore,
        name: &BlobName,
        wanted: Range<u64>,
    ) -> Result<Self, Absent> {
        let version = store.head(name).await?;
        let mut text = Self { store, version, gunzip: None, cursor: 0, wanted, n_unzipped: 0 };
        if is_gzip(&text.read(BEGINNING_BYTES).await?) {
            text.cursor = 0;
            let first = text.read(READ_BYTES).await?;
            text.gunzip = Some(Gunzip::new(first));
        } else {
            text.cursor = text.wanted.start;
        }
        Ok(text)
    }

    /// The next bytes; none where nothing is wanted any more or the text has ended.
    ///
    /// # Errors
    /// Where the blob cannot be read, or its compression is damaged here.
    pub(super) async fn next(&mut self) -> Result<Bytes, Absent> {
        let bytes = match self.gunzip.take() {
            None => self.read(READ_BYTES.min(self.wanted.end.saturating_sub(self.cursor))).await?,
            Some(mut gunzip) => {
                let unzipped = self.unzip(&mut gunzip).await?;
                self.gunzip = Some(gunzip);
                unzipped
            }
        };
        self.wanted.start = self.wanted.start.saturating_add(length(&bytes));
        Ok(bytes)
    }

    async fn unzip(&mut self, gunzip: &mut Gunzip) -> Result<Bytes, Absent> {
        while self.n_unzipped < self.wanted.end {
            match gunzip.next() {
                Unzipped::Bytes(bytes) => {
                    let first = self.n_unzipped;
                    self.n_unzipped = first.saturating_add(length(bytes));
                    let within = |offset: u64| {
                        usize::try_from(offset.saturating_sub(first)).unwrap_or(usize::MAX).min(bytes.len())
                    };
                    let part = bytes.get(within(self.wanted.start)..within(self.wanted.end));
                    if let Some(part) = part.filter(|part| !part.is_empty()) {
                        return Ok(Bytes::copy_from_slice(part));
                    }
                }
                Unzipped::Starved => {
                    let more = self.read(READ_BYTES).await?;
                    gunzip.give((!more.is_empty()).then_some(more));
                }
                Unzipped::End => break,
                Unzipped::Damaged(detail) => {
                    return Err(Absent::Gone(format!("the gzip stream is damaged or cut here: {detail}")));
                }
            }
        }
        Ok(Bytes::new())
    }

    /// The next bytes of the blob as they are stored; none at its end.
    async fn read(&mut self, n_bytes: u64) -> Result<Bytes, Absent> {
        let end = self.version.length.min(self.cursor.saturating_add(n_bytes));
        if end <= self.cursor {
            return Ok(Bytes::new());
        }
        let bytes = self.store.read(&self.version.name, self.cursor..end, &self.version.etag).await?;
        self.cursor = end;
        Ok(bytes)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
