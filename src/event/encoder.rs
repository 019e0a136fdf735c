//! From one record to its events.

use std::{ops::ControlFlow, vec};

use super::{
    Event, EventFormat, Shared,
    context::Context,
    shape::{Shape, TupleKind},
};
use crate::{
    flowlog::{
        Damage, DamageKind, Elements, KnownAddresses, RawRecord, RecordHasher,
        record::{self, GroupHead, RecordError, TupleGroup},
    },
    model::{BlobName, EventId, Origin, Reason, RecordKey, Rejected, Span},
    planted::{self, Bug},
};

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordPlace<'a> {
    pub(super) blob: &'a str,
    pub(super) span: Span,
}

/// A step of the encoding ends when so much is rejected: a record of nothing but bad tuples takes a hundred times its
/// size, because each goes with its record's head.
const REJECTED_AT_ONCE_BYTES: usize = 256 * 1024;

/// Turns the records of one blob into events of one format.
#[derive(Debug)]
pub struct Encoder {
    blob: BlobName,
    hasher: RecordHasher,
    shape: Shape,
    known_addresses: KnownAddresses,
    /// The event at hand. What the events of its group share stays in it from one to the next.
    body: Vec<u8>,
    /// Groups of tuples that were begun.
    n_groups: u64,
}

/// A record on its way into events. It is parsed once, however often the receiver of the events pauses.
#[derive(Debug)]
pub struct RecordEncoding<'a> {
    encoder: &'a mut Encoder,
    raw: RawRecord<'a>,
    /// `None` where the record is rejected whole.
    tuples: Option<Tuples<'a>>,
    /// What the next advance reports.
    rejected: Vec<Rejected>,
}

/// What a step of the encoding did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// What could not become an event, within the part of the record that this step covered.
    pub rejected: Vec<Rejected>,
    /// The record has no more events. `false`: the receiver asked for a pause, or much is rejected.
    pub done: bool,
}

/// The tuples of a record that are still to be encoded.
#[derive(Debug)]
struct Tuples<'a> {
    key: RecordKey,
    kind: TupleKind,
    context: Context,
    groups: vec::IntoIter<TupleGroup<'a>>,
    group: Option<OpenGroup<'a>>,
    next_ordinal: u32,
    /// How many there are in the record, as it stands there.
    in_record: u64,
}

#[derive(Debug)]
struct OpenGroup<'a> {
    head: GroupHead<'a>,
    /// The shape has been told.
    begun: bool,
    elements: Elements<'a>,
}

impl Encoder {
    /// An encoder for the records of one blob.
    #[must_use]
    pub fn new(format: EventFormat, origin: &Origin, blob: &BlobName) -> Self {
        let shape = Shape::new(format, origin, blob.as_str());
        let hasher = RecordHasher::new(origin, blob.as_str());
        Self {
            blob: blob.clone(),
            hasher,
            shape,
            known_addresses: KnownAddresses::default(),
            body: Vec::new(),
            n_groups: 0,
        }
    }

    /// Parses a record, so that its events can be taken.
    ///
    /// # Errors
    /// [`Damage`] where the bytes are not JSON: the blob cannot be read on here.
    pub fn begin<'a>(&'a mut self, raw: RawRecord<'a>) -> Result<RecordEncoding<'a>, Damage> {
        let whole = |encoder, reason, detail| {
            let rejected = vec![rejected_whole(&raw, reason, detail)];
            Ok(RecordEncoding { encoder, raw, tuples: None, rejected })
        };
        let record = match record::parse_raw(&raw) {
            Ok(record) => record,
            Err(RecordError::NotJson(detail)) => {
                return Err(Damage { offset: raw.span.from, kind: DamageKind::NotJson(detail) });
            }
            Err(RecordError::BadRecord(detail)) => return whole(self, Reason::BadRecord, detail),
            Err(error @ RecordError::UnknownVersion { .. }) => {
                return whole(self, Reason::UnknownVersion, error.to_string());
            }
        };
        self.shape.begin_record(&record.head, &RecordPlace { blob: self.blob.as_str(), span: raw.span });
        let in_group = |group: &TupleGroup<'_>| u64::try_from(group.tuples.n_left()).unwrap_or(u64::MAX);
        let in_record = record.groups.iter().map(in_group).fold(0, u64::saturating_add);
        let tuples = Tuples {
            key: self.hasher.key(&raw),
            kind: TupleKind::of(&record.head),
            context: Context::default(),
            groups: record.groups.into_iter(),
            group: None,
            next_ordinal: 0,
            in_record,
        };
        Ok(RecordEncoding { encoder: self, raw, tuples: Some(tuples), rejected: Vec::new() })
    }
}

