//! What became of one blob on its way to one intake, by all that is known of it. Pure.

use std::{fmt, ops::Range};

use crate::{
    checkpoint::{Position, TailState, Tally},
    model::BlobVersion,
};

/// Everything that is known of one blob and one intake.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// Whether it is to be read.
    pub(super) wanted: Wanted,
    /// How far its hour is.
    pub(super) hour: HourState,
    /// What the source has.
    pub(super) listed: Option<&'a BlobVersion>,
    /// What is stored.
    pub(super) position: Option<&'a Position>,
    /// What was counted of all that lies before the position.
    pub(super) ledger: Option<Tally>,
    /// Whether the quarantine has a piece of it from the position on.
    pub(super) is_rest_kept: bool,
    /// What was counted now, where it was.
    pub(super) recounted: Option<Recount>,
}

/// Whether a blob is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    /// By the source's `include` and `exclude`.
    Filtered,
    /// Its hour is before the first one.
    BeforeFirstHour,
}

/// How far an hour of a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HourState {
    /// Not sealed: the daemon still looks at it.
    Open,
    /// Sealed, and young enough that the daemon looks at it again.
    Young,
    /// Sealed, and nobody looks at it any more.
    Over,
}

/// What was read again of all that lies before a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recount {
    pub(super) records: u64,
    pub(super) tuples: u64,
    /// Whether what lies before the position is what lay there when it was stored.
    pub(super) is_same: bool,
}

/// What became of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All that the source has was read, and is delivered or in the quarantine.
    Complete,
    /// The daemon still owes it.
    Pending,
    /// It is not to be read.
    NotWanted(Wanted),
    /// Something is missing.
    Hole(Hole),
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    /// Why.
    pub(super) reason: HoleReason,
    /// Which bytes; `None` where nobody knows.
    pub(super) bytes: Option<Range<u64>>,
}

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoleReason {
    NeverRead,
    GrownAfterSeal,
    SealedUnread,
    Shorter,
    OtherVersion,
    OtherContent,
    GoneUnread,
    IncompleteRecord,
    LedgerUnbalanced,
    LedgerDiffers { ledger: Tally, records: u64, tuples: u64 },
}

impl HoleReason {
    /// The name in JSON.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NeverRead => "never_read",
            Self::GrownAfterSeal => "grown_after_seal",
            Self::SealedUnread => "sealed_unread",
            Self::Shorter => "shorter",
            Self::OtherVersion => "other_version",
            Self::OtherContent => "other_content",
            Self::GoneUnread => "gone_unread",
            Self::IncompleteRecord => "incomplete_record",
            Self::LedgerUnbalanced => "ledger_unbalanced",
            Self::LedgerDiffers { .. } => "ledger_differs",
        }
    }
}

impl fmt::Display for HoleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRead => f.write_str("it was never read, and its hour is sealed"),
            Self::GrownAfterSeal => f.write_str("it grew after its hour was sealed, later than `revisit`"),
            Self::SealedUnread => f.write_str("its hour is sealed, and it was not read to its end"),
            Self::Shorter => f.write_str("it is shorter than what was read of it: something else was written there"),
            Self::OtherVersion => f.write_str(
                "it was written again after its hour was sealed, with the same length: --deep compares the content",
            ),
            Self::OtherContent => f.write_str("its content is not what was read of it"),
            Self::GoneUnread => f.write_str("it was deleted before it was read to its end"),
            Self::IncompleteRecord => {
                f.write_str("its last record has no end, and is not in the quarantine though its hour is sealed")
            }
            Self::LedgerUnbalanced => f.write_str("what was read and what was delivered or quarantined do not agree"),
            Self::LedgerDiffers { ledger, records, tuples } => write!(
                f,
                "it has {records} records with {tuples} tuples there, the ledger says {} with {}",
                ledger.records, ledger.tuples
            ),
        }
    }
}

