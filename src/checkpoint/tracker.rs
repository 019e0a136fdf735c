//! Acknowledgements in any order in, positions in order out.

use std::collections::{BTreeMap, HashMap};

use super::Position;
use crate::model::{HourlyBlob, Rejected};

/// One step of a blob's position, made by the reader and carried by exactly one batch. Steps of a blob are numbered
/// from 0 in reading order; each one starts where the one before it ends.
///
/// A step need not move the position: where a record's events are spread over several batches, the batches before
/// the last one carry steps that stand still, so that the position waits for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The blob.
    pub blob: HourlyBlob,
    /// Number of the step within this reading of the blob, from 0.
    pub sequence: u64,
    /// The position that the step starts from; `None` where the blob has none yet.
    pub from: Option<Position>,
    /// The position that the step ends at; `None` only where it stands still at `None`.
    pub to: Option<Position>,
    /// What the step leaves behind: it enters the quarantine in the transaction that moves the position.
    pub rejected: Vec<Rejected>,
}

/// A step that does not chain to the position before it. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The step was applied before.
    #[error("step {sequence} of blob {blob} was acknowledged twice")]
    Repeated {
        /// The blob.
        blob: String,
        /// The step.
        sequence: u64,
    },
    /// The step starts elsewhere than the one before it ended.
    #[error("step {sequence} of blob {blob} starts at {from}, the position is {position}")]
    Gap {
        /// The blob.
        blob: String,
        /// The step.
        sequence: u64,
        /// Where the step starts.
        from: String,
        /// Where the chain stands.
        position: String,
    },
}

/// The steps of every blob that is being read, for one intake.
#[derive(Debug, Default)]
pub struct Tracker {
    chains: HashMap<HourlyBlob, Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    /// Number of the step that may be applied next.
    next: u64,
    /// Where the chain stands; set by the first step.
    position: Option<Position>,
    /// Acknowledged steps that wait for an earlier one.
    waiting: BTreeMap<u64, Delta>,
}
