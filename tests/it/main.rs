//! All integration tests, in one binary: one link, one process, and helpers that are shared.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test reports failure by panicking"
)]

mod support;

mod golden;
mod split_properties;

mod settings;
mod storage_contract;
mod store_contract;
mod store_sqlite;

mod azure_faults;
mod intake_http;
mod log_hygiene;

mod check_config_cli;
mod checkpoints_cli;
mod convert_cli;

mod crash;
mod e2e;
mod hours;
mod lanes;
mod late;
mod memory;
mod receiver;
mod rewritten;
mod source_faults;
mod writer;

mod project;
mod tidy;