impl RecordEncoding<'_> {
    /// Flow tuples of the record; 0 where it is rejected whole.
    #[must_use]
    pub fn n_tuples(&self) -> u64 {
        self.tuples.as_ref().map_or(0, |tuples| tuples.in_record)
    }

    /// How many of them the advances so far have passed.
    #[must_use]
    pub fn n_passed(&self) -> u64 {
        self.tuples.as_ref().map_or(0, |tuples| u64::from(tuples.next_ordinal))
    }

    /// Emits the record's events, from where the last call stopped. `emit` returns [`ControlFlow::Break`] to pause: the
    /// event that it was given counts as taken.
    pub fn advance(&mut self, emit: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>) -> Encoded {
        let Self { encoder, raw, tuples, rejected } = self;
        let Encoder { blob, shape, known_addresses, body, n_groups, .. } = &mut **encoder;
        let mut rejected = std::mem::take(rejected);
        let mut rejected_bytes = 0;
        let Some(Tuples { key, kind, context, groups, group: open, next_ordinal, .. }) = tuples else {
            return Encoded { rejected, done: true };
        };
        let mut writer = EventWriter {
            shape,
            body,
            place: RecordPlace { blob: blob.as_str(), span: raw.span },
            key: *key,
            next_ordinal,
            n_groups,
        };
        loop {
            let Some(group) = open else {
                match groups.next() {
                    Some(TupleGroup { head, tuples }) => {
                        *open = Some(OpenGroup { head, begun: false, elements: tuples });
                    }
                    None => return Encoded { rejected, done: true },
                }
                continue;
            };
            while let Some(tuple) = group.elements.next_usual_tuple(known_addresses) {
                if !group.begun {
                    writer.begin_group(*kind, group);
                }
                let id = writer.next_id();
                writer.begin_event(*kind);
                writer.shape.write_vnet(writer.body, &tuple, &group.head.rule, id, &writer.place);
                if emit(writer.event(*kind, id, tuple.time_ms)).is_break() {
                    return Encoded { rejected, done: false };
                }
            }
            let Some(element) = group.elements.next() else {
                *open = None;
                continue;
            };
            let id = writer.next_id();
            let tuple_text = element.text();
            let parsed = match &tuple_text {
                Some(text) => kind.parse(text).map_err(|error| error.to_string()),
                None => Err("flow tuple: expected a text".to_owned()),
            };
            let tuple = match parsed {
                Ok(tuple) => tuple,
                Err(detail) => {
                    rejected.push(Rejected {
                        reason: Reason::BadTuple,
                        detail,
                        span: raw.span,
                        ordinal: Some(id.ordinal),
                        context: Some(context.with_place(raw, *kind, &group.head)),
                        text: element.json().as_bytes().to_vec(),
                        answer: None,
                    });
                    rejected_bytes += rejected.last().map_or(0, Rejected::bytes_in_memory);
                    if rejected_bytes >= REJECTED_AT_ONCE_BYTES {
                        return Encoded { rejected, done: false };
                    }
                    continue;
                }
            };
            if !group.begun {
                writer.begin_group(*kind, group);
            }
            writer.begin_event(*kind);
            writer.shape.write(writer.body, &tuple, &group.head.rule, id, &writer.place);
            if emit(writer.event(*kind, id, tuple.time_ms())).is_break() {
                return Encoded { rejected, done: false };
            }
        }
    }
}

/// What the events of a record are made with.
struct EventWriter<'a> {
    shape: &'a mut Shape,
    /// The event at hand.
    body: &'a mut Vec<u8>,
    place: RecordPlace<'a>,
    key: RecordKey,
    next_ordinal: &'a mut u32,
    n_groups: &'a mut u64,
}

impl EventWriter<'_> {
    /// The identity of the next tuple, be it an event or not.
    fn next_id(&mut self) -> EventId {
        let mut id = EventId { record: self.key, ordinal: *self.next_ordinal };
        if planted::is(Bug::IdFromBatchIndex) {
            id.ordinal = planted::next_index();
        }
        *self.next_ordinal = self.next_ordinal.saturating_add(1);
        id
    }

    /// Puts what the events of the group share where it stays.
    fn begin_group(&mut self, kind: TupleKind, group: &mut OpenGroup<'_>) {
        self.shape.begin_group(kind, &group.head);
        group.begun = true;
        *self.n_groups = self.n_groups.saturating_add(1);
        self.body.clear();
        self.body.extend_from_slice(self.shape.shared(kind));
    }

    /// Leaves of the event before what is shared.
    fn begin_event(&mut self, kind: TupleKind) {
        self.body.truncate(self.shape.shared(kind).len());
    }

    /// What was written.
    fn event(&self, kind: TupleKind, id: EventId, time_ms: i64) -> Event<'_> {
        let shared = Some(Shared { group: *self.n_groups, length: self.shape.shared(kind).len() });
        Event { id, record: self.place.span, time_ms, body: self.body, shared }
    }
}

