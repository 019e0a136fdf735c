//! Log records and requests in protocol buffers, written by hand after opentelemetry/proto/logs/v1/logs.proto and
//! common.proto; the numbers are those of the fields there.

use std::ops::Range;

use serde_json::{Map, Number, Value};

use super::{
    record::{Decoded, Record, SEVERITY_NUMBER, SEVERITY_TEXT},
    request,
    value::AnyValue,
    wire::{
        Field, PADDED_LENGTH, begin_bytes_field, begin_padded_field, delimited_length, enclose, fields,
        varint_length, write_bytes_field, write_fixed64_field, write_varint_field,
    },
};

const LOG_RECORDS: u8 = 2;

/// What stands before the records of a request.
#[derive(Debug)]
pub(super) struct Prefix {
    /// `Resource` as a field.
    resource: Vec<u8>,
    /// `InstrumentationScope` as a field.
    scope: Vec<u8>,
}

impl Prefix {
    pub(super) fn new() -> Self {
        let mut resource = Vec::new();
        for (name, text) in request::RESOURCE {
            write_attribute(&mut resource, 1, name, &AnyValue::Text(text.into()));
        }
        enclose(&mut resource, 1, 0);
        let mut scope = Vec::new();
        write_bytes_field(&mut scope, 1, request::SCOPE.as_bytes());
        write_bytes_field(&mut scope, 2, request::VERSION.as_bytes());
        enclose(&mut scope, 1, 0);
        Self { resource, scope }
    }

    /// Its length, which is the same whatever follows: lengths that depend on it are padded.
    pub(super) fn length(&self) -> usize {
        const HEAD: usize = PADDED_LENGTH + 1;
        HEAD.saturating_mul(2).saturating_add(self.resource.len()).saturating_add(self.scope.len())
    }

    /// The request with the records at `ranges`, each a field of its own.
    pub(super) fn assemble(&self, records: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        let record_bytes = ranges.iter().map(ExactSizeIterator::len).fold(0, usize::saturating_add);
        let scope_logs = self.scope.len().saturating_add(record_bytes);
        let resource_logs = [1, PADDED_LENGTH, self.resource.len(), scope_logs];
        let mut body = Vec::with_capacity(self.length().saturating_add(record_bytes));
        begin_padded_field(&mut body, 1, resource_logs.into_iter().fold(0, usize::saturating_add));
        body.extend_from_slice(&self.resource);
        begin_padded_field(&mut body, 2, scope_logs);
        body.extend_from_slice(&self.scope);
        for range in ranges {
            body.extend_from_slice(records.get(range.clone()).unwrap_or_default());
        }
        body
    }
}

/// Appends a record as a field of `ScopeLogs`.
pub(super) fn write_record(out: &mut Vec<u8>, record: &Record<'_>) {
    let start = out.len();
    write_fixed64_field(out, 1, record.time_ns);
    write_varint_field(out, 2, SEVERITY_NUMBER.into());
    write_bytes_field(out, 3, SEVERITY_TEXT.as_bytes());
    if let Some(body) = &record.body {
        begin_bytes_field(out, 5, delimited_length(body.len()).saturating_add(1));
        write_bytes_field(out, 1, body.as_bytes());
    }
    record.visit_attributes(&mut |name, value| write_attribute(out, 6, name, value));
    if let Some(name) = record.event_name {
        write_bytes_field(out, 12, name.as_bytes());
    }
    enclose(out, LOG_RECORDS, start);
}

fn field_length(length: usize) -> usize {
    delimited_length(length).saturating_add(1)
}

fn value_length(value: &AnyValue<'_>) -> usize {
    match value {
        AnyValue::Null => 0,
        AnyValue::Bool(_) => 2,
        AnyValue::Int(number) => varint_length(number.cast_unsigned()).saturating_add(1),
        AnyValue::Double(_) => 9,
        AnyValue::Text(text) => field_length(text.len()),
        AnyValue::List(_) | AnyValue::Map(_) => field_length(content_length(value)),
    }
}

