//! From a row of the quarantine back to what it was: an event, or records for this program's parser.
//!
//! | row | input |
//! |---|---|
//! | an event that an intake refused, or that is in doubt | the event as it is kept |
//! | a tuple | its record in the source; where that is gone, the record's head with this tuple in it |
//! | a record or damage, kept whole | the text that is kept |
//! | a record kept in part, or incomplete when its blob was sealed | the record in the source |
//!
//! A record's identity is a hash over its place and bytes. Of a tuple whose record is gone the bytes are not known: the
//! hash is then taken over what is left, so its id is always the same, but not the one that the record had.

use std::{ops::ControlFlow, sync::Arc};

use tokio::runtime::Runtime;

use super::blob_text::{Absent, BlobText};
use crate::{
    event::{
        Encoder, EventFormat,
        json::{write_name, write_string},
    },
    flowlog::{
        Element, Piece, RawRecord, Splitter, Start, Tail,
        record::{self, Record},
    },
    model::{BlobName, Origin, Reason, Scope, Span},
    storage::{Account, BlobStore},
    store::sqlite::QuarantineEntry,
};

/// What there is to send again.
#[derive(Debug)]
pub(super) enum Input {
    /// One event, in its format.
    Event(Vec<u8>),
    /// One tuple of a record.
    Tuple {
        /// The record.
        record: OwnedRecord,
        /// The tuple's ordinal.
        ordinal: u32,
    },
    /// Every tuple of these records. There may be none: the input was no record after all, as a comma is none.
    Records(Vec<OwnedRecord>),
}

/// A record with its place.
#[derive(Debug, Clone)]
pub(super) struct OwnedRecord {
    span: Span,
    bytes: Vec<u8>,
}

impl OwnedRecord {
    pub(super) fn raw(&self) -> RawRecord<'_> {
        RawRecord::new(self.span, &self.bytes)
    }
}

