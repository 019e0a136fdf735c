//! What a poll costs where there are very many blobs, and what a state of a million positions does.
//!
//! ```sh
//! cargo bench --bench scale
//! ```
//!
//! Polls are passes of the real pipeline over a container that computes its listings and bytes, so nothing is measured but
//! the product: what the container spends on itself is taken off, and there is no network. `ROOTS`, as in `ROOTS=10,1000`,
//! changes over how many roots the interfaces are spread; `PART` is one of `polls`, `tiny` and `positions`, and measures
//! that alone.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a tool for people that tells what it finds"
)]

mod container;
mod cost;
mod discovery;
mod fill;
mod goal;
mod lane;
mod positions;
#[path = "../support/mod.rs"]
mod support;
mod tiny;

use std::env;

/// Counts only while it is asked to, in a pass that is not timed.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    let roots: Vec<u64> = env::var("ROOTS").map_or_else(
        |_| vec![100, 1_000],
        |roots| roots.split(',').filter_map(|number| number.parse().ok()).collect(),
    );
    let part = env::var("PART").ok();
    let is_wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let mut goals = Vec::new();
    if is_wanted("polls") {
        for n_roots in &roots {
            discovery::measure(&runtime, *n_roots, &mut goals);
        }
    }
    if is_wanted("tiny") {
        tiny::measure(&runtime, &roots);
    }
    if is_wanted("positions") {
        positions::measure(&mut goals);
    }
    println!();
    for goal in goals {
        println!("{goal}");
    }
}
