//! The HTTP Event Collector of Splunk, as far as a sender can tell: the codes, the acknowledgements, and the refusals that
//! leave a part of a body indexed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::intake::{Accepted, Ledger, Refused, Share};

/// Everything of the collector is below it.
const ROOT: &str = "/services/collector";

/// The keys that an envelope may have.
const KEYS: [&str; 7] = ["time", "host", "source", "sourcetype", "index", "fields", "event"];

/// What the collector wants, and what it has to acknowledge.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    /// The only token; `None`: every token.
    pub(crate) token: Option<String>,
    /// The only index that the token may write into; `None`: every index.
    pub(crate) index: Option<String>,
    /// Acknowledges, and that long after the events came; `None`: acknowledgement is off.
    pub(crate) acknowledge_after: Option<Duration>,
    pub(crate) channels: Mutex<BTreeMap<String, Channel>>,
}

/// The acknowledgements of one sender.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    next_id: u64,
    /// When each id answers true; `None`: never. An id that did is not here any more.
    open: BTreeMap<u64, Option<Instant>>,
}

/// An envelope, its values as they stand in the body.
type Envelope<'a> = BTreeMap<String, &'a RawValue>;

#[derive(Deserialize)]
struct Question {
    acks: Vec<u64>,
}

/// Whether a request is for the collector.
pub(crate) fn is_collector(uri: &Uri) -> bool {
    uri.path().contains(ROOT)
}

/// What the collector says where something scripted goes wrong: 503 is its "busy".
pub(crate) fn scripted(status: StatusCode) -> Refused {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => refused(status, 9, "Server is busy", None),
        _ => refused(status, 8, "Internal server error", None),
    }
}

fn refused(status: StatusCode, code: u32, text: &str, event: Option<usize>) -> Refused {
    let mut body = serde_json::json!({ "text": text, "code": code });
    if let (Some(object), Some(number)) = (body.as_object_mut(), event) {
        object.insert("invalid-event-number".to_owned(), number.into());
    }
    Refused { status, body: body.to_string(), n_events: 0 }
}

fn bad_request(code: u32, text: &str, event: Option<usize>) -> Refused {
    refused(StatusCode::BAD_REQUEST, code, text, event)
}

impl Collector {
    /// Takes in one request.
    pub(crate) fn take_in(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        text: &str,
        share: Share,
        ledger: &Ledger,
    ) -> Result<Accepted, Refused> {
        let below = uri.path().split_once(ROOT).map_or("", |(_, below)| below);
        if below == "/health/1.0" {
            return Ok(Accepted { n_events: 0, body: r#"{"text":"HEC is healthy","code":17}"#.to_owned() });
        }
        self.check_token(headers)?;
        let channel = self.check_channel(uri, headers)?;
        match below {
            "" | "/event" | "/event/1.0" => self.take_events(text, share, channel, ledger),
            "/ack" => self.acknowledge(text, channel),
            _ => Err(refused(StatusCode::NOT_FOUND, 404, "The requested URL was not found", None)),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            return Err(refused(StatusCode::UNAUTHORIZED, 2, "Token is required", None));
        };
        let Some(token) = given.to_str().ok().and_then(|text| text.strip_prefix("Splunk ")) else {
            return Err(refused(StatusCode::UNAUTHORIZED, 3, "Invalid authorization", None));
        };
        if self.token.as_deref().is_some_and(|only| only != token) {
            return Err(refused(StatusCode::FORBIDDEN, 4, "Invalid token", None));
        }
        Ok(())
    }

    /// The channel, in the header or in the query. It is only looked at where acknowledgement is on.
    fn check_channel(&self, uri: &Uri, headers: &HeaderMap) -> Result<String, Refused> {
        if self.acknowledge_after.is_none() {
            return Ok(String::new());
        }
        let in_header = headers.get("x-splunk-request-channel").and_then(|value| value.to_str().ok());
        let in_query =
            uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("channel=")));
        let Some(channel) = in_header.or(in_query) else {
            return Err(bad_request(10, "Data channel is missing", None));
        };
        let groups: Vec<usize> = channel.split('-').map(str::len).collect();
        let is_hex = channel.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if groups != [8, 4, 4, 4, 12] || !is_hex {
            return Err(bad_request(11, "Invalid data channel", None));
        }
        Ok(channel.to_owned())
    }

