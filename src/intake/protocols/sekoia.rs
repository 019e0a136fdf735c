//! The Sekoia.io HTTPS intake, path `/batch`: `{"intake_key":"...","jsons":["<event>",...]}`, each event a string.

use std::{borrow::Cow, fmt, ops::Range, time::SystemTime};

use http::{HeaderValue, Request, Uri, header};
use serde::Deserialize;
use url::Url;

use super::{
    RequestError, Surround,
    answers::{Advice, default_verdict, name},
    request_uri,
};
use crate::{
    event::{Event, json},
    intake::{Answer, Framing, Memory, Overhead, Protocol, Verdict},
    model::Secret,
};

const ADVICE: Advice = Advice {
    credentials: "check `intake_key`, and that its intake exists at Sekoia.io",
    success: "check that `url` is the Sekoia.io intake",
};

/// The protocol with one intake's key and address.
pub struct Sekoia {
    uri: Uri,
    /// The body up to the first event, with the intake key.
    prefix: Vec<u8>,
    intake_key: Secret,
}

impl Sekoia {
    /// For an intake below `base`, with or without a slash at its end.
    ///
    /// # Errors
    /// [`RequestError`] where the address cannot be requested.
    pub fn new(base: &Url, intake_key: &Secret) -> Result<Self, RequestError> {
        let mut url = base.clone();
        url.set_path(&format!("{}/batch", base.path().trim_end_matches('/')));
        let mut prefix = br#"{"intake_key":"#.to_vec();
        json::write_string(&mut prefix, intake_key.reveal());
        prefix.extend_from_slice(br#","jsons":["#);
        Ok(Self { uri: request_uri(&url)?, prefix, intake_key: intake_key.clone() })
    }

    fn surround(&self) -> Surround<'_> {
        Surround { prefix: &self.prefix, separator: b',', suffix: b"]}" }
    }
}

impl fmt::Debug for Sekoia {
    /// Without the intake key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sekoia").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

impl Framing for Sekoia {
    fn overhead(&self) -> Overhead {
        self.surround().overhead()
    }

    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        out.push(b'"');
        json::write_escaped(out, event.body);
        out.push(b'"');
    }

    fn encode_next(&self, event: &Event<'_>, memory: &mut Memory, out: &mut Vec<u8>) {
        out.push(b'"');
        let rest = memory.write_shared(event, out, json::write_escaped);
        json::write_escaped(out, rest);
        out.push(b'"');
    }

    fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
        serde_json::from_slice(encoded).map_or_else(|_| encoded.to_vec(), String::into_bytes)
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        self.surround().assemble(events, ranges)
    }
}

/// The answer to a batch. Other keys are normal.
#[derive(Deserialize)]
struct Accepted<'a> {
    /// An id for each accepted event.
    #[serde(borrow)]
    event_ids: Vec<Option<Cow<'a, str>>>,
}

