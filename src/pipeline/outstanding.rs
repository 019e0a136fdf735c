//! The blobs that a pass has handed to its readers and that are not acknowledged to their end yet.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::model::HourlyBlob;

/// What discovery must leave alone for now, because its position is about to move.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    blobs: Mutex<Blobs>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Blobs {
    under_way: HashSet<HourlyBlob>,
    /// Blobs whose reading did not reach their end: the next pass tries again.
    given_up: HashSet<HourlyBlob>,
}

impl Outstanding {
    /// Takes a blob, if this pass may read it (again) now.
    pub(super) fn take(&self, blob: &HourlyBlob) -> bool {
        self.with(|blobs| !blobs.given_up.contains(blob) && blobs.under_way.insert(blob.clone()))
    }

    /// The blob is stored to its end, or there is nothing to read in it.
    pub(super) fn done(&self, blob: &HourlyBlob) {
        self.with(|blobs| blobs.under_way.remove(blob));
        self.emptied.notify_waiters();
    }

    /// Reading the blob ended before its end.
    pub(super) fn give_up(&self, blob: HourlyBlob) {
        self.with(|blobs| {
            blobs.under_way.remove(&blob);
            blobs.given_up.insert(blob);
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
    use crate::model::{BlobName, Hour};

    /// Scenario: blobs are taken, stored, given up and asked for again. Guarantees: one that is under way or given up is
    /// not taken, one that is stored is; it is empty when nothing is under way.
    #[test]
    fn one_reading_at_a_time() {
        let blob = |number: usize| {
            HourlyBlob::new(BlobName::new(format!("root/y=2026/{number}")), 4, Hour::from_number(0)).unwrap()
        };
        let outstanding = Outstanding::default();
        assert!(outstanding.empty().now_or_never().is_some());
        assert!(outstanding.take(&blob(1)) && outstanding.take(&blob(2)));
        assert!(!outstanding.take(&blob(1)));
        let mut empty = Box::pin(outstanding.empty());
        assert!((&mut empty).now_or_never().is_none());
        outstanding.done(&blob(1));
        assert!((&mut empty).now_or_never().is_none());
        assert!(outstanding.take(&blob(1)));
        outstanding.done(&blob(1));
        outstanding.give_up(blob(2));
        assert!(empty.now_or_never().is_some());
        assert!(!outstanding.take(&blob(2)));
    }
}
