//! Any receiver of NDJSON or of a JSON array.

use std::{fmt, ops::Range, time::SystemTime};

use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use url::Url;

use super::{
    RequestError, Surround,
    answers::{Advice, default_verdict},
    push_line, request_uri,
};
use crate::{
    event::Event,
    intake::{Answer, Framing, Memory, Overhead, Protocol, Verdict},
    model::{Secret, may_be_secret},
};

const ADVICE: Advice = Advice {
    credentials: "check `auth` and `headers`",
    success: "if the receiver means that it has the events, add the status to `success_codes`, else check `url`",
};

/// Layout of a generic body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFraming {
    /// One event a line, `application/x-ndjson`, every line ended.
    Ndjson,
    /// `[event,event]`, `application/json`.
    JsonArray,
}

/// The protocol with one receiver's address.
pub struct HttpGeneric {
    uri: Uri,
    framing: HttpFraming,
    headers: HeaderMap,
    success_codes: Vec<StatusCode>,
    secrets: Vec<Secret>,
}

impl HttpGeneric {
    /// For the receiver at `url`. `extra_headers` win over the framing's own; the settings take no Content-Type there.
    ///
    /// # Errors
    /// [`RequestError`] where the address cannot be requested.
    pub fn new(
        url: &Url,
        framing: HttpFraming,
        extra_headers: &HeaderMap,
        success_codes: &[StatusCode],
    ) -> Result<Self, RequestError> {
        let headers = request_headers(content_type(framing), extra_headers);
        let secrets = possible_secrets(url, extra_headers);
        let success_codes = success_codes.to_vec();
        Ok(Self { uri: request_uri(url)?, framing, headers, success_codes, secrets })
    }

    fn surround(&self) -> Surround<'static> {
        match self.framing {
            HttpFraming::Ndjson => Surround { prefix: b"", separator: b'\n', suffix: b"\n" },
            HttpFraming::JsonArray => Surround { prefix: b"[", separator: b',', suffix: b"]" },
        }
    }
}

/// The headers of a request: those of an operator, which may be secrets, win.
pub(super) fn request_headers(content_type: &'static str, extra_headers: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in extra_headers {
        let mut value = value.clone();
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}

/// What an operator may have put into URL and headers that must not be quoted.
pub(super) fn possible_secrets(url: &Url, extra_headers: &HeaderMap) -> Vec<Secret> {
    let in_url = [Some(url.path()), url.query()].into_iter().flatten();
    let in_headers = extra_headers.values().filter_map(|value| value.to_str().ok());
    let possible = in_url.chain(in_headers).filter(|text| may_be_secret(text));
    possible.map(|text| Secret::new(text.to_owned())).collect()
}

fn content_type(framing: HttpFraming) -> &'static str {
    match framing {
        HttpFraming::Ndjson => "application/x-ndjson",
        HttpFraming::JsonArray => "application/json",
    }
}

impl fmt::Debug for HttpGeneric {
    /// Without path, query and headers: each may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpGeneric")
            .field("host", &self.uri.host())
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

impl Framing for HttpGeneric {
    fn overhead(&self) -> Overhead {
        self.surround().overhead()
    }

    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self.framing {
            HttpFraming::Ndjson => push_line(event.body, out),
            HttpFraming::JsonArray => out.extend_from_slice(event.body),
        }
    }

    fn encode_next(&self, event: &Event<'_>, _memory: &mut Memory, out: &mut Vec<u8>) {
        // An encoder's events are lines already.
        out.extend_from_slice(event.body);
    }

    fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
        encoded.to_vec()
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        self.surround().assemble(events, ranges)
    }
}

impl Protocol for HttpGeneric {
    fn request(&self) -> http::request::Builder {
        let mut builder = Request::post(self.uri.clone());
        if let Some(headers) = builder.headers_mut() {
            headers.clone_from(&self.headers);
        }
        builder
    }

    fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    /// The listed statuses are deliveries; another success proves nothing (one receiver answers 260 while it refuses).
    fn classify(&self, _n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
        if self.success_codes.contains(&answer.status) {
            Verdict::Delivered
        } else {
            default_verdict(answer, now, ADVICE)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::intake::protocols::test_support::{
        Kind, answer, body, check_every_status, check_reason, decoded,
    };

    fn generic(framing: HttpFraming, extra_headers: &HeaderMap) -> HttpGeneric {
        let url = Url::parse("https://receiver.example:8443/in/path-secret?key=query-secret").unwrap();
        let success_codes = [200, 201, 202, 204].map(|code| StatusCode::from_u16(code).unwrap());
        HttpGeneric::new(&url, framing, extra_headers, &success_codes).unwrap()
    }

    fn plain(framing: HttpFraming) -> HttpGeneric {
        generic(framing, &HeaderMap::new())
    }

    /// *Scenario*: two events in each framing, one of them with a line end between tokens.
    /// *Guarantees*: the bodies are NDJSON with every line ended, and a JSON array.
    #[test]
    fn bodies() {
        let events = [r#"{"a":1}"#, "{\"b\":\n2}"];
        assert_eq!(body(&plain(HttpFraming::Ndjson), &events), b"{\"a\":1}\n{\"b\": 2}\n");
        assert_eq!(body(&plain(HttpFraming::JsonArray), &events), b"[{\"a\":1},{\"b\":\n2}]");
    }

    proptest! {
        /// *Scenario*: any JSON strings as events, an empty batch among them.
        /// *Guarantees*: the announced length is the real one in both framings, and every event comes back.
        #[test]
        fn length_is_exact(texts in proptest::collection::vec("\\PC{0,30}", 0..6)) {
            let events: Vec<String> = texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
            let array: Vec<String> = serde_json::from_slice(&body(&plain(HttpFraming::JsonArray), &events)).unwrap();
            prop_assert_eq!(&array, &texts);
            let lines = String::from_utf8(body(&plain(HttpFraming::Ndjson), &events)).unwrap();
            if !events.is_empty() {
                prop_assert_eq!(lines.split_terminator('\n').collect::<Vec<_>>(), events.clone());
            }
            for event in &events {
                prop_assert_eq!(decoded(&plain(HttpFraming::Ndjson), event.as_bytes()), event.as_bytes());
            }
        }
    }

    /// *Scenario*: every status.
    /// *Guarantees*: only the listed ones are deliveries, whatever the body; everything else follows the table.
    #[test]
    fn every_status_has_its_verdict() {
        for text in ["", "{}", "<html>"] {
            check_every_status(&plain(HttpFraming::Ndjson), text, |status| {
                [200, 201, 202, 204].contains(&status).then_some(Kind::Delivered)
            });
        }
    }

    /// *Scenario*: refusals that an operator can mend, one of them quoting every secret.
    /// *Guarantees*: the reason names the setting, and no secret.
    #[test]
    fn reasons_name_the_setting() {
        let mut extra_headers = HeaderMap::new();
        extra_headers.insert("x-key", HeaderValue::from_static("header-secret"));
        let protocol = generic(HttpFraming::Ndjson, &extra_headers);
        for (status, expected) in
            [(401, "`auth`"), (404, "`url`"), (413, "`batch.max_bytes`"), (206, "`success_codes`")]
        {
            check_reason(&protocol, &answer(status, ""), expected);
        }
        let echo = answer(400, "header-secret /in/path-secret key=query-secret.");
        check_reason(&protocol, &echo, "begins: *** *** ***.");
    }

    /// *Scenario*: a request with headers of the operator's own.
    /// *Guarantees*: it carries them, marked as sensitive, before the framing's own; `Debug` shows none.
    #[test]
    fn requests_carry_the_operators_headers() {
        let mut extra_headers = HeaderMap::new();
        extra_headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        extra_headers.insert("dd-api-key", HeaderValue::from_static("header-secret"));
        let protocol = generic(HttpFraming::JsonArray, &extra_headers);
        let request = protocol.request().body(()).unwrap();
        assert_eq!(request.headers()[header::CONTENT_TYPE], "text/plain");
        assert_eq!(request.headers()["dd-api-key"], "header-secret");
        let shown = format!("{:?} {protocol:?}", request.headers());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
