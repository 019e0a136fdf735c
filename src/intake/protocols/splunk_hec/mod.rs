//! The HTTP Event Collector of Splunk, path `/services/collector/event`: a body is one envelope after the other,
//! `{"time":...,"fields":{"event_id":"..."},"event":{...}}`.

mod acknowledgement;
mod reply;

use std::{fmt, ops::Range, time::Duration, time::SystemTime};

use http::{HeaderName, HeaderValue, Request, Uri, header};
use url::Url;

use super::{RequestError, request_uri};
use crate::{
    event::{Event, json},
    intake::{Answer, Confirmation, Confirmed, Framing, Overhead, Protocol, Verdict},
    model::Secret,
};

/// Where the events are posted, below the base.
const EVENTS: &str = "/services/collector/event";

/// Where it is asked whether they are indexed.
const ACKNOWLEDGEMENTS: &str = "/services/collector/ack";

/// What base addresses that were copied with their path may end with.
const KNOWN_ENDS: [&str; 3] = [EVENTS, "/services/collector/raw", "/services/collector"];

/// Splunk keeps the acknowledgements of each channel apart.
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// Stands before the event's own bytes. No text of the envelope holds it: there a quotation mark is escaped.
const EVENT_KEY: &[u8] = br#""event":"#;

/// What Splunk is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The token; goes into a header.
    pub token: Secret,
    /// What Splunk files the events under.
    pub labels: Labels,
    /// How long to wait until the indexers acknowledge a batch; `None`: what the collector took counts as delivered.
    pub acknowledged_within: Option<Duration>,
}

/// What Splunk files the events under. Where nothing is said, the token's own settings hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// `host`.
    pub host: Option<String>,
    /// `source`.
    pub source: Option<String>,
    /// `sourcetype`.
    pub sourcetype: Option<String>,
    /// `index`.
    pub index: Option<String>,
}

impl Labels {
    /// The members of an envelope, with a comma behind each.
    fn members(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in [
            ("host", &self.host),
            ("source", &self.source),
            ("sourcetype", &self.sourcetype),
            ("index", &self.index),
        ] {
            if let Some(text) = value {
                json::write_string(&mut out, name);
                out.push(b':');
                json::write_string(&mut out, text);
                out.push(b',');
            }
        }
        out
    }
}

/// The protocol with one collector's address and token.
pub struct SplunkHec {
    events: Uri,
    acknowledgements: Uri,
    authorization: HeaderValue,
    channel: HeaderValue,
    /// The members of each envelope that are the same in all.
    labels: Vec<u8>,
    token: Secret,
    acknowledged_within: Option<Duration>,
}

impl SplunkHec {
    /// For the collector at `base`. `session` makes the channel: a random number of this process and intake.
    ///
    /// # Errors
    /// [`RequestError`] where the address or the token cannot be sent.
    pub fn new(base: &Url, config: &Config, session: u128) -> Result<Self, RequestError> {
        let channel = channel(session);
        let path = base.path().trim_end_matches('/');
        let root = KNOWN_ENDS.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
        let mut url = base.clone();
        url.set_path(&format!("{root}{EVENTS}"));
        let events = request_uri(&url)?;
        url.set_path(&format!("{root}{ACKNOWLEDGEMENTS}"));
        url.set_query(Some(&format!("channel={channel}")));
        let secret = |source| RequestError::Secret { key: "token", source };
        let mut authorization =
            HeaderValue::try_from(format!("Splunk {}", config.token.reveal())).map_err(secret)?;
        authorization.set_sensitive(true);
        Ok(Self {
            events,
            acknowledgements: request_uri(&url)?,
            authorization,
            channel: HeaderValue::try_from(channel).map_err(secret)?,
            labels: config.labels.members(),
            token: config.token.clone(),
            acknowledged_within: config.acknowledged_within,
        })
    }

    fn post(&self, uri: &Uri) -> http::request::Builder {
        Request::post(uri.clone())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(CHANNEL, self.channel.clone())
    }
}

/// A UUID (version 4) of a random number.
fn channel(random: u128) -> String {
    let versioned = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = |shift: u32, length: u32| (versioned >> shift) & ((1 << (4 * length)) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        digits(96, 8),
        digits(80, 4),
        digits(64, 4),
        digits(48, 4),
        digits(0, 12)
    )
}

impl fmt::Debug for SplunkHec {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplunkHec").field("host", &self.events.host()).finish_non_exhaustive()
    }
}

impl Framing for SplunkHec {
    fn overhead(&self) -> Overhead {
        Overhead { fixed: 0, separator: None }
    }

    /// Splunk indexes nothing from an envelope on that has a key which it does not know, and answers 200: there is none.
    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let time_ms = event.time_ms.max(0);
        let fraction = time_ms.rem_euclid(1_000);
        out.extend_from_slice(br#"{"time":"#);
        json::write_number(out, time_ms.div_euclid(1_000));
        out.extend_from_slice(format!(".{fraction:03},").as_bytes());
        out.extend_from_slice(&self.labels);
        out.extend_from_slice(format!(r#""fields":{{"event_id":"{}"}},"#, event.id).as_bytes());
        out.extend_from_slice(EVENT_KEY);
        out.extend_from_slice(event.body);
        out.push(b'}');
    }

    fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
        let start = memchr::memmem::find(encoded, EVENT_KEY).map(|at| at.saturating_add(EVENT_KEY.len()));
        let end = encoded.len().saturating_sub(1);
        start.and_then(|start| encoded.get(start..end)).unwrap_or(encoded).to_vec()
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        let length = ranges.iter().map(ExactSizeIterator::len).fold(0, usize::saturating_add);
        let mut body = Vec::with_capacity(length);
        for range in ranges {
            body.extend_from_slice(events.get(range.clone()).unwrap_or_default());
        }
        body
    }
}

impl Protocol for SplunkHec {
    fn request(&self) -> http::request::Builder {
        self.post(&self.events)
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.token.clone()]
    }

    fn classify(&self, n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
        reply::verdict(self.acknowledged_within.is_some(), n_events, answer, now)
    }

    fn confirmation(&self, answer: &Answer) -> Option<Confirmation> {
        let within = self.acknowledged_within?;
        let id = reply::acknowledgement_id(answer)?;
        let request = self.post(&self.acknowledgements).body(acknowledgement::question(id)).ok()?;
        Some(Confirmation { request, id, within })
    }

    fn confirmed(&self, id: u64, answer: &Answer, now: SystemTime) -> Confirmed {
        acknowledgement::confirmed(id, answer, now)
    }
}

#[cfg(test)]
mod tests;
