//! What the tests of every protocol need.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{
    event::Event,
    intake::{Answer, Framing, Protocol, Verdict, redaction::Redaction},
    model::{EventId, RecordKey, Span},
};

/// An answer without headers.
pub(super) fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        redaction: Redaction::default(),
    }
}

/// An event with this text.
pub(super) fn event(body: &[u8]) -> Event<'_> {
    let id = EventId { record: RecordKey::new(7), ordinal: 0 };
    Event { id, record: Span { from: 0, to: 1 }, time_ms: 0, body, shared: None }
}

/// The whole body for these events. Checks on the way that its length is the announced one.
pub(super) fn body(framing: &dyn Framing, events: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut ranges = Vec::new();
    for text in events {
        let start = encoded.len();
        framing.encode_event(&event(text.as_ref()), &mut encoded);
        ranges.push(start..encoded.len());
    }
    let assembled = framing.assemble(&encoded, &ranges);
    assert_eq!(assembled.len(), framing.overhead().body_length(events.len(), encoded.len()));
    assembled
}

/// What every event comes back as.
pub(super) fn decoded(framing: &dyn Framing, text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    framing.encode_event(&event(text), &mut encoded);
    framing.decode_event(&encoded)
}

/// The kind of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Delivered,
    Doubtful(usize),
    Partial,
    TooLarge,
    BadBatch,
    Retry,
    Blocked,
}

/// Checks the verdict on every status with this body: `own` where the protocol has a rule of its own, else the default
/// table.
pub(super) fn check_every_status(
    protocol: &dyn Protocol,
    body_text: &str,
    own: impl Fn(u16) -> Option<Kind>,
) {
    for status in 100..=599 {
        let by_default = match status {
            400 | 422 => Kind::BadBatch,
            408 | 425 | 429 => Kind::Retry,
            413 => Kind::TooLarge,
            501 => Kind::Blocked,
            500.. => Kind::Retry,
            _ => Kind::Blocked,
        };
        let verdict = protocol.classify(2, &answer(status, body_text), SystemTime::UNIX_EPOCH);
        assert_eq!(kind(&verdict), own(status).unwrap_or(by_default), "status {status}: {verdict:?}");
        if let Verdict::Blocked { reason }
        | Verdict::Retry { reason, .. }
        | Verdict::TooLarge { reason, .. }
        | Verdict::BadBatch { reason, .. } = &verdict
        {
            assert!(reason.starts_with(&format!("status {status}")), "status {status}: {reason}");
        }
        if let Verdict::Blocked { reason }
        | Verdict::TooLarge { reason, .. }
        | Verdict::BadBatch { reason, .. } = &verdict
        {
            assert!(reason.contains('`') || status == 402, "status {status} says nothing to do: {reason}");
        }
    }
}

/// Checks that the reason of a blocking answer contains this. The protocol's own secrets are not quoted.
pub(super) fn check_reason(protocol: &dyn Protocol, refused: &Answer, expected: &str) {
    let refused = &Answer { redaction: Redaction::new(&protocol.secrets()), ..refused.clone() };
    let verdict = protocol.classify(2, refused, SystemTime::UNIX_EPOCH);
    let (Verdict::Blocked { reason } | Verdict::TooLarge { reason, .. } | Verdict::BadBatch { reason, .. }) =
        verdict
    else {
        panic!("{refused:?}: {verdict:?}")
    };
    assert!(reason.contains(expected), "{refused:?}: {reason}");
}

pub(super) fn kind(verdict: &Verdict) -> Kind {
    match verdict {
        Verdict::Delivered => Kind::Delivered,
        Verdict::Doubtful { accepted, .. } => Kind::Doubtful(*accepted),
        Verdict::Partial { .. } => Kind::Partial,
        Verdict::TooLarge { .. } => Kind::TooLarge,
        Verdict::BadBatch { .. } => Kind::BadBatch,
        Verdict::Retry { .. } => Kind::Retry,
        Verdict::Blocked { .. } => Kind::Blocked,
        Verdict::Closed { reason } => panic!("no answer closes an intake: {reason}"),
    }
}