/// The configured sources, to read whole records from.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    runtime: &'a Runtime,
    accounts: Vec<Arc<dyn Account>>,
    record_limit: usize,
    /// The last record that was read for a tuple: the tuples of one record come one after the other.
    last: Option<(Origin, BlobName, OwnedRecord)>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(runtime: &'a Runtime, accounts: Vec<Arc<dyn Account>>, record_limit: usize) -> Self {
        Self { runtime, accounts, record_limit, last: None }
    }

    /// What there is to send again of a row.
    ///
    /// # Errors
    /// Why the row has to stay, for people.
    pub(super) fn input(&mut self, entry: QuarantineEntry) -> Result<Input, String> {
        match entry.rejected.ordinal {
            Some(ordinal) if entry.rejected.reason == Reason::BadTuple => self.tuple(&entry, ordinal),
            Some(_) => Ok(Input::Event(entry.rejected.text)),
            None => self.records(entry),
        }
    }

    fn tuple(&mut self, entry: &QuarantineEntry, ordinal: u32) -> Result<Input, String> {
        let element = str::from_utf8(&entry.rejected.text).unwrap_or_default();
        let record = match self.record_of(entry) {
            Ok(record) if has_tuple(&record, ordinal, element) => record,
            Ok(_) | Err(Absent::Gone(_)) => rebuilt(entry, ordinal, element)?,
            Err(Absent::Unreadable(why)) => return Err(why),
        };
        check_tuple(entry, &record, ordinal)?;
        Ok(Input::Tuple { record, ordinal })
    }

    fn records(&self, entry: QuarantineEntry) -> Result<Input, String> {
        let QuarantineEntry { scope, blob, rejected, .. } = entry;
        let is_whole = u64::try_from(rejected.text.len()) == Ok(rejected.span.length());
        let records = if is_whole && rejected.reason != Reason::IncompleteRecord {
            let mut splitter = splitter_at(rejected.span.from, rejected.text.len());
            splitter.push(&rejected.text);
            splitter.end();
            let records = taken(&mut splitter)?;
            match splitter.tail() {
                Tail::Clean => records,
                Tail::Incomplete(damaged) | Tail::Damaged(damaged) => return Err(damaged.kind.to_string()),
            }
        } else {
            let to = (rejected.reason != Reason::IncompleteRecord).then_some(rejected.span.to);
            self.read(&scope, blob.name(), rejected.span.from, to).map_err(|absent| match absent {
                Absent::Gone(why) | Absent::Unreadable(why) => why,
            })?
        };
        for record in &records {
            record::parse(&record.bytes).map_err(|error| error.to_string())?;
        }
        Ok(Input::Records(records))
    }

    /// The record that a row's tuple stood in.
    fn record_of(&mut self, entry: &QuarantineEntry) -> Result<OwnedRecord, Absent> {
        let QuarantineEntry { scope, blob, rejected, .. } = entry;
        if let Some((origin, name, record)) = &self.last
            && *origin == scope.origin
            && name == blob.name()
            && record.span == rejected.span
        {
            return Ok(record.clone());
        }
        let records = self.read(scope, blob.name(), rejected.span.from, Some(rejected.span.to))?;
        let record = records
            .into_iter()
            .find(|record| record.span == rejected.span)
            .ok_or_else(|| Absent::Gone("the blob has another record there now".to_owned()))?;
        self.last = Some((scope.origin.clone(), blob.name().clone(), record.clone()));
        Ok(record)
    }

    /// The records of a blob from byte `from` of its text to byte `to`; the first one where no end is given.
    fn read(
        &self,
        scope: &Scope,
        name: &BlobName,
        from: u64,
        to: Option<u64>,
    ) -> Result<Vec<OwnedRecord>, Absent> {
        let containers = self.accounts.iter().map(|account| account.container(&scope.origin.container));
        let store = containers
            .into_iter()
            .find(|store| *store.origin() == scope.origin)
            .ok_or_else(|| Absent::Gone(format!("no source is configured for {}", scope.origin)))?;
        self.runtime.block_on(self.read_from(store.as_ref(), name, from, to))
    }

    async fn read_from(
        &self,
        store: &dyn BlobStore,
        name: &BlobName,
        from: u64,
        to: Option<u64>,
    ) -> Result<Vec<OwnedRecord>, Absent> {
        let mut text = BlobText::open(store, name, from..to.unwrap_or(u64::MAX)).await?;
        let mut splitter = splitter_at(from, self.record_limit);
        let (mut records, mut n_bytes) = (Vec::new(), 0_u64);
        while to.is_some() || records.is_empty() {
            let chunk = text.next().await?;
            if chunk.is_empty() {
                break;
            }
            n_bytes = n_bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            splitter.push(&chunk);
            records.extend(taken(&mut splitter).map_err(Absent::Gone)?);
        }
        if to.is_some_and(|to| from.saturating_add(n_bytes) < to) {
            return Err(Absent::Gone("the blob is shorter now".to_owned()));
        }
        if to.is_some() {
            splitter.end();
            records.extend(taken(&mut splitter).map_err(Absent::Gone)?);
        } else {
            records.truncate(1);
        }
        if records.is_empty() {
            return Err(Absent::Gone("the record still has no end".to_owned()));
        }
        Ok(records)
    }
}

fn splitter_at(offset: u64, record_limit: usize) -> Splitter {
    let start = if offset == 0 { Start::Beginning } else { Start::After { offset, context: &[] } };
    Splitter::new(start, record_limit)
}

fn taken(splitter: &mut Splitter) -> Result<Vec<OwnedRecord>, String> {
    let mut records = Vec::new();
    while let Some(piece) = splitter.next_piece() {
        match piece {
            Piece::Record(RawRecord { span, bytes, .. }) => {
                records.push(OwnedRecord { span, bytes: bytes.to_vec() })
            }
            Piece::Damaged(damaged) => return Err(damaged.kind.to_string()),
        }
    }
    Ok(records)
}

