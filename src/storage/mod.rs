//! F4: the storage port. The collector is strictly read-only on its source: list, HEAD and ranged GET are all there
//! is. Every adapter passes the contract suite in `tests/it/storage_contract.rs`.

pub mod azure;
pub mod directory;

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    model::{BlobName, BlobVersion, ETag, Origin},
    telemetry::labels::StorageTrouble,
};

/// The most entries that one listing page may hold: Azure's own limit.
pub const LIST_PAGE_ENTRIES: u32 = 5_000;

/// What holds containers: a storage account, or a directory that stands for one container.
#[async_trait]
pub trait Account: Send + Sync + fmt::Debug {
    /// Names of the containers whose names start with `prefix`, sorted.
    ///
    /// # Errors
    /// As [`StorageError`] says; there is no partial answer.
    async fn containers(&self, prefix: &str) -> Result<Vec<String>, StorageError>;

    /// A handle on one container. Makes no request: whether the container exists shows at the first listing.
    fn container(&self, name: &str) -> Arc<dyn BlobStore>;

    /// The one place that the account is, such as `directory /data/container`, where it is one, and has no containers
    /// with names.
    fn place(&self) -> Option<String> {
        None
    }

    /// How far the server's clock was ahead of this machine's at the last answer that had a date; `None` where there
    /// was none yet, or is no server.
    fn clock_skew(&self) -> Option<TimeDelta> {
        None
    }
}

/// One container's blobs.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Account and container, as they enter event identities and positions.
    fn origin(&self) -> &Origin;

    /// One page of the blobs below a prefix, in the order of their names.
    ///
    /// # Errors
    /// As [`StorageError`] says; a page is whole or it is an error.
    async fn list_page(&self, query: ListQuery<'_>) -> Result<ListPage, StorageError>;

    /// A blob's present version.
    ///
    /// # Errors
    /// As [`StorageError`] says.
    async fn head(&self, name: &BlobName) -> Result<BlobVersion, StorageError>;

    /// Bytes `range` of the version `etag` of a blob: all of them, or an error. An empty range is not asked for.
    ///
    /// # Errors
    /// [`StorageErrorKind::Changed`] where the blob has another version now, and on some servers where it is gone: a
    /// HEAD tells. Else as [`StorageError`] says.
    async fn read(&self, name: &BlobName, range: Range<u64>, etag: &ETag) -> Result<Bytes, StorageError>;
}

/// What a listing asks for.
#[derive(Debug, Clone, Copy)]
pub struct ListQuery<'a> {
    /// Only names that start with this.
    pub prefix: &'a str,
    /// With `Some('/')`, names that go on after the next `/` behind the prefix are folded into `prefixes`.
    pub delimiter: Option<char>,
    /// `next` of the page before; opaque.
    pub marker: Option<&'a str>,
}

/// One page of a listing.
#[derive(Debug, Clone)]
pub struct ListPage {
    /// The blobs, in the order of their names; zero-length ones included.
    pub blobs: Vec<BlobVersion>,
    /// With a delimiter: the folded prefixes, each with its trailing delimiter.
    pub prefixes: Vec<String>,
    /// Marker of the next page; `None` on the last one.
    pub next: Option<String>,
    /// The server's clock when it answered (`Date` header; the local clock for a directory).
    pub date: DateTime<Utc>,
}

/// A storage operation that failed, after the adapter's own bounded retries.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct StorageError {
    /// Verb and object: `list container logs, prefix flowLogResourceID=/`.
    pub operation: String,
    /// What the caller can do.
    pub kind: StorageErrorKind,
    /// What lies beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a failed storage operation means for its caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageErrorKind {
    /// 412: the blob has another version than the one asked for.
    #[error("the blob has changed since it was listed")]
    Changed,
    /// 409: what is asked for cannot be done at this moment; the next pass may find it otherwise.
    #[error("the storage server is busy with the blob or its container ({code}); the next pass asks again")]
    Conflict {
        /// `x-ms-error-code`, or the status where there is none.
        code: String,
    },
    /// The blob's tier cannot be read.
    #[error(
        "the blob is in the archive tier, where it cannot be read: rehydrate it to the hot, cool or cold tier, and \
         keep the account's lifecycle rules from archiving flow logs"
    )]
    Archived,
    /// 404 on a blob.
    #[error("the blob is gone")]
    BlobNotFound,
    /// 404 on a container.
    #[error("the container does not exist")]
    ContainerNotFound,
    /// 401 or 403.
    #[error("access denied ({code}): {advice}")]
    Denied {
        /// The status, and `x-ms-error-code` where there is one.
        code: String,
        /// The way out, for people.
        advice: String,
    },
    /// 429 or 503, or a 500 that says when to come back.
    #[error("the storage server asks to slow down")]
    Throttled {
        /// `Retry-After`, where the server sent it.
        retry_after: Option<Duration>,
    },
    /// 416: the range starts behind the end.
    #[error("the range lies behind the blob's end")]
    PastEnd,
    /// The answer was shorter than announced, or had another range than asked for.
    #[error("the answer was cut short: {got} of {wanted} bytes")]
    Truncated {
        /// Bytes received.
        got: u64,
        /// Bytes asked for.
        wanted: u64,
    },
    /// Network trouble, time-outs and 5xx: worth another try later.
    #[error("the storage server cannot be reached or is in trouble")]
    Transient,
    /// Anything that another try will not mend: redirects, malformed answers, unreadable files.
    #[error("{0}")]
    Other(String),
}

impl StorageErrorKind {
    /// What it is counted as.
    #[must_use]
    pub fn trouble(&self) -> StorageTrouble {
        match self {
            Self::Changed => StorageTrouble::Changed,
            Self::Conflict { .. } => StorageTrouble::Conflict,
            Self::Archived => StorageTrouble::Archived,
            Self::BlobNotFound => StorageTrouble::BlobNotFound,
            Self::ContainerNotFound => StorageTrouble::ContainerNotFound,
            Self::Denied { .. } => StorageTrouble::Denied,
            Self::Throttled { .. } => StorageTrouble::Throttled,
            Self::PastEnd => StorageTrouble::PastEnd,
            Self::Truncated { .. } => StorageTrouble::Truncated,
            Self::Transient => StorageTrouble::Transient,
            Self::Other(_) => StorageTrouble::Other,
        }
    }
}