/// A record that is rejected whole.
fn rejected_whole(raw: &RawRecord<'_>, reason: Reason, detail: String) -> Rejected {
    Rejected {
        reason,
        detail,
        span: raw.span,
        ordinal: None,
        context: None,
        text: raw.bytes.to_vec(),
        answer: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(record: &str) -> Vec<Rejected> {
        let origin = Origin { account: String::new(), container: String::new() };
        let mut encoder = Encoder::new(EventFormat::Flow { provenance: false }, &origin, &BlobName::new("b"));
        let length = u64::try_from(record.len()).unwrap();
        let raw = RawRecord::new(Span { from: 0, to: length }, record.as_bytes());
        let encoded = encoder.begin(raw).unwrap().advance(&mut |_| ControlFlow::Continue(()));
        assert!(encoded.done);
        encoded.rejected
    }

    /// Scenario: records of both kinds whose every text has line ends in it, in every format. Guarantees: an event is one
    /// line all the same, which framings that separate events by line ends rely on.
    #[test]
    fn events_are_lines() {
        let vnet = r#"{"time":"2025-04-30T09:07:40Z","flowLogVersion":4,"flowLogGUID":"g\n","macAddress":"m\r",
            "category":"c\n","flowLogResourceID":"/a\n/b","targetResourceID":"/a\r/b","operationName":"o\n",
            "flowRecords":{"flows":[{"aclID":"a\n","flowGroups":[{"rule":"r\r\n","flowTuples":
            ["1663146003599,10.0.0.6,192.0.2.180,23956,443,6,O,C,NX\n,1,2,3,4"]}]}]}}"#;
        let nsg = r#"{"time":"2025-04-30T09:07:40Z","category":"c\n","resourceId":"/a\n/b","macAddress":"m\n",
            "operationName":"o\r","properties":{"Version":2,"flows":[{"rule":"r\n","flows":[{"mac":"m\r","flowTuples":
            ["1663146003,10.0.0.6,192.0.2.180,23956,443,T,O,A,C,1,2,3,4"]}]}]}}"#;
        let formats = [
            EventFormat::Flow { provenance: true },
            EventFormat::Ecs { enrich: true },
            EventFormat::Columns { enrich: true },
            EventFormat::Text,
        ];
        let origin = Origin { account: "a\n".to_owned(), container: "c\n".to_owned() };
        for (record, format) in
            [vnet, nsg].into_iter().flat_map(|record| formats.map(|format| (record, format)))
        {
            let mut encoder = Encoder::new(format, &origin, &BlobName::new("b\n"));
            let raw = RawRecord::new(Span { from: 0, to: 1 }, record.as_bytes());
            let mut n_events = 0;
            let encoded = encoder.begin(raw).unwrap().advance(&mut |event| {
                n_events += 1;
                let body = String::from_utf8_lossy(event.body);
                assert!(!body.contains(['\n', '\r']), "{format:?}: {body}");
                ControlFlow::Continue(())
            });
            assert_eq!((n_events, encoded.rejected.as_slice()), (1, [].as_slice()), "{format:?}");
        }
    }

    /// Scenario: bad tuples of several groups in a record with white space, nested members and members that are named
    /// as a tuple's place is. Guarantees: each has the compact head of the record, with its own place in it.
    #[test]
    fn the_context_of_bad_tuples() {
        let record = r#"{ "time": "2025-04-30T09:07:40Z", "flowLogVersion": 4, "rule": "other",
            "x\"y": { "a b" : [ 1, "\" , " ] }, "flowRecords": { "flows": [ { "aclID": "acl", "flowGroups": [
            { "rule": "one", "flowTuples": [ 1, 2 ] }, { "rule": "t\"wo", "flowTuples": [ {"a": 3} ] } ] } ] } }"#;
        let head =
            r#"{"time":"2025-04-30T09:07:40Z","flowLogVersion":4,"x\"y":{"a b":[1,"\" , "]},"aclID":"acl","#;
        let shown: Vec<_> = rejected(record)
            .into_iter()
            .map(|entry| (entry.ordinal, entry.context.unwrap(), String::from_utf8(entry.text).unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                (Some(0), format!("{head}\"rule\":\"one\"}}"), "1".to_owned()),
                (Some(1), format!("{head}\"rule\":\"one\"}}"), "2".to_owned()),
                (Some(2), format!("{head}\"rule\":\"t\\\"wo\"}}"), r#"{"a": 3}"#.to_owned()),
            ]
        );
    }
}
