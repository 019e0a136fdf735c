//! The identity of records and events.

use std::fmt;

/// XXH3-128 (seed 0) over a record's place and bytes; `flowlog` computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(u128);

impl RecordKey {
    /// Wraps a computed hash.
    #[must_use]
    pub fn new(hash: u128) -> Self {
        Self(hash)
    }
}

impl fmt::Display for RecordKey {
    /// 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The identity of one event: the same after a restart, a replay, on another replica. Printed as
/// `3f0c...9a-17`: the record's key, a hyphen and the tuple's ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The record that the tuple stands in.
    pub record: RecordKey,
    /// Place of the tuple among all elements of every `flowTuples` of the record, in document order, from 0.
    pub ordinal: u32,
}

impl EventId {
    /// The identity that [`fmt::Display`] prints so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (record, ordinal) = text.split_once('-')?;
        let hash = u128::from_str_radix(record, 16).ok()?;
        let id = Self { record: RecordKey(hash), ordinal: ordinal.parse().ok()? };
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.record, self.ordinal)
    }
}
