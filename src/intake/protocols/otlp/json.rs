//! Log records and requests in OTLP's JSON: names in lowerCamelCase, 64-bit numbers as texts, enumerations as numbers.

use serde_json::{Map, Number, Value};

use super::{
    record::{Decoded, Record, SEVERITY_NUMBER, SEVERITY_TEXT},
    request,
    value::AnyValue,
};
use crate::event::json::{write_name, write_number, write_string, write_text_member};

/// What stands after the records of a request.
pub(super) const SUFFIX: &[u8] = b"]}]}]}";

/// What stands before the records of a request.
pub(super) fn prefix() -> Vec<u8> {
    let mut out = br#"{"resourceLogs":[{"resource":{"attributes":["#.to_vec();
    let mut separator: &[u8] = b"";
    for (name, text) in request::RESOURCE {
        out.extend_from_slice(separator);
        write_attribute(&mut out, name, &AnyValue::Text(text.into()));
        separator = b",";
    }
    out.extend_from_slice(br#"]},"scopeLogs":[{"scope":{"#);
    write_text_member(&mut out, "name", request::SCOPE);
    write_text_member(&mut out, "version", request::VERSION);
    out.extend_from_slice(br#"},"logRecords":["#);
    out
}

/// Appends a record.
pub(super) fn write_record(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend_from_slice(b"{\"timeUnixNano\":\"");
    write_number(out, record.time_ns);
    out.extend_from_slice(b"\",\"severityNumber\":");
    write_number(out, SEVERITY_NUMBER);
    write_text_member(out, "severityText", SEVERITY_TEXT);
    write_text_member(out, "eventName", record.event_name.unwrap_or_default());
    if let Some(body) = &record.body {
        out.extend_from_slice(b",\"body\":{\"stringValue\":");
        write_string(out, body);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"attributes\":[");
    let mut separator: &[u8] = b"";
    record.visit_attributes(&mut |name, value| {
        out.extend_from_slice(separator);
        write_attribute(out, name, value);
        separator = b",";
    });
    out.extend_from_slice(b"]}");
}

fn write_attribute(out: &mut Vec<u8>, name: &str, value: &AnyValue<'_>) {
    out.extend_from_slice(b"{\"key\":");
    write_string(out, name);
    out.extend_from_slice(b",\"value\":");
    write_value(out, value);
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, value: &AnyValue<'_>) {
    out.push(b'{');
    match value {
        AnyValue::Null => {}
        AnyValue::Bool(truth) => {
            write_name(out, "boolValue");
            out.extend_from_slice(if *truth { b"true" } else { b"false" });
        }
        AnyValue::Int(number) => {
            out.extend_from_slice(b"\"intValue\":\"");
            write_number(out, *number);
            out.push(b'"');
        }
        AnyValue::Double(number) => {
            write_name(out, "doubleValue");
            out.extend_from_slice(Value::from(*number).to_string().as_bytes());
        }
        AnyValue::Text(text) => {
            write_name(out, "stringValue");
            write_string(out, text);
        }
        AnyValue::List(items) => {
            out.extend_from_slice(b"\"arrayValue\":{\"values\":[");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.extend_from_slice(b"]}");
        }
        AnyValue::Map(members) => {
            out.extend_from_slice(b"\"kvlistValue\":{\"values\":[");
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_attribute(out, name, member);
            }
            out.extend_from_slice(b"]}");
        }
    }
    out.push(b'}');
}

/// Reads what [`write_record`] wrote.
pub(super) fn read_record(encoded: &[u8]) -> Option<Decoded> {
    let record: Value = serde_json::from_slice(encoded).ok()?;
    let body = match record.get("body") {
        Some(body) => Some(body.get("stringValue")?.as_str()?.to_owned()),
        None => None,
    };
    let attributes = record.get("attributes")?.as_array()?.iter().map(read_attribute);
    Some(Decoded {
        has_event_name: record.get("eventName").is_some(),
        body,
        attributes: attributes.collect::<Option<_>>()?,
    })
}

fn read_attribute(attribute: &Value) -> Option<(String, Value)> {
    Some((attribute.get("key")?.as_str()?.to_owned(), read_value(attribute.get("value")?)?))
}

fn read_value(value: &Value) -> Option<Value> {
    let Some((kind, inner)) = value.as_object()?.iter().next() else { return Some(Value::Null) };
    let values = || inner.get("values")?.as_array();
    Some(match kind.as_str() {
        "stringValue" | "boolValue" => inner.clone(),
        "intValue" => Value::from(inner.as_str()?.parse::<i64>().ok()?),
        "doubleValue" => Value::Number(Number::from_f64(inner.as_f64()?)?),
        "arrayValue" => Value::Array(values()?.iter().map(read_value).collect::<Option<_>>()?),
        "kvlistValue" => Value::Object(values()?.iter().map(read_attribute).collect::<Option<Map<_, _>>>()?),
        _ => return None,
    })
}
