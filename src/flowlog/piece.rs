//! What a stream falls into: records, and damaged bytes between them.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{Reason, Rejected, Span};

/// As much of the beginning is kept of damaged bytes that are too many to be kept whole.
pub(super) const KEPT_BYTES: usize = 64 * 1024;

/// One record's bytes and their place.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// From `{` to the byte after the balancing `}`.
    pub span: Span,
    /// The bytes.
    pub bytes: &'a [u8],
    /// Some of its plain lists, in order: what was seen in passing while its end was looked for.
    pub(super) plain_lists: &'a [PlainList],
}

impl<'a> RawRecord<'a> {
    /// A record of which nothing but its bytes is known.
    #[must_use]
    pub fn new(span: Span, bytes: &'a [u8]) -> Self {
        Self { span, bytes, plain_lists: &[] }
    }
}

/// Records are the same where their bytes and their place are; the plain lists are a help only.
impl PartialEq for RawRecord<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.span, self.bytes) == (other.span, other.bytes)
    }
}

impl Eq for RawRecord<'_> {}

/// A list of texts without escapes and control characters, and with nothing but commas between them, by its place in the
/// record.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainList {
    /// The byte behind the opening bracket.
    pub(super) begin: usize,
    /// The closing bracket.
    pub(super) end: usize,
    /// How many texts there are.
    pub(super) n_texts: usize,
}

impl PlainList {
    /// Lists of fewer texts are not worth being noted. Each of these has as many bytes as its note.
    pub(super) const LEAST_TEXTS: usize = 8;
}

/// The next thing in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record: balanced, and most likely JSON.
    Record(RawRecord<'a>),
    /// Bytes that are no record, before one.
    Damaged(Damaged<'a>),
}

/// Bytes that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged<'a> {
    /// All of them.
    pub span: Span,
    /// What is wrong with the first one.
    pub kind: DamageKind,
    /// All of them, or their first 64 KiB: where they are more than a record may have, or where that many bytes were
    /// needed to tell where they end.
    pub bytes: &'a [u8],
}

/// What stands behind the last piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail<'a> {
    /// Nothing but white space, commas and the closing bracket.
    Clean,
    /// A record (or a head) without its end.
    Incomplete(Damaged<'a>),
    /// Damage with no record behind it.
    Damaged(Damaged<'a>),
}

/// A place that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {kind}")]
pub struct Damage {
    /// The first damaged byte of the stream.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// Kinds of damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// Neither a record nor what may stand between two.
    #[error("expected a record, found `{}`", .0.escape_ascii())]
    UnexpectedByte(u8),
    /// Something behind the bracket that closes the list of records.
    #[error("expected nothing after the closing bracket of the records, found `{}`", .0.escape_ascii())]
    TextAfterEnd(u8),
    /// A record without its end by the end of the stream.
    #[error("the record that starts here has no end")]
    Unbalanced,
    /// A record without its end within the limit.
    #[error("the record that starts here is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// An object that is no JSON; see [`super::record::RecordError::NotJson`].
    #[error("the record that starts here is not JSON: {0}")]
    NotJson(String),
    /// The stream's compression is damaged or cut.
    #[error("the gzip stream is damaged or cut here: {0}")]
    Compression(String),
}

impl DamageKind {
    /// The reason of the quarantine entry.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::RecordTooLarge,
            Self::UnexpectedByte(_)
            | Self::TextAfterEnd(_)
            | Self::Unbalanced
            | Self::NotJson(_)
            | Self::Compression(_) => Reason::Damage,
        }
    }
}

impl Damaged<'_> {
    /// The place alone.
    #[must_use]
    pub fn damage(&self) -> Damage {
        Damage { offset: self.span.from, kind: self.kind.clone() }
    }

    /// The entry for the quarantine.
    #[must_use]
    pub fn rejected(&self, reason: Reason) -> Rejected {
        Rejected {
            reason,
            detail: self.kind.to_string(),
            span: self.span,
            ordinal: None,
            context: None,
            text: self.bytes.to_vec(),
            answer: None,
        }
    }
}

/// What tells a record from another object, behind damage: a record's own parser may then still find fault with it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Top<'a> {
    #[serde(borrow)]
    time: &'a RawValue,
    #[serde(borrow)]
    flow_records: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
}

/// Whether these bytes are JSON with what every record of a flow log has at its top, of the right type.
pub(super) fn is_flow_record(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let Ok(top) = serde_json::from_str::<Top<'_>>(text) else { return false };
    let is_object = |value: &RawValue| value.get().starts_with('{');
    top.time.get().starts_with('"')
        && (top.flow_records.is_some_and(is_object) || top.properties.is_some_and(is_object))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: objects with and without what a record has at its top.
    /// *Guarantees*: only a record counts, of either kind of flow log.
    #[test]
    fn records_and_other_objects() {
        for (bytes, expected) in [
            (r#"{"time":"","flowRecords":{}}"#, true),
            (r#"{"properties":{},"time":""}"#, true),
            (r#"{"time":"","flowRecords":[]}"#, false),
            (r#"{"time":1,"flowRecords":{}}"#, false),
            (r#"{"time":""}"#, false),
            (r#"{"flowRecords":{}}"#, false),
            (r#"{"x":{"time":"","flowRecords":{}}}"#, false),
            (r#"{"time":"","flowRecords":{},"x":01}"#, false),
            ("[]", false),
        ] {
            assert_eq!(is_flow_record(bytes.as_bytes()), expected, "{bytes}");
        }
        assert!(!is_flow_record(b"{\"time\":\"\xff\",\"flowRecords\":{}}"));
    }
}
