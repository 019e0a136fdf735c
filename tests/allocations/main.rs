//! How much memory foreign bytes can take: a second test binary, because it counts every allocation of its process.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test reports failure by panicking")]

#[path = "../it/support/corpus.rs"]
mod corpus;
#[path = "../it/support/mutator.rs"]
mod mutator;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use flowlogd::{
    event::{Encoder, EventFormat},
    flowlog::{Piece, Splitter, Start, Tail, record},
    intake::{
        Answer, Protocol,
        protocols::{
            elasticsearch::Elasticsearch,
            otlp::{Otlp, OtlpEncoding},
            sekoia::Sekoia,
            splunk_hec::{self, Labels, SplunkHec},
        },
        redaction::Redaction,
    },
    model::{BlobName, Origin, Secret},
    settings,
    storage::azure::list_xml::{self, Listed},
};
use mutator::Mutator;
use url::Url;

/// Counts what is allocated and not freed.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator that counts and leaves the work to the system's")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promise about the layout is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let live = LIVE.fetch_add(new_size, Ordering::Relaxed) + new_size - layout.size();
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        MOST.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promise about pointer, layout and size is the one that is asked for.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise about pointer and layout is the one that is asked for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Most bytes in use at once while this runs, above what was in use before.
fn most_bytes(run: impl FnOnce()) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    run();
    MOST.load(Ordering::Relaxed) - before
}

/// The most that an input may take, beside what every input takes.
const TIMES_ITS_SIZE: usize = 10;

/// The same of a record alone: its least element, of two bytes with its comma, becomes a reference of sixteen, and a list
/// that grows has room for as many again.
const TIMES_IN_A_RECORD: usize = 16;

/// The same of settings, which are the operator's own: the library that reads them keeps a message for each bad bracket.
const TIMES_OF_SETTINGS: usize = 100;

/// The same where events are made of it: an event has the texts of its record in several places, and the flow event once
/// more as its message, in which every quotation mark is escaped.
const TIMES_WITH_EVENTS: usize = 30;

/// Reads the corpus and changed inputs and says which took the most; none takes more than it may. Of what one may take, `fixed`
/// is what an empty one may take.
#[expect(clippy::print_stdout, reason = "the figure is for whoever runs it by hand")]
fn check(
    name: &str,
    corpus: &[Vec<u8>],
    n_inputs: u64,
    (times, fixed): (usize, usize),
    mut read: impl FnMut(&[u8]),
) {
    let variable = |name: &str| std::env::var(name).map_or(1, |text| text.parse::<u64>().unwrap());
    let seed = variable("SEED");
    // What is made once and kept is nobody's input.
    corpus.iter().for_each(|input| read(input));
    let mut mutator = Mutator::new(corpus, seed);
    let mut worst = (0.0, 0, 0);
    for number in 0..n_inputs * variable("MUTATIONS") {
        let mut input = mutator.next();
        if mutator.below(8) == 0 {
            // Much of the same: what is small for one is large for many.
            let (from, length) = (mutator.below(input.len()), 1 + mutator.below(64));
            let part = input[from..(from + length).min(input.len())].to_vec();
            let many = part.repeat(20_000 / part.len().max(1));
            input.splice(from..from, many);
        }
        let used = most_bytes(|| read(&input));
        let allowed = times * input.len() + fixed;
        let shown = String::from_utf8_lossy(&input[..input.len().min(2_000)]);
        assert!(
            used <= allowed,
            "{name}, input {number} of seed {seed}: {used} bytes for {}: {shown:?}",
            input.len()
        );
        let share = f64::from(u32::try_from(used).unwrap()) / f64::from(u32::try_from(allowed).unwrap());
        if share > worst.0 {
            worst = (share, used, input.len());
        }
    }
    let (_, used, length) = worst;
    println!("{name}: most for its size {used} bytes for an input of {length}");
}

fn split(input: &[u8]) {
    let mut splitter = Splitter::new(Start::Beginning, 1024 * 1024);
    for chunk in input.chunks(1_000) {
        splitter.push(chunk);
        while splitter.next_piece().is_some() {}
    }
    splitter.end();
    while splitter.next_piece().is_some() {}
}

