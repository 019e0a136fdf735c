//! What an event is as a log record, and back: names, time and body. How a record is written down is no matter here.
//!
//! ECS names are joined by dots. Those that OpenTelemetry's semantic conventions have other names for are renamed, one
//! to one; `source.address`, `destination.address`, `network.transport`, `network.type`, `cloud.provider` and others are
//! called the same in both.

use std::borrow::Cow;

use chrono::DateTime;
use serde_json::{Map, Value};

use super::value::{AnyValue, Members};
use crate::event::Event;

/// What kind of event a record is. One without it is no flat object; its body is the event as it stands.
pub(super) const EVENT_NAME: &str = "azure.network.flow";
/// A flow is nothing to worry about: INFO, the lowest of it.
pub(super) const SEVERITY_NUMBER: u8 = 9;
/// The name of [`SEVERITY_NUMBER`].
pub(super) const SEVERITY_TEXT: &str = "INFO";
/// The attribute with the event's identity.
const EVENT_ID: &str = "event_id";

/// ECS names and what OpenTelemetry's registry of attributes has in their place.
const RENAMED: [(&str, &str); 4] = [
    ("azure.resource.id", "cloud.resource_id"),
    ("rule.name", "security_rule.name"),
    ("rule.category", "security_rule.category"),
    ("rule.ruleset", "security_rule.ruleset.name"),
];

/// An event as a log record.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// Time of the flow, nanoseconds since 1970.
    pub(super) time_ns: u64,
    /// ECS's `message`, as OpenTelemetry's data model maps it.
    pub(super) body: Option<Cow<'a, str>>,
    /// `event_name`.
    pub(super) event_name: Option<&'static str>,
    event_id: Cow<'a, str>,
    members: Members<'a>,
}

impl<'a> Record<'a> {
    /// The record of an event.
    pub(super) fn of(event: &Event<'a>) -> Self {
        let parsed = serde_json::from_slice(event.body);
        let Ok(AnyValue::Map(mut members)) = parsed else { return Self::unparsed(event) };
        if !is_flat(&members, &mut String::new()) {
            return Self::unparsed(event);
        }
        // A replayed event has its time and identity only there.
        let inside = time_ns(&members);
        let event_id = match find(&members, &["event", "id"]) {
            Some(AnyValue::Text(id)) => id.clone(),
            _ => Cow::Owned(event.id.to_string()),
        };
        Self {
            time_ns: inside.unwrap_or_else(|| from_milliseconds(event.time_ms)),
            body: take_message(&mut members),
            event_name: Some(EVENT_NAME),
            event_id,
            members,
        }
    }

    /// An event that attributes cannot hold. None that flowlogd writes is like that; what is in a quarantine may be.
    fn unparsed(event: &Event<'a>) -> Self {
        Self {
            time_ns: from_milliseconds(event.time_ms),
            body: Some(String::from_utf8_lossy(event.body)),
            event_name: None,
            event_id: Cow::Owned(event.id.to_string()),
            members: Vec::new(),
        }
    }

    /// Shows every attribute.
    pub(super) fn visit_attributes(&self, visit: &mut dyn FnMut(&str, &AnyValue<'_>)) {
        visit(EVENT_ID, &AnyValue::Text(Cow::Borrowed(&self.event_id)));
        visit_members(&self.members, &mut String::new(), visit);
    }
}

fn visit_members(members: &Members<'_>, path: &mut String, visit: &mut dyn FnMut(&str, &AnyValue<'_>)) {
    let length = path.len();
    for (name, value) in members {
        path.push_str(name);
        match value.members() {
            Some(inner) => {
                path.push('.');
                visit_members(inner, path, visit);
            }
            None => visit(renamed(path), value),
        }
        path.truncate(length);
    }
}

/// Whether names can be joined and taken apart again: none has a dot, and none is called as another will be.
fn is_flat(members: &Members<'_>, path: &mut String) -> bool {
    let length = path.len();
    members.iter().all(|(name, value)| {
        path.push_str(name);
        let is_flat = !name.contains('.')
            && match value.members() {
                Some(inner) => {
                    path.push('.');
                    is_flat(inner, path)
                }
                None => path != EVENT_ID && RENAMED.iter().all(|(_, there)| path != there),
            };
        path.truncate(length);
        is_flat
    })
}

fn renamed(name: &str) -> &str {
    RENAMED.iter().find(|(here, _)| *here == name).map_or(name, |(_, there)| there)
}

fn original(name: &str) -> &str {
    RENAMED.iter().find(|(_, there)| *there == name).map_or(name, |(here, _)| here)
}

fn find<'b, 'a>(members: &'b Members<'a>, names: &[&str]) -> Option<&'b AnyValue<'a>> {
    let (first, rest) = names.split_first()?;
    let (_, value) = members.iter().find(|(name, _)| name == first)?;
    if rest.is_empty() { Some(value) } else { find(value.members()?, rest) }
}

fn take_message<'a>(members: &mut Members<'a>) -> Option<Cow<'a, str>> {
    let at =
        members.iter().position(|(name, value)| name == "message" && matches!(value, AnyValue::Text(_)))?;
    match members.remove(at) {
        (_, AnyValue::Text(message)) => Some(message),
        _ => None,
    }
}

/// The flow's time. The time stamp of a network security group's event is its record's; the flow's is beside it.
fn time_ns(members: &Members<'_>) -> Option<u64> {
    let time = find(members, &["azure", "flow", "time"]).or_else(|| find(members, &["@timestamp"]))?;
    let AnyValue::Text(text) = time else { return None };
    let nanoseconds = DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()?;
    u64::try_from(nanoseconds).ok()
}

/// OTLP has no time before 1970: that is 0, unknown.
fn from_milliseconds(time_ms: i64) -> u64 {
    u64::try_from(time_ms).unwrap_or_default().saturating_mul(1_000_000)
}

/// What was read of a record that was written here.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) has_event_name: bool,
    pub(super) body: Option<String>,
    pub(super) attributes: Vec<(String, Value)>,
}

impl Decoded {
    /// The event that it was; its keys may be in another order.
    pub(super) fn into_event(self) -> Option<Vec<u8>> {
        if !self.has_event_name {
            return self.body.map(String::into_bytes);
        }
        let mut event = Map::new();
        if let Some(message) = self.body {
            event.insert("message".to_owned(), Value::String(message));
        }
        for (name, value) in self.attributes {
            if name != EVENT_ID {
                insert(&mut event, original(&name), value)?;
            }
        }
        Some(Value::Object(event).to_string().into_bytes())
    }
}

fn insert(object: &mut Map<String, Value>, path: &str, value: Value) -> Option<()> {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
            Some(())
        }
        Some((name, rest)) => {
            let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            insert(inner.as_object_mut()?, rest, value)
        }
    }
}