/// Of the message in a list's or an object's value.
fn content_length(value: &AnyValue<'_>) -> usize {
    match value {
        AnyValue::List(items) => {
            items.iter().map(|item| field_length(value_length(item))).fold(0, usize::saturating_add)
        }
        AnyValue::Map(members) => members
            .iter()
            .map(|(name, member)| field_length(attribute_length(name, member)))
            .fold(0, usize::saturating_add),
        AnyValue::Null | AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_) | AnyValue::Text(_) => 0,
    }
}

fn attribute_length(name: &str, value: &AnyValue<'_>) -> usize {
    field_length(name.len()).saturating_add(field_length(value_length(value)))
}

/// Appends a `KeyValue` as a field.
fn write_attribute(out: &mut Vec<u8>, number: u8, name: &str, value: &AnyValue<'_>) {
    begin_bytes_field(out, number, attribute_length(name, value));
    write_bytes_field(out, 1, name.as_bytes());
    begin_bytes_field(out, 2, value_length(value));
    write_value(out, value);
}

fn write_value(out: &mut Vec<u8>, value: &AnyValue<'_>) {
    match value {
        AnyValue::Null => {}
        AnyValue::Text(text) => write_bytes_field(out, 1, text.as_bytes()),
        AnyValue::Bool(truth) => write_varint_field(out, 2, u64::from(*truth)),
        AnyValue::Int(number) => write_varint_field(out, 3, number.cast_unsigned()),
        AnyValue::Double(number) => write_fixed64_field(out, 4, number.to_bits()),
        AnyValue::List(items) => {
            begin_bytes_field(out, 5, content_length(value));
            for item in items {
                begin_bytes_field(out, 1, value_length(item));
                write_value(out, item);
            }
        }
        AnyValue::Map(members) => {
            begin_bytes_field(out, 6, content_length(value));
            for (name, member) in members {
                write_attribute(out, 1, name, member);
            }
        }
    }
}

/// Reads what [`write_record`] wrote.
pub(super) fn read_record(encoded: &[u8]) -> Option<Decoded> {
    let found = fields(encoded)?;
    let [(2, Field::Bytes(record))] = *found.as_slice() else { return None };
    let mut decoded = Decoded::default();
    for (number, field) in fields(record)? {
        match (number, field) {
            (5, Field::Bytes(body)) => {
                let Value::String(text) = read_value(body)? else { return None };
                decoded.body = Some(text);
            }
            (6, Field::Bytes(attribute)) => decoded.attributes.push(read_attribute(attribute)?),
            (12, _) => decoded.has_event_name = true,
            _ => {}
        }
    }
    Some(decoded)
}

fn read_attribute(message: &[u8]) -> Option<(String, Value)> {
    let found = fields(message)?;
    let [(1, Field::Bytes(name)), (2, Field::Bytes(value))] = *found.as_slice() else { return None };
    Some((String::from_utf8(name.to_vec()).ok()?, read_value(value)?))
}

fn read_value(message: &[u8]) -> Option<Value> {
    let found = fields(message)?;
    let Some((number, field)) = found.first() else { return Some(Value::Null) };
    Some(match (number, field) {
        (1, Field::Bytes(text)) => Value::String(String::from_utf8(text.to_vec()).ok()?),
        (2, Field::Varint(truth)) => Value::Bool(*truth != 0),
        (3, Field::Varint(number)) => Value::from(number.cast_signed()),
        (4, Field::Fixed64(bits)) => Value::Number(Number::from_f64(f64::from_bits(*bits))?),
        (5, Field::Bytes(list)) => {
            let items = fields(list)?.into_iter().map(|(_, item)| match item {
                Field::Bytes(item) => read_value(item),
                Field::Varint(_) | Field::Fixed64(_) | Field::Fixed32 => None,
            });
            Value::Array(items.collect::<Option<_>>()?)
        }
        (6, Field::Bytes(object)) => {
            let members = fields(object)?.into_iter().map(|(_, member)| match member {
                Field::Bytes(member) => read_attribute(member),
                Field::Varint(_) | Field::Fixed64(_) | Field::Fixed32 => None,
            });
            Value::Object(members.collect::<Option<Map<_, _>>>()?)
        }
        _ => return None,
    })
}
