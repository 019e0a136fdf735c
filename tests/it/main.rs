//! All integration tests, in one binary: one link, one process, and helpers that are shared.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test reports failure by panicking"
)]

mod support;

mod differential;
mod golden;
mod golden_nsg;
mod simulation;
mod split_properties;

mod settings;
mod storage_contract;
mod store_contract;
mod store_sqlite;

mod bit_flips;
mod power_cut;

mod admin;
mod metrics;
mod mutations;

mod azure_faults;
mod azure_keys;
mod canaries;
mod intake_elasticsearch;
mod intake_faults;
mod intake_http;
mod intake_nginx;
mod intake_oauth;
mod intake_otlp;
mod intake_presets;
mod intake_sekoia_sdk;
mod intake_splunk;
mod log_hygiene;
mod proxies;
mod statuses_intake;
mod statuses_storage;

mod audit;
mod check_config_cli;
mod checkpoints_cli;
mod convert_cli;
mod quarantine_cli;
mod quarantine_replay;

mod crash;
mod crash_points;
mod crash_scenarios;
mod daemon_metrics;
mod damage;
mod dates;
mod e2e;
mod full_disk;
mod hours;
mod lanes;
mod last_word;
mod late;
mod memory;
mod nsg;
mod overlap;
mod receiver;
mod relisting;
mod rewritten;
mod room;
mod scarce;
mod source_faults;
mod turns;
mod upkeep;
mod writer;

mod project;
mod tidy;
