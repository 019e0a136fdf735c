//! What a pass sees of a container, for whoever watches over the source. All lanes of a container see the same one.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::storage::StorageError;

/// What a complete listing showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The storage server's clock.
    pub now: DateTime<Utc>,
    /// Flow-log roots known.
    pub roots: u64,
    /// The newest last change that the listings of this pass showed.
    pub newest_change: Option<DateTime<Utc>>,
}

/// Is told of everything that says something about the source, as soon as it is known: a pass may last for days where an
/// intake is down.
pub trait SourceObserver: Send + Sync + fmt::Debug {
    /// Everything was listed.
    fn listed(&self, sight: Sight);

    /// It could not be listed.
    fn not_listed(&self, error: &StorageError);

    /// A blob was read to its end.
    fn read(&self);

    /// A blob could not be read.
    fn not_read(&self, error: &StorageError);
}

/// Nobody watches.
impl SourceObserver for () {
    fn listed(&self, _sight: Sight) {}
    fn not_listed(&self, _error: &StorageError) {}
    fn read(&self) {}
    fn not_read(&self, _error: &StorageError) {}
}