/// Whether this program can read a tuple of a record; else why not.
fn check_tuple(entry: &QuarantineEntry, record: &OwnedRecord, ordinal: u32) -> Result<(), String> {
    let mut encoder = Encoder::new(EventFormat::Text, &entry.scope.origin, entry.blob.name());
    let mut encoding = encoder.begin(record.raw()).map_err(|damage| damage.to_string())?;
    loop {
        let encoded = encoding.advance(&mut |_event| ControlFlow::Continue(()));
        if let Some(rejected) =
            encoded.rejected.into_iter().find(|rejected| rejected.ordinal == Some(ordinal))
        {
            return Err(rejected.detail);
        }
        if encoded.done {
            return Ok(());
        }
    }
}

/// Whether a record has this element at this place: else another record stands there now.
fn has_tuple(record: &OwnedRecord, ordinal: u32, element: &str) -> bool {
    let Ok(record) = record::parse(&record.bytes) else { return false };
    nth_element(&record, ordinal) == Some(element)
}

fn nth_element<'a>(record: &Record<'a>, ordinal: u32) -> Option<&'a str> {
    let mut elements = record.groups.iter().flat_map(|group| group.tuples.clone());
    elements.nth(usize::try_from(ordinal).ok()?).map(Element::json)
}

/// The head of the record with nothing but this tuple, at its ordinal: two equal tuples of a record keep different ids.
fn rebuilt(entry: &QuarantineEntry, ordinal: u32, element: &str) -> Result<OwnedRecord, String> {
    let context = entry.rejected.context.as_deref().unwrap_or_default();
    let mut bytes = vec![b'{'];
    let mut place = TuplePlace::default();
    for member in record::members(context.as_bytes()) {
        let value = member.value.get();
        let text = || serde_json::from_str(value).unwrap_or_default();
        match &*member.name {
            "aclID" => place.acl_id = text(),
            "rule" => place.rule = text(),
            "mac" => place.mac = text(),
            "properties" => place.version = serde_json::from_str(value).ok(),
            _ => {
                if bytes.len() > 1 {
                    bytes.push(b',');
                }
                write_string(&mut bytes, &member.name);
                bytes.push(b':');
                bytes.extend_from_slice(value.as_bytes());
            }
        }
    }
    place.write_flows(&mut bytes, ordinal, element);
    bytes.push(b'}');
    record::parse(&bytes).map_err(|error| format!("the head of the record: {error}"))?;
    Ok(OwnedRecord { span: entry.rejected.span, bytes })
}

/// Where a tuple stood in its record, as the context of its row tells.
#[derive(Default)]
struct TuplePlace {
    acl_id: String,
    rule: String,
    mac: String,
    /// Of a record of a network security group.
    version: Option<NsgVersion>,
}

/// What the context keeps of `properties`.
#[derive(serde::Deserialize)]
struct NsgVersion {
    #[serde(rename = "Version")]
    number: u32,
}

impl TuplePlace {
    /// Writes the member of a record that holds the flows, with this element behind as many others as it had.
    fn write_flows(&self, out: &mut Vec<u8>, ordinal: u32, element: &str) {
        match &self.version {
            None => {
                write_name(out, "flowRecords");
                out.extend_from_slice(br#"{"flows":[{"aclID":"#);
                write_string(out, &self.acl_id);
                out.extend_from_slice(br#","flowGroups":[{"rule":"#);
                write_string(out, &self.rule);
            }
            Some(NsgVersion { number }) => {
                write_name(out, "properties");
                out.extend_from_slice(format!(r#"{{"Version":{number},"flows":[{{"rule":"#).as_bytes());
                write_string(out, &self.rule);
                out.extend_from_slice(br#","flows":[{"mac":"#);
                write_string(out, &self.mac);
            }
        }
        out.extend_from_slice(br#","flowTuples":["#);
        for _before in 0..ordinal {
            out.extend_from_slice(b"0,");
        }
        out.extend_from_slice(element.as_bytes());
        out.extend_from_slice(b"]}]}]}");
    }
}
