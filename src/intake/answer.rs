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
        let Some(examined) = self.body.get(..EXAMINED_BYTES) else {
            return self.shown(&String::from_utf8_lossy(&self.body), limit);
        };
        // A secret may have been cut: its beginning is not recognised.
        let mut text = self.redaction.apply(&String::from_utf8_lossy(examined));
        text.truncate(text.floor_char_boundary(text.len().saturating_sub(self.redaction.longest())));
        self.shown(&text, limit)
    }

    /// A text of the answer as it may be shown: at most `limit` bytes in one line, without secrets.
    pub(super) fn shown(&self, said: &str, limit: usize) -> String {
        let mut text = self.redaction.apply(said);
        text.truncate(text.floor_char_boundary(limit));
        text.replace(char::is_control, " ").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    /// *Scenario*: an answer of more bytes than are looked at, all of them a long secret again and again, so that one is cut
    /// at the end of what is looked at.
    /// *Guarantees*: no piece of it is quoted or kept.
    #[test]
    fn a_secret_that_is_cut_is_not_quoted() {
        let secret = "s3cret".repeat(500);
        let body = Bytes::from(secret.repeat(30));
        let redaction = Redaction::new(&[Secret::new(secret)]);
        let answer = Answer { status: StatusCode::FORBIDDEN, headers: HeaderMap::new(), body, redaction };
        assert!(!answer.quote().contains("s3cret"), "{}", answer.quote());
        assert!(!answer.keep().1.contains("s3cret"), "{:?}", answer.keep());
    }
}
