//! One pure file for each protocol, and what they share.

pub mod http_generic;
pub mod sekoia;

use std::{ops::Range, time::SystemTime};

use http::{StatusCode, header::RETRY_AFTER};

use super::{Answer, Verdict};
use crate::retry;

/// At most this much of an answer's body is shown or kept.
const BODY_SHOWN_BYTES: usize = 2 * 1024;

/// Judges an answer by its status alone, for whatever a protocol has no rule of its own. `hint` is what an operator
/// can do about a refusal, per status.
///
/// A 4xx is no proof that an event is bad: proxies and gateways answer 400, 403 and 407 for reasons of their own. The
/// source is durable, so keeping everything costs nothing.
pub(super) fn default_verdict(answer: &Answer, now: SystemTime, hint: &str) -> Verdict {
    let status = answer.status;
    let is_retried = matches!(status.as_u16(), 408 | 425 | 429)
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED);
    if is_retried {
        let header = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = header.and_then(|value| retry::retry_after(value, now));
        return Verdict::Retry { after, reason: format!("the intake answered {status}") };
    }
    let meaning = match status.as_u16() {
        300..=399 => "redirects are never followed: set `url` to where it leads",
        400 | 422 => "the intake refuses the request",
        401 | 403 => hint,
        404 | 405 | 410 => "check `url`",
        407 => "a proxy wants credentials",
        411 | 415 => "the intake does not take this encoding: try `compression = \"none\"`",
        413 => "the request is too large for the intake: lower `batch.max_bytes`",
        501 => "the intake does not know this request: check `url`",
        _ => "this answer is not known to mean that the events were accepted",
    };
    Verdict::Blocked { reason: format!("the intake answered {status}: {meaning}{}", shown_body(answer)) }
}

/// The beginning of an answer's body, for a message; nothing where it is empty.
pub(super) fn shown_body(answer: &Answer) -> String {
    let text = body_text(answer);
    if text.is_empty() { String::new() } else { format!("; it says: {}", text.escape_debug()) }
}

/// The beginning of an answer's body.
pub(super) fn body_text(answer: &Answer) -> String {
    let shown = answer.body.get(..BODY_SHOWN_BYTES).unwrap_or(&answer.body);
    String::from_utf8_lossy(shown).into_owned()
}

/// Appends the events at `ranges`, with `separator` between two.
pub(super) fn join(out: &mut Vec<u8>, events: &[u8], ranges: &[Range<usize>], separator: &[u8]) {
    for (index, range) in ranges.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(events.get(range.clone()).unwrap_or_default());
    }
}

#[cfg(test)]
pub(super) fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// One word for a verdict, for tables in tests.
#[cfg(test)]
pub(super) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Delivered => "delivered",
        Verdict::Doubtful { .. } => "doubtful",
        Verdict::Retry { .. } => "retry",
        Verdict::Blocked { .. } => "blocked",
        Verdict::Closed { .. } => "closed",
    }
}