impl Protocol for Sekoia {
    fn request(&self) -> http::request::Builder {
        let json = HeaderValue::from_static("application/json");
        Request::post(self.uri.clone()).header(header::CONTENT_TYPE, json)
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.intake_key.clone()]
    }

    /// The status of an accepted batch is not documented beyond its class, so the ids decide: a success without them
    /// may come from anything that answers on the way.
    fn classify(&self, n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
        if !answer.status.is_success() {
            return default_verdict(answer, now, ADVICE);
        }
        let blocked = |finding: &str| Verdict::Blocked {
            reason: format!(
                "{}, but {finding}: nothing counts as delivered; {}{}",
                name(answer.status),
                ADVICE.success,
                answer.quote()
            ),
        };
        let Ok(Accepted { event_ids }) = serde_json::from_slice(&answer.body) else {
            return blocked("the answer has no list `event_ids`");
        };
        if event_ids.len() > n_events {
            return blocked(&format!("the answer has {} ids for {n_events} events", event_ids.len()));
        }
        match event_ids.iter().flatten().count() {
            accepted if accepted == n_events => Verdict::Delivered,
            accepted => Verdict::Doubtful { accepted, answer: answer.keep() },
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::intake::{
        protocols::test_support::{Kind, answer, body, check_every_status, check_reason, decoded, kind},
        redaction::Redaction,
    };

    const KEY: &str = "00000000-0000-4000-8000-000000000000";

    fn sekoia(base: &str) -> Sekoia {
        Sekoia::new(&Url::parse(base).unwrap(), &Secret::new(KEY.to_owned())).unwrap()
    }

    /// *Scenario*: two events, one of them with an escape of its own.
    /// *Guarantees*: the body is the documented one, byte for byte.
    #[test]
    fn body_is_the_documented_one() {
        let events = [r#"{"time":"2025-04-30T09:07:40+00:00","flow.0":"1,2"}"#, r#"{"rule":"a\\b"}"#];
        let text = String::from_utf8(body(&sekoia("https://intake.sekoia.io"), &events)).unwrap();
        expect![[r#"{"intake_key":"00000000-0000-4000-8000-000000000000","jsons":["{\"time\":\"2025-04-30T09:07:40+00:00\",\"flow.0\":\"1,2\"}","{\"rule\":\"a\\\\b\"}"]}"#]]
            .assert_eq(&text);
    }

    proptest! {
        /// *Scenario*: any events, an empty batch among them, and a key that needs escaping.
        /// *Guarantees*: the announced length is the real one, the body is JSON, and every event comes back.
        #[test]
        fn length_is_exact(events in proptest::collection::vec("(?s)[\\x00-\\x7f\\PC]{0,30}", 0..6)) {
            let url = Url::parse("https://intake.sekoia.io").unwrap();
            let protocol = Sekoia::new(&url, &Secret::new("k\"\\\u{e9}\n".to_owned())).unwrap();
            let parsed: serde_json::Value = serde_json::from_slice(&body(&protocol, &events)).unwrap();
            prop_assert_eq!(&parsed["intake_key"], "k\"\\\u{e9}\n");
            prop_assert_eq!(&parsed["jsons"], &serde_json::json!(events));
            for text in &events {
                prop_assert_eq!(decoded(&protocol, text.as_bytes()), text.as_bytes());
            }
        }
    }

    /// *Scenario*: every status, with ids for both events, with ids for one, and with a page of HTML.
    /// *Guarantees*: only successes count the ids; everything else follows the table.
    #[test]
    fn every_status_has_its_verdict() {
        let protocol = sekoia("https://intake.sekoia.io");
        let success = |kind| move |status| (200..=299).contains(&status).then_some(kind);
        check_every_status(&protocol, r#"{"event_ids":["a","b"]}"#, success(Kind::Delivered));
        check_every_status(&protocol, r#"{"event_ids":["a"]}"#, success(Kind::Doubtful(1)));
        check_every_status(&protocol, "<html>", success(Kind::Blocked));
    }

    /// *Scenario*: successes with every shape of body, for two events.
    /// *Guarantees*: only a list with an id for each event is a delivery; what proves nothing blocks.
    #[test]
    fn ids_decide() {
        let protocol = sekoia("https://intake.sekoia.io");
        for (text, expected) in [
            (r#"{"event_ids":["a","b"]}"#, Kind::Delivered),
            (r#"{"received":true,"event_ids":["a","b"],"more":{}}"#, Kind::Delivered),
            (r#"{"event_ids":["\u0061","b"]}"#, Kind::Delivered),
            (r#"{"event_ids":[]}"#, Kind::Doubtful(0)),
            (r#"{"event_ids":["a"]}"#, Kind::Doubtful(1)),
            (r#"{"event_ids":["a",null]}"#, Kind::Doubtful(1)),
            (r#"{"event_ids":["a","b","c"]}"#, Kind::Blocked),
            (r#"{"event_ids":["a",2]}"#, Kind::Blocked),
            (r#"{"event_ids":2}"#, Kind::Blocked),
            (r#"{"event_id":"a"}"#, Kind::Blocked),
            (r#"{"event_ids":["a","b"]"#, Kind::Blocked),
            (r#"["a","b"]"#, Kind::Blocked),
            ("", Kind::Blocked),
        ] {
            assert_eq!(
                kind(&protocol.classify(2, &answer(200, text), SystemTime::UNIX_EPOCH)),
                expected,
                "{text}"
            );
        }
    }

    /// *Scenario*: refusals that an operator can mend, one of them quoting the intake key.
    /// *Guarantees*: the reason names the setting, and never the key.
    #[test]
    fn reasons_name_the_setting() {
        let protocol = sekoia("https://intake.sekoia.io");
        for (status, expected) in [
            (401, "`intake_key`"),
            (403, "`intake_key`"),
            (404, "`url`"),
            (413, "`batch.max_bytes`"),
            (204, "`url`"),
        ] {
            check_reason(&protocol, &answer(status, ""), expected);
        }
        let echo = answer(401, &format!("unknown key {KEY}"));
        check_reason(&protocol, &echo, "unknown key ***");
        let in_doubt = Answer {
            redaction: Redaction::new(&protocol.secrets()),
            ..answer(200, &format!(r#"{{"event_ids":[],"key":"{KEY}"}}"#))
        };
        let Verdict::Doubtful { answer: kept, .. } = protocol.classify(2, &in_doubt, SystemTime::UNIX_EPOCH)
        else {
            panic!("not in doubt");
        };
        assert_eq!(kept, (200, r#"{"event_ids":[],"key":"***"}"#.to_owned()));
    }

    /// *Scenario*: base addresses with and without a path, a slash at the end, a port.
    /// *Guarantees*: the path is `/batch` below the base; neither the request's head nor `Debug` holds the key; an
    /// address with credentials is refused.
    #[test]
    fn requests_go_below_the_base() {
        for (base, expected) in [
            ("https://intake.sekoia.io", "https://intake.sekoia.io/batch"),
            ("https://intake.sekoia.io/", "https://intake.sekoia.io/batch"),
            (
                "https://intake.fra2.sekoia.io/api/v1/intake-http",
                "https://intake.fra2.sekoia.io/api/v1/intake-http/batch",
            ),
            ("https://localhost:8443/a/", "https://localhost:8443/a/batch"),
        ] {
            let protocol = sekoia(base);
            let request = protocol.request().body(()).unwrap();
            assert_eq!(request.uri().to_string(), expected);
            assert_eq!(request.method(), http::Method::POST);
            let shown = format!("{request:?} {protocol:?}");
            assert!(!shown.contains(KEY), "{shown}");
        }
        let with_password = Url::parse("https://user:pass@intake.sekoia.io").unwrap();
        let refused = Sekoia::new(&with_password, &Secret::new(KEY.to_owned())).unwrap_err();
        assert!(matches!(refused, RequestError::Credentials), "{refused:?}");
    }
}
