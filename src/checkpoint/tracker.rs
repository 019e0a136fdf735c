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

/// How far a blob's position moves: one or more steps in a row, merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The blob.
    pub blob: HourlyBlob,
    /// The position before.
    pub from: Option<Position>,
    /// The position after.
    pub to: Option<Position>,
    /// What enters the quarantine with it.
    pub rejected: Vec<Rejected>,
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
    /// Where the chain stands; `None` before its first step.
    position: Option<Option<Position>>,
    /// Acknowledged steps that wait for an earlier one.
    waiting: BTreeMap<u64, Delta>,
}

impl Tracker {
    /// Takes an acknowledged step. Returns what can be committed now; `None` while an earlier step is missing.
    ///
    /// # Errors
    /// [`ChainError`] where the step was acknowledged before or does not start where the one before it ends. Nothing
    /// is changed then.
    pub fn acknowledge(&mut self, delta: Delta) -> Result<Option<Advance>, ChainError> {
        let chain = self.chains.entry(delta.blob.clone()).or_default();
        if delta.sequence < chain.next || chain.waiting.contains_key(&delta.sequence) {
            return Err(ChainError::Repeated {
                blob: delta.blob.name().to_string(),
                sequence: delta.sequence,
            });
        }
        if delta.sequence > chain.next {
            chain.waiting.insert(delta.sequence, delta);
            return Ok(None);
        }
        chain.check(&delta)?;
        let Delta { blob, from, to, rejected, .. } = delta;
        let mut advance = Advance { blob, from, to, rejected };
        chain.step(&advance.to);
        while let Some(delta) = chain.waiting.remove(&chain.next) {
            if let Err(error) = chain.check(&delta) {
                chain.waiting.insert(delta.sequence, delta);
                return Err(error);
            }
            advance.to = delta.to;
            advance.rejected.extend(delta.rejected);
            chain.step(&advance.to);
        }
        Ok(Some(advance))
    }

    /// Forgets a blob whose reading is over and acknowledged.
    pub fn forget(&mut self, blob: &HourlyBlob) {
        self.chains.remove(blob);
    }
}

impl Chain {
    fn check(&self, delta: &Delta) -> Result<(), ChainError> {
        match &self.position {
            Some(position) if *position != delta.from => Err(ChainError::Gap {
                blob: delta.blob.name().to_string(),
                sequence: delta.sequence,
                from: shown(delta.from.as_ref()),
                position: shown(position.as_ref()),
            }),
            _ => Ok(()),
        }
    }

    fn step(&mut self, to: &Option<Position>) {
        self.next = self.next.saturating_add(1);
        self.position = Some(to.clone());
    }
}

fn shown(position: Option<&Position>) -> String {
    position.map_or_else(|| "no position".to_owned(), Position::to_string)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        checkpoint::ContextHash,
        model::{BlobName, Hour, Reason, Span},
    };

    fn blob() -> HourlyBlob {
        HourlyBlob::new(BlobName::new("root/y=2026"), 4, Hour::from_number(0)).unwrap()
    }

    fn position(bytes: u64) -> Option<Position> {
        (bytes > 0).then(|| Position { offset: Some((bytes, ContextHash::of(b""))), seen: None })
    }

    /// Steps of the given lengths, some of which stand still; each one rejects one thing.
    fn steps(lengths: &[u64]) -> Vec<Delta> {
        let mut at = 0;
        let step = |(sequence, length): (usize, &u64)| {
            let from = at;
            at += length;
            let rejected = Rejected {
                reason: Reason::BadTuple,
                detail: String::new(),
                span: Span { from, to: at },
                ordinal: u32::try_from(sequence).ok(),
                context: None,
                text: Vec::new(),
                answer: None,
            };
            Delta {
                blob: blob(),
                sequence: u64::try_from(sequence).unwrap(),
                from: position(from),
                to: position(at),
                rejected: vec![rejected],
            }
        };
        lengths.iter().enumerate().map(step).collect()
    }

    proptest! {
        /// *Scenario*: steps acknowledged in any order, with a crash after any number of them.
        /// *Guarantees*: the position never passes a step that is not acknowledged, it is as far as it can be, and
        /// everything rejected up to there comes exactly once.
        #[test]
        fn any_order_and_any_crash(
            lengths in prop::collection::vec(0_u64..3, 1..12),
            keys in prop::collection::vec(any::<u32>(), 12),
            crash in 0_usize..13,
        ) {
            let all = steps(&lengths);
            let mut order: Vec<usize> = (0..all.len()).collect();
            order.sort_by_key(|index| keys[*index]);
            order.truncate(crash);
            let mut tracker = Tracker::default();
            let (mut at, mut rejected) = (None, 0);
            for index in &order {
                if let Some(advance) = tracker.acknowledge(all[*index].clone()).unwrap() {
                    prop_assert_eq!(&advance.from, &at);
                    at = advance.to;
                    rejected += advance.rejected.len();
                }
            }
            let n_contiguous = (0..all.len()).take_while(|index| order.contains(index)).count();
            let expected = n_contiguous.checked_sub(1).and_then(|last| all[last].to.clone());
            prop_assert_eq!(at, expected);
            prop_assert_eq!(rejected, n_contiguous);
        }
    }

    /// *Scenario*: a step twice, a step that starts elsewhere, now and while waiting.
    /// *Guarantees*: each is an error that names blob and step, and the right step is still taken afterwards.
    #[test]
    fn steps_that_do_not_chain() {
        let all = steps(&[5, 5, 5]);
        let mut tracker = Tracker::default();
        tracker.acknowledge(all[0].clone()).unwrap();
        assert!(matches!(tracker.acknowledge(all[0].clone()), Err(ChainError::Repeated { sequence: 0, .. })));
        let elsewhere = Delta { from: position(4), ..all[1].clone() };
        let error = tracker.acknowledge(elsewhere).unwrap_err();
        assert_eq!(error.to_string(), "step 1 of blob root/y=2026 starts at byte 4, the position is byte 5");
        assert_eq!(tracker.acknowledge(all[2].clone()), Ok(None));
        assert!(matches!(tracker.acknowledge(all[2].clone()), Err(ChainError::Repeated { sequence: 2, .. })));
        assert_eq!(tracker.acknowledge(all[1].clone()).unwrap().unwrap().to, position(15));
    }
}
