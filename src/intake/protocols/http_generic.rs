//! Any receiver of NDJSON or of a JSON array.

use std::{fmt, ops::Range, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use url::Url;

use super::{
    RequestError, Surround,
    answers::{Advice, Redaction, default_verdict},
    push_line, request_uri,
};
use crate::{
    event::Event,
    intake::{
        Answer, Framing, Overhead, Protocol, Verdict,
        http_intake::{Auth, HttpFraming},
    },
    model::may_be_secret,
};

const ADVICE: Advice = Advice {
    credentials: "check `auth` and `headers`",
    success: "if the receiver means that it has the events, add the status to `success_codes`, else check `url`",
};

/// The protocol with one receiver's address and credentials.
pub struct HttpGeneric {
    uri: Uri,
    framing: HttpFraming,
    headers: HeaderMap,
    success_codes: Vec<StatusCode>,
    redaction: Redaction,
}

impl HttpGeneric {
    /// For the receiver at `url`. `extra_headers` win over the framing's Content-Type, `auth` over both.
    ///
    /// # Errors
    /// [`RequestError`] where the address or the credentials cannot be sent.
    pub fn new(
        url: &Url,
        framing: HttpFraming,
        extra_headers: &HeaderMap,
        auth: &Auth,
        success_codes: &[StatusCode],
    ) -> Result<Self, RequestError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(framing)));
        for (name, value) in extra_headers {
            headers.insert(name, secret(value.clone()));
        }
        let mut secrets = Vec::new();
        if let Some((name, value)) = credentials(auth, &mut secrets)? {
            headers.insert(name, secret(value));
        }
        let possible = [Some(url.path()), url.query()].into_iter().flatten();
        let in_headers = extra_headers.values().filter_map(|value| value.to_str().ok());
        let long = possible.chain(in_headers).filter(|text| may_be_secret(text));
        let redaction = Redaction::new(long.chain(secrets.iter().map(String::as_str)));
        let success_codes = success_codes.to_vec();
        Ok(Self { uri: request_uri(url)?, framing, headers, success_codes, redaction })
    }

    fn surround(&self) -> Surround<'static> {
        match self.framing {
            HttpFraming::Ndjson => Surround { prefix: b"", separator: b'\n', suffix: b"\n" },
            HttpFraming::JsonArray => Surround { prefix: b"[", separator: b',', suffix: b"]" },
        }
    }
}

fn content_type(framing: HttpFraming) -> &'static str {
    match framing {
        HttpFraming::Ndjson => "application/x-ndjson",
        HttpFraming::JsonArray => "application/json",
    }
}

/// The header that carries the credentials. What must not be quoted goes into `secrets`.
fn credentials(
    auth: &Auth,
    secrets: &mut Vec<String>,
) -> Result<Option<(HeaderName, HeaderValue)>, RequestError> {
    let (key, name, value) = match auth {
        Auth::None => return Ok(None),
        Auth::Bearer(token) => {
            secrets.push(token.reveal().to_owned());
            ("bearer", header::AUTHORIZATION, format!("Bearer {}", token.reveal()))
        }
        Auth::Basic { username, password } => {
            let pair = STANDARD.encode(format!("{username}:{}", password.reveal()));
            secrets.push(password.reveal().to_owned());
            secrets.push(pair.clone());
            ("basic", header::AUTHORIZATION, format!("Basic {pair}"))
        }
        Auth::Header { name, value } => {
            secrets.push(value.reveal().to_owned());
            ("header", name.clone(), value.reveal().to_owned())
        }
    };
    match HeaderValue::try_from(value) {
        Ok(sendable) => Ok(Some((name, sendable))),
        Err(source) => Err(RequestError::Secret { key, source }),
    }
}

/// Marks a value so that no layer below prints or compresses it in common with others.
fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
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

    /// The listed statuses are deliveries; another success proves nothing (one receiver answers 260 while it refuses).
    fn classify(&self, _n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
        if self.success_codes.contains(&answer.status) {
            Verdict::Delivered
        } else {
            default_verdict(answer, now, ADVICE, &self.redaction)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        intake::protocols::test_support::{Kind, answer, body, check_every_status, check_reason, decoded},
        model::Secret,
    };

    fn generic(framing: HttpFraming, extra_headers: &HeaderMap, auth: &Auth) -> HttpGeneric {
        let url = Url::parse("https://receiver.example:8443/in/path-secret?key=query-secret").unwrap();
        let success_codes = [200, 201, 202, 204].map(|code| StatusCode::from_u16(code).unwrap());
        HttpGeneric::new(&url, framing, extra_headers, auth, &success_codes).unwrap()
    }

    fn plain(framing: HttpFraming) -> HttpGeneric {
        generic(framing, &HeaderMap::new(), &Auth::None)
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
        let auth = Auth::Basic { username: "me".to_owned(), password: Secret::new("pass-secret".to_owned()) };
        let protocol = generic(HttpFraming::Ndjson, &extra_headers, &auth);
        for (status, expected) in
            [(401, "`auth`"), (404, "`url`"), (413, "`batch.max_bytes`"), (206, "`success_codes`")]
        {
            check_reason(&protocol, &answer(status, ""), expected);
        }
        // The pair is base64 of `me:pass-secret`.
        let echo =
            answer(400, "header-secret pass-secret bWU6cGFzcy1zZWNyZXQ= /in/path-secret key=query-secret.");
        check_reason(&protocol, &echo, "begins: *** *** *** *** ***.");
    }

    /// *Scenario*: each kind of credentials, with headers of the operator's own.
    /// *Guarantees*: the request carries them, marked as sensitive; `Debug` shows none.
    #[test]
    fn requests_carry_credentials() {
        let mut extra_headers = HeaderMap::new();
        extra_headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let secret = || Secret::new("pass-secret".to_owned());
        for (auth, name, expected) in [
            (Auth::None, header::CONTENT_TYPE, "text/plain"),
            (Auth::Bearer(secret()), header::AUTHORIZATION, "Bearer pass-secret"),
            (
                Auth::Basic { username: "me".to_owned(), password: secret() },
                header::AUTHORIZATION,
                "Basic bWU6cGFzcy1zZWNyZXQ=",
            ),
            (
                Auth::Header { name: HeaderName::from_static("dd-api-key"), value: secret() },
                HeaderName::from_static("dd-api-key"),
                "pass-secret",
            ),
        ] {
            let protocol = generic(HttpFraming::JsonArray, &extra_headers, &auth);
            let request = protocol.request().body(()).unwrap();
            assert_eq!(request.headers()[&name], expected);
            assert!(request.headers()[&name].is_sensitive());
            let shown = format!("{:?} {protocol:?} {auth:?}", request.headers());
            assert!(!shown.contains("secret") && !shown.contains("bWU6"), "{shown}");
        }
    }

    /// *Scenario*: a token with a line end, as a file may give it.
    /// *Guarantees*: it is refused with the name of the key and without the token.
    #[test]
    fn credentials_that_cannot_be_sent_are_refused() {
        let url = Url::parse("https://receiver.example").unwrap();
        let auth = Auth::Bearer(Secret::new("token\n".to_owned()));
        let refused = HttpGeneric::new(&url, HttpFraming::Ndjson, &HeaderMap::new(), &auth, &[])
            .unwrap_err()
            .to_string();
        assert!(refused.contains("`bearer`") && !refused.contains("token"), "{refused}");
    }
}
