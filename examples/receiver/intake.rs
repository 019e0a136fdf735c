//! What the receiver makes of a request: checks the credentials, takes the body apart, writes the events down.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header, request};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::collector::{Collector, is_collector};

/// What requests must carry, and where their events go.
#[derive(Debug)]
pub(crate) struct Intake {
    /// The key that `/batch` demands.
    pub(crate) intake_key: Option<String>,
    /// Headers that the other paths demand.
    pub(crate) required_headers: Vec<(String, String)>,
    /// What is below the path of the HTTP Event Collector.
    pub(crate) collector: Collector,
    /// Largest body after decompression.
    pub(crate) max_body: usize,
    /// Whether bodies are accepted without a look, where the answer need not name their events.
    pub(crate) is_discarding: bool,
    /// Where events are written.
    pub(crate) ledger: Ledger,
}

/// A request that is not accepted.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The answer's status.
    pub(crate) status: StatusCode,
    /// The answer's body.
    pub(crate) body: String,
    /// How many events before the one at fault were recorded all the same.
    pub(crate) n_events: usize,
}

impl Refused {
    /// A refusal that says why.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let body = serde_json::json!({ "error": message.into() }).to_string();
        Self { status, body, n_events: 0 }
    }
}

/// Which events of an accepted request are written down and acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// All.
    All,
    /// All but the last.
    AllButLast,
    /// Those before the one at this place, which is refused. The collector alone can say so.
    Before(usize),
    /// None, although the answer says otherwise.
    None,
}

/// A request that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// How many of its events were recorded.
    pub(crate) n_events: usize,
    /// The answer's body.
    pub(crate) body: String,
}

/// The body of `/batch`.
#[derive(Deserialize)]
struct SekoiaBatch {
    intake_key: String,
    jsons: Vec<String>,
}

impl Intake {
    /// Takes in one request. Blocks while it decompresses and writes.
    pub(crate) fn take_in(
        &self,
        head: &request::Parts,
        body: &[u8],
        share: Share,
    ) -> Result<Accepted, Refused> {
        let is_batch = head.uri.path().ends_with("/batch");
        if self.is_discarding && !is_batch && !is_collector(&head.uri) {
            self.check_headers(&head.headers)?;
            return Ok(Accepted { n_events: 0, body: String::from("{}") });
        }
        let text = self.decode(&head.headers, body)?;
        if is_collector(&head.uri) {
            return self.collector.take_in(&head.uri, &head.headers, &text, share, &self.ledger);
        }
        if is_batch {
            let events = self.open_batch(&text)?;
            let n_events = self.record(&events, share)?;
            let ids: Vec<String> = (0..n_events).map(|_| event_id()).collect();
            Ok(Accepted { n_events, body: serde_json::json!({ "event_ids": ids }).to_string() })
        } else {
            self.check_headers(&head.headers)?;
            let events = split_body(&head.headers, &text)?;
            let n_events = self.record(&events, share)?;
            Ok(Accepted { n_events, body: serde_json::json!({ "received": n_events }).to_string() })
        }
    }

    /// The body as text, decompressed.
    fn decode(&self, headers: &HeaderMap, body: &[u8]) -> Result<String, Refused> {
        let limit = u64::try_from(self.max_body).unwrap_or(u64::MAX).saturating_add(1);
        let mut decoded = Vec::new();
        let outcome = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity") => body.take(limit).read_to_end(&mut decoded),
            Some(b"gzip") => MultiGzDecoder::new(body).take(limit).read_to_end(&mut decoded),
            Some(_) => {
                return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only gzip is understood"));
            }
        };
        outcome.map_err(|error| {
            Refused::new(StatusCode::BAD_REQUEST, format!("the body is not gzip: {error}"))
        })?;
        if decoded.len() > self.max_body {
            let message = format!("the body is larger than {} bytes", self.max_body);
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        String::from_utf8(decoded)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, format!("the body is not text: {error}")))
    }

    fn open_batch(&self, text: &str) -> Result<Vec<String>, Refused> {
        let batch: SekoiaBatch = serde_json::from_str(text).map_err(|error| {
            Refused::new(StatusCode::BAD_REQUEST, format!("the body is no batch: {error}"))
        })?;
        match &self.intake_key {
            Some(key) if *key != batch.intake_key => {
                Err(Refused::new(StatusCode::UNAUTHORIZED, "the intake key is not known"))
            }
            _ => Ok(batch.jsons),
        }
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), Refused> {
        for (name, value) in &self.required_headers {
            if headers.get(name).is_none_or(|given| given.as_bytes() != value.as_bytes()) {
                let message = format!("the header {name} is not as it should be");
                return Err(Refused::new(StatusCode::UNAUTHORIZED, message));
            }
        }
        Ok(())
    }

    fn record(&self, events: &[impl AsRef<str>], share: Share) -> Result<usize, Refused> {
        if let Some(event) = events.iter().find(|event| event.as_ref().contains('\n')) {
            let message = format!("an event holds a line feed: {}", event.as_ref());
            return Err(Refused::new(StatusCode::BAD_REQUEST, message));
        }
        let n_events = match share {
            Share::All | Share::Before(_) => events.len(),
            Share::AllButLast => events.len().saturating_sub(1),
            Share::None => 0,
        };
        self.ledger.append(events.iter().take(n_events).map(AsRef::as_ref)).map_err(|error| {
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write: {error}"))
        })?;
        Ok(n_events)
    }
}

/// The events of a generic body, each exactly as it stands there.
fn split_body<'a>(headers: &HeaderMap, text: &'a str) -> Result<Vec<&'a str>, Refused> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    if content_type.starts_with(b"application/json") {
        let events: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
            Refused::new(StatusCode::BAD_REQUEST, format!("the body is no array: {error}"))
        })?;
        return Ok(events.into_iter().map(RawValue::get).collect());
    }
    Ok(text.split('\n').filter(|line| !line.is_empty()).collect())
}

/// A random UUID (version 4), as the Sekoia.io intake gives to each event.
fn event_id() -> String {
    let random = fastrand::u128(..);
    let versioned = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{versioned:032x}");
    let mut rest = digits.as_str();
    let mut groups = Vec::new();
    for length in [8, 4, 4, 4, 12] {
        let (group, later) = rest.split_at(length);
        groups.push(group);
        rest = later;
    }
    groups.join("-")
}

/// The `Authorization` header of a bearer token.
pub(crate) fn bearer(token: &str) -> (String, String) {
    (header::AUTHORIZATION.as_str().to_owned(), format!("Bearer {token}"))
}

/// One line an event, in the order of their arrival.
#[derive(Debug)]
pub(crate) struct Ledger(Option<Mutex<File>>);

impl Ledger {
    /// Opens the file for appending; without one, nothing is written.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(Some(Mutex::new(file.with_context(|| format!("cannot open {}", path.display()))?))))
    }

    /// Appends the events of one request. When it returns, the operating system has them.
    pub(crate) fn append<'a>(&self, events: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        let mut lines = String::new();
        for event in events {
            lines.push_str(event);
            lines.push('\n');
        }
        file.lock().unwrap_or_else(PoisonError::into_inner).write_all(lines.as_bytes())
    }
}
