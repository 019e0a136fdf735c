//! From one record to its events.

use std::ops::ControlFlow;

use super::{Event, EventFormat, ecs::EcsWriter, flow::FlowWriter, json::write_escaped, text};
use crate::{
    flowlog::{
        Damage, DamageKind, RawRecord, RecordHasher,
        record::{self, Record, RecordError},
        tuple::FlowTuple,
    },
    model::{BlobName, EventId, Origin, Reason, Rejected, Span},
};

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordPlace<'a> {
    pub(super) blob: &'a str,
    pub(super) span: Span,
}

/// Turns the records of one blob into events of one format.
#[derive(Debug)]
pub struct Encoder {
    blob: BlobName,
    hasher: RecordHasher,
    shape: Shape,
    body: Vec<u8>,
}

/// What became of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// What could not become an event, within the part of the record that this call covered.
    pub rejected: Vec<Rejected>,
    /// The receiver of the events asked for a pause: go on with this ordinal. `None`: the record is done.
    pub next_ordinal: Option<u32>,
}

#[derive(Debug)]
enum Shape {
    Flow { writer: FlowWriter, provenance: bool },
    Ecs(Box<EcsWriter>),
    Text,
}

impl Encoder {
    /// An encoder for the records of one blob.
    #[must_use]
    pub fn new(format: EventFormat, origin: &Origin, blob: &BlobName) -> Self {
        let shape = match format {
            EventFormat::Flow { provenance } => Shape::Flow { writer: FlowWriter::default(), provenance },
            EventFormat::Ecs { enrich } => {
                Shape::Ecs(Box::new(EcsWriter::new(enrich, origin, blob.as_str())))
            }
            EventFormat::Text => Shape::Text,
        };
        let hasher = RecordHasher::new(origin, blob.as_str());
        Self { blob: blob.clone(), hasher, shape, body: Vec::new() }
    }

    /// Emits the record's events from ordinal `first` on. `emit` returns [`ControlFlow::Break`] to pause: the event it
    /// was given counts as taken, and a later call goes on behind it.
    ///
    /// # Errors
    /// [`Damage`] where the bytes are not JSON: the blob cannot be read on here. Nothing was emitted then.
    pub fn encode_record(
        &mut self,
        raw: &RawRecord<'_>,
        first: u32,
        emit: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Encoded, Damage> {
        let record = match record::parse(raw.bytes) {
            Ok(record) => record,
            Err(RecordError::NotJson(detail)) => {
                return Err(Damage { offset: raw.span.from, kind: DamageKind::NotJson(detail) });
            }
            Err(RecordError::BadRecord(detail)) => return Ok(whole(raw, Reason::BadRecord, detail)),
            Err(error @ RecordError::UnknownVersion(_)) => {
                return Ok(whole(raw, Reason::UnknownVersion, error.to_string()));
            }
        };
        Ok(self.encode_tuples(raw, &record, first, emit))
    }

    fn encode_tuples(
        &mut self,
        raw: &RawRecord<'_>,
        record: &Record<'_>,
        first: u32,
        emit: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Encoded {
        let Self { blob, hasher, shape, body } = self;
        let place = RecordPlace { blob: blob.as_str(), span: raw.span };
        let key = hasher.key(raw);
        shape.begin_record(record, &place);
        let mut encoded = Encoded::default();
        let mut ordinal: u32 = 0;
        for flow in record.flows() {
            for group in &flow.flow_groups {
                let mut begun = false;
                for element in &group.flow_tuples {
                    let id = EventId { record: key, ordinal };
                    ordinal = ordinal.saturating_add(1);
                    if id.ordinal < first {
                        continue;
                    }
                    let tuple_text = record::tuple_text(element);
                    let parsed = match &tuple_text {
                        Some(text) => FlowTuple::parse(text).map_err(|error| error.to_string()),
                        None => Err("flow tuple: expected a text".to_owned()),
                    };
                    let tuple = match parsed {
                        Ok(tuple) => tuple,
                        Err(detail) => {
                            encoded.rejected.push(Rejected {
                                reason: Reason::BadTuple,
                                detail,
                                span: raw.span,
                                ordinal: Some(id.ordinal),
                                context: Some(context(raw, &flow.acl_id, &group.rule)),
                                text: element.get().as_bytes().to_vec(),
                                answer: None,
                            });
                            continue;
                        }
                    };
                    if !begun {
                        shape.begin_group(&flow.acl_id, &group.rule);
                        begun = true;
                    }
                    body.clear();
                    shape.write(body, &tuple, &group.rule, id, &place);
                    let event = Event { id, record: raw.span, time_ms: tuple.time_ms, body };
                    if emit(event).is_break() {
                        encoded.next_ordinal = Some(ordinal);
                        return encoded;
                    }
                }
            }
        }
        encoded
    }
}

impl Shape {
    fn begin_record(&mut self, record: &Record<'_>, place: &RecordPlace<'_>) {
        match self {
            Self::Flow { writer, .. } => writer.begin_record(record),
            Self::Ecs(writer) => writer.begin_record(record, place),
            Self::Text => {}
        }
    }

    fn begin_group(&mut self, acl_id: &str, rule: &str) {
        match self {
            Self::Flow { writer, .. } => writer.begin_group(acl_id, rule),
            Self::Ecs(writer) => writer.begin_group(acl_id, rule),
            Self::Text => {}
        }
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        tuple: &FlowTuple<'_>,
        rule: &str,
        id: EventId,
        place: &RecordPlace<'_>,
    ) {
        match self {
            Self::Flow { writer, provenance } => writer.write(out, tuple, provenance.then_some((id, place))),
            Self::Ecs(writer) => writer.write(out, tuple, id),
            Self::Text => text::write(out, tuple, rule),
        }
    }
}

/// A record that is rejected whole.
fn whole(raw: &RawRecord<'_>, reason: Reason, detail: String) -> Encoded {
    let rejected = Rejected {
        reason,
        detail,
        span: raw.span,
        ordinal: None,
        context: None,
        text: raw.bytes.to_vec(),
        answer: None,
    };
    Encoded { rejected: vec![rejected], next_ordinal: None }
}

/// What an operator needs beside a bad tuple: the record without its flows, and where in it the tuple stood.
fn context(raw: &RawRecord<'_>, acl_id: &str, rule: &str) -> String {
    let mut out = vec![b'{'];
    let mut member = |name: &str, value: &[u8]| {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        out.push(b'"');
        write_escaped(&mut out, name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    };
    for one in record::members(raw.bytes) {
        if one.name != "flowRecords" {
            member(&one.name, one.value.get().as_bytes());
        }
    }
    for (name, text) in [("aclID", acl_id), ("rule", rule)] {
        let mut value = vec![b'"'];
        write_escaped(&mut value, text.as_bytes());
        value.push(b'"');
        member(name, &value);
    }
    out.push(b'}');
    // Names and values are pieces of valid UTF-8; nothing is replaced here.
    String::from_utf8_lossy(&out).into_owned()
}
