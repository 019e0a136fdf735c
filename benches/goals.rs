//! How far from the limits the product is, and how far ahead of others: the goals, as ratios of one run.
//!
//! ```sh
//! cargo bench --bench goals
//! ```
//!
//! All contestants take turns in one process on one thread, and the least processor time of each counts, so that ratios
//! hold where times do not. The floor reads the input once and copies the output once. `naive` and `ordinary` are programs
//! as they are written elsewhere, `product` is ours. Where `target/ci-venv/bin/python` or `python3` has orjson, a collector
//! in Python (`benches/reference.py`) is timed too. VRL is not run: its share of the floor is as it was measured once. `PASSES`
//! and `BYTES` change the size of the run.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a tool for people that tells what it finds"
)]

mod support;

use std::{env, fmt, hint::black_box, io::Write as _, path::Path, process::Command};

use flate2::{Compression, write::GzEncoder};
use flowlogd::buffers;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use support::{
    input::Input,
    naive::{self, Body},
    ordinary,
    product::{self, CHUNK_BYTES, Case, cases},
};

const DOCUMENT_BYTES: u64 = 8_000_000;
const PASSES: u64 = 9;

/// The levels of gzip that are compared; the product uses the second one.
const GZIP_LEVELS: [u32; 3] = [1, 3, 6];

/// What VRL 0.38 took for an event as a multiple of the floor, measured on the same data: flow, ecs.
const VRL_PER_FLOOR: [f64; 2] = [2_390.0 / 11.0, 13_270.0 / 24.0];

/// Processor time of this thread, nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}

/// The least time of each contestant, nanoseconds an event.
struct Times {
    floor: f64,
    naive: Option<f64>,
    ordinary: Option<f64>,
    product: f64,
    gzip: [f64; 3],
}

fn main() {
    let from_environment =
        |name: &str, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let passes = from_environment("PASSES", PASSES);
    let input = Input::typical(from_environment("BYTES", DOCUMENT_BYTES));
    println!(
        "{} bytes, {} events, {:.1} bytes an event, {passes} passes, ns an event\n",
        input.bytes.len(),
        input.n_tuples,
        ratio(input.bytes.len(), input.n_tuples)
    );
    println!(
        "{:<10}{:>10}{:>8}{:>10}{:>8}{:>10}{:>9}{:>9}{:>9}",
        "", "bytes out", "floor", "ordinary", "naive", "product", "+gzip 1", "+gzip 3", "+gzip 6"
    );
    let mut all = Vec::new();
    for case in cases() {
        let (times, bytes) = measure(&input, &case, passes);
        let Times { floor, naive, ordinary, product, gzip } = &times;
        let shown = |time: &Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
        println!(
            "{:<10}{bytes:>10.1}{floor:>8.1}{:>10}{:>8}{product:>10.1}{:>9.0}{:>9.0}{:>9.0}",
            case.name,
            shown(ordinary),
            shown(naive),
            gzip[0],
            gzip[1],
            gzip[2]
        );
        all.push(times);
    }
    let python = python(&input, passes);
    match python {
        Some([plain, bodies]) => println!("\nPython: {plain:.0} flow, {bodies:.0} with chunks and bodies"),
        None => println!("\nPython: no orjson; target/ci-venv/bin/pip install orjson"),
    }
    let [flow, batch, ecs, enriched] = all.as_slice() else { return };
    println!();
    let at_least = |what: &str, found: f64, goal: f64, stretch: f64| {
        println!("{}", Row { what, found, goal, stretch, is_most: false });
    };
    at_least("1  flow, of the floor", flow.floor / flow.product, 0.12, 0.25);
    at_least("1  batch, of the floor", batch.floor / batch.product, 0.12, 0.25);
    at_least("1  ecs, of the floor", ecs.floor / ecs.product, 0.07, 0.12);
    if let Some([_, bodies]) = python {
        at_least("2  batch, times Python", bodies / batch.product, 25.0, 75.0);
    }
    at_least("2  flow, times VRL by the floor", VRL_PER_FLOOR[0] * flow.floor / flow.product, 20.0, 70.0);
    at_least("2  ecs, times VRL by the floor", VRL_PER_FLOOR[1] * ecs.floor / ecs.product, 30.0, 80.0);
    for (name, times) in [("3  flow", flow), ("3  batch", batch), ("3  ecs", ecs)] {
        let what = format!("{name}, share of ours at gzip 1");
        let found = times.product / times.gzip[0];
        println!("{}", Row { what: &what, found, goal: 0.20, stretch: 0.20, is_most: true });
    }
    let found = enriched.product / ecs.product;
    println!("{}", Row { what: "   enriched, times ecs", found, goal: 2.0, stretch: 2.0, is_most: true });
}

/// One goal.
struct Row<'a> {
    what: &'a str,
    found: f64,
    goal: f64,
    stretch: f64,
    /// Less is better.
    is_most: bool,
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, found, goal, stretch, is_most } = self;
        let reaches = |limit: &f64| if *is_most { found <= limit } else { found >= limit };
        let verdict = match (reaches(goal), reaches(stretch)) {
            (_, true) if goal != stretch => "reached, and the stretch",
            (true, _) => "reached",
            _ => "NOT REACHED",
        };
        let sign = if *is_most { "<=" } else { ">=" };
        write!(f, "{what:<34}{found:>8.3}  {sign} {goal:<5} {verdict}")
    }
}

