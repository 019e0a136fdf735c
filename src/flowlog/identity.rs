//! The identity of a record.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::model::{Origin, RecordKey};

use super::RawRecord;

/// Hashes the records of one blob: XXH3-128 (seed 0) over account, container and blob name (each with its length as
/// a little-endian u32 before it), the offset of the record's `{` (little-endian u64) and the record's bytes.
#[derive(Clone)]
pub struct RecordHasher {
    place: Xxh3,
}

impl RecordHasher {
    /// A hasher for the records of one blob.
    #[must_use]
    pub fn new(origin: &Origin, blob: &str) -> Self {
        let mut place = Xxh3::new();
        for text in [&origin.account, &origin.container, blob] {
            place.update(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            place.update(text.as_bytes());
        }
        Self { place }
    }

    /// The key of one record.
    #[must_use]
    pub fn key(&self, record: &RawRecord<'_>) -> RecordKey {
        let mut hasher = self.place.clone();
        hasher.update(&record.span.from.to_le_bytes());
        hasher.update(record.bytes);
        RecordKey::new(hasher.digest128())
    }
}

impl fmt::Debug for RecordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordHasher").finish_non_exhaustive()
    }
}
