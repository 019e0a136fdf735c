//! F2: one flow tuple in, one encoded event out. Pure.
//!
//! Bytes are written directly into their destination; nothing is allocated for an event once the buffers are warm.

mod columns;
mod community_id;
mod context;
mod ecs;
mod encoder;
mod enrich;
mod flow;
pub(crate) mod json;
mod nsg_ecs;
mod nsg_flow;
mod recalled;
mod shape;
mod text;
mod timestamp;

use encoder::RecordPlace;
pub use encoder::{Encoded, Encoder, RecordEncoding};
pub use recalled::Recalled;

use crate::model::{EventId, Span};

/// The shape of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    /// The flattened tuple that the vendor's parser reads.
    Flow {
        /// Adds `event.id`, `blob` and `offset` after the vendor's keys.
        provenance: bool,
    },
    /// The normalised event in the Elastic Common Schema.
    Ecs {
        /// `false` gives exactly the vendor's fields.
        enrich: bool,
    },
    /// The same with its fields side by side, named as the columns of a table.
    Columns {
        /// As of `Ecs`.
        enrich: bool,
    },
    /// One sentence for people.
    Text,
}

/// One event, on its way to an intake's framing.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Its identity.
    pub id: EventId,
    /// The record's bytes in the blob.
    pub record: Span,
    /// The tuple's time, milliseconds since 1970.
    pub time_ms: i64,
    /// The event in its format. What an encoder makes is one line: without line ends, be it within the event.
    pub body: &'a [u8],
    /// What it has in common with the events around it, where that is known.
    pub shared: Option<Shared>,
}

/// The part of an event that all events of a group of tuples begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Number of the group, of all that the encoder has come to.
    pub group: u64,
    /// Length of the part.
    pub length: usize,
}