/// Times of all contestants, and bytes an event that come out.
fn measure(input: &Input, case: &Case, passes: u64) -> (Times, f64) {
    let bodies = bodies_of(|body| assert_eq!(product::run(input, case, body), input.n_tuples));
    let others = match case.name {
        "flow" => Some(Body::Flow),
        "batch" => Some(Body::Batch),
        "ecs" => Some(Body::Ecs),
        _ => None,
    };
    if let Some(wanted) = others {
        let expected = events(&bodies, wanted);
        assert_eq!(expected.len() as u64, input.n_tuples);
        let naive = bodies_of(|body| naive::run(&input.bytes, wanted, body));
        assert!(expected == events(&naive, wanted), "the plain program says something else");
        let ordinary = bodies_of(|body| ordinary::run(&input.bytes, wanted, body));
        assert!(expected == events(&ordinary, wanted), "the ordinary program says something else");
    }
    let discard = &mut |body: Vec<u8>| drop(black_box(body));
    // As a body is given back once it is sent.
    let send = &mut |body: Vec<u8>| buffers::give_back(black_box(body));
    let mut copy = Vec::with_capacity(bodies.iter().map(Vec::len).max().unwrap_or_default());
    let mut least = [u64::MAX; 7];
    for _ in 0..passes {
        let mut time = |index: usize, work: &mut dyn FnMut()| {
            let started = now();
            work();
            least[index] = least[index].min(now() - started);
        };
        time(0, &mut || floor(&input.bytes, &bodies, &mut copy));
        time(1, &mut || assert_eq!(product::run(input, case, send), input.n_tuples));
        for (place, level) in GZIP_LEVELS.iter().enumerate() {
            let compress = &mut |body: Vec<u8>| {
                gzip(&body, *level);
                buffers::give_back(body);
            };
            time(2 + place, &mut || assert_eq!(product::run(input, case, compress), input.n_tuples));
        }
        if let Some(wanted) = others {
            time(5, &mut || naive::run(&input.bytes, wanted, discard));
            time(6, &mut || ordinary::run(&input.bytes, wanted, discard));
        }
    }
    let [floor, product, gzip_1, gzip_3, gzip_6, naive, ordinary] =
        least.map(|time| time as f64 / input.n_tuples as f64);
    let gzip = [gzip_1, gzip_3, gzip_6];
    let [naive, ordinary] = [naive, ordinary].map(|time| others.map(|_| time));
    (
        Times { floor, naive, ordinary, product, gzip },
        ratio(bodies.iter().map(Vec::len).sum(), input.n_tuples),
    )
}

/// Reads the input once, in chunks, and copies the output once, a body at a time. Each copy is of the same body: it is in
/// the processor's cache, as a body is that was just made.
fn floor(input: &[u8], bodies: &[Vec<u8>], copy: &mut Vec<u8>) {
    for chunk in input.chunks(CHUNK_BYTES) {
        let words = chunk.as_chunks::<8>().0.iter();
        black_box(words.fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word))));
    }
    let Some(body) = bodies.first() else { return };
    for _ in bodies {
        copy.clear();
        copy.extend_from_slice(black_box(body));
        black_box(&copy);
    }
}

fn gzip(body: &[u8], level: u32) {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::new(level));
    encoder.write_all(body).expect("memory can be written");
    drop(black_box(encoder.finish()));
}

fn bodies_of(run: impl FnOnce(&mut dyn FnMut(Vec<u8>))) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    run(&mut |body| bodies.push(body));
    bodies
}

/// The events in bodies, as values: the order of members does not matter, in the event within an event neither.
fn events(bodies: &[Vec<u8>], kind: Body) -> Vec<Value> {
    let value = |text: &str| {
        let mut value: Value = serde_json::from_str(text).expect("an event is JSON");
        if let Some(message) = value["message"].as_str() {
            value["message"] = serde_json::from_str(message).expect("an event is JSON");
        }
        value
    };
    let mut events = Vec::new();
    for body in bodies {
        let text = std::str::from_utf8(body).expect("a body is text");
        if kind == Body::Batch {
            let body: Value = serde_json::from_str(text).expect("a body is JSON");
            let texts = body["jsons"].as_array().into_iter().flatten().filter_map(Value::as_str);
            events.extend(texts.map(value));
        } else {
            events.extend(text.lines().map(value));
        }
    }
    events
}

/// Nanoseconds an event of the collector in Python: alone, and with chunks and bodies.
fn python(input: &Input, passes: u64) -> Option<[f64; 2]> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut document = tempfile::NamedTempFile::new().ok()?;
    document.write_all(&input.bytes).ok()?;
    let time = |flags: &[&str]| {
        let of_project = project.join("target/ci-venv/bin/python");
        [of_project.as_path(), Path::new("python3")].into_iter().find_map(|program| {
            let mut command = Command::new(program);
            command.arg(project.join("benches/reference.py")).arg(document.path());
            let output = command.arg(passes.to_string()).args(flags).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            let (time, n_events) = text.trim().split_once(' ')?;
            assert_eq!(n_events.parse(), Ok(input.n_tuples), "the reference has lost events");
            Some(time.parse::<f64>().ok()? / input.n_tuples as f64)
        })
    };
    Some([time(&[])?, time(&["--bodies"])?])
}

fn ratio(bytes: usize, n_events: u64) -> f64 {
    bytes as f64 / n_events as f64
}
