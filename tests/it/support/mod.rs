//! What several tests need: the real servers and programs that they start, and ways to wait for them.

pub(crate) mod azurite;
pub(crate) mod blob_writer;
pub(crate) mod convert;
pub(crate) mod daemon;
pub(crate) mod delivery;
pub(crate) mod documents;
pub(crate) mod examples;
pub(crate) mod fault_proxy;
pub(crate) mod golden;
pub(crate) mod log;
pub(crate) mod memory_store;
pub(crate) mod mutator;
pub(crate) mod nginx;
pub(crate) mod osmem;
pub(crate) mod processes;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod rotel;
pub(crate) mod scripted_server;
pub(crate) mod sekoia_sdk;
pub(crate) mod small_disk;
pub(crate) mod storage_proxy;
pub(crate) mod tinyproxy;
pub(crate) mod tls;
pub(crate) mod wait;
pub(crate) mod world;
