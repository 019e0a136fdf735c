//! The ledger's entries: what was read of a blob, and what became of it. Pure arithmetic.

use std::{collections::BTreeMap, fmt};

use super::Position;
use crate::model::Rejected;

/// What was read of a stretch of a blob, and what became of it.
///
/// `tuples` is counted where records are parsed, `delivered` where the intake has answered and `quarantined` where the
/// rows for the quarantine are: so the three agree only if nothing got lost on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that end in the stretch, those that were kept whole included.
    pub records: u64,
    /// Flow tuples of the records that could be parsed.
    pub tuples: u64,
    /// Of these, events that the intake accepted for certain.
    pub delivered: u64,
    /// Of these, tuples and events that went into the quarantine.
    pub quarantined: u64,
    /// Records and damaged bytes that went into the quarantine whole; nobody knows their tuples.
    pub pieces: u64,
}

impl Tally {
    /// This and `other` together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// This without `part` of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        self.each(part, u64::saturating_sub)
    }

    fn each(self, other: Self, combine: fn(u64, u64) -> u64) -> Self {
        Self {
            records: combine(self.records, other.records),
            tuples: combine(self.tuples, other.tuples),
            delivered: combine(self.delivered, other.delivered),
            quarantined: combine(self.quarantined, other.quarantined),
            pieces: combine(self.pieces, other.pieces),
        }
    }

    /// Counts an entry for the quarantine. Its tuple was counted where it was read.
    pub fn reject(&mut self, rejected: &Rejected) {
        let count = if rejected.ordinal.is_some() { &mut self.quarantined } else { &mut self.pieces };
        *count = count.saturating_add(1);
    }

    /// Whether every tuple was delivered or is in the quarantine.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.delivered.checked_add(self.quarantined) == Some(self.tuples)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, tuples, delivered, quarantined, pieces } = self;
        write!(
            f,
            "{records} records with {tuples} tuples, {delivered} delivered, {quarantined} and {pieces} pieces quarantined"
        )
    }
}

/// What is acknowledged of a reading and lies behind its position: events of a record whose other events are still on
/// their way. It is counted once the position has passed it; else it would be counted again where the process ends
/// before, for then it is read again.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// By the record's offset.
    records: BTreeMap<u64, Tally>,
    /// Whether the blob was found rewritten behind the position.
    started_over: bool,
}

/// What a position has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) tally: Tally,
    /// Whether the blob was found rewritten on the way: the tally is that of the new content alone.
    pub(super) started_over: bool,
}

impl Ahead {
    /// Takes a step with what of it lies behind its end, and returns what the step's end has passed.
    pub(super) fn step(
        &mut self,
        mut tally: Tally,
        ahead: BTreeMap<u64, Tally>,
        (from, to): (Option<&Position>, Option<&Position>),
        started_over: bool,
    ) -> Passed {
        if started_over {
            *self = Self { records: BTreeMap::new(), started_over: true };
        }
        for (record, part) in ahead {
            tally = tally.without(part);
            let known = self.records.entry(record).or_default();
            *known = known.plus(part);
        }
        if from == to {
            return Passed { tally, started_over: false };
        }
        let offset = to.and_then(Position::bytes).unwrap_or_default();
        let left = self.records.split_off(&offset);
        for passed in std::mem::replace(&mut self.records, left).into_values() {
            tally = tally.plus(passed);
        }
        Passed { tally, started_over: std::mem::take(&mut self.started_over) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::ContextHash;

    fn events(count: u64) -> Tally {
        Tally { tuples: count, delivered: count, ..Tally::default() }
    }

    fn at(offset: u64) -> Position {
        Position { offset: Some((offset, ContextHash::of(b""))), seen: None }
    }

    /// *Scenario*: tallies with one tuple too many, too few, or as many as went somewhere. *Guarantees*: only the last
    /// balances; pieces and records do not count.
    #[test]
    fn balance() {
        let tally = Tally { records: 7, tuples: 5, delivered: 3, quarantined: 2, pieces: 9 };
        assert!(tally.is_balanced() && Tally::default().is_balanced());
        assert!(!Tally { delivered: 4, ..tally }.is_balanced());
        assert!(!Tally { quarantined: 1, ..tally }.is_balanced());
        assert!(!Tally { delivered: u64::MAX, ..tally }.is_balanced());
        assert_eq!(tally.to_string(), "7 records with 5 tuples, 3 delivered, 2 and 9 pieces quarantined");
    }

    /// *Scenario*: a record of ten events comes in three steps, the last of which ends within the next record; then the
    /// blob turns out to be rewritten, first in a step that stands still.
    /// *Guarantees*: what stands behind the position is counted with the step that passes it, once; nothing of before the
    /// rewriting is counted after it.
    #[test]
    fn what_is_ahead_counts_once_it_is_passed() {
        let mut ahead = Ahead::default();
        let none = BTreeMap::new;
        let mut step = |tally, behind, from: Option<u64>, to: Option<u64>, started_over| {
            let (from, to) = (from.map(at), to.map(at));
            ahead.step(tally, behind, (from.as_ref(), to.as_ref()), started_over)
        };
        let passed = |tally| Passed { tally, started_over: false };
        let of = |record, count| BTreeMap::from([(record, events(count))]);
        assert_eq!(step(events(4), of(12, 4), None, None, false), passed(Tally::default()));
        assert_eq!(step(events(3), of(12, 3), None, None, false), passed(Tally::default()));
        let third = Tally { records: 1, ..events(5) };
        let expected = Tally { records: 1, ..events(10) };
        assert_eq!(step(third, of(100, 2), None, Some(100), false), passed(expected));
        assert_eq!(step(events(6), of(12, 6), Some(100), Some(100), true), passed(Tally::default()));
        let expected = Passed { tally: events(7), started_over: true };
        assert_eq!(step(events(1), none(), Some(100), Some(50), false), expected);
        assert_eq!(step(events(1), none(), Some(50), Some(60), false), passed(events(1)));
    }
}
