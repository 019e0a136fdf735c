//! From the bytes of a blob to its events, off the async threads where the bytes are many.

use std::{ops::ControlFlow, sync::Arc};

use self_cell::{MutBorrow, self_cell};

use super::read_end::{Pending, RUN_BYTES, ReadCounts};
use crate::{
    batch::{EncodedEvents, EventPlace},
    checkpoint::{ContextHash, Position},
    event::{Encoder, Event, RecordEncoding},
    flowlog::{DamageKind, Piece, Splitter},
    intake::{Framing, Intake, Memory},
    model::Rejected,
    offload::{Ending, offload},
};

/// So many bytes take a millisecond at most: handing them to another thread would cost more than it saves.
const INLINE_BYTES: usize = 64 * 1024;

/// Room is made for so many bytes of events for each byte that is parsed; they may be more.
const EVENT_BYTES_PER_BYTE: usize = 5;

/// Most events are not larger.
const LARGE_EVENT_BYTES: usize = 8 * 1024;

/// The two halves of parsing: records out of bytes, events out of records.
#[derive(Debug)]
pub(super) struct Parser {
    pub(super) splitter: Splitter,
    pub(super) encoder: Encoder,
}

impl Parser {
    /// Between two records: the position behind the last one.
    fn position(&self) -> Position {
        let offset = self.splitter.offset().map(|bytes| (bytes, ContextHash::of(self.splitter.context())));
        Position { offset, seen: None }
    }
}

self_cell!(
    /// A parser within a record that has more events than a run holds. The record is parsed once.
    struct WithinRecord {
        owner: MutBorrow<Box<Parser>>,
        #[not_covariant]
        dependent: RecordEncoding,
    }
);

/// A parser that is not done with its bytes.
pub(super) struct Unfinished(Place);

enum Place {
    Between(Box<Parser>),
    Within(WithinRecord),
}

/// Why an extraction stopped.
pub(super) enum Extracted {
    /// More bytes are needed.
    Drained(Box<Parser>),
    /// The run is full.
    Full(Unfinished),
}

/// Why no record begins here.
enum NoRecord {
    Drained,
    Damaged(Box<Rejected>),
    NotJson(DamageKind),
}

impl From<Box<Parser>> for Unfinished {
    fn from(parser: Box<Parser>) -> Self {
        Self(Place::Between(parser))
    }
}

impl Unfinished {
    /// Most bytes that the next extraction looks at.
    fn n_bytes(&self) -> usize {
        match &self.0 {
            Place::Between(parser) => parser.splitter.buffered_bytes(),
            Place::Within(_) => usize::MAX,
        }
    }
}

/// Fills `pending` with events, for at most one run.
///
/// # Errors
/// [`Ending`].
pub(super) async fn extract(
    from: Unfinished,
    intake: &Arc<dyn Intake>,
    mut pending: Pending,
    mut counts: ReadCounts,
) -> Result<(Extracted, Pending, ReadCounts), Ending> {
    if from.n_bytes() <= INLINE_BYTES {
        let extracted = fill(from, intake.framing(), &mut pending, &mut counts);
        return Ok((extracted, pending, counts));
    }
    let intake = Arc::clone(intake);
    offload(move || {
        let extracted = fill(from, intake.framing(), &mut pending, &mut counts);
        (extracted, pending, counts)
    })
    .await
}

