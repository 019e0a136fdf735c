//! F3: events on their way to an intake, collected up to limits of bytes, events and age. Pure: time is an argument.

mod encoded_events;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

pub use encoded_events::{EncodedEvents, EventPlace};

use crate::{
    checkpoint::{Delta, Position, Tally},
    model::{HourlyBlob, Rejected},
    planted::{self, Bug},
};

/// Consecutive events of one blob, as its reader hands them over, with the step that they complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The blob.
    pub blob: HourlyBlob,
    /// The events, in order.
    pub events: EncodedEvents,
    /// The position before the first of them.
    pub from: Option<Position>,
    /// The position once all of them are acknowledged; equal to `from` where the run ends within a record.
    pub to: Option<Position>,
    /// What the reader could not turn into events.
    pub rejected: Vec<Rejected>,
    /// Records that were read to their end in this run.
    pub records: u64,
    /// Flow tuples that were read for it, as their records have them: each must be an event or rejected.
    pub tuples: u64,
    /// Whether the blob was found rewritten, and reading began anew with this run.
    pub started_over: bool,
    /// Whether this is the last run of this reading of the blob.
    pub last: bool,
}

/// What leaves the batcher: one request's events and the steps that their acceptance acknowledges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events, in order. There may be none: the steps are acknowledged all the same, without a request.
    pub events: EncodedEvents,
    /// One step for each blob in the batch; two where it was found rewritten between.
    pub deltas: Vec<Delta>,
    /// Which events belong to which of `deltas`: for each stretch of events of one blob, the index of the event after
    /// the stretch and the index of the delta.
    pub stretches: Vec<(usize, usize)>,
    /// What is rejected with the steps takes so many bytes in memory.
    pub rejected_bytes: usize,
}

impl Batch {
    /// The events with the delta that each one belongs to, as pairs of an index into the events and one into `deltas`.
    pub fn owners(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = std::iter::once(0).chain(self.stretches.iter().map(|(end, _)| *end));
        starts
            .zip(&self.stretches)
            .flat_map(|(start, (end, delta))| (start..*end).map(|event| (event, *delta)))
    }
}

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most bytes of a request body before compression, exact.
    pub max_bytes: usize,
    /// Most events of a request.
    pub max_events: usize,
    /// Longest time that an event waits for others.
    pub max_age: Duration,
}

/// Exact size of a body: what `intake::Overhead` says, as plain numbers, because this floor does not know intakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodySize {
    /// Bytes around the events.
    pub fixed: usize,
    /// The byte between two events, if there is one.
    pub separator: Option<u8>,
}

/// Collects runs of many blobs into batches.
///
/// The runs of one blob must come in reading order. Batches of one blob carry steps numbered in that order, so that
/// acknowledgements may come in any.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    size: BodySize,
    open: Batch,
    /// When the first event or step of the open batch came.
    opened: Option<Instant>,
    /// Index into `open.deltas` of the blobs in the open batch.
    in_open: HashMap<HourlyBlob, usize>,
    /// Number of the next step of every blob whose reading goes on.
    sequences: HashMap<HourlyBlob, u64>,
}

impl Batcher {
    /// An empty batcher.
    #[must_use]
    pub fn new(limits: BatchLimits, size: BodySize) -> Self {
        Self {
            limits,
            size,
            open: Batch::default(),
            opened: None,
            in_open: HashMap::new(),
            sequences: HashMap::new(),
        }
    }

