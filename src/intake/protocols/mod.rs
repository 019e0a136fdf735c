//! The protocols: how a request is laid out and what its answer means. Pure.

pub(in crate::intake) mod answers;
mod choice;
pub mod elasticsearch;
pub mod http_generic;
pub mod otlp;
pub mod sekoia;
pub mod splunk_hec;

use std::ops::Range;

use http::header::InvalidHeaderValue;
use url::Url;

use crate::buffers;

pub use choice::ProtocolConfig;

/// The settings of an intake do not make a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Credentials in the URL would end up in logs on the way.
    #[error("`url` holds a user name or a password; remove them, and use `auth` where the protocol has it")]
    Credentials,
    /// The URL cannot be requested.
    #[error("`url` cannot be requested")]
    Url(#[source] http::uri::InvalidUri),
    /// A secret cannot be sent in a header.
    #[error("`{key}` holds a character that cannot be sent in a header, a line end perhaps")]
    Secret {
        /// The key of the settings, below `auth`.
        key: &'static str,
        /// What HTTP says.
        #[source]
        source: InvalidHeaderValue,
    },
}

/// A URL as a request wants it.
pub(super) fn request_uri(url: &Url) -> Result<http::Uri, RequestError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RequestError::Credentials);
    }
    http::Uri::try_from(url.as_str()).map_err(RequestError::Url)
}

/// What stands around the events of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surround<'a> {
    /// Before the first event.
    pub(super) prefix: &'a [u8],
    /// Between two events.
    pub(super) separator: u8,
    /// After the last event.
    pub(super) suffix: &'a [u8],
}

impl Surround<'_> {
    /// The sizes of it.
    pub(super) fn overhead(self) -> super::Overhead {
        super::Overhead {
            fixed: self.prefix.len().saturating_add(self.suffix.len()),
            separator: Some(self.separator),
        }
    }

    /// The body with the events at `ranges`.
    pub(super) fn assemble(self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        let event_bytes = ranges.iter().map(ExactSizeIterator::len).fold(0, usize::saturating_add);
        let mut body = buffers::take(self.overhead().body_length(ranges.len(), event_bytes));
        body.extend_from_slice(self.prefix);
        for (index, range) in ranges.iter().enumerate() {
            if index > 0 {
                body.push(self.separator);
            }
            body.extend_from_slice(events.get(range.clone()).unwrap_or_default());
        }
        body.extend_from_slice(self.suffix);
        body
    }
}

/// Appends an event as one line, without its end. Line ends inside an event can only be white space between JSON
/// tokens, or decoration in a text: they become spaces.
pub(super) fn push_line(event: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(event);
    if memchr::memchr2(b'\n', b'\r', event).is_none() {
        return;
    }
    for byte in out.iter_mut().skip(start).filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

#[cfg(test)]
mod sizes;
#[cfg(test)]
mod test_support;
