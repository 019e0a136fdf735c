//! Any HTTPS receiver of newline-delimited JSON or of a JSON array.

use std::{ops::Range, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue},
    request,
};
use url::Url;

use super::{default_verdict, join};
use crate::{
    event::Event,
    intake::{
        Answer, Framing, Overhead, Protocol, Verdict,
        http_intake::{Auth, HttpFraming},
    },
};

const HINT: &str = "check `auth` and `headers`";

/// The protocol, for one receiver.
#[derive(Debug, Clone)]
pub struct HttpGeneric {
    url: String,
    framing: HttpFraming,
    headers: HeaderMap,
    success_codes: Vec<StatusCode>,
}

impl HttpGeneric {
    /// A receiver at `url`; statuses outside `success_codes` never mean that events were accepted.
    ///
    /// # Errors
    /// Where a credential has characters that cannot stand in a header.
    pub fn new(
        url: &Url,
        framing: HttpFraming,
        headers: HeaderMap,
        auth: &Auth,
        success_codes: Vec<StatusCode>,
    ) -> Result<Self, InvalidHeaderValue> {
        let mut headers = headers;
        let content_type = match framing {
            HttpFraming::Ndjson => "application/x-ndjson",
            HttpFraming::JsonArray => "application/json",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let credential = match auth {
            Auth::None => None,
            Auth::Bearer(token) => Some((AUTHORIZATION, format!("Bearer {}", token.reveal()))),
            Auth::Basic { username, password } => {
                let pair = STANDARD.encode(format!("{username}:{}", password.reveal()));
                Some((AUTHORIZATION, format!("Basic {pair}")))
            }
            Auth::Header { name, value } => Some((name.clone(), value.reveal().to_owned())),
        };
        if let Some((name, text)) = credential {
            let mut value = HeaderValue::from_str(&text)?;
            // A sensitive value is shown by no `Debug`.
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self { url: url.to_string(), framing, headers, success_codes })
    }
}

impl Framing for HttpGeneric {
    fn overhead(&self) -> Overhead {
        match self.framing {
            HttpFraming::Ndjson => Overhead { fixed: 1, separator: 1 },
            HttpFraming::JsonArray => Overhead { fixed: 2, separator: 1 },
        }
    }

    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(event.body);
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        let event_bytes = ranges.iter().map(Range::len).sum();
        let mut body = Vec::with_capacity(self.overhead().body_length(ranges.len(), event_bytes));
        match self.framing {
            HttpFraming::Ndjson => {
                join(&mut body, events, ranges, b"\n");
                body.push(b'\n');
            }
            HttpFraming::JsonArray => {
                body.push(b'[');
                join(&mut body, events, ranges, b",");
                body.push(b']');
            }
        }
        body
    }

    fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
        encoded.to_vec()
    }
}

impl Protocol for HttpGeneric {
    fn request(&self) -> request::Builder {
        let mut builder = request::Builder::new().method(Method::POST).uri(&self.url);
        if let Some(headers) = builder.headers_mut() {
            headers.extend(self.headers.clone());
        }
        builder
    }

    fn classify(&self, _n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
        if self.success_codes.contains(&answer.status) {
            Verdict::Delivered
        } else {
            default_verdict(answer, now, HINT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        intake::protocols::{answer, word},
        model::Secret,
    };

    fn receiver(framing: HttpFraming, auth: &Auth) -> HttpGeneric {
        let accepted = [200, 201, 202, 204].map(|code| StatusCode::from_u16(code).unwrap());
        let url = Url::parse("https://x/in?a=b").unwrap();
        HttpGeneric::new(&url, framing, HeaderMap::new(), auth, accepted.to_vec()).unwrap()
    }

    /// *Scenario*: no, one and two events in both framings.
    /// *Guarantees*: the exact bodies, of the accounted length.
    #[test]
    fn bodies() {
        for (framing, n_events, expected) in [
            (HttpFraming::Ndjson, 1, "{1}\n"),
            (HttpFraming::Ndjson, 2, "{1}\n{22}\n"),
            (HttpFraming::JsonArray, 0, "[]"),
            (HttpFraming::JsonArray, 1, "[{1}]"),
            (HttpFraming::JsonArray, 2, "[{1},{22}]"),
        ] {
            let protocol = receiver(framing, &Auth::None);
            let ranges = [0..3, 3..7];
            let ranges = &ranges[..n_events];
            let body = protocol.assemble(b"{1}{22}", ranges);
            assert_eq!(String::from_utf8(body).unwrap(), expected);
            let event_bytes = ranges.iter().map(Range::len).sum();
            assert_eq!(protocol.overhead().body_length(n_events, event_bytes), expected.len());
        }
    }

    /// *Scenario*: every status.
    /// *Guarantees*: a listed status is success, other 2xx (some servers say 260 for "blocked") are not.
    #[test]
    fn every_status() {
        let protocol = receiver(HttpFraming::Ndjson, &Auth::None);
        for status in 100..=599 {
            let expected = match status {
                200 | 201 | 202 | 204 => "delivered",
                408 | 425 | 429 | 500 | 502..=599 => "retry",
                _ => "blocked",
            };
            let verdict = protocol.classify(1, &answer(status, "no"), SystemTime::UNIX_EPOCH);
            assert_eq!(word(&verdict), expected, "status {status}");
        }
    }

    /// *Scenario*: a 429 and a 503 with `Retry-After`. *Guarantees*: the wait is taken over.
    #[test]
    fn retry_after_is_taken_over() {
        let protocol = receiver(HttpFraming::Ndjson, &Auth::None);
        for status in [429, 503] {
            let mut answer = answer(status, "");
            answer.headers.insert("retry-after", HeaderValue::from_static("7"));
            let verdict = protocol.classify(1, &answer, SystemTime::UNIX_EPOCH);
            let seven_seconds = Some(std::time::Duration::from_secs(7));
            assert!(matches!(verdict, Verdict::Retry { after, .. } if after == seven_seconds), "{verdict:?}");
        }
    }

    /// *Scenario*: every kind of credentials.
    /// *Guarantees*: the right header, which is shown nowhere.
    #[test]
    fn credentials() {
        let secret = || Secret::new("s3cret".to_owned());
        for (auth, name, expected) in [
            (Auth::Bearer(secret()), "authorization", "Bearer s3cret"),
            (
                Auth::Basic { username: "me".to_owned(), password: secret() },
                "authorization",
                "Basic bWU6czNjcmV0",
            ),
            (Auth::Header { name: "x-key".parse().unwrap(), value: secret() }, "x-key", "s3cret"),
        ] {
            let protocol = receiver(HttpFraming::JsonArray, &auth);
            let request = protocol.request().body(()).unwrap();
            assert_eq!(request.headers()[name], expected);
            let shown = format!("{request:?} {protocol:?} {auth:?}");
            assert!(!shown.contains("s3cret") && !shown.contains("bWU6"), "{shown}");
        }
    }
}
