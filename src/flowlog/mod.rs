//! F1: the flow-log format, without I/O: blob names, records in a growing stream, and what stands in a record.
//!
//! Bytes, and nothing else, go in. Facts about the format are from Microsoft's pages "Virtual network flow logs"
//! and "Flow logging for network security groups".

mod elements;
mod head;
mod identity;
mod json_scan;
pub mod nsg_record;
pub mod nsg_tuple;
pub mod path;
mod piece;
pub mod record;
mod split;
mod time;
pub mod tuple;
mod usual;
mod usual_address;
mod usual_tuple;
pub mod vnet_record;
mod wide_scan;

pub use elements::{Element, Elements};
pub use identity::RecordHasher;
pub use path::FLOW_LOG_CONTAINERS;
pub use piece::{Damage, DamageKind, Damaged, Piece, RawRecord, Tail};
pub use split::{Splitter, Start};
pub use time::RecordTime;
pub use usual_address::KnownAddresses;
pub(crate) use wide_scan::unescaped_length;
