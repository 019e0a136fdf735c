//! The simulated container as a storage port.

use std::{ops::Range, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use flowlogd::{
    model::{BlobName, BlobVersion, ETag, Origin},
    storage::{BlobStore, ListPage, ListQuery, StorageError, StorageErrorKind},
};

use super::{
    blobs::folded,
    weather::Fault,
    world::{Shared, World, lock},
};
use crate::support::wait::time_passes;

/// Entries of a page: few, so that listings have several.
const PAGE_ENTRIES: usize = 3;

/// The container.
#[derive(Debug)]
pub(super) struct SimulatedStorage {
    origin: Origin,
    world: Shared,
}

impl SimulatedStorage {
    pub(super) fn new(world: &Shared) -> Self {
        Self { origin: lock(world).blobs.origin.clone(), world: Shared::clone(world) }
    }

    /// Some time passes; then something is done with the world.
    async fn ask<T>(
        &self,
        operation: String,
        answer: impl FnOnce(&mut World) -> Result<T, StorageErrorKind>,
    ) -> Result<T, StorageError> {
        let [before, after] = {
            let mut world = lock(&self.world);
            [0; 2].map(|_| Duration::from_millis(world.random.u64(1..40)))
        };
        time_passes(before).await;
        let result = {
            let mut world = lock(&self.world);
            world.grow();
            let result = trouble(&world).map_or_else(|| answer(&mut world), Err);
            let failure = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
            world.note(&[operation.as_bytes(), failure.as_bytes()]);
            result
        };
        time_passes(after).await;
        result.map_err(|kind| StorageError { operation, kind, source: None })
    }
}

fn trouble(world: &World) -> Option<StorageErrorKind> {
    let has = |fault| world.has(fault, None);
    if has(Fault::NoContainer) {
        return Some(StorageErrorKind::ContainerNotFound);
    }
    if has(Fault::StorageDown) {
        return Some(StorageErrorKind::Transient);
    }
    if has(Fault::Denied) {
        return Some(StorageErrorKind::Denied { code: "403".to_owned(), advice: "wait".to_owned() });
    }
    has(Fault::Throttled).then_some(StorageErrorKind::Throttled { retry_after: None })
}

/// Happens to one of so many, while there is such a fault.
fn strikes(world: &mut World, fault: Fault, one_of: u8) -> bool {
    world.has(fault, None) && world.random.u8(0..one_of) == 0
}

#[async_trait]
impl BlobStore for SimulatedStorage {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    async fn list_page(&self, query: ListQuery<'_>) -> Result<ListPage, StorageError> {
        let ListQuery { prefix, delimiter, marker } = query;
        let from = marker.unwrap_or_default().to_owned();
        self.ask(format!("list {prefix} {delimiter:?} {from}"), |world| {
            if strikes(world, Fault::ListingsDie, 4) {
                return Err(StorageErrorKind::Transient);
            }
            let date = world.now();
            let Some(delimiter) = delimiter else {
                let mut blobs: Vec<BlobVersion> = world
                    .blobs
                    .below(prefix)
                    .map(|blob| blob.version())
                    .filter(|version| version.name.as_str() >= from.as_str())
                    .take(PAGE_ENTRIES + 1)
                    .collect();
                let next = (blobs.len() > PAGE_ENTRIES).then(|| blobs.pop().unwrap().name.to_string());
                return Ok(ListPage { blobs, prefixes: Vec::new(), next, date });
            };
            let names = world.blobs.below(prefix).map(|blob| blob.name.to_string());
            let mut prefixes: Vec<String> =
                folded(names, prefix, delimiter).into_iter().filter(|name| *name >= from).collect();
            let next = (prefixes.len() > PAGE_ENTRIES).then(|| prefixes[PAGE_ENTRIES].clone());
            prefixes.truncate(PAGE_ENTRIES);
            Ok(ListPage { blobs: Vec::new(), prefixes, next, date })
        })
        .await
    }

    async fn head(&self, name: &BlobName) -> Result<BlobVersion, StorageError> {
        self.ask(format!("head {name}"), |world| {
            world.blobs.get(name.as_str()).map(|blob| blob.version()).ok_or(StorageErrorKind::BlobNotFound)
        })
        .await
    }

    async fn read(&self, name: &BlobName, range: Range<u64>, etag: &ETag) -> Result<Bytes, StorageError> {
        self.ask(format!("read {name} {range:?}"), |world| {
            if strikes(world, Fault::RangesFail, 6) {
                let wanted = range.end - range.start;
                return Err(StorageErrorKind::Truncated { got: wanted / 2, wanted });
            }
            if strikes(world, Fault::RangesFail, 8) {
                return Err(StorageErrorKind::Conflict { code: "409".to_owned() });
            }
            let blob = world.blobs.get(name.as_str()).ok_or(StorageErrorKind::BlobNotFound)?;
            if blob.version().etag != *etag {
                return Err(StorageErrorKind::Changed);
            }
            let bytes = blob.bytes();
            if range.start >= bytes.len() as u64 {
                return Err(StorageErrorKind::PastEnd);
            }
            let place = |offset: u64| usize::try_from(offset).unwrap().min(bytes.len());
            Ok(Bytes::copy_from_slice(&bytes[place(range.start)..place(range.end)]))
        })
        .await
    }
}
