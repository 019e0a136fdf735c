//! What no filter of the operator lets through. The storage library prints request headers, the signature among
//! them, at DEBUG; so whatever it says below INFO is never logged.

use tracing::{Level, Metadata};

/// The libraries that print credentials below INFO.
const TALKATIVE_PREFIX: &str = "azure_";

/// Whether an event or span may be logged at all.
#[must_use]
pub fn is_allowed(metadata: &Metadata<'_>) -> bool {
    // Levels are ordered by verbosity: TRACE is the greatest.
    !metadata.target().starts_with(TALKATIVE_PREFIX) || *metadata.level() <= Level::INFO
}
