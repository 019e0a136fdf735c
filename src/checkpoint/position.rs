//! A stored position in one blob.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::model::ETag;

/// XXH3-64 (seed 0) of the at most 64 bytes before an offset. Compared when reading resumes: another value means that
/// the blob was rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContextHash(u64);

impl ContextHash {
    /// How many bytes before an offset are hashed, at most.
    pub const BYTES: usize = 64;

    /// Hashes the last [`Self::BYTES`] bytes of what lies before an offset.
    #[must_use]
    pub fn of(before: &[u8]) -> Self {
        let start = before.len().saturating_sub(Self::BYTES);
        Self(xxh3_64(before.get(start..).unwrap_or_default()))
    }

    /// From its stored number.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number to store.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// How far one blob has been acknowledged by one intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The byte after the last complete record consumed, and the hash of what lies before it. `None`: no record yet.
    pub offset: Option<(u64, ContextHash)>,
    /// The blob's version that has been read to its end with all of it acknowledged. `None`: there is more to read.
    pub seen: Option<SeenThrough>,
}

impl Position {
    /// The offset alone; `None` before the first record.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.offset.map(|(bytes, _)| bytes)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes() {
            Some(bytes) => write!(f, "byte {bytes}"),
            None => f.write_str("the beginning"),
        }
    }
}

/// A version of a blob whose bytes have all been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenThrough {
    /// The version.
    pub etag: ETag,
    /// Its length in bytes.
    pub length: u64,
    /// What stood after the last complete record.
    pub tail: TailState,
}

/// What stands after the last complete record of a blob's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TailState {
    /// Nothing but white space, commas and the closing bracket.
    Clean,
    /// A record without its end, not in the quarantine: it is read again when the blob changes or is sealed.
    Incomplete,
    /// A record without its end that is in the quarantine, because the blob was sealed.
    Quarantined,
}