    /// When the open batch must leave because of its age; `None` while there is nothing in it, or where that moment is
    /// beyond all clocks.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.opened.and_then(|opened| opened.checked_add(self.limits.max_age))
    }

    /// Takes the open batch, full or not; `None` while there is nothing in it.
    pub fn flush(&mut self) -> Option<Batch> {
        self.opened.take()?;
        self.in_open.clear();
        if planted::is(Bug::BatchLosesEvent) {
            self.open.events.ends.pop();
            self.open.events.places.pop();
        }
        let batch = std::mem::take(&mut self.open);
        // The next one will most likely be as large.
        self.open.events.reserve(batch.events.bytes.len(), batch.events.len());
        Some(batch)
    }

    /// Adds a run and hands out the batches that it completes.
    pub fn push(&mut self, run: Run, now: Instant) -> Vec<Batch> {
        let mut full = Vec::new();
        let mut done = 0;
        // What was read before the blob was rewritten and what was read after it are counted apart.
        let mut starts_over = run.started_over;
        if starts_over {
            self.in_open.remove(&run.blob);
        }
        let mut tuples_left = run.tuples;
        while done < run.events.len() {
            let fitting = self.fitting(&run.events, done);
            if fitting == 0 {
                full.extend(self.flush());
                continue;
            }
            let end = done.saturating_add(fitting);
            let delta = self.delta_of(&run.blob, run.from.as_ref(), now);
            self.open.events.append(&run.events, done..end);
            self.open.stretches.push((self.open.events.len(), delta));
            if let Some(delta) = self.open.deltas.get_mut(delta) {
                delta.started_over |= std::mem::take(&mut starts_over);
                // The last portion has the rest of what was read, so that an event that got lost is missed there.
                if end < run.events.len() {
                    let tuples = u64::try_from(fitting).unwrap_or(u64::MAX);
                    delta.tally.tuples = delta.tally.tuples.saturating_add(tuples);
                    tuples_left = tuples_left.saturating_sub(tuples);
                }
            }
            done = end;
        }
        let delta = self.delta_of(&run.blob, run.from.as_ref(), now);
        if let Some(delta) = self.open.deltas.get_mut(delta) {
            delta.to = run.to;
            delta.tally.tuples = delta.tally.tuples.saturating_add(tuples_left);
            delta.tally.records = delta.tally.records.saturating_add(run.records);
            delta.started_over |= starts_over;
            delta.last = run.last;
            let rejected_bytes = run.rejected.iter().map(Rejected::bytes_in_memory).sum();
            self.open.rejected_bytes = self.open.rejected_bytes.saturating_add(rejected_bytes);
            delta.rejected.extend(run.rejected);
        }
        if run.last {
            self.sequences.remove(&run.blob);
        }
        // What is rejected is no part of a body, but it has to go at some time.
        if self.open.events.len() >= self.limits.max_events
            || self.open.rejected_bytes >= self.limits.max_bytes
        {
            full.extend(self.flush());
        }
        full
    }

    /// The batch that is being filled.
    #[must_use]
    pub fn open(&self) -> &Batch {
        &self.open
    }

    /// How many events of `events[done..]` still fit into the open batch. An event that is too large for any batch
    /// goes alone.
    fn fitting(&self, events: &EncodedEvents, done: usize) -> usize {
        let open = &self.open.events;
        let open_bytes = open.encoded_bytes(&(0..open.len()));
        let fits = |n_more: usize| {
            let n_events = open.len().saturating_add(n_more);
            let more_bytes = events.encoded_bytes(&(done..done.saturating_add(n_more)));
            let n_separators = if self.size.separator.is_some() { n_events.saturating_sub(1) } else { 0 };
            let event_bytes = open_bytes.saturating_add(more_bytes);
            let body = self.size.fixed.saturating_add(n_separators).saturating_add(event_bytes);
            (body <= self.limits.max_bytes || n_events <= 1) && n_events <= self.limits.max_events.max(1)
        };
        let n_left = events.len().saturating_sub(done);
        if fits(n_left) {
            return n_left;
        }
        // The more events, the larger the body.
        let (mut fitting, mut too_many) = (0, n_left);
        while fitting + 1 < too_many {
            let middle = usize::midpoint(fitting, too_many);
            if fits(middle) { fitting = middle } else { too_many = middle }
        }
        fitting
    }

    /// Index of the blob's delta in the open batch. A new one starts at `from` and stands still there.
    fn delta_of(&mut self, blob: &HourlyBlob, from: Option<&Position>, now: Instant) -> usize {
        self.opened.get_or_insert(now);
        if let Some(index) = self.in_open.get(blob) {
            return *index;
        }
        let sequence = self.sequences.entry(blob.clone()).or_insert(0);
        let index = self.open.deltas.len();
        self.open.deltas.push(Delta {
            blob: blob.clone(),
            sequence: *sequence,
            from: from.cloned(),
            to: from.cloned(),
            rejected: Vec::new(),
            tally: Tally::default(),
            ahead: BTreeMap::new(),
            started_over: false,
            last: false,
        });
        *sequence = sequence.saturating_add(1);
        self.in_open.insert(blob.clone(), index);
        index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        checkpoint::ContextHash,
        model::{BlobName, Hour, Span},
    };

    fn blob(number: usize) -> HourlyBlob {
        HourlyBlob::new(BlobName::new(format!("root/y=2026/{number}")), 4, Hour::from_number(0)).unwrap()
    }

    fn position(bytes: usize) -> Option<Position> {
        let offset = u64::try_from(bytes).unwrap();
        (bytes > 0).then(|| Position { offset: Some((offset, ContextHash::of(b""))), seen: None })
    }

    /// Runs with events of the given lengths; each run moves its blob's position by the sum of them.
    fn runs(plan: &[(usize, Vec<usize>)]) -> Vec<Run> {
        let mut positions = HashMap::<usize, usize>::new();
        let build = |(number, lengths): &(usize, Vec<usize>)| {
            let from = *positions.get(number).unwrap_or(&0);
            let mut events = EncodedEvents::default();
            for (ordinal, length) in lengths.iter().enumerate() {
                events.bytes.extend(std::iter::repeat_n(b'x', *length));
                let offset = u64::try_from(from).unwrap();
                events.finish_event(EventPlace {
                    record: Span { from: offset, to: offset + 1 },
                    ordinal: u32::try_from(ordinal).unwrap(),
                });
            }
            let to = from + lengths.iter().sum::<usize>();
            positions.insert(*number, to);
            let (from, to) = (position(from), position(to));
            let (records, tuples) = (1, u64::try_from(events.len()).unwrap());
            Run {
                blob: blob(*number),
                events,
                from,
                to,
                rejected: Vec::new(),
                records,
                tuples,
                started_over: false,
                last: false,
            }
        };
        plan.iter().map(build).collect()
    }

    proptest! {
        /// Scenario: runs of several blobs, of any size, go through a batcher with small limits; with some of them a blob
        /// is found rewritten. Guarantees: every event comes out once and in order, no body is over the limits unless a
        /// single event is, steps of a blob chain and are numbered without gap, and the last one ends where the last run
        /// ended. Each step has as many tuples as events, all together what the runs had; none has events of before and
        /// of after a rewriting.
        #[test]
        fn batches_hold_the_limits_and_steps_chain(
            plan in prop::collection::vec((0_usize..3, prop::collection::vec(1_usize..40, 0..12)), 0..20),
            rewritten in prop::collection::vec(prop::bool::weighted(0.2), 20),
            max_bytes in 10_usize..100,
            max_events in 1_usize..10,
        ) {
            let limits = BatchLimits { max_bytes, max_events, max_age: Duration::from_secs(5) };
            let size = BodySize { fixed: 4, separator: Some(b',') };
            let mut batcher = Batcher::new(limits, size);
            let now = Instant::now();
            let mut all = runs(&plan);
            for (run, rewritten) in all.iter_mut().zip(rewritten) {
                run.started_over = rewritten;
            }
            let mut batches = Vec::new();
            for run in all.clone() {
                batches.extend(batcher.push(run, now));
            }
            batches.extend(batcher.flush());
            prop_assert_eq!(batcher.flush(), None);

            let mut places = HashMap::<HourlyBlob, Vec<EventPlace>>::new();
            let mut steps = HashMap::<HourlyBlob, Vec<Delta>>::new();
            for batch in &batches {
                let n_events = batch.events.len();
                let body = 4 + n_events.saturating_sub(1) + batch.events.bytes.len();
                prop_assert!(n_events <= max_events);
                prop_assert!(body <= max_bytes || n_events == 1);
                prop_assert_eq!(batch.owners().count(), n_events);
                for (event, delta) in batch.owners() {
                    places.entry(batch.deltas[delta].blob.clone()).or_default().push(batch.events.places[event]);
                }
                for (index, delta) in batch.deltas.iter().enumerate() {
                    let n_events = batch.owners().filter(|(_, owner)| *owner == index).count();
                    prop_assert_eq!(delta.tally.tuples, u64::try_from(n_events).unwrap());
                }
                for delta in &batch.deltas {
                    steps.entry(delta.blob.clone()).or_default().push(delta.clone());
                }
            }
            for number in 0..3 {
                let of_blob = || all.iter().filter(|run| run.blob == blob(number));
                let expected: Vec<_> = of_blob().flat_map(|run| run.events.places.clone()).collect();
                prop_assert_eq!(places.remove(&blob(number)).unwrap_or_default(), expected);
                let steps = steps.remove(&blob(number)).unwrap_or_default();
                let count = |count: fn(&Tally) -> u64| steps.iter().map(|step| count(&step.tally)).sum::<u64>();
                prop_assert_eq!(count(|tally| tally.tuples), of_blob().map(|run| run.tuples).sum::<u64>());
                prop_assert_eq!(count(|tally| tally.records), of_blob().map(|run| run.records).sum::<u64>());
                // The tuples before each rewriting.
                let mut read = 0;
                let before = of_blob().filter_map(|run| {
                    let before = run.started_over.then_some(read);
                    read += run.tuples;
                    before
                });
                let mut passed = 0;
                let apart = steps.iter().filter_map(|step| {
                    let before = step.started_over.then_some(passed);
                    passed += step.tally.tuples;
                    before
                });
                prop_assert_eq!(apart.collect::<Vec<_>>(), before.collect::<Vec<_>>());
                let mut at = None;
                for (sequence, step) in (0..).zip(&steps) {
                    prop_assert_eq!(step.sequence, sequence);
                    prop_assert_eq!(&step.from, &at);
                    at = step.to.clone();
                }
                prop_assert_eq!(at, of_blob().next_back().and_then(|run| run.to.clone()));
            }
        }
    }

    /// Scenario: one event waits in a batch. Guarantees: the batch is due `max_age` after that event came, not after
    /// a later one; an empty batcher is never due.
    #[test]
    fn age_counts_from_the_first_event() {
        let limits = BatchLimits { max_bytes: 1_000, max_events: 10, max_age: Duration::from_secs(5) };
        let mut batcher = Batcher::new(limits, BodySize { fixed: 0, separator: None });
        assert_eq!(batcher.deadline(), None);
        let first = Instant::now();
        for (run, later) in runs(&[(0, vec![1]), (0, vec![1])]).into_iter().zip([0, 3]) {
            assert_eq!(batcher.push(run, first + Duration::from_secs(later)), Vec::new());
        }
        assert_eq!(batcher.deadline(), Some(first + Duration::from_secs(5)));
    }
}
