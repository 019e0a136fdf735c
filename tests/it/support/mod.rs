//! What several tests need: the real servers and programs that they start, and ways to wait for them.

pub mod azurite;
pub(crate) mod memory_store;
pub mod processes;
pub mod tls;
