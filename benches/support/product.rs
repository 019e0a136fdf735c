//! The product on one thread, without I/O: splitter, record, encoder, framing, batcher and bodies, put together as
//! `pipeline` does it.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use flowlogd::{
    batch::{Batch, BatchLimits, Batcher, BodySize, EncodedEvents, EventPlace, Run},
    checkpoint::{ContextHash, Position},
    event::{Encoder, Event, EventFormat},
    flowlog::{Piece, Splitter, Start},
    intake::{
        Framing, Memory, Selection,
        protocols::{
            http_generic::{HttpFraming, HttpGeneric},
            sekoia::Sekoia,
        },
    },
    model::{BlobName, Hour, HourlyBlob, Origin, Secret},
};
use http::{HeaderMap, StatusCode};
use url::Url;

use super::input::Input;

/// As much is read of a blob at once.
pub(crate) const CHUNK_BYTES: usize = 1024 * 1024;

/// Bodies are as large as this.
pub(crate) const BODY_BYTES: usize = 1024 * 1024;

/// As `pipeline` has it: a reader hands so many encoded bytes over at once.
const RUN_BYTES: usize = 256 * 1024;

const RECORD_LIMIT: usize = 16 * 1024 * 1024;

/// What events look like and how they are sent.
#[derive(Debug)]
pub(crate) struct Case {
    /// For people.
    pub(crate) name: &'static str,
    /// The shape of events.
    pub(crate) format: EventFormat,
    /// The layout of bodies.
    pub(crate) framing: Box<dyn Framing>,
}

/// The cases that the goals are about, and the enriched one.
pub(crate) fn cases() -> Vec<Case> {
    let url = Url::parse("https://intake.example").expect("it is one");
    let lines = || {
        let lines = HttpGeneric::new(&url, HttpFraming::Ndjson, &HeaderMap::new(), &[StatusCode::OK]);
        Box::new(lines.expect("the address can be requested"))
    };
    let key = Secret::new("00000000-0000-4000-8000-000000000000".to_owned());
    let sekoia = Box::new(Sekoia::new(&url, &key).expect("the address can be requested"));
    let flow = EventFormat::Flow { provenance: false };
    vec![
        Case { name: "flow", format: flow, framing: lines() },
        Case { name: "batch", format: flow, framing: sekoia },
        Case { name: "ecs", format: EventFormat::Ecs { enrich: false }, framing: lines() },
        Case { name: "enriched", format: EventFormat::Ecs { enrich: true }, framing: lines() },
    ]
}

/// Where the documents are said to come from.
pub(crate) fn origin() -> Origin {
    Origin { account: "account".to_owned(), container: "insights-logs-flowlogflowevent".to_owned() }
}

/// An encoder for a document.
pub(crate) fn encoder(format: EventFormat, input: &Input) -> Encoder {
    Encoder::new(format, &origin(), &BlobName::new(input.blob.as_str()))
}

/// Takes a document from bytes to bodies. Returns the number of events.
pub(crate) fn run(input: &Input, case: &Case, body: &mut dyn FnMut(Vec<u8>)) -> u64 {
    run_chunks(input, case, &mut |_| {}, body)
}

/// The same; `chunk` is told before each chunk how many bytes were read so far.
pub(crate) fn run_chunks(
    input: &Input,
    case: &Case,
    chunk: &mut dyn FnMut(usize),
    body: &mut dyn FnMut(Vec<u8>),
) -> u64 {
    let mut splitter = Splitter::new(Start::Beginning, RECORD_LIMIT);
    let mut encoder = encoder(case.format, input);
    let mut reader = Reader::new(input, case);
    let mut n_read = 0;
    for bytes in input.bytes.chunks(CHUNK_BYTES) {
        chunk(n_read);
        n_read += bytes.len();
        splitter.push(bytes);
        while let Some(piece) = splitter.next_piece() {
            let Piece::Record(record) = piece else { continue };
            let Ok(mut encoding) = encoder.begin(record) else { continue };
            let mut memory = Memory::default();
            loop {
                let events = &mut reader.events;
                let mut emit = |event: Event<'_>| {
                    case.framing.encode_next(&event, &mut memory, &mut events.bytes);
                    events.finish_event(EventPlace { record: event.record, ordinal: event.id.ordinal });
                    if events.bytes.len() >= RUN_BYTES {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                let done = encoding.advance(&mut emit).done;
                if reader.events.bytes.len() >= RUN_BYTES {
                    reader.hand_over(body);
                }
                if done {
                    break;
                }
            }
            let offset = splitter.offset().map(|offset| (offset, ContextHash::of(splitter.context())));
            reader.position = Some(Position { offset, seen: None });
        }
    }
    reader.hand_over(body);
    if let Some(batch) = reader.batcher.flush() {
        reader.send(&batch, body);
    }
    reader.n_events
}

/// Room for a run.
fn run_of(separator: Option<u8>) -> EncodedEvents {
    let mut events = EncodedEvents::separated_by(separator);
    events.reserve(RUN_BYTES + 8 * 1024, 0);
    events
}

/// What stands behind the encoder.
struct Reader<'a> {
    case: &'a Case,
    blob: HourlyBlob,
    batcher: Batcher,
    now: Instant,
    events: EncodedEvents,
    position: Option<Position>,
    handed_over: Option<Position>,
    n_events: u64,
}

impl<'a> Reader<'a> {
    fn new(input: &Input, case: &'a Case) -> Self {
        let overhead = case.framing.overhead();
        let limits =
            BatchLimits { max_bytes: BODY_BYTES, max_events: usize::MAX, max_age: Duration::from_secs(5) };
        let size = BodySize { fixed: overhead.fixed, separator: overhead.separator };
        let name = BlobName::new(input.blob.as_str());
        Self {
            case,
            blob: HourlyBlob::new(name, 4, Hour::from_number(0)).expect("a name can be cut there"),
            batcher: Batcher::new(limits, size),
            now: Instant::now(),
            events: run_of(overhead.separator),
            position: None,
            handed_over: None,
            n_events: 0,
        }
    }

    /// Hands what was encoded to the batcher.
    fn hand_over(&mut self, body: &mut dyn FnMut(Vec<u8>)) {
        let separator = self.case.framing.overhead().separator;
        let run = Run {
            blob: self.blob.clone(),
            tuples: self.events.len() as u64,
            // Only added up.
            records: 0,
            events: std::mem::replace(&mut self.events, run_of(separator)),
            from: self.handed_over.clone(),
            to: self.position.clone(),
            rejected: Vec::new(),
            started_over: false,
            last: false,
        };
        self.handed_over.clone_from(&self.position);
        for batch in self.batcher.push(run, self.now) {
            self.send(&batch, body);
        }
    }

    fn send(&mut self, batch: &Batch, body: &mut dyn FnMut(Vec<u8>)) {
        self.n_events += batch.events.len() as u64;
        if !batch.events.is_empty() {
            let all = Selection::of(0..batch.events.len());
            body(self.case.framing.assemble(&batch.events.bytes, &all.byte_ranges(&batch.events)));
        }
    }
}