    fn take_events(
        &self,
        text: &str,
        share: Share,
        channel: String,
        ledger: &Ledger,
    ) -> Result<Accepted, Refused> {
        if text.trim().is_empty() {
            return Err(bad_request(5, "No data", None));
        }
        let (mut events, end) = self.open_body(text);
        let mut outcome = match end {
            End::Whole | End::Silent => Ok(()),
            End::Refused(refusal) => Err(refusal),
        };
        if let Share::Before(number) = share
            && number < events.len()
        {
            events.truncate(number);
            outcome = Err(bad_request(6, "Invalid data format", Some(number)));
        }
        if matches!(share, Share::None) {
            events.clear();
        }
        ledger.append(events.iter().copied()).map_err(|error| {
            refused(StatusCode::INTERNAL_SERVER_ERROR, 8, &format!("cannot write: {error}"), None)
        })?;
        let n_events = events.len();
        outcome.map_err(|refusal| Refused { n_events, ..refusal })?;
        let mut body = serde_json::json!({ "text": "Success", "code": 0 });
        if let (Some(object), Some(id)) = (body.as_object_mut(), self.open_id(channel, share)) {
            object.insert("ackId".to_owned(), id.into());
        }
        Ok(Accepted { n_events, body: body.to_string() })
    }

    /// The events of the envelopes that are taken, each exactly as it stands there.
    fn open_body<'a>(&self, text: &'a str) -> (Vec<&'a str>, End) {
        let mut events = Vec::new();
        let envelopes = serde_json::Deserializer::from_str(text).into_iter::<Envelope<'a>>();
        for (number, envelope) in envelopes.enumerate() {
            match envelope.map_err(|_| End::invalid(6, "Invalid data format", number)) {
                Err(end) => return (events, end),
                Ok(envelope) => match self.open_envelope(&envelope, number) {
                    Ok(event) => events.push(event),
                    Err(end) => return (events, end),
                },
            }
        }
        (events, End::Whole)
    }

    fn open_envelope<'a>(&self, envelope: &Envelope<'a>, number: usize) -> Result<&'a str, End> {
        if envelope.keys().any(|key| !KEYS.contains(&key.as_str())) {
            return Err(End::Silent);
        }
        let value =
            |key: &str| envelope.get(key).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        if value("time").is_some_and(|time| !time.is_number() && !time.is_string()) {
            return Err(End::invalid(6, "Invalid data format", number));
        }
        let Some(event) = envelope.get("event") else {
            return Err(End::invalid(12, "Event field is required", number));
        };
        if matches!(event.get(), "\"\"" | "null" | "{}") {
            return Err(End::invalid(13, "Event field cannot be blank", number));
        }
        let are_flat = |fields: &Value| {
            fields.as_object().is_some_and(|members| members.values().all(|member| !member.is_object()))
        };
        if value("fields").is_some_and(|fields| !are_flat(&fields)) {
            return Err(End::invalid(15, "Error in handling indexed fields", number));
        }
        let index = value("index").and_then(|index| index.as_str().map(str::to_owned));
        if index.is_some() && self.index.is_some() && index != self.index {
            // Splunk counts from one here.
            return Err(End::invalid(7, "Incorrect index", number.saturating_add(1)));
        }
        Ok(event.get())
    }

    fn open_id(&self, channel: String, share: Share) -> Option<u64> {
        let after = self.acknowledge_after?;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let Channel { next_id, open } = channels.entry(channel).or_default();
        let id = *next_id;
        *next_id = id.saturating_add(1);
        open.insert(id, Instant::now().checked_add(after).filter(|_| !matches!(share, Share::None)));
        Some(id)
    }

    /// Answers for each id. One that answers true is forgotten.
    fn acknowledge(&self, text: &str, channel: String) -> Result<Accepted, Refused> {
        if self.acknowledge_after.is_none() {
            return Err(bad_request(14, "ACK is disabled", None));
        }
        let Ok(Question { acks }) = serde_json::from_str(text) else {
            return Err(bad_request(6, "Invalid data format", None));
        };
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let open = &mut channels.entry(channel).or_default().open;
        let mut answers = BTreeMap::new();
        for id in acks {
            let is_due = open.get(&id).is_some_and(|due| due.is_some_and(|due| due <= Instant::now()));
            if is_due {
                open.remove(&id);
            }
            answers.insert(id.to_string(), is_due);
        }
        Ok(Accepted { n_events: 0, body: serde_json::json!({ "acks": answers }).to_string() })
    }
}

/// How the reading of a body ended.
enum End {
    /// Every envelope was taken.
    Whole,
    /// An envelope has a key that is not known: nothing is taken from it on, and nothing is said.
    Silent,
    /// An envelope is refused, and what is behind it is not looked at.
    Refused(Refused),
}

impl End {
    fn invalid(code: u32, text: &str, number: usize) -> Self {
        Self::Refused(bad_request(code, text, Some(number)))
    }
}