/// The verdict on one blob and one intake.
pub(super) fn judge(facts: &Facts<'_>) -> Verdict {
    let is_owed = facts.hour != HourState::Over;
    if facts.wanted == Wanted::Filtered || (facts.position.is_none() && facts.wanted != Wanted::Yes) {
        return Verdict::NotWanted(facts.wanted);
    }
    let Some(position) = facts.position else {
        let length = facts.listed.map_or(0, |listed| listed.length);
        return match length {
            0 => Verdict::Complete,
            _ if is_owed => Verdict::Pending,
            _ => hole(HoleReason::NeverRead, Some(0..length)),
        };
    };
    let consumed = 0..position.bytes().unwrap_or_default();
    if facts.ledger.is_some_and(|ledger| !ledger.is_balanced()) {
        return hole(HoleReason::LedgerUnbalanced, Some(consumed));
    }
    let Some(listed) = facts.listed else { return of_gone(position) };
    if let (Some(Recount { records, tuples, is_same: true }), Some(ledger)) = (facts.recounted, facts.ledger)
        && (records, tuples) != (ledger.records, ledger.tuples)
    {
        return hole(HoleReason::LedgerDiffers { ledger, records, tuples }, Some(consumed));
    }
    let seen = position.seen.as_ref().filter(|seen| seen.etag == listed.etag);
    if seen.is_none() && is_owed {
        return Verdict::Pending;
    }
    if facts.recounted.is_some_and(|recounted| !recounted.is_same) {
        return hole(HoleReason::OtherContent, Some(consumed));
    }
    match seen {
        Some(seen) if seen.tail == TailState::Incomplete && is_owed => Verdict::Pending,
        Some(seen) if seen.tail == TailState::Incomplete && !facts.is_rest_kept => {
            hole(HoleReason::IncompleteRecord, rest(consumed.end, seen.length))
        }
        Some(_) => Verdict::Complete,
        None => of_other_version(position, listed.length, facts.recounted),
    }
}

/// Of a blob that nobody looks at any more, and that has another version than the one that was read.
fn of_other_version(position: &Position, length: u64, recounted: Option<Recount>) -> Verdict {
    let offset = position.bytes().unwrap_or_default();
    let Some(seen) = &position.seen else {
        return hole(HoleReason::SealedUnread, rest(offset, length));
    };
    if length > seen.length {
        // The offset of a compressed blob counts in its text, and is behind its length mostly.
        return hole(HoleReason::GrownAfterSeal, rest(offset.min(seen.length), length));
    }
    if length < seen.length {
        return hole(HoleReason::Shorter, Some(0..length));
    }
    // What was recounted is the same, or the verdict would have been given before.
    if recounted.is_some() { Verdict::Complete } else { hole(HoleReason::OtherVersion, Some(0..length)) }
}

/// Of a blob that the source does not have any more.
fn of_gone(position: &Position) -> Verdict {
    let offset = position.bytes().unwrap_or_default();
    match &position.seen {
        None => hole(HoleReason::GoneUnread, None),
        Some(seen) if seen.tail == TailState::Incomplete => {
            hole(HoleReason::GoneUnread, rest(offset, seen.length))
        }
        Some(_) => Verdict::Complete,
    }
}

/// `None` for a compressed blob, where the two do not count the same bytes.
fn rest(offset: u64, length: u64) -> Option<Range<u64>> {
    (offset <= length).then_some(offset..length)
}

