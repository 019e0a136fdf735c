//! Acknowledgements in any order in, positions in order out.

use std::collections::{BTreeMap, HashMap};

use super::{
    Position, Tally,
    tally::{Ahead, Passed},
};
use crate::{
    model::{HourlyBlob, Rejected},
    planted::{self, Bug},
};

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
    /// What the step covers, and what became of it.
    pub tally: Tally,
    /// Of the tally, what lies behind `to`, by the offset of its record.
    pub ahead: BTreeMap<u64, Tally>,
    /// Whether the blob was found rewritten, and reading began anew with this step.
    pub started_over: bool,
    /// Whether this reading of the blob ends with the step: the next step is number 0 of another reading.
    pub last: bool,
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

/// Steps of one blob that became applicable together, merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The blob.
    pub blob: HourlyBlob,
    /// Where the first of the steps starts: what must be stored now.
    pub from: Option<Position>,
    /// Where the last one ends; equal to `from` where all of them stand still.
    pub to: Option<Position>,
    /// What the steps leave behind, in reading order.
    pub rejected: Vec<Rejected>,
    /// What the position passes with these steps. Where the blob was found rewritten: what it has passed of the new
    /// content, which is all that counts from then on.
    pub tally: Tally,
    /// What was acknowledged since the reading began, behind the position too.
    pub acknowledged: Tally,
    /// Whether the blob was found rewritten where the position passed.
    pub started_over: bool,
    /// Whether the reading ends here.
    pub last: bool,
}

impl Advance {
    /// Puts a later advance of the same blob behind this one.
    pub fn join(&mut self, later: Self) {
        self.to = later.to;
        self.tally = if later.started_over { later.tally } else { self.tally.plus(later.tally) };
        self.acknowledged = later.acknowledged;
        self.started_over |= later.started_over;
        self.last |= later.last;
        self.rejected.extend(later.rejected);
    }
}

/// The steps of every blob that is being read, for one intake.
///
/// | acknowledged step | then |
/// |---|---|
/// | the next one | it and the waiting ones right after it are applied |
/// | a later one | it waits |
/// | an earlier or waiting one | [`ChainError::Repeated`] |
/// | one that does not meet a known neighbour | [`ChainError::Gap`] |
///
/// Neighbours are compared on arrival, so applying what waits cannot fail halfway.
#[derive(Debug, Default)]
pub struct Tracker {
    chains: HashMap<HourlyBlob, Chain>,
}

impl Tracker {
    /// Takes one acknowledged step. Returns what may be stored now: `None` while an earlier step is missing.
    ///
    /// # Errors
    /// A step that was acknowledged before, or that does not chain to its neighbours. Nothing was changed then.
    pub fn acknowledge(&mut self, delta: Delta) -> Result<Option<Advance>, ChainError> {
        match self.chains.get(&delta.blob).filter(|_| !planted::is(Bug::WatermarkIsMaximum)) {
            Some(chain) => chain.check(&delta)?,
            None => Chain::default().check(&delta)?,
        }
        let chain = self.chains.entry(delta.blob.clone()).or_default();
        if planted::is(Bug::WatermarkIsMaximum) {
            chain.next = delta.sequence;
        }
        if delta.sequence != chain.next {
            chain.waiting.insert(delta.sequence, delta);
            return Ok(None);
        }
        let mut delta = delta;
        if planted::is(Bug::WatermarkIsMaximum) {
            delta.from = chain.position.clone().or(delta.from);
        }
        let mut advance = chain.apply(delta);
        while let Some(step) = chain.waiting.remove(&chain.next) {
            advance.join(chain.apply(step));
        }
        Ok(Some(advance))
    }

