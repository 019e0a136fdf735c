//! What the simulated container holds: every version that a blob ever had, and where each flow tuple stands in it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use flowlogd::model::{BlobName, BlobVersion, ETag, Hour, Origin};

const HEAD: &[u8] = b"{\"records\":[";
const END: &[u8] = b"]}";

/// Bytes behind the last record while a writer has written a record in part only.
const TORN_BYTES: usize = 40;

/// What becomes of a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An event.
    Good,
    /// An event that no intake takes.
    Poison,
    /// Not one that can be parsed.
    Bad,
}

/// Every tuple that was ever written, by its number: it stands in the tuple as the source address.
#[derive(Debug, Default)]
pub(super) struct Tuples(Vec<Kind>);

impl Tuples {
    fn add(&mut self, kind: Kind) -> usize {
        self.0.push(kind);
        self.0.len() - 1
    }

    pub(super) fn kind(&self, number: usize) -> Kind {
        self.0[number]
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A record, or another JSON value in its place, which belongs into the quarantine.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The numbers of its tuples; `None` where it is no record.
    pub(super) tuples: Option<Vec<usize>>,
}

/// A blob from its creation, or from its being rewritten, on.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    /// Head and records, without the end.
    bytes: Vec<u8>,
    pub(super) records: Vec<Record>,
    /// Of each version: its tag, how many records it has, and how many bytes.
    pub(super) versions: Vec<(ETag, usize, u64)>,
}

/// A blob.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) name: BlobName,
    mac: String,
    /// The last one is what is there now.
    pub(super) generations: Vec<Generation>,
    /// A record that is written in part.
    torn: Option<Record>,
    last_modified: DateTime<Utc>,
    pub(super) is_deleted: bool,
}

impl Blob {
    fn generation(&self) -> &Generation {
        self.generations.last().unwrap()
    }

    /// What is there now.
    pub(super) fn version(&self) -> BlobVersion {
        let (etag, _, length) = self.generation().versions.last().unwrap().clone();
        BlobVersion { name: self.name.clone(), etag, length, last_modified: self.last_modified }
    }

    /// The bytes that are there now.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Generation { bytes, records, .. } = self.generation();
        match &self.torn {
            Some(torn) => bytes[..usize::try_from(torn.from).unwrap() + TORN_BYTES].to_vec(),
            None => {
                assert!(records.last().is_none_or(|last| last.to == bytes.len() as u64));
                [bytes.as_slice(), END].concat()
            }
        }
    }

    /// The tuples and pieces that whoever reads it now can read.
    pub(super) fn records(&self) -> &[Record] {
        &self.generation().records
    }
}

/// All blobs, by name.
#[derive(Debug)]
pub(super) struct Blobs {
    pub(super) origin: Origin,
    blobs: BTreeMap<String, Blob>,
    n_versions: u64,
    pub(super) tuples: Tuples,
}

/// What is appended at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Append {
    Record,
    /// Valid JSON that is no record.
    Piece,
    /// The beginning of a record; the next append writes its rest.
    Torn,
}

impl Blobs {
    pub(super) fn new() -> Self {
        let origin = Origin { account: "simulated".to_owned(), container: "logs".to_owned() };
        Self { origin, blobs: BTreeMap::new(), n_versions: 0, tuples: Tuples::default() }
    }

