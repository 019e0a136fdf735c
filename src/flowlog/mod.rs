//! F1: the flow-log format, without I/O: blob names, records in a growing stream, and what stands in a record.
//!
//! Bytes, and nothing else, go in. Facts about the format are from Microsoft's pages "Virtual network flow logs"
//! and "Flow logging for network security groups".

mod identity;
mod nesting;
pub mod nsg_record;
pub mod nsg_tuple;
pub mod path;
pub mod record;
mod split;
mod time;
pub mod tuple;
pub mod vnet_record;

pub use identity::RecordHasher;
pub use split::{Damage, DamageKind, RawRecord, Splitter, Start, Tail};
pub use time::RecordTime;
