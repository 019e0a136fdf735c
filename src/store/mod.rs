//! F4: the port to the state store: positions, frontiers, first hours and the quarantine, on stable storage. Every
//! implementation passes the contract suite in `tests/it/store_contract.rs`.
//!
//! Methods block on disk; the pipeline calls them off the async threads.

pub mod sqlite;

use std::fmt;

use crate::{
    checkpoint::{Frontier, Position},
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
    /// New positions, at most one a blob.
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
    /// The directory, the lock or the database file could not be used.
    #[error("{operation}")]
    Io {
        /// Verb and object.
        operation: String,
        /// What lies beneath.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
