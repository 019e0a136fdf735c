//! What a poll costs where there are very many blobs, and what a state of a million positions does.
//!
//! ```sh
//! cargo bench --bench scale
//! ```
//!
//! Polls are passes of the real pipeline over a container that computes its listings and bytes, so nothing is measured but
//! the product: what the container spends on itself is taken off, and there is no network. `ROOTS`, as in `ROOTS=10,1000`,
//! changes over how many roots the interfaces are spread.
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

use std::env;

/// Counts only while it is asked to, in a pass that is not timed.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    let roots = env::var("ROOTS").unwrap_or_else(|_| String::from("100,1000"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let mut goals = Vec::new();
    for n_roots in roots.split(',').filter_map(|number| number.parse().ok()) {
        discovery::measure(&runtime, n_roots, &mut goals);
    }
    positions::measure(&mut goals);
    println!();
    for goal in goals {
        println!("{goal}");
    }
}
