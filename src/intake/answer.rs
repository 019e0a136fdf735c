//! What an intake answered, and how it is quoted.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::redaction::Redaction;

/// Most bytes of an answer that the quarantine keeps.
pub(super) const KEPT_BYTES: usize = 2048;

/// Most bytes of an answer that a reason quotes.
pub(super) const QUOTED_BYTES: usize = 200;

/// Most bytes of an answer that are looked at for a quotation: an answer may have megabytes.
const EXAMINED_BYTES: usize = 65_536;

/// What an intake answered, read to its end (or to the cap).
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// What must not be quoted of it: what the request carried.
    pub redaction: Redaction,
}

impl Answer {
    /// The status and the beginning of the body, for the quarantine and the log.
    pub(super) fn keep(&self) -> (u16, String) {
        (self.status.as_u16(), self.beginning(KEPT_BYTES))
    }

    /// The beginning of the body as the last part of a sentence; empty for an empty body.
    pub(super) fn quote(&self) -> String {
        match self.beginning(QUOTED_BYTES) {
            text if text.is_empty() => text,
            text => format!("; the answer begins: {text}"),
        }
    }

    fn beginning(&self, limit: usize) -> String {
        let examined = self.body.get(..EXAMINED_BYTES).unwrap_or(&self.body);
        self.shown(&String::from_utf8_lossy(examined), limit)
    }

    /// A text of the answer as it may be shown: at most `limit` bytes in one line, without secrets.
    pub(super) fn shown(&self, said: &str, limit: usize) -> String {
        let mut text = self.redaction.apply(said);
        text.truncate(text.floor_char_boundary(limit));
        text.replace(char::is_control, " ").trim().to_owned()
    }
}