fn stream(format: EventFormat, input: &[u8]) {
    let origin = Origin { account: "account".to_owned(), container: "container".to_owned() };
    let mut encoder = Encoder::new(format, &origin, &BlobName::new("blob"));
    let mut splitter = Splitter::new(Start::Beginning, 1024 * 1024);
    splitter.push(input);
    for is_ended in [false, true] {
        if is_ended {
            splitter.end();
        }
        while let Some(piece) = splitter.next_piece() {
            let Piece::Record(record) = piece else { continue };
            let damage = match encoder.begin(record) {
                Ok(mut encoding) => {
                    while !encoding.advance(&mut |_event| ControlFlow::Continue(())).done {}
                    None
                }
                Err(damage) => Some(damage),
            };
            if let Some(damage) = damage {
                splitter.not_json(damage.kind);
            }
        }
    }
    if let Tail::Damaged(damaged) = splitter.tail() {
        drop(damaged.damage());
    }
}

/// *Scenario*: blobs, records, listings, answers and settings, changed at random places, and with one part of them twenty
/// thousand bytes long.
/// *Guarantees*: while one is read, no more than ten times its size is in use at once, beside a fixed sum; sixteen times
/// for a record alone, and thirty times where it is made into events, one at a time.
#[test]
fn no_input_takes_ten_times_its_size() {
    let blobs = corpus::small_blobs();
    for format in
        [EventFormat::Ecs { enrich: true }, EventFormat::Flow { provenance: true }, EventFormat::Text]
    {
        check("streams", &blobs, 4_000, (TIMES_WITH_EVENTS, 64 * 1024), |input| stream(format, input));
    }
    check("split", &blobs, 8_000, (TIMES_ITS_SIZE, 16 * 1024), split);
    let records = corpus::of("records");
    check("records", &records, 10_000, (TIMES_IN_A_RECORD, 16 * 1024), |input| drop(record::parse(input)));
    check("listings", &corpus::of("listings"), 10_000, (TIMES_ITS_SIZE, 16 * 1024), |input| {
        drop(list_xml::parse(input, Listed::Blobs));
        drop(list_xml::parse(input, Listed::Containers));
    });
    let url = Url::parse("https://intake.example/batch").unwrap();
    let key = Secret::new("0a1b-canary".to_owned());
    let splunk = splunk_hec::Config {
        token: key.clone(),
        labels: Labels::default(),
        acknowledged_within: Some(Duration::from_secs(1)),
    };
    let no_headers = ::http::HeaderMap::new();
    let protocols: [Box<dyn Protocol>; 5] = [
        Box::new(Sekoia::new(&url, &key).unwrap()),
        Box::new(Elasticsearch::new(&url, "flows").unwrap()),
        Box::new(SplunkHec::new(&url, &splunk, 7).unwrap()),
        Box::new(Otlp::new(&url, OtlpEncoding::Protobuf, &no_headers).unwrap()),
        Box::new(Otlp::new(&url, OtlpEncoding::Json, &no_headers).unwrap()),
    ];
    // Of an answer 64 KiB are looked at for a quotation, letter by letter.
    check("answers", &corpus::of("answers"), 10_000, (TIMES_ITS_SIZE, 1024 * 1024), |input| {
        for (protocol, status) in protocols.iter().zip([200, 400].into_iter().cycle()) {
            let answer = Answer {
                status: ::http::StatusCode::from_u16(status).unwrap(),
                headers: ::http::HeaderMap::new(),
                body: bytes::Bytes::copy_from_slice(input),
                redaction: Redaction::new(std::slice::from_ref(&key)),
            };
            drop(protocol.classify(2, &answer, SystemTime::UNIX_EPOCH));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flowlogd.toml");
    check("settings", &corpus::of("settings"), 1_000, (TIMES_OF_SETTINGS, 1024 * 1024), |input| {
        std::fs::write(&file, input).unwrap();
        drop(settings::load(Some(&file), &BTreeMap::new()));
    });
}
