//! What is written: seeded network interfaces with their records, byte for byte. Knows nothing of blobs, files and the
//! command line, so that the benches draw their input from here too.

pub(crate) mod identity;
pub(crate) mod json;
pub(crate) mod kind;
pub(crate) mod nic;
pub(crate) mod nsg;
pub(crate) mod record;
pub(crate) mod shape;
pub(crate) mod tuples;
pub(crate) mod whole;

/// What every document begins with.
pub(crate) const HEAD: &str = r#"{"records":["#;

/// What every document ends with.
pub(crate) const TAIL: &str = "]}";
