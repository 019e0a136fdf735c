//! F4: the port to the state store: positions, frontiers, first hours and the quarantine, on stable storage. Every
//! implementation passes the contract suite in `tests/it/store_contract.rs`.
//!
//! Methods block on disk; the pipeline calls them off the async threads.

pub mod sqlite;

use std::fmt;

use crate::{
    checkpoint::{Frontier, Position, TailState, Tally},
    model::{Hour, HourlyBlob, Rejected, Scope},
};

/// The state store. One owner at a time; whoever opens it holds the lock beside it.
pub trait StateStore: Send + fmt::Debug {
    /// The first hour of a scope: the stored one, else `proposed`, which is stored first. `None` inside
    /// [`FirstHour`] means "from the beginning".
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing changed then.
    fn first_hour(&mut self, scope: &Scope, proposed: FirstHour) -> Result<FirstHour, StoreError>;

    /// Every known root of a scope with its frontier.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    fn frontiers(&mut self, scope: &Scope) -> Result<Vec<(String, Frontier)>, StoreError>;

    /// The positions of one root's hour.
    ///
    /// # Errors
    /// As [`StoreError`] says: a row with a wrong checksum is an error, never "no position".
    fn positions(
        &mut self,
        scope: &Scope,
        root: &str,
        hour: Hour,
    ) -> Result<Vec<(HourlyBlob, Position)>, StoreError>;

    /// Applies everything in one transaction and returns once it is on stable storage.
    ///
    /// # Errors
    /// [`StoreError::Gap`] where a change does not start at the stored offset; else as [`StoreError`] says. Nothing
    /// changed then.
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// What the quarantine of all scopes holds now. Cheap: to be asked after every commit.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    fn quarantine_usage(&mut self) -> Result<QuarantineUsage, StoreError>;

    /// The first day of a root that has positions: after the day of `after`, where one is given. Returns the day's first
    /// hour.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    fn stored_day(
        &mut self,
        scope: &Scope,
        root: &str,
        after: Option<Hour>,
    ) -> Result<Option<Hour>, StoreError>;

    /// Forgets the positions in sealed hours of a day whose blobs are not in `present`: what a complete listing of that
    /// day showed, taken after the hours were sealed. Positions in unsealed hours stay.
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing changed then.
    fn prune(
        &mut self,
        scope: &Scope,
        root: &str,
        day: Hour,
        present: &[HourlyBlob],
    ) -> Result<Pruned, StoreError>;

    /// Every scope that has anything stored, in the order of their names: of what is no longer configured too.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    fn scopes(&mut self) -> Result<Vec<Scope>, StoreError>;
}

/// What the quarantine holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuarantineUsage {
    /// Rows.
    pub rows: u64,
    /// Bytes that they take, as `limits.quarantine` counts them: their texts as they are stored, and a fixed sum for
    /// the rest of each row.
    pub bytes: u64,
}

impl QuarantineUsage {
    /// Counts a row of this size.
    pub fn add(&mut self, bytes: u64) {
        self.rows = self.rows.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes a row of this size out of the count.
    pub fn remove(&mut self, bytes: u64) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What [`StateStore::prune`] forgot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Positions.
    pub blobs: u64,
    /// Of these, blobs that were gone before a version of them was read to its end, or whose last record never got
    /// its own.
    pub unfinished: u64,
}

impl Pruned {
    /// Counts a position that was forgotten.
    pub fn add(&mut self, position: &Position) {
        let tail = position.seen.as_ref().map(|seen| seen.tail);
        self.blobs = self.blobs.saturating_add(1);
        if !matches!(tail, Some(TailState::Clean | TailState::Quarantined)) {
            self.unfinished = self.unfinished.saturating_add(1);
        }
    }
}

/// The hour from which on a scope is read, decided once and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstHour {
    /// `start = "earliest"`.
    Beginning,
    /// This hour and all later ones.
    At(Hour),
}

