//! What a pass came to, as one readable line.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};

use super::{PassError, collect::Collected, commit::Committed, deliver::Delivered, discover::Counts};
use crate::model::{BlobName, HourlyBlob, Reason, Rejected};

/// What one pass came to.
#[derive(Debug, Default)]
pub struct PassReport {
    /// Blobs of unsealed hours that the listings showed.
    pub blobs_listed: u64,
    /// Blobs read to their end.
    pub blobs_read: u64,
    /// Listing calls.
    pub list_calls: u64,
    /// Read and HEAD calls.
    pub read_calls: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Events that the intake accepted.
    pub events: u64,
    /// Entries new in the quarantine.
    pub quarantined: u64,
    /// The same by reason, each with the first entry.
    pub rejections: BTreeMap<Reason, Rejections>,
    /// Blobs that are held because of damage, or because what was read of them is not all accounted for.
    pub held: u64,
    /// Of these, blobs found in this pass whose ledger does not balance.
    pub unbalanced: u64,
    /// Blobs that were gone before they were read to their end, new in this pass.
    pub gone: u64,
    /// Blobs that could not be read and are tried again.
    pub failed: u64,
    /// Why the last of them could not be.
    pub unread: Option<String>,
    /// Hours sealed.
    pub hours_sealed: u64,
    /// Time from the oldest change that this pass acknowledged to now, by the storage server's clock.
    pub lag: Option<Duration>,
    /// Whether nothing is read because the quarantine is full.
    pub quarantine_full: bool,
    /// Why batches were given up, where some were.
    pub abandoned: Option<String>,
    /// What ended the pass early.
    pub errors: Vec<PassError>,
}

/// What entered the quarantine in one pass for one reason: how much, and the first entry.
#[derive(Debug, Clone)]
pub struct Rejections {
    /// Number of entries.
    pub count: u64,
    /// Blob of the first one.
    pub blob: BlobName,
    /// Its offset there.
    pub offset: u64,
    /// What is wrong with it.
    pub detail: String,
}

impl Rejections {
    /// None yet, but with the place of the first one.
    pub(super) fn new(blob: &HourlyBlob, first: &Rejected) -> Self {
        let detail = first.detail.clone();
        Self { count: 0, blob: blob.name().clone(), offset: first.span.from, detail }
    }
}

impl PassReport {
    pub(super) fn new(
        now: Option<DateTime<Utc>>,
        (found, discovered): (Counts, Result<(), PassError>),
        collected: Collected,
        delivered: Delivered,
        committed: Committed,
    ) -> Self {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let unbalanced = count(committed.unbalanced.len());
        let lag = |oldest| now?.signed_duration_since(oldest).to_std().ok();
        Self {
            blobs_listed: found.blobs_listed,
            blobs_read: collected.blobs_read,
            list_calls: found.list_calls,
            read_calls: collected.read_calls,
            bytes_read: collected.bytes_read,
            events: committed.events,
            quarantined: committed.quarantined,
            rejections: committed.rejections,
            held: found.held.saturating_add(count(collected.held.len())).saturating_add(unbalanced),
            unbalanced,
            gone: found.gone,
            failed: collected.failed,
            unread: collected.unread,
            hours_sealed: committed.hours_sealed,
            lag: collected.oldest_change.and_then(lag),
            quarantine_full: committed.quarantine_full,
            abandoned: delivered.abandoned,
            errors: [discovered.err(), collected.error, delivered.failed, committed.failed]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    /// Whether everything that was new is delivered and committed. Blobs that are held do not count: another pass
    /// would not get further.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty() && self.abandoned.is_none() && self.failed == 0 && !self.quarantine_full
    }
}
