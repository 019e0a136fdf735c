//! The blobs that a pass has handed to its readers and that are not acknowledged to their end yet.

use std::{
    collections::{BTreeMap, HashMap, HashSet, btree_map::Entry},
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::model::{BlobName, BlobVersion, ETag, Hour, HourlyBlob};

/// What discovery must leave alone for now, because its position is about to move.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    blobs: Mutex<Blobs>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Blobs {
    /// In the order of their names, in which those of a root stand together: they are asked for at every listing.
    under_way: BTreeMap<HourlyBlob, Version>,
    /// Blobs whose reading did not reach their end: the next pass tries again.
    given_up: HashMap<HourlyBlob, Version>,
}

/// The version of a blob that was taken.
#[derive(Debug)]
struct Version {
    etag: ETag,
    length: u64,
}

/// Whether a blob may be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// By who asked.
    Now,
    /// It is under way, in this version.
    Before,
    /// It is under way, in another version.
    BeforeItChanged,
    /// It was given up in this pass.
    GivenUp,
}

impl Outstanding {
    /// Takes a blob, if this pass may read it (again) now.
    pub(super) fn take(&self, blob: &HourlyBlob, version: &BlobVersion) -> Taken {
        self.with(|blobs| {
            if blobs.given_up.contains_key(blob) {
                return Taken::GivenUp;
            }
            match blobs.under_way.entry(blob.clone()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Version { etag: version.etag.clone(), length: version.length });
                    Taken::Now
                }
                Entry::Occupied(occupied) if occupied.get().etag == version.etag => Taken::Before,
                Entry::Occupied(_) => Taken::BeforeItChanged,
            }
        })
    }

    /// The blobs of a root that a reader has, or whose events are on their way.
    pub(super) fn under_way(&self, root: &str) -> HashSet<HourlyBlob> {
        let Some(first) = HourlyBlob::new(BlobName::new(root), 0, Hour::from_number(0)) else {
            return HashSet::new();
        };
        self.with(|blobs| {
            let behind = blobs.under_way.range(first..).map(|(blob, _)| blob);
            // Roots whose names begin with this one's may stand between.
            let below = behind.take_while(|blob| blob.name().as_str().starts_with(root));
            below.filter(|blob| blob.root() == root).cloned().collect()
        })
    }

    /// How many these are of all roots.
    #[cfg(test)]
    pub(super) fn n_under_way(&self) -> usize {
        self.with(|blobs| blobs.under_way.len())
    }

    /// The blobs that were given up, with the versions that were taken and their lengths in bytes.
    pub(super) fn given_up(&self) -> Vec<(BlobName, ETag, u64)> {
        let shown = |(blob, version): (&HourlyBlob, &Version)| {
            (blob.name().clone(), version.etag.clone(), version.length)
        };
        self.with(|blobs| blobs.given_up.iter().map(shown).collect())
    }

    /// The blob is stored to its end, or there is nothing to read in it.
    pub(super) fn done(&self, blob: &HourlyBlob) {
        self.with(|blobs| blobs.under_way.remove(blob));
        self.emptied.notify_waiters();
    }

    /// Reading the blob ended before its end.
    pub(super) fn give_up(&self, blob: HourlyBlob) {
        self.with(|blobs| {
            if let Some(version) = blobs.under_way.remove(&blob) {
                blobs.given_up.insert(blob, version);
            }
        });
        self.emptied.notify_waiters();
    }

    /// Completes when nothing is under way.
    pub(super) async fn empty(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.with(|blobs| blobs.under_way.is_empty()) {
                return;
            }
            emptied.await;
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Blobs) -> T) -> T {
        act(&mut self.blobs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Scenario: blobs are under way in three roots, of which one's name begins with another's and stands between its
    /// blobs. Guarantees: each root is told its own, and no other.
    #[test]
    fn a_root_is_told_its_own() {
        let blob = |root: &str, leaf: &str| {
            let name = BlobName::new(format!("{root}{leaf}"));
            HourlyBlob::new(name, root.len(), Hour::from_number(0)).unwrap()
        };
        let (first, last) = (blob("a/b", "/Y=2026/1"), blob("a/b", "/y=2026/1"));
        let (between, other) = (blob("a/b/c", "/y=2026/1"), blob("a/d", "/y=2026/1"));
        let outstanding = Outstanding::default();
        for blob in [&first, &last, &between, &other] {
            let (name, etag) = (blob.name().clone(), ETag::new("a"));
            let version = BlobVersion { name, etag, length: 7, last_modified: chrono::DateTime::UNIX_EPOCH };
            outstanding.take(blob, &version);
        }
        assert!(first < between && between < last && last < other);
        assert_eq!(outstanding.under_way("a/b"), HashSet::from([first, last]));
        assert_eq!(outstanding.under_way("a/b/c"), HashSet::from([between]));
        assert_eq!(outstanding.under_way("a/d"), HashSet::from([other]));
        assert_eq!(outstanding.under_way("a"), HashSet::new());
    }

    /// Scenario: blobs are taken, change, are stored, given up and asked for again. Guarantees: one that is under way or
    /// given up is not taken, one that is stored is; it is empty when nothing is under way.
    #[test]
    fn one_reading_at_a_time() {
        let name = |number: usize| BlobName::new(format!("root/y=2026/{number}"));
        let blob = |number| HourlyBlob::new(name(number), 4, Hour::from_number(0)).unwrap();
        let version = |etag: &str| BlobVersion {
            name: name(0),
            etag: ETag::new(etag),
            length: 7,
            last_modified: chrono::DateTime::UNIX_EPOCH,
        };
        let outstanding = Outstanding::default();
        let take = |number, etag| outstanding.take(&blob(number), &version(etag));
        assert!(outstanding.empty().now_or_never().is_some());
        assert_eq!([take(1, "a"), take(2, "a")], [Taken::Now; 2]);
        assert_eq!([take(1, "a"), take(1, "b")], [Taken::Before, Taken::BeforeItChanged]);
        assert!(outstanding.empty().now_or_never().is_none());
        assert_eq!(outstanding.n_under_way(), 2);
        outstanding.done(&blob(1));
        outstanding.give_up(blob(2));
        assert!(outstanding.empty().now_or_never().is_some());
        assert_eq!(outstanding.n_under_way(), 0);
        assert_eq!([take(1, "b"), take(2, "b")], [Taken::Now, Taken::GivenUp]);
        assert_eq!(outstanding.given_up(), [(name(2), ETag::new("a"), 7)]);
        assert_eq!(outstanding.under_way("root"), HashSet::from([blob(1)]));
    }
}