fn hole(reason: HoleReason, bytes: Option<Range<u64>>) -> Verdict {
    Verdict::Hole(Hole { reason, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::{ContextHash, SeenThrough},
        model::{BlobName, ETag},
    };

    fn version(etag: &str, length: u64) -> BlobVersion {
        let last_modified = chrono::DateTime::UNIX_EPOCH;
        BlobVersion { name: BlobName::new("b"), etag: ETag::new(etag), length, last_modified }
    }

    /// At byte 90 of version `1`, which has 100 bytes, if it was read to its end.
    fn at(tail: Option<TailState>) -> Position {
        let seen = tail.map(|tail| SeenThrough { etag: ETag::new("1"), length: 100, tail });
        Position { offset: Some((90, ContextHash::of(b""))), seen }
    }

    /// *Scenario*: every combination of what is listed, what is stored, how far the hour is and what was counted that a
    /// verdict depends on. *Guarantees*: what nobody will read any more is a hole, with its bytes; what the daemon still
    /// owes is none; nothing else is either.
    #[test]
    fn verdicts() {
        use HourState::{Open, Over, Young};
        use TailState::{Clean, Incomplete, Quarantined};
        let ledger = Tally { records: 2, tuples: 9, delivered: 8, quarantined: 1, pieces: 0 };
        let (same, longer, shorter, touched) =
            (version("1", 100), version("2", 140), version("2", 80), version("2", 100));
        let read = |tail| at(Some(tail));
        let base = Facts {
            wanted: Wanted::Yes,
            hour: Over,
            listed: Some(&same),
            position: None,
            ledger: Some(ledger),
            is_rest_kept: false,
            recounted: None,
        };
        let counted = |records, tuples, is_same| Some(Recount { records, tuples, is_same });
        let show = |facts: &Facts<'_>| match judge(facts) {
            Verdict::Complete => String::from("complete"),
            Verdict::Pending => String::from("pending"),
            Verdict::NotWanted(wanted) => format!("not wanted: {wanted:?}"),
            Verdict::Hole(Hole { reason, bytes: Some(Range { start, end }) }) => {
                format!("{} {start}..{end}", reason.as_str())
            }
            Verdict::Hole(Hole { reason, bytes: None }) => reason.as_str().to_owned(),
        };
        let check = |facts: Facts<'_>, expected: &str| assert_eq!(show(&facts), expected, "{facts:?}");

        let of_hour = |facts: Facts<'_>, [open, young, over]: [&str; 3]| {
            for (hour, expected) in [(Open, open), (Young, young), (Over, over)] {
                check(Facts { hour, ..facts }, expected);
            }
        };
        of_hour(base, ["pending", "pending", "never_read 0..100"]);
        check(Facts { listed: Some(&version("1", 0)), ..base }, "complete");
        check(Facts { wanted: Wanted::Filtered, ..base }, "not wanted: Filtered");
        check(Facts { wanted: Wanted::BeforeFirstHour, ..base }, "not wanted: BeforeFirstHour");

        let clean = read(Clean);
        let of_clean = Facts { position: Some(&clean), ..base };
        of_hour(of_clean, ["complete"; 3]);
        check(Facts { wanted: Wanted::BeforeFirstHour, ..of_clean }, "complete");
        check(Facts { wanted: Wanted::Filtered, ..of_clean }, "not wanted: Filtered");
        check(Facts { listed: None, ..of_clean }, "complete");
        check(Facts { ledger: None, ..of_clean }, "complete");
        of_hour(
            Facts { listed: Some(&longer), ..of_clean },
            ["pending", "pending", "grown_after_seal 90..140"],
        );
        of_hour(Facts { listed: Some(&shorter), ..of_clean }, ["pending", "pending", "shorter 0..80"]);
        of_hour(Facts { listed: Some(&touched), ..of_clean }, ["pending", "pending", "other_version 0..100"]);

        let of_quarantined = read(Quarantined);
        check(Facts { position: Some(&of_quarantined), ..base }, "complete");
        let incomplete = read(Incomplete);
        let of_incomplete = Facts { position: Some(&incomplete), ..base };
        of_hour(of_incomplete, ["pending", "pending", "incomplete_record 90..100"]);
        check(Facts { is_rest_kept: true, ..of_incomplete }, "complete");
        check(Facts { listed: None, ..of_incomplete }, "gone_unread 90..100");

        let reading = at(None);
        let of_reading = Facts { position: Some(&reading), ..base };
        of_hour(of_reading, ["pending", "pending", "sealed_unread 90..100"]);
        of_hour(Facts { listed: None, ..of_reading }, ["gone_unread"; 3]);

        let unbalanced = Some(Tally { delivered: 7, ..ledger });
        of_hour(Facts { ledger: unbalanced, ..of_clean }, ["ledger_unbalanced 0..90"; 3]);

        let recounted =
            |records, tuples, is_same| Facts { recounted: counted(records, tuples, is_same), ..of_clean };
        of_hour(recounted(2, 9, true), ["complete"; 3]);
        of_hour(recounted(2, 8, true), ["ledger_differs 0..90"; 3]);
        of_hour(recounted(3, 9, true), ["ledger_differs 0..90"; 3]);
        of_hour(recounted(2, 9, false), ["other_content 0..90"; 3]);
        check(Facts { ledger: None, ..recounted(7, 7, true) }, "complete");
        check(Facts { listed: Some(&touched), ..recounted(2, 9, true) }, "complete");
        of_hour(
            Facts { listed: Some(&touched), ..recounted(2, 9, false) },
            ["pending", "pending", "other_content 0..90"],
        );
    }

    /// *Scenario*: a compressed blob, whose offset counts in its text and lies behind its length. *Guarantees*: a range is
    /// given where it is known, in bytes of the blob.
    #[test]
    fn ranges_of_compressed_blobs() {
        assert_eq!(rest(500, 100), None);
        let seen = Some(SeenThrough { etag: ETag::new("1"), length: 100, tail: TailState::Clean });
        let position = Position { offset: Some((500, ContextHash::of(b""))), seen };
        let expected = Hole { reason: HoleReason::GrownAfterSeal, bytes: Some(100..130) };
        assert_eq!(of_other_version(&position, 130, None), Verdict::Hole(expected));
    }
}
