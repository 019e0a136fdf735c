//! flowlogd collects Azure virtual network flow logs from blob storage and delivers each flow, at least once
//! and with an identity that never changes, to a SIEM.
//!
//! # The way of the data
//!
//! ```text
//! storage.list --BlobVersion--> discover --Work{blob, position}--> collect: storage.read --Bytes-->
//! flowlog::split --RawRecord{span}--> flowlog::record, tuple --FlowTuple--> event (flow | ecs) --bytes-->
//! batch --Batch{events, deltas}--> deliver: intake --Receipt{deltas}--> commit: checkpoint --Commit--> store
//! ```
//!
//! The span enters with the work and rides with the data to the commit: nobody looks up or recomputes a position. With it
//! rides a tally of what was read, which must be what was delivered or quarantined before the position moves.
//!
//! # Floors
//!
//! A module uses only modules of lower floors; `tests/it/tidy.rs` enforces it. F0 to F2 (not `telemetry`) and `batch`
//! are pure: no tokio, clock, randomness, file system, environment or tracing.
//!
//! The modules stand in reading order.

pub mod buffers;
pub mod model;
pub mod retry;

pub mod telemetry;

pub mod flowlog;

pub mod event;

pub mod checkpoint;

pub mod batch;
pub mod http;
pub mod offload;

pub mod storage;

pub mod intake;

pub mod store;

pub mod admin;

pub mod pipeline;

pub mod settings;

pub mod app;
pub mod cli;

// Not on the way: nothing but in builds that show what the tests can see.
pub mod planted;
