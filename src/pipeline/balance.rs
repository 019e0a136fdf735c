//! Whether what is acknowledged is what was read. Three counts of the same tuples are compared: what the parser found in
//! the records, what the readers handed over, and what the intake accepted or the quarantine got.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use crate::{
    batch::Batch,
    checkpoint::{Delta, Position, Tally},
    model::HourlyBlob,
};

/// What the readers of a pass have handed over, by blob, until its reading has ended.
#[derive(Debug, Default)]
pub(super) struct HandedOver(Mutex<HashMap<HourlyBlob, Handed>>);

/// What was handed over of one blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) records: u64,
    pub(super) tuples: u64,
}

impl HandedOver {
    /// Counts a run, before it is on its way.
    pub(super) fn add(&self, blob: &HourlyBlob, records: u64, tuples: u64) {
        self.with(|blobs| {
            let handed = blobs.entry(blob.clone()).or_default();
            handed.records = handed.records.saturating_add(records);
            handed.tuples = handed.tuples.saturating_add(tuples);
        });
    }

    /// What was handed over of a blob since its reading began.
    pub(super) fn of(&self, blob: &HourlyBlob) -> Handed {
        self.with(|blobs| blobs.get(blob).copied().unwrap_or_default())
    }

    /// The reading of a blob has ended.
    pub(super) fn forget(&self, blob: &HourlyBlob) {
        self.with(|blobs| blobs.remove(blob));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<HourlyBlob, Handed>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The counts do not agree: an event was lost or is there twice, by a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    /// Of what a step covers.
    #[error("of what was read, not every tuple was delivered or quarantined: {0}")]
    Unaccounted(Tally),
    /// Of a reading.
    #[error("read were {} records with {} tuples, acknowledged are {acknowledged}", handed.records, handed.tuples)]
    NotAsRead {
        /// What the reader has handed over.
        handed: Handed,
        /// What came back.
        acknowledged: Tally,
    },
}

/// Whether a step balances.
pub(super) fn check_step(tally: Tally) -> Result<(), Mismatch> {
    if tally.is_balanced() { Ok(()) } else { Err(Mismatch::Unaccounted(tally)) }
}

/// Whether no more of a reading is acknowledged than was handed over; at its end, no less either.
pub(super) fn check_reading(acknowledged: Tally, handed: Handed, is_over: bool) -> Result<(), Mismatch> {
    let pairs = [(acknowledged.records, handed.records), (acknowledged.tuples, handed.tuples)];
    let agrees = pairs.iter().all(|(back, there)| if is_over { back == there } else { back <= there });
    if agrees { Ok(()) } else { Err(Mismatch::NotAsRead { handed, acknowledged }) }
}

/// Counts what became of a batch into its steps. `unaccepted`: the events that the intake did not accept for certain;
/// their entries for the quarantine are in the steps.
pub(super) fn settle(batch: &mut Batch, unaccepted: &HashSet<usize>) {
    let mut start = 0;
    let mut n_delivered: usize = 0;
    for &(end, delta) in &batch.stretches {
        let stretch = std::mem::replace(&mut start, end)..end;
        let Some(delta) = batch.deltas.get_mut(delta) else { continue };
        let n_unaccepted = stretch.clone().filter(|event| unaccepted.contains(event)).count();
        let n_of_stretch = stretch.len().saturating_sub(n_unaccepted);
        n_delivered = n_delivered.saturating_add(n_of_stretch);
        delta.tally.delivered =
            delta.tally.delivered.saturating_add(u64::try_from(n_of_stretch).unwrap_or(u64::MAX));
        for event in stretch.rev() {
            // Events stand in reading order: before the first one that the step has passed, it has passed all.
            let Some(place) =
                batch.events.places.get(event).filter(|place| is_ahead(delta, place.record.from))
            else {
                break;
            };
            if !unaccepted.contains(&event) {
                let one = Tally { tuples: 1, delivered: 1, ..Tally::default() };
                let of_record = delta.ahead.entry(place.record.from).or_default();
                *of_record = of_record.plus(one);
            }
        }
    }
    // An event that the intake did not accept and that is in no stretch: nobody knows which step lacks it.
    let n_accepted = batch.events.len().saturating_sub(unaccepted.len());
    let excess = u64::try_from(n_delivered.saturating_sub(n_accepted)).unwrap_or(u64::MAX);
    for delta in &mut batch.deltas {
        delta.tally.delivered = delta.tally.delivered.saturating_sub(excess);
        for rejected in &delta.rejected {
            delta.tally.reject(rejected);
            if is_ahead(delta, rejected.span.from) {
                let of_record = delta.ahead.entry(rejected.span.from).or_default();
                of_record.tuples = of_record.tuples.saturating_add(u64::from(rejected.ordinal.is_some()));
                of_record.reject(rejected);
            }
        }
    }
}

/// Whether a record begins behind the end of a step. Where the step stands still, all that it carries does.
fn is_ahead(delta: &Delta, record: u64) -> bool {
    let offset = delta.to.as_ref().and_then(Position::bytes);
    delta.from == delta.to || offset.is_none_or(|offset| record >= offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        batch::{BatchLimits, Batcher, BodySize, EncodedEvents, EventPlace, Run},
        checkpoint::{ContextHash, Tracker},
        model::{BlobName, Hour, Reason, Rejected, Span},
    };

    const RECORD_BYTES: u64 = 10;

    fn blob() -> HourlyBlob {
        HourlyBlob::new(BlobName::new("root/y=2026/1"), 4, Hour::from_number(0)).unwrap()
    }

    fn position(records: u64) -> Option<Position> {
        let offset = Some((records * RECORD_BYTES, ContextHash::of(b"")));
        (records > 0).then_some(Position { offset, seen: None })
    }

    fn rejected((record, ordinal): (u64, u32)) -> Rejected {
        Rejected {
            reason: Reason::BadTuple,
            detail: String::new(),
            span: Span { from: record * RECORD_BYTES, to: (record + 1) * RECORD_BYTES },
            ordinal: Some(ordinal),
            context: None,
            text: Vec::new(),
            answer: None,
        }
    }

    /// A blob of records with so many tuples, of which each of the numbered ones (counted through) is bad.
    fn tuples(records: &[u32], bad: &HashSet<usize>) -> Vec<((u64, u32), bool, bool)> {
        let places = (0..).zip(records).flat_map(|(record, n_tuples)| {
            (0..*n_tuples).map(move |ordinal| ((record, ordinal), ordinal + 1 == *n_tuples))
        });
        places.enumerate().map(|(index, (place, ends))| (place, ends, bad.contains(&index))).collect()
    }

    /// Runs that end after any tuple.
    fn runs(tuples: &[((u64, u32), bool, bool)], lengths: &[usize]) -> Vec<Run> {
        let mut left = tuples;
        let mut at = 0;
        let mut runs = Vec::new();
        for length in lengths.iter().cycle() {
            let (now, later) = left.split_at((*length).min(left.len()));
            left = later;
            let from = position(at);
            let mut events = EncodedEvents::default();
            let mut bad = Vec::new();
            let mut records = 0;
            for (place, ends_record, is_bad) in now {
                if *is_bad {
                    bad.push(rejected(*place));
                } else {
                    events.bytes.push(b'x');
                    let (record, ordinal) = *place;
                    events.finish_event(EventPlace { record: rejected((record, 0)).span, ordinal });
                }
                records += u64::from(*ends_record);
            }
            at += records;
            runs.push(Run {
                blob: blob(),
                events,
                from,
                to: position(at),
                rejected: bad,
                records,
                tuples: u64::try_from(now.len()).unwrap(),
                started_over: false,
                last: left.is_empty(),
            });
            if left.is_empty() {
                return runs;
            }
        }
        runs
    }

    proptest! {
        /// *Scenario*: a blob with good and bad tuples is read in any runs, sent in any batches and accepted but for any
        /// events; the batches are acknowledged in any order, and the process may end after any of them.
        /// *Guarantees*: every step balances, and the reading does at its end; at any moment the ledger has exactly what
        /// lies before the position: whatever is read again counts once.
        #[test]
        fn the_ledger_is_of_what_lies_before_the_position(
            records in prop::collection::vec(1_u32..8, 1..12),
            bad in prop::collection::hash_set(0_usize..90, 0..20),
            refused in prop::collection::hash_set(0_usize..90, 0..20),
            lengths in prop::collection::vec(1_usize..15, 1..5),
            max_events in 1_usize..12,
            seed in any::<u64>(),
        ) {
            let tuples = tuples(&records, &bad);
            let limits = BatchLimits { max_bytes: 1_000, max_events, max_age: Duration::from_secs(5) };
            let mut batcher = Batcher::new(limits, BodySize { fixed: 0, separator: None });
            let handed_over = HandedOver::default();
            let mut batches = Vec::new();
            for run in runs(&tuples, &lengths) {
                handed_over.add(&run.blob, run.records, run.tuples);
                batches.extend(batcher.push(run, Instant::now()));
            }
            batches.extend(batcher.flush());
            let mut sent = 0;
            let mut unaccepted = HashSet::new();
            for batch in &mut batches {
                let of_batch: HashSet<usize> =
                    (0..batch.events.len()).filter(|event| refused.contains(&(sent + event))).collect();
                sent += batch.events.len();
                for event in &of_batch {
                    let place = batch.events.places[*event];
                    let place = (place.record.from / RECORD_BYTES, place.ordinal);
                    unaccepted.insert(place);
                    let (_, delta) = batch.owners().find(|(owned, _)| owned == event).unwrap();
                    batch.deltas[delta].rejected.push(rejected(place));
                }
                settle(batch, &of_batch);
            }
            fastrand::Rng::with_seed(seed).shuffle(&mut batches);
            let mut tracker = Tracker::default();
            let mut ledger = Tally::default();
            for delta in batches.into_iter().flat_map(|batch| batch.deltas) {
                prop_assert_eq!(check_step(delta.tally), Ok(()));
                let Some(advance) = tracker.acknowledge(delta).unwrap() else { continue };
                prop_assert_eq!(
                    check_reading(advance.acknowledged, handed_over.of(&blob()), advance.last),
                    Ok(())
                );
                ledger = ledger.plus(advance.tally);
                let n_records = advance.to.as_ref().and_then(Position::bytes).unwrap_or(0) / RECORD_BYTES;
                let before: Vec<_> = tuples.iter().filter(|((record, _), _, _)| *record < n_records).collect();
                let quarantined = before.iter().filter(|(place, _, bad)| *bad || unaccepted.contains(place)).count();
                let expected = Tally {
                    records: n_records,
                    tuples: u64::try_from(before.len()).unwrap(),
                    delivered: u64::try_from(before.len() - quarantined).unwrap(),
                    quarantined: u64::try_from(quarantined).unwrap(),
                    pieces: 0,
                };
                prop_assert_eq!(ledger, expected);
            }
            prop_assert_eq!(ledger.records, u64::try_from(records.len()).unwrap());
        }
    }

    fn batch() -> Batch {
        let limits = BatchLimits { max_bytes: 1_000, max_events: 100, max_age: Duration::from_secs(5) };
        let mut batcher = Batcher::new(limits, BodySize { fixed: 0, separator: None });
        for run in runs(&tuples(&[3, 2], &HashSet::from([1])), &[5]) {
            assert_eq!(batcher.push(run, Instant::now()), []);
        }
        batcher.flush().unwrap()
    }

    /// *Scenario*: an event is missing in a batch; one that was not accepted has no entry for the quarantine; an event is
    /// not accepted that is in no stretch; a rejected tuple gets lost; and nothing is wrong.
    /// *Guarantees*: only the last balances.
    #[test]
    fn what_is_lost_shows() {
        let check = |spoil: fn(&mut Batch), unaccepted: &[usize]| {
            let mut batch = batch();
            spoil(&mut batch);
            settle(&mut batch, &unaccepted.iter().copied().collect());
            check_step(batch.deltas[0].tally).map_err(|mismatch| mismatch.to_string())
        };
        let shorter = |batch: &mut Batch| batch.stretches[0].0 -= 1;
        let text =
            "of what was read, not every tuple was delivered or quarantined: 2 records with 5 tuples, ";
        let expected = |rest: &str| Err(format!("{text}{rest} and 0 pieces quarantined"));
        assert_eq!(check(shorter, &[]), expected("3 delivered, 1"));
        assert_eq!(check(|_| (), &[2]), expected("3 delivered, 1"));
        assert_eq!(check(|_| (), &[99]), expected("3 delivered, 1"));
        assert_eq!(check(|batch| batch.deltas[0].rejected.clear(), &[]), expected("4 delivered, 0"));
        assert_eq!(check(|_| (), &[]), Ok(()));
    }

    /// *Scenario*: as much is acknowledged as was handed over, less, or more; before the end of the reading and at it.
    /// *Guarantees*: less is right only before the end, more never.
    #[test]
    fn readings() {
        let acknowledged = |tuples| Tally { records: 1, tuples, ..Tally::default() };
        let handed = Handed { records: 1, tuples: 5 };
        let agrees = |tuples, is_over| check_reading(acknowledged(tuples), handed, is_over).is_ok();
        assert_eq!([4, 5, 6].map(|tuples| agrees(tuples, false)), [true, true, false]);
        assert_eq!([4, 5, 6].map(|tuples| agrees(tuples, true)), [false, true, false]);
        let error = check_reading(Tally::default(), handed, true).unwrap_err().to_string();
        assert_eq!(
            error,
            "read were 1 records with 5 tuples, acknowledged are 0 records with 0 tuples, 0 delivered, 0 and 0 pieces \
             quarantined"
        );
    }
}
