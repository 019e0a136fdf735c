//! Sekoia.io, `POST /batch`: `{"intake_key":"...","jsons":["...",...]}`, each event a JSON text within a string
//! (Sekoia.io documentation, "HTTPS ingestion").

use std::{ops::Range, time::SystemTime};

use http::{HeaderValue, Method, header::CONTENT_TYPE, request};
use serde::Deserialize;
use url::Url;

use super::{body_text, default_verdict, join, shown_body};
use crate::{
    event::{Event, json},
    intake::{Answer, Framing, Overhead, Protocol, Verdict},
    model::Secret,
};

const HINT: &str = "check `intake_key`";

/// The protocol, for one intake key.
#[derive(Clone)]
pub struct Sekoia {
    url: String,
    /// `{"intake_key":"...","jsons":[`
    head: Vec<u8>,
}

const TAIL: &[u8] = b"]}";

impl Sekoia {
    /// `base` is the intake's URL, with or without a slash at its end; `/batch` is added.
    #[must_use]
    pub fn new(base: &Url, intake_key: &Secret) -> Self {
        let mut head = b"{\"intake_key\":".to_vec();
        json::write_string(&mut head, intake_key.reveal());
        head.extend_from_slice(b",\"jsons\":[");
        Self { url: format!("{}/batch", base.as_str().trim_end_matches('/')), head }
    }
}

impl std::fmt::Debug for Sekoia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sekoia").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Framing for Sekoia {
    fn overhead(&self) -> Overhead {
        Overhead { fixed: self.head.len().saturating_add(TAIL.len()), separator: 1 }
    }

    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        out.push(b'"');
        json::write_escaped(out, event.body);
        out.push(b'"');
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        let event_bytes = ranges.iter().map(Range::len).sum();
        let mut body = Vec::with_capacity(self.overhead().body_length(ranges.len(), event_bytes));
        body.extend_from_slice(&self.head);
        join(&mut body, events, ranges, b",");
        body.extend_from_slice(TAIL);
        body
    }

    fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
        serde_json::from_slice::<String>(encoded).map_or_else(|_| encoded.to_vec(), String::into_bytes)
    }
}

impl Protocol for Sekoia {
    fn request(&self) -> request::Builder {
        request::Builder::new()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    fn classify(&self, n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
        if !answer.status.is_success() {
            return default_verdict(answer, now, HINT);
        }
        let blocked = |what: &str| Verdict::Blocked {
            reason: format!("the intake answered {} {what}{}", answer.status, shown_body(answer)),
        };
        let Ok(accepted) = serde_json::from_slice::<Accepted>(&answer.body) else {
            return blocked("without a list of event ids: is `url` that of a Sekoia.io intake?");
        };
        match accepted.event_ids.len() {
            n_accepted if n_accepted == n_events => Verdict::Delivered,
            n_accepted if n_accepted < n_events => Verdict::Doubtful {
                accepted: n_accepted,
                answer: (answer.status.as_u16(), body_text(answer)),
            },
            _ => blocked("with more event ids than there were events"),
        }
    }
}

/// The answer; other keys occur.
#[derive(Deserialize)]
struct Accepted {
    event_ids: Vec<serde::de::IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        intake::protocols::{answer, word},
        model::{EventId, RecordKey, Span},
    };

    fn sekoia(base: &str) -> Sekoia {
        Sekoia::new(
            &Url::parse(base).unwrap(),
            &Secret::new("00000000-0000-4000-8000-000000000000".to_owned()),
        )
    }

    fn body(protocol: &Sekoia, texts: &[&str]) -> Vec<u8> {
        let mut encoded = Vec::new();
        let mut ranges = Vec::new();
        for text in texts {
            let id = EventId { record: RecordKey::new(0), ordinal: 0 };
            let event = Event { id, record: Span { from: 0, to: 1 }, time_ms: 0, body: text.as_bytes() };
            let start = encoded.len();
            protocol.encode_event(&event, &mut encoded);
            ranges.push(start..encoded.len());
        }
        let body = protocol.assemble(&encoded, &ranges);
        let event_bytes = encoded.len();
        assert_eq!(body.len(), protocol.overhead().body_length(texts.len(), event_bytes));
        for (range, text) in ranges.into_iter().zip(texts) {
            assert_eq!(protocol.decode_event(&encoded[range]), text.as_bytes());
        }
        body
    }

    /// *Scenario*: two events, bases with and without a slash.
    /// *Guarantees*: the documented body, byte for byte, to the documented path; the key is nowhere but in the body.
    #[test]
    fn the_documented_request() {
        let protocol = sekoia("https://intake.sekoia.io");
        expect_test::expect![[
            r#"{"intake_key":"00000000-0000-4000-8000-000000000000","jsons":["{\"a\":\"\\n\"}","{}"]}"#
        ]]
        .assert_eq(&String::from_utf8(body(&protocol, &[r#"{"a":"\n"}"#, "{}"])).unwrap());
        for base in [
            "https://intake.fra2.sekoia.io/api/v1/intake-http",
            "https://intake.fra2.sekoia.io/api/v1/intake-http/",
        ] {
            let request = sekoia(base).request().body(()).unwrap();
            assert_eq!(request.uri(), "https://intake.fra2.sekoia.io/api/v1/intake-http/batch");
            assert!(!format!("{request:?} {:?}", sekoia(base)).contains("00000000"));
        }
    }

    proptest! {
        /// *Scenario*: any texts. *Guarantees*: the accounted length is the body's, and the receiver gets the texts.
        #[test]
        fn any_texts(texts in prop::collection::vec(any::<String>(), 0..8)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let parsed: serde_json::Value = serde_json::from_slice(&body(&sekoia("https://x"), &texts)).unwrap();
            prop_assert_eq!(&parsed["jsons"], &serde_json::json!(texts));
        }
    }

    /// *Scenario*: every status, and every kind of body, for a batch of two events.
    /// *Guarantees*: only a list of two ids means delivered; nothing unknown is ever taken for success.
    #[test]
    fn every_answer() {
        let protocol = sekoia("https://x");
        let judge = |status, body: &str| protocol.classify(2, &answer(status, body), SystemTime::UNIX_EPOCH);
        for status in 100..=599 {
            let expected = match status {
                200..=299 => "delivered",
                408 | 425 | 429 | 500 | 502..=599 => "retry",
                _ => "blocked",
            };
            assert_eq!(word(&judge(status, r#"{"event_ids":["a","b"]}"#)), expected, "status {status}");
        }
        for (body, expected) in [
            (r#"{"received":true,"event_ids":["a","b"]}"#, "delivered"),
            (r#"{"event_ids":["a"]}"#, "doubtful"),
            (r#"{"event_ids":[]}"#, "doubtful"),
            (r#"{"event_ids":["a","b","c"]}"#, "blocked"),
            (r#"{"event_id":"a"}"#, "blocked"),
            ("{}", "blocked"),
            ("<html>hello</html>", "blocked"),
            ("", "blocked"),
        ] {
            assert_eq!(word(&judge(200, body)), expected, "body {body}");
        }
    }
}
