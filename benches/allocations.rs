//! How often memory is asked for: never for an event, once the buffers are warm.
//!
//! ```sh
//! cargo bench --bench allocations
//! ```
//!
//! What is asked for record by record, run by run and body by body is told too. More than one request in a hundred events
//! of the typical document fails.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a tool for people that tells what it finds")]

mod support;

use std::{cell::Cell, hint::black_box, ops::ControlFlow};

use flowlogd::{
    flowlog::{Piece, Splitter, Start},
    intake::Memory,
};
use support::{
    input::Input,
    product::{self, Case, cases},
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const DOCUMENT_BYTES: u64 = 8_000_000;

/// Of all that the parser and the encoder do, and so the limit for what they may do event by event.
const MOST_AN_EVENT: f64 = 0.01;

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    println!(
        "{:<9}{:<10}{:>22}{:>22}{:>18}",
        "shape", "events", "encoder, an event", "encoder, a record", "whole, a MiB"
    );
    let mut is_over = false;
    for input in Input::all(DOCUMENT_BYTES) {
        for case in cases() {
            let (an_event, a_record) = of_the_encoder(&input, &case);
            let a_mib = of_the_whole(&input, &case);
            println!("{:<9}{:<10}{an_event:>22.5}{a_record:>22.2}{a_mib:>18.1}", input.name, case.name);
            is_over |= input.name == "typical" && an_event >= MOST_AN_EVENT;
        }
    }
    if is_over {
        println!("more than {MOST_AN_EVENT} an event of the typical document");
        std::process::exit(1);
    }
}

fn n_allocations() -> u64 {
    dhat::HeapStats::get().total_blocks
}

/// Requests for memory from a record's bytes to its encoded events, an event and a record, into a buffer that has grown.
fn of_the_encoder(input: &Input, case: &Case) -> (f64, f64) {
    let mut splitter = Splitter::new(Start::Beginning, input.bytes.len());
    let mut encoder = product::encoder(case.format, input);
    let mut out = Vec::with_capacity(input.bytes.len());
    splitter.push(&input.bytes);
    let (mut n_events, mut n_records, mut before) = (0_u64, 0_u64, None);
    while let Some(piece) = splitter.next_piece() {
        let Piece::Record(record) = piece else { continue };
        let Ok(mut encoding) = encoder.begin(record) else { continue };
        let mut memory = Memory::default();
        out.clear();
        let done = encoding.advance(&mut |event| {
            case.framing.encode_next(&event, &mut memory, &mut out);
            n_events += u64::from(before.is_some());
            ControlFlow::Continue(())
        });
        assert!(done.done);
        match before {
            // The first records warm the buffers.
            None if n_records == 3 => (before, n_records) = (Some(n_allocations()), 0),
            _ => n_records += 1,
        }
    }
    let n = (n_allocations() - before.expect("more than three records")) as f64;
    (n / n_events as f64, n / n_records as f64)
}

/// Requests for memory from chunks to bodies, for a MiB that is read, without the first one.
fn of_the_whole(input: &Input, case: &Case) -> f64 {
    let at_chunk = Cell::new(None);
    let mut chunk = |n_read: usize| {
        if n_read > 0 && at_chunk.get().is_none() {
            at_chunk.set(Some((n_read, n_allocations())));
        }
    };
    product::run_chunks(input, case, &mut chunk, &mut |body| drop(black_box(body)));
    let (n_read, before) = at_chunk.get().expect("more than one chunk");
    let mib = (input.bytes.len() - n_read) as f64 / (1024.0 * 1024.0);
    (n_allocations() - before) as f64 / mib
}
