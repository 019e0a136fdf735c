//! F0: the words that every floor speaks. Plain values without I/O; nothing here knows a format or a protocol.

mod blob;
mod event_id;
mod hour;
mod rejected;
mod secret;

pub use blob::{BlobName, BlobVersion, ETag, HourlyBlob, Origin, Scope, Span};
pub use event_id::{EventId, RecordKey};
pub use hour::Hour;
pub use rejected::{Reason, Rejected};
pub use secret::{NotASecret, Secret, may_be_secret};
