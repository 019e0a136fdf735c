//! Each stage by itself, and the whole product in each shape, for people: criterion keeps what it found and compares.
//!
//! ```sh
//! cargo bench --bench stages -- split
//! ```
#![expect(clippy::expect_used, reason = "a bench reports failure by panicking")]

mod support;

use std::{hint::black_box, io::Write as _, ops::ControlFlow};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compression, write::GzEncoder};
use flowlogd::{
    flowlog::{Piece, RawRecord, Splitter, Start, record, tuple::FlowTuple},
    intake::Memory,
    model::Span,
};
use support::{
    input::Input,
    product::{self, CHUNK_BYTES, cases},
};

const DOCUMENT_BYTES: u64 = 4_000_000;

/// Every record of a document.
fn records(input: &Input) -> Vec<(Span, Vec<u8>)> {
    let mut records = Vec::new();
    split(input, |record| records.push((record.span, record.bytes.to_vec())));
    records
}

fn split(input: &Input, mut take: impl FnMut(RawRecord<'_>)) {
    let mut splitter = Splitter::new(Start::Beginning, usize::MAX / 2);
    for chunk in input.bytes.chunks(CHUNK_BYTES) {
        splitter.push(chunk);
        while let Some(piece) = splitter.next_piece() {
            if let Piece::Record(record) = piece {
                take(record);
            }
        }
    }
}

/// From bytes to the texts of tuples, and from these to what they mean.
fn parse(criterion: &mut Criterion) {
    let input = Input::typical(DOCUMENT_BYTES);
    let records = records(&input);
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(input.n_tuples));
    group.bench_function("split", |bencher| {
        bencher.iter(|| split(&input, |record| assert!(!black_box(record).bytes.is_empty())))
    });
    group.bench_function("record", |bencher| {
        bencher.iter(|| {
            for (_, bytes) in &records {
                let record = record::parse(bytes).expect("a record");
                let elements = record.groups.into_iter().flat_map(|group| group.tuples);
                elements.for_each(|element| drop(black_box(element.text())));
            }
        });
    });
    let texts: Vec<String> = records
        .iter()
        .flat_map(|(_, bytes)| record::parse(bytes).expect("a record").groups)
        .flat_map(|group| group.tuples.filter_map(|element| element.text().map(|text| text.into_owned())))
        .collect();
    group.bench_function("tuple", |bencher| {
        bencher.iter(|| texts.iter().for_each(|text| drop(black_box(FlowTuple::parse(text)))));
    });
    group.finish();
}

/// From records to encoded events.
fn encode(criterion: &mut Criterion) {
    let input = Input::typical(DOCUMENT_BYTES);
    let records = records(&input);
    let mut group = criterion.benchmark_group("record to events");
    group.throughput(Throughput::Elements(input.n_tuples));
    for case in cases() {
        let mut encoder = product::encoder(case.format, &input);
        let mut out = Vec::new();
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| {
                for (span, bytes) in &records {
                    let mut memory = Memory::default();
                    out.clear();
                    let mut encoding = encoder.begin(RawRecord::new(*span, bytes)).expect("a record");
                    encoding.advance(&mut |event| {
                        case.framing.encode_next(&event, &mut memory, &mut out);
                        ControlFlow::Continue(())
                    });
                    black_box(&out);
                }
            });
        });
    }
    group.finish();
}

/// From encoded events to bodies, and from these to compressed ones.
fn bodies(criterion: &mut Criterion) {
    let input = Input::typical(DOCUMENT_BYTES);
    for case in cases() {
        let mut bodies = Vec::new();
        product::run(&input, &case, &mut |body| bodies.push(body));
        let Some(body) = bodies.into_iter().next() else { continue };
        let mut group = criterion.benchmark_group(format!("body of {}", case.name));
        group.throughput(Throughput::Bytes(body.len() as u64));
        // As long as events are, without their content.
        let ranges: Vec<_> = (0..body.len() / 400).map(|index| index * 400..(index + 1) * 400).collect();
        group.bench_function("assemble", |bencher| bencher.iter(|| case.framing.assemble(&body, &ranges)));
        for level in [1, 3, 6] {
            group.bench_function(format!("gzip {level}"), |bencher| {
                bencher.iter(|| {
                    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
                    encoder.write_all(&body).expect("memory can be written");
                    encoder.finish()
                });
            });
        }
        group.finish();
    }
}

/// All of it, in each shape.
fn whole(criterion: &mut Criterion) {
    for input in Input::all(DOCUMENT_BYTES) {
        let mut group = criterion.benchmark_group(format!("whole, {}", input.name));
        group.throughput(Throughput::Elements(input.n_tuples));
        for case in cases() {
            group.bench_function(case.name, |bencher| {
                bencher.iter(|| product::run(&input, &case, &mut |body| drop(black_box(body))));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, parse, encode, bodies, whole);
criterion_main!(benches);
