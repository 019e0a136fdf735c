//! How the reading of a blob ends, and what is on its way to the batcher meanwhile.

use super::discover::Work;
use crate::{
    batch::EncodedEvents,
    checkpoint::Position,
    flowlog::Damage,
    model::{BlobVersion, HourlyBlob, Rejected},
    storage::StorageError,
};

/// A run leaves when it holds this many encoded bytes: small against a batch, large against the cost of a message.
pub(super) const RUN_BYTES: usize = 256 * 1024;

/// How the reading of a blob ended.
#[derive(Debug)]
pub(super) struct ReadEnd {
    pub(super) blob: HourlyBlob,
    /// The version that was read last.
    pub(super) version: BlobVersion,
    pub(super) counts: ReadCounts,
    pub(super) outcome: ReadOutcome,
}

/// What a reading took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReadCounts {
    /// Read and HEAD calls.
    pub(super) calls: u64,
    /// Bytes read.
    pub(super) bytes: u64,
    /// Of these, bytes behind the position.
    pub(super) new_bytes: u64,
    /// Records taken.
    pub(super) records: u64,
    /// Damaged pieces with something readable behind them.
    pub(super) damaged: u64,
    /// How often the blob was found to be rewritten.
    pub(super) rewritten: u64,
}

#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// Read to its end.
    Complete,
    /// Damage with nothing behind it that could be read.
    Damaged(Damage),
    /// Deleted.
    Gone {
        /// Bytes of the listed version behind the position: nobody will read them any more.
        unread: u64,
    },
    /// It had another version each time.
    StillChanging,
    /// It could not be read.
    Failed(StorageError),
    /// Others wait, and it has had its turn: this is left.
    TurnOver(Box<Work>),
    /// The process is stopping, or a later stage has failed.
    Stopped,
}

/// What will be the next run.
pub(super) struct Pending {
    pub(super) events: EncodedEvents,
    pub(super) rejected: Vec<Rejected>,
    /// What `rejected` takes in memory.
    pub(super) rejected_bytes: usize,
    /// Records read to their end for it.
    pub(super) records: u64,
    /// Flow tuples read for it, whatever became of them.
    pub(super) tuples: u64,
    /// The position once all of it is acknowledged.
    pub(super) to: Option<Position>,
    /// Whether reading began anew with it.
    pub(super) started_over: bool,
}

impl Pending {
    pub(super) fn at(position: Option<Position>) -> Self {
        Self {
            events: EncodedEvents::default(),
            rejected: Vec::new(),
            rejected_bytes: 0,
            records: 0,
            tuples: 0,
            to: position,
            started_over: false,
        }
    }

    pub(super) fn reject(&mut self, rejected: impl IntoIterator<Item = Rejected>) {
        for one in rejected {
            self.rejected_bytes = self.rejected_bytes.saturating_add(one.bytes_in_memory());
            self.rejected.push(one);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.bytes.len().saturating_add(self.rejected_bytes) >= RUN_BYTES
    }
}