impl fmt::Display for FirstHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("earliest"),
            Self::At(hour) => hour.fmt(f),
        }
    }
}

/// What one transaction changes, for one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Whose state.
    pub scope: Scope,
    /// New positions, at most one a blob. Where one moves past a rest of its blob, the rest's row goes; see
    /// [`PositionChange::read_rest`].
    pub positions: Vec<PositionChange>,
    /// New quarantine rows. A row of the same scope, blob, offset and ordinal is replaced.
    pub rejected: Vec<(HourlyBlob, Rejected)>,
    /// New frontiers of roots.
    pub frontiers: Vec<(String, Frontier)>,
}

/// One blob's new position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionChange {
    /// The blob.
    pub blob: HourlyBlob,
    /// What must be stored now; `None` where the blob has no position yet.
    pub from: Option<Position>,
    /// What is stored from now on.
    pub to: Position,
    /// What the position passes with the change; see [`Self::ledger`].
    pub tally: Tally,
    /// Whether the blob was rewritten between: what lay behind `from` was not read, and is in no blob any more.
    pub started_over: bool,
}

impl PositionChange {
    /// What the ledger says of all that lies before the new position, where it said `before` of the old one. `None`: a
    /// part of it was read by a version that did not count.
    #[must_use]
    pub fn ledger(&self, before: Option<Tally>) -> Option<Tally> {
        if self.started_over || self.from.is_none() {
            return Some(self.tally);
        }
        before.map(|before| before.plus(self.tally))
    }

    /// Where a rest of the blob begins that has been read by now: rows of it that are kept whole, from here on, are of
    /// the past. `None` where there was no rest, or it is not read yet.
    #[must_use]
    pub fn read_rest(&self) -> Option<u64> {
        let from = self.from.as_ref()?;
        let had_rest = from.seen.as_ref().is_some_and(|seen| seen.tail != TailState::Clean);
        let is_read = !self.started_over && self.to.bytes() > from.bytes();
        (had_rest && is_read).then(|| from.bytes().unwrap_or_default())
    }
}

/// The state store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the state.
    #[error("another flowlogd (process {pid}) holds the state in {directory}")]
    Locked {
        /// The state directory.
        directory: String,
        /// The holder's process id, as it wrote it; `unknown` where it could not be read.
        pid: String,
    },
    /// The file was written by a newer version.
    #[error(
        "the state in {file} has schema version {found}, this program knows {known}: run the newer flowlogd, or \
         restore the backup that it made"
    )]
    NewerSchema {
        /// The database file.
        file: String,
        /// Its version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// A change does not chain to what is stored.
    #[error("blob {blob}: the stored position is {stored}, the change starts at {from}")]
    Gap {
        /// The blob.
        blob: String,
        /// What is stored.
        stored: String,
        /// Where the change starts.
        from: String,
    },
    /// Stored data is damaged.
    #[error("{file}: {what} is damaged; {way_out}")]
    Corrupt {
        /// The database file.
        file: String,
        /// The table and row.
        what: String,
        /// What an operator can do.
        way_out: String,
    },
    /// There is no room for the change. The store is as it was before, and can be used again once there is.
    #[error("{operation}: no space left")]
    Full {
        /// Verb and object.
        operation: String,
        /// What lies beneath.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file cannot be written to. The store is as it was before, and can be used again once it can.
    #[error("{operation}: the file is read-only")]
    ReadOnly {
        /// Verb and object.
        operation: String,
        /// What lies beneath.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The directory, the lock or the database file could not be used. After a failed sync nobody knows what is on
    /// stable storage: the state has to be opened anew.
    #[error("{operation}")]
    Io {
        /// Verb and object.
        operation: String,
        /// What lies beneath.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same change can succeed later on the same open store.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Full { .. } | Self::ReadOnly { .. } => true,
            Self::Locked { .. }
            | Self::NewerSchema { .. }
            | Self::Gap { .. }
            | Self::Corrupt { .. }
            | Self::Io { .. } => false,
        }
    }
}
