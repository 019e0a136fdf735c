//! Input that could not become an event, or an event that an intake refused: what goes into the quarantine.

use std::fmt;

use super::Span;

/// Why something is in the quarantine. A closed set, so that it can label a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A flow tuple that cannot be parsed.
    BadTuple,
    /// Valid JSON that is not a flow-log record, or a record whose inside has the wrong shape.
    BadRecord,
    /// A record of a flow-log version that is not known.
    UnknownVersion,
    /// A last record that was still incomplete when its blob was sealed.
    IncompleteRecord,
    /// A record that is larger than a record may be.
    RecordTooLarge,
    /// Bytes that are no record.
    Damage,
    /// The intake accepted a part of a batch and does not say which.
    Doubtful,
    /// The intake refuses this event for good.
    Refused,
}

impl Reason {
    /// Every reason, for exhaustive tests and for reading a stored one back.
    pub const ALL: [Self; 8] = [
        Self::BadTuple,
        Self::BadRecord,
        Self::UnknownVersion,
        Self::IncompleteRecord,
        Self::RecordTooLarge,
        Self::Damage,
        Self::Doubtful,
        Self::Refused,
    ];

    /// The stored and printed name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadTuple => "bad_tuple",
            Self::BadRecord => "bad_record",
            Self::UnknownVersion => "unknown_version",
            Self::IncompleteRecord => "incomplete_record",
            Self::RecordTooLarge => "record_too_large",
            Self::Damage => "damage",
            Self::Doubtful => "doubtful",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry for the quarantine, not yet bound to a blob and an intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: Reason,
    /// What exactly is wrong, for people: names the field, or how many of a batch are in doubt.
    pub detail: String,
    /// The bytes of the whole record in the blob.
    pub span: Span,
    /// For a tuple: its ordinal in the record. `None` for a whole record.
    pub ordinal: Option<u32>,
    /// For a bad tuple: its record's head (the record without its flows), `aclID` and `rule`, as compact JSON.
    pub context: Option<String>,
    /// The whole input, or the first 64 KiB of one that is larger than a record may be; the span tells the full
    /// length. For a refused event, the whole encoded event.
    pub text: Vec<u8>,
    /// The intake's answer where it refused: status and at most 2 KiB of its body.
    pub answer: Option<(u16, String)>,
}

impl Rejected {
    /// About what the entry takes in memory, bytes.
    #[must_use]
    pub fn bytes_in_memory(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |(_, body)| body.len());
        let texts =
            [self.detail.len(), self.context.as_ref().map_or(0, String::len), self.text.len(), answer];
        texts.iter().fold(size_of::<Self>(), |sum, text| sum.saturating_add(*text))
    }
}