fn fill(
    from: Unfinished,
    framing: &dyn Framing,
    pending: &mut Pending,
    counts: &mut ReadCounts,
) -> Extracted {
    if pending.events.is_empty() {
        pending.events = EncodedEvents::separated_by(framing.overhead().separator);
        let most = RUN_BYTES.saturating_add(LARGE_EVENT_BYTES);
        pending.events.reserve(from.n_bytes().saturating_mul(EVENT_BYTES_PER_BYTE).min(most), 0);
    }
    let mut place = from.0;
    loop {
        let parser = match place {
            Place::Within(record) => match encode(record, framing, pending) {
                Ok(parser) => {
                    counts.records = counts.records.saturating_add(1);
                    pending.records = pending.records.saturating_add(1);
                    parser
                }
                Err(record) => return Extracted::Full(Unfinished(Place::Within(record))),
            },
            Place::Between(parser) => match begin(parser) {
                Ok(record) => {
                    place = Place::Within(record);
                    continue;
                }
                Err((parser, NoRecord::Drained)) => return Extracted::Drained(parser),
                Err((mut parser, NoRecord::NotJson(kind))) => {
                    parser.splitter.not_json(kind);
                    place = Place::Between(parser);
                    continue;
                }
                Err((parser, NoRecord::Damaged(rejected))) => {
                    counts.damaged = counts.damaged.saturating_add(1);
                    pending.reject([*rejected]);
                    parser
                }
            },
        };
        pending.to = Some(parser.position());
        place = Place::Between(parser);
        if pending.is_full() {
            return Extracted::Full(Unfinished(place));
        }
    }
}

/// Parses the next record, if there is one.
fn begin(parser: Box<Parser>) -> Result<WithinRecord, (Box<Parser>, NoRecord)> {
    let begun = WithinRecord::try_new_or_recover(MutBorrow::new(parser), |parser| {
        let Parser { splitter, encoder } = &mut **parser.borrow_mut();
        match splitter.next_piece() {
            None => Err(NoRecord::Drained),
            Some(Piece::Damaged(damaged)) => {
                Err(NoRecord::Damaged(Box::new(damaged.rejected(damaged.kind.reason()))))
            }
            Some(Piece::Record(record)) => {
                encoder.begin(record).map_err(|damage| NoRecord::NotJson(damage.kind))
            }
        }
    });
    begun.map_err(|(parser, reason)| (parser.into_inner(), reason))
}

/// Encodes events of a record, to its end or until the run is full. The position stands still before the record until all
/// its events have left.
fn encode(
    mut record: WithinRecord,
    framing: &dyn Framing,
    pending: &mut Pending,
) -> Result<Box<Parser>, WithinRecord> {
    let events = &mut pending.events;
    let mut memory = Memory::default();
    let mut emit = |event: Event<'_>| {
        framing.encode_next(&event, &mut memory, &mut events.bytes);
        events.finish_event(EventPlace { record: event.record, ordinal: event.id.ordinal });
        if events.bytes.len() >= RUN_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let (encoded, n_tuples) = record.with_dependent_mut(|_, encoding| {
        let passed_before = encoding.n_passed();
        let encoded = encoding.advance(&mut emit);
        // Of a record that is done, what it had: neither events nor rejected tuples are counted here.
        let passed = if encoded.done { encoding.n_tuples() } else { encoding.n_passed() };
        (encoded, passed.saturating_sub(passed_before))
    });
    pending.tuples = pending.tuples.saturating_add(n_tuples);
    pending.reject(encoded.rejected);
    if encoded.done { Ok(record.into_owner().into_inner()) } else { Err(record) }
}

#[cfg(test)]
mod tests {
    use std::{
        ops::Range,
        sync::Mutex,
        thread::{self, ThreadId},
    };

    use async_trait::async_trait;

    use super::*;
    use crate::{
        event::EventFormat,
        flowlog::Start,
        intake::{Overhead, Selection, Verdict},
        model::{BlobName, Origin},
    };

    /// Notes where events are encoded.
    #[derive(Debug, Default)]
    struct Witness(Mutex<Vec<ThreadId>>);

    impl Framing for Witness {
        fn overhead(&self) -> Overhead {
            Overhead { fixed: 0, separator: None }
        }

        fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
            self.0.lock().unwrap().push(thread::current().id());
            out.extend_from_slice(event.body);
        }

        fn assemble(&self, _events: &[u8], _ranges: &[Range<usize>]) -> Vec<u8> {
            Vec::new()
        }

        fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
            encoded.to_vec()
        }
    }

    #[async_trait]
    impl Intake for Witness {
        fn framing(&self) -> &dyn Framing {
            self
        }

        async fn attempt(&self, _events: &EncodedEvents, _selection: &Selection) -> Verdict {
            Verdict::Delivered
        }
    }

    fn parser(bytes: &[u8]) -> Box<Parser> {
        let origin = Origin { account: String::new(), container: String::new() };
        let encoder = Encoder::new(EventFormat::Flow { provenance: false }, &origin, &BlobName::new("b"));
        let mut splitter = Splitter::new(Start::Beginning, 16 * 1024 * 1024);
        splitter.push(bytes);
        Box::new(Parser { splitter, encoder })
    }

    /// *Scenario*: a record with few tuples; then one with so many that they fill several runs, with bad tuples among them
    /// and a small record behind it.
    /// *Guarantees*: few events are encoded at once, on the thread that asks; many on another one, run by run. The position
    /// moves behind a record when all of its events are out, and not before; none is missing, and each run has the tuples
    /// that it covers.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn much_is_encoded_elsewhere() {
        let record = |n_tuples: usize| {
            let tuples = vec!["\"1663146003599,1.2.3.4,192.0.2.180,23956,443,6,O,B,NX,0,0,0,0\""; n_tuples];
            format!(
                "{{\"time\":\"2025-04-30T09:07:40Z\",\"flowLogVersion\":4,\"flowRecords\":{{\"flows\":[{{\"aclID\":\"a\",\
                 \"flowGroups\":[{{\"rule\":\"r\",\"flowTuples\":[1,{}]}}]}}]}}}}",
                tuples.join(",")
            )
        };
        for (records, is_elsewhere) in [(vec![record(2)], false), (vec![record(6_000), record(2)], true)] {
            let text = format!("{{\"records\":[{}", records.join(","));
            let first_end = "{\"records\":[".len() + records[0].len();
            let witness = Arc::new(Witness::default());
            let intake: Arc<dyn Intake> = Arc::<Witness>::clone(&witness);
            let mut unfinished = parser(text.as_bytes()).into();
            let (mut n_runs, mut n_events, mut ends) = (0, 0, Vec::new());
            let (mut n_records, mut n_tuples) = (0, 0);
            let mut counts = ReadCounts::default();
            loop {
                let extracted = extract(unfinished, &intake, Pending::at(None), counts).await.unwrap();
                let (extracted, pending, now) = extracted;
                counts = now;
                n_runs += 1;
                n_events += pending.events.len();
                n_records += pending.records;
                n_tuples += pending.tuples;
                assert_eq!(
                    pending.tuples,
                    u64::try_from(pending.events.len() + pending.rejected.len()).unwrap()
                );
                assert!(pending.events.bytes.len() < RUN_BYTES + 1024, "{}", pending.events.bytes.len());
                ends.push(pending.to.as_ref().and_then(Position::bytes));
                match extracted {
                    Extracted::Drained(_) => break,
                    Extracted::Full(rest) => unfinished = rest,
                }
            }
            assert_eq!(n_events, if is_elsewhere { 6_002 } else { 2 });
            assert_eq!((n_records, n_tuples), if is_elsewhere { (2, 6_004) } else { (1, 3) });
            assert_eq!(
                (counts.records, ends.last().copied().flatten()),
                match is_elsewhere {
                    true => (2, Some(text.len() as u64)),
                    false => (1, Some(first_end as u64)),
                }
            );
            let here = thread::current().id();
            let threads = witness.0.lock().unwrap();
            assert!(threads.iter().all(|thread| (*thread != here) == is_elsewhere));
            let n_within = ends.iter().take_while(|end| end.is_none()).count();
            assert_eq!(n_within > 1, is_elsewhere, "{ends:?} of {n_runs}");
        }
    }
}
