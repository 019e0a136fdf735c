//! OpenTelemetry logs over HTTP: `POST .../v1/logs`, protobuf or JSON.
//!
//! The events are ECS. Each becomes a log record with the event's fields as attributes, and can be read back from it.

mod answer;
mod json;
mod protobuf;
mod record;
mod request;
mod value;
mod wire;

use std::{fmt, ops::Range, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use url::Url;

use super::{
    RequestError, Surround,
    answers::{Advice, default_verdict, name},
    http_generic::{possible_secrets, request_headers},
    request_uri,
};
use crate::{
    event::Event,
    intake::{Answer, Framing, Overhead, Protocol, Verdict},
    model::Secret,
};
use answer::PartialSuccess;
use record::Record;

const ADVICE: Advice = Advice {
    credentials: "check `auth` and `headers`",
    success: "check that `url` is the base URL of an OTLP receiver",
};

/// Where logs go below the base URL.
const PATH: &str = "/v1/logs";

/// How requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// Protocol buffers, `application/x-protobuf`.
    Protobuf,
    /// JSON, `application/json`.
    Json,
}

/// The protocol with one receiver's address.
pub struct Otlp {
    uri: Uri,
    encoding: OtlpEncoding,
    protobuf: protobuf::Prefix,
    json_prefix: Vec<u8>,
    headers: HeaderMap,
    secrets: Vec<Secret>,
}

impl Otlp {
    /// For the receiver whose base URL is `base`; one that ends in `/v1/logs` is taken as it is.
    ///
    /// # Errors
    /// [`RequestError`] where the address cannot be requested.
    pub fn new(base: &Url, encoding: OtlpEncoding, extra_headers: &HeaderMap) -> Result<Self, RequestError> {
        let mut url = base.clone();
        let path = base.path().trim_end_matches('/');
        url.set_path(&format!("{}{PATH}", path.strip_suffix(PATH).unwrap_or(path)));
        Ok(Self {
            uri: request_uri(&url)?,
            encoding,
            protobuf: protobuf::Prefix::new(),
            json_prefix: json::prefix(),
            headers: request_headers(content_type(encoding), extra_headers),
            secrets: possible_secrets(&url, extra_headers),
        })
    }

    fn json(&self) -> Surround<'_> {
        Surround { prefix: &self.json_prefix, separator: b',', suffix: json::SUFFIX }
    }
}

fn content_type(encoding: OtlpEncoding) -> &'static str {
    match encoding {
        OtlpEncoding::Protobuf => "application/x-protobuf",
        OtlpEncoding::Json => "application/json",
    }
}

impl fmt::Debug for Otlp {
    /// Without path and headers: each may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp")
            .field("host", &self.uri.host())
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

impl Framing for Otlp {
    fn overhead(&self) -> Overhead {
        match self.encoding {
            OtlpEncoding::Protobuf => Overhead { fixed: self.protobuf.length(), separator: None },
            OtlpEncoding::Json => self.json().overhead(),
        }
    }

    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let record = Record::of(event);
        match self.encoding {
            OtlpEncoding::Protobuf => protobuf::write_record(out, &record),
            OtlpEncoding::Json => json::write_record(out, &record),
        }
    }

    fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
        let decoded = match self.encoding {
            OtlpEncoding::Protobuf => protobuf::read_record(encoded),
            OtlpEncoding::Json => json::read_record(encoded),
        };
        decoded.and_then(record::Decoded::into_event).unwrap_or_else(|| encoded.to_vec())
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        match self.encoding {
            OtlpEncoding::Protobuf => self.protobuf.assemble(events, ranges),
            OtlpEncoding::Json => self.json().assemble(events, ranges),
        }
    }
}

impl Protocol for Otlp {
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

    /// The specification has 200 alone; Loki answers 204 (grafana/loki#15761), which cannot say that any was rejected. It
    /// also forbids to repeat what was answered with 500, which would lose the events: they are repeated.
    fn classify(&self, n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
        match answer.status {
            StatusCode::NO_CONTENT => return Verdict::Delivered,
            StatusCode::OK => {}
            _ => return default_verdict(answer, now, ADVICE),
        }
        let blocked = |finding: &str| Verdict::Blocked {
            reason: format!(
                "{}, but {finding}: nothing counts as delivered; {}{}",
                name(answer.status),
                ADVICE.success,
                answer.quote()
            ),
        };
        let PartialSuccess { rejected, message } = match answer::read(answer, self.encoding) {
            Ok(partial) => partial,
            Err(finding) => return blocked(finding),
        };
        let accepted = usize::try_from(rejected).ok().and_then(|rejected| n_events.checked_sub(rejected));
        match accepted {
            Some(accepted) if accepted == n_events => Verdict::Delivered,
            Some(accepted) => {
                // The words of the answer, without what protobuf has around them.
                let said = Answer { body: Bytes::from(message), ..answer.clone() };
                Verdict::Doubtful { accepted, answer: said.keep() }
            }
            None => blocked(&format!("{rejected} of {n_events} records are said to be rejected")),
        }
    }
}

#[cfg(test)]
mod tests;