    /// The name of a root's blob.
    pub(super) fn name(root: usize, interface: usize, hour: Hour) -> String {
        format!(
            "flowLogResourceID=/S_RG/NETWORKWATCHER_LOG{root}/{}m=00/macAddress=00224800000{interface}/PT1H.json",
            hour.prefix()
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&Blob> {
        self.blobs.get(name).filter(|blob| !blob.is_deleted)
    }

    /// Also one that was deleted.
    pub(super) fn ever(&self, name: &str) -> Option<&Blob> {
        self.blobs.get(name)
    }

    /// What is there now, in the order of names.
    pub(super) fn existing(&self) -> impl Iterator<Item = &Blob> {
        self.blobs.values().filter(|blob| !blob.is_deleted)
    }

    pub(super) fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Blob> {
        let from = self.blobs.range(prefix.to_owned()..);
        from.take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(_, blob)| blob)
            .filter(|blob| !blob.is_deleted)
    }

    /// Appends to a blob, or creates it.
    pub(super) fn append(
        &mut self,
        (root, interface, hour): (usize, usize, Hour),
        what: Append,
        kinds: &[Kind],
        now: DateTime<Utc>,
    ) {
        let name = Self::name(root, interface, hour);
        let blob = self.blobs.entry(name.clone()).or_insert_with(|| Blob {
            name: BlobName::new(name),
            mac: format!("00224800000{interface}"),
            generations: vec![Generation::new()],
            torn: None,
            last_modified: now,
            is_deleted: false,
        });
        if blob.is_deleted {
            // A name that is used again.
            blob.is_deleted = false;
            blob.torn = None;
            blob.generations.push(Generation::new());
        }
        let generation = blob.generations.last_mut().unwrap();
        if let Some(torn) = blob.torn.take() {
            generation.records.push(torn);
        }
        if !generation.records.is_empty() {
            generation.bytes.push(b',');
        }
        let from = generation.bytes.len() as u64;
        let tuples = match what {
            Append::Piece => None,
            Append::Record | Append::Torn => {
                Some(kinds.iter().map(|kind| self.tuples.add(*kind)).collect::<Vec<_>>())
            }
        };
        let text = match &tuples {
            Some(numbers) => record(&blob.mac, now, numbers, kinds),
            None => format!("{{\"time\":\"never\",\"n\":{}}}", self.n_versions),
        };
        generation.bytes.extend_from_slice(text.as_bytes());
        let record = Record { from, to: generation.bytes.len() as u64, tuples };
        if what == Append::Torn {
            blob.torn = Some(record);
        } else {
            generation.records.push(record);
        }
        self.publish(&Self::name(root, interface, hour), now);
    }

    /// Writes another beginning: everything but the first records is replaced.
    pub(super) fn rewrite(&mut self, name: &str, n_kept: usize, now: DateTime<Utc>) {
        let Some(blob) = self.blobs.get_mut(name).filter(|blob| !blob.is_deleted) else { return };
        let mut generation = blob.generation().clone();
        generation.records.truncate(n_kept);
        let length = generation.records.last().map_or(HEAD.len() as u64, |record| record.to);
        generation.bytes.truncate(usize::try_from(length).unwrap());
        generation.versions.clear();
        blob.torn = None;
        blob.generations.push(generation);
        self.publish(name, now);
    }

    pub(super) fn delete(&mut self, name: &str) {
        if let Some(blob) = self.blobs.get_mut(name) {
            blob.is_deleted = true;
        }
    }

    fn publish(&mut self, name: &str, now: DateTime<Utc>) {
        let blob = self.blobs.get_mut(name).unwrap();
        self.n_versions += 1;
        blob.last_modified = now;
        let length = blob.bytes().len() as u64;
        let etag = ETag::new(&format!("0x{:X}", self.n_versions));
        let generation = blob.generations.last_mut().unwrap();
        generation.versions.push((etag, generation.records.len(), length));
    }
}

impl Generation {
    fn new() -> Self {
        Self { bytes: HEAD.to_vec(), records: Vec::new(), versions: Vec::new() }
    }

    /// The bytes before the first record.
    pub(super) fn head_bytes() -> u64 {
        HEAD.len() as u64
    }
}

/// The time stands last: what a position remembers of a blob is the bytes right before it, and records without tuples would
/// have the same ones.
fn record(mac: &str, time: DateTime<Utc>, numbers: &[usize], kinds: &[Kind]) -> String {
    let tuples: Vec<String> =
        numbers.iter().zip(kinds).map(|(number, kind)| tuple(time, *number, *kind)).collect();
    format!(
        "{{\"flowLogVersion\":4,\"flowLogGUID\":\"g\",\"macAddress\":\"{mac}\",\
         \"category\":\"FlowLogFlowEvent\",\"flowLogResourceID\":\"/s\",\"targetResourceID\":\"/t\",\
         \"operationName\":\"FlowLogFlowEvent\",\"flowRecords\":{{\"flows\":[{{\"aclID\":\"a\",\"flowGroups\":\
         [{{\"rule\":\"r\",\"flowTuples\":[{}]}}]}}]}},\"time\":\"{}\"}}",
        tuples.join(","),
        time.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
    )
}

/// The number is the source address.
fn tuple(time: DateTime<Utc>, number: usize, kind: Kind) -> String {
    let [a, b, c] = [number >> 16, number >> 8 & 255, number & 255];
    let state = if kind == Kind::Bad { "Q" } else { "C" };
    format!("\"{},10.{a}.{b}.{c},192.0.2.7,50000,443,6,O,{state},NX,1,2,3,4\"", time.timestamp_millis())
}

/// The number of the tuple that an event was made of.
pub(super) fn number_of(event: &str) -> usize {
    let (_, rest) = event.split_once(",10.").unwrap();
    let (address, _) = rest.split_once(',').unwrap();
    let mut parts = address.split('.').map(|part| part.parse::<usize>().unwrap());
    let mut next = || parts.next().unwrap();
    next() << 16 | next() << 8 | next()
}

/// The distinct first parts of names up to a delimiter behind a prefix.
pub(super) fn folded(names: impl Iterator<Item = String>, prefix: &str, delimiter: char) -> BTreeSet<String> {
    let fold = |name: String| {
        let rest = &name[prefix.len()..];
        rest.find(delimiter).map(|at| name[..prefix.len() + at + 1].to_owned())
    };
    names.filter_map(fold).collect()
}