    /// Ends a blob's reading: the next step of the blob is number 0 of another reading. Returns the steps that still
    /// wait for an earlier one: what they cover is read again.
    pub fn forget(&mut self, blob: &HourlyBlob) -> Vec<Delta> {
        self.chains.remove(blob).map(|chain| chain.waiting.into_values().collect()).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Chain {
    /// Number of the step that may be applied next.
    next: u64,
    /// Where the chain stands; set by the first step.
    position: Option<Position>,
    /// Acknowledged steps that wait for an earlier one.
    waiting: BTreeMap<u64, Delta>,
    /// What the applied steps covered.
    acknowledged: Tally,
    /// What of it lies behind the position.
    ahead: Ahead,
}

impl Chain {
    /// Applies the next step.
    fn apply(&mut self, step: Delta) -> Advance {
        let Delta { blob, from, to, rejected, tally, ahead, started_over, last, .. } = step;
        self.next = self.next.saturating_add(1);
        self.position.clone_from(&to);
        self.acknowledged = self.acknowledged.plus(tally);
        let Passed { tally, started_over } =
            self.ahead.step(tally, ahead, (from.as_ref(), to.as_ref()), started_over);
        let acknowledged = self.acknowledged;
        Advance { blob, from, to, rejected, tally, acknowledged, started_over, last }
    }

    fn check(&self, delta: &Delta) -> Result<(), ChainError> {
        let sequence = delta.sequence;
        if sequence < self.next || self.waiting.contains_key(&sequence) {
            return Err(ChainError::Repeated { blob: delta.blob.name().to_string(), sequence });
        }
        let gap = |step: &Delta, position: Option<&Position>| ChainError::Gap {
            blob: step.blob.name().to_string(),
            sequence: step.sequence,
            from: spelled(step.from.as_ref()),
            position: spelled(position),
        };
        if let Some(end) = self.end_before(sequence)
            && *end != delta.from
        {
            return Err(gap(delta, end.as_ref()));
        }
        let after = sequence.checked_add(1).and_then(|number| self.waiting.get(&number));
        match after {
            Some(step) if step.from != delta.to => Err(gap(step, delta.to.as_ref())),
            Some(_) | None => Ok(()),
        }
    }

    /// Where the step before `sequence` ended, as far as that is known. Step 0 may start anywhere.
    fn end_before(&self, sequence: u64) -> Option<&Option<Position>> {
        let before = sequence.checked_sub(1)?;
        if sequence == self.next {
            return Some(&self.position);
        }
        self.waiting.get(&before).map(|step| &step.to)
    }
}

fn spelled(position: Option<&Position>) -> String {
    position.map_or_else(|| String::from("no position"), Position::to_string)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        checkpoint::ContextHash,
        model::{BlobName, Hour, Reason, Span},
    };

    fn blob(number: usize) -> HourlyBlob {
        HourlyBlob::new(BlobName::new(format!("root/y=2026/{number}")), 4, Hour::from_number(0)).unwrap()
    }

    fn position(bytes: u64) -> Option<Position> {
        (bytes > 0).then(|| Position { offset: Some((bytes, ContextHash::of(b""))), seen: None })
    }

    fn step(number: usize, sequence: u64, from: u64, to: u64) -> Delta {
        Delta {
            blob: blob(number),
            sequence,
            from: position(from),
            to: position(to),
            rejected: Vec::new(),
            tally: Tally::default(),
            ahead: BTreeMap::new(),
            started_over: false,
            last: false,
        }
    }

    fn rejected(offset: u64) -> Rejected {
        Rejected {
            reason: Reason::BadRecord,
            detail: String::from("bad"),
            span: Span { from: offset, to: offset + 1 },
            ordinal: None,
            context: None,
            text: Vec::new(),
            answer: None,
        }
    }

    /// The steps of one blob's reading: each moves by the given bytes and leaves one rejected row behind.
    fn steps(number: usize, start: u64, moves: &[u64]) -> Vec<Delta> {
        let mut from = start;
        let mut build = |(sequence, bytes): (u64, &u64)| {
            let to = from + bytes;
            let mut delta = step(number, sequence, from, to);
            delta.rejected.push(rejected(sequence));
            delta.tally = Tally { tuples: *bytes, delivered: *bytes, ..Tally::default() };
            from = to;
            delta
        };
        (0..).zip(moves).map(&mut build).collect()
    }

    fn plan() -> impl Strategy<Value = (Vec<Vec<Delta>>, Vec<Delta>)> {
        let readings = prop::collection::vec((0_u64..5, prop::collection::vec(0_u64..9, 0..8)), 1..4);
        readings.prop_flat_map(|readings| {
            let readings: Vec<Vec<Delta>> = readings
                .iter()
                .enumerate()
                .map(|(number, (start, moves))| steps(number, *start, moves))
                .collect();
            let all = readings.concat();
            (Just(readings), Just(all).prop_shuffle())
        })
    }

    proptest! {
        /// Scenario: steps of several blobs are acknowledged in any order, and the process may end after any of
        /// them. Guarantees: after each one the position stands at the end of the contiguous acknowledged steps,
        /// neither before nor behind, advances chain to each other, rejected rows come once and in order, and what is
        /// counted is what the position has passed.
        #[test]
        fn positions_never_pass_an_unacknowledged_step((readings, order) in plan()) {
            let mut tracker = Tracker::default();
            let mut acknowledged = vec![Vec::<u64>::new(); readings.len()];
            let mut stored: Vec<Option<Position>> =
                readings.iter().map(|steps| steps.first().and_then(|step| step.from.clone())).collect();
            let mut kept = vec![Vec::<Rejected>::new(); readings.len()];
            let mut counted = vec![Tally::default(); readings.len()];
            for delta in order {
                let number = (0..readings.len()).find(|number| blob(*number) == delta.blob).unwrap();
                acknowledged[number].push(delta.sequence);
                if let Some(advance) = tracker.acknowledge(delta).unwrap() {
                    prop_assert_eq!(&advance.blob, &blob(number));
                    prop_assert_eq!(&advance.from, &stored[number]);
                    stored[number] = advance.to;
                    kept[number].extend(advance.rejected);
                    counted[number] = counted[number].plus(advance.tally);
                    prop_assert_eq!(counted[number], advance.acknowledged);
                }
                let contiguous = (0_u64..).take_while(|sequence| acknowledged[number].contains(sequence)).count();
                let prefix = &readings[number][..contiguous];
                if let Some(last) = prefix.last() {
                    prop_assert_eq!(&stored[number], &last.to);
                }
                let expected: Vec<Rejected> = prefix.iter().flat_map(|step| step.rejected.clone()).collect();
                prop_assert_eq!(&kept[number], &expected);
                let passed = prefix.iter().fold(Tally::default(), |sum, step| sum.plus(step.tally));
                prop_assert_eq!(counted[number], passed);
            }
            for (number, steps) in readings.iter().enumerate() {
                prop_assert_eq!(kept[number].len(), steps.len());
                prop_assert_eq!(&stored[number], &steps.last().and_then(|step| step.to.clone()));
            }
        }
    }

    /// Scenario: a step comes that was applied, that waits already, or that does not meet the step before or after
    /// it. Guarantees: each is the right error, and the steps that follow work as if it had not come.
    #[test]
    fn wrong_steps_change_nothing() {
        let mut tracker = Tracker::default();
        let refuse =
            |tracker: &mut Tracker, delta: Delta| tracker.acknowledge(delta).unwrap_err().to_string();
        assert_eq!(tracker.acknowledge(step(0, 2, 20, 30)), Ok(None));
        assert_eq!(
            refuse(&mut tracker, step(0, 2, 20, 30)),
            "step 2 of blob root/y=2026/0 was acknowledged twice"
        );
        assert_eq!(
            refuse(&mut tracker, step(0, 1, 10, 19)),
            "step 2 of blob root/y=2026/0 starts at byte 20, the position is byte 19"
        );
        assert_eq!(
            refuse(&mut tracker, step(0, 3, 31, 40)),
            "step 3 of blob root/y=2026/0 starts at byte 31, the position is byte 30"
        );
        assert!(tracker.acknowledge(step(0, 0, 0, 10)).unwrap().is_some());
        assert_eq!(
            refuse(&mut tracker, step(0, 0, 0, 10)),
            "step 0 of blob root/y=2026/0 was acknowledged twice"
        );
        assert_eq!(
            refuse(&mut tracker, step(0, 1, 0, 20)),
            "step 1 of blob root/y=2026/0 starts at no position, the position is byte 10"
        );
        let advance = tracker.acknowledge(step(0, 1, 10, 20)).unwrap().unwrap();
        assert_eq!((advance.from, advance.to), (position(10), position(30)));
    }

    /// Scenario: a blob's reading ends and another one begins. Guarantees: its first step is number 0 again and may
    /// start anywhere; what waited in the old reading is gone.
    #[test]
    fn a_new_reading_starts_afresh() {
        let mut tracker = Tracker::default();
        assert!(tracker.acknowledge(step(0, 0, 0, 10)).unwrap().is_some());
        assert_eq!(tracker.acknowledge(step(0, 2, 20, 30)), Ok(None));
        assert_eq!(tracker.forget(&blob(0)), [step(0, 2, 20, 30)]);
        let advance = tracker.acknowledge(step(0, 0, 5, 7)).unwrap().unwrap();
        assert_eq!((advance.from, advance.to), (position(5), position(7)));
        let advance = tracker.acknowledge(step(0, 1, 7, 9)).unwrap().unwrap();
        assert_eq!((advance.from, advance.to), (position(7), position(9)));
    }
}
