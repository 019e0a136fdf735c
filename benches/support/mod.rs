//! What all benches share: their input, the product as one function, and how others would do the same.
#![expect(dead_code, reason = "each bench takes a part of it")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench reports failure by panicking"
)]

#[path = "../../examples/flow_log_writer/generator/mod.rs"]
mod generator;
pub(crate) mod input;
pub(crate) mod naive;
pub(crate) mod ordinary;
#[path = "../../tests/it/support/plain.rs"]
mod plain;
pub(crate) mod product;
