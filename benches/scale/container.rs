//! A container of any size that holds nothing: each page of a listing, and each range of a blob, is made when it is asked
//! for.

use std::{
    ops::Range,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use flowlogd::{
    checkpoint::{ContextHash, Position, SeenThrough, TailState},
    flowlog::{Piece, Splitter, Start},
    model::{BlobName, BlobVersion, ETag, Hour, HourlyBlob, Origin},
    storage::{BlobStore, LIST_PAGE_ENTRIES, ListPage, ListQuery, StorageError, StorageErrorKind},
};

use crate::{cost::Own, support::input::Input};

/// What lies above all roots (Microsoft Learn, "Virtual network flow logs", log location).
const FOLDERS: &str = "flowLogResourceID=/00000000-0000-0000-0000-000000000000_NETWORKWATCHERRG/";

const BEGINNING: &[u8] = b"{\"records\":[";
const END: &[u8] = b"]}";

/// What stands between a date and the hardware address.
const BEFORE_ADDRESS: &str = "m=00/macAddress=";

/// What stands behind the hardware address.
const BEHIND_ADDRESS: &str = "/PT1H.json";

/// How large a container is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) n_roots: u64,
    pub(crate) n_nics: u64,
    /// Hours before the present one.
    pub(crate) n_old_hours: i64,
}

impl Size {
    pub(crate) fn roots(&self) -> impl Iterator<Item = String> {
        (0..self.n_roots).map(root)
    }

    fn nics_of_root(&self) -> u64 {
        self.n_nics / self.n_roots
    }
}

/// Name of the root with this number.
fn root(number: u64) -> String {
    format!("{FOLDERS}NETWORKWATCHER_WESTEUROPE_VNET-{number:05}-PRODUCTION-RG-FLOWLOGS")
}

/// One record that every blob holds some times over.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    bytes: Vec<u8>,
}

impl Record {
    /// One of the example writer.
    pub(crate) fn small() -> Self {
        let input = Input::small(100_000);
        let mut splitter = Splitter::new(Start::Beginning, input.bytes.len());
        splitter.push(&input.bytes);
        let Some(Piece::Record(record)) = splitter.next_piece() else { panic!("it begins with a record") };
        Self { bytes: record.bytes.to_vec() }
    }

    pub(crate) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The byte after so many records.
    fn end(&self, n_records: u64) -> u64 {
        BEGINNING.len() as u64 + n_records * (self.length() + 1) - 1
    }

    fn read(&self, n_records: u64, range: Range<u64>) -> Bytes {
        let place = |offset: u64| usize::try_from(offset).expect("a blob fits into memory");
        let mut whole = Vec::with_capacity(place(self.end(n_records)) + END.len());
        whole.extend_from_slice(BEGINNING);
        for number in 0..n_records {
            if number > 0 {
                whole.push(b',');
            }
            whole.extend_from_slice(&self.bytes);
        }
        whole.extend_from_slice(END);
        whole.truncate(place(range.end));
        Bytes::from(whole).slice(place(range.start)..)
    }

    /// The position of who has read so many.
    fn position(&self, hour: Hour, n_records: u64) -> Position {
        let seen = SeenThrough {
            etag: etag(hour, n_records),
            length: self.end(n_records) + END.len() as u64,
            tail: TailState::Clean,
        };
        Position { offset: Some((self.end(n_records), ContextHash::of(&self.bytes))), seen: Some(seen) }
    }
}

/// As long as Azure's.
fn etag(hour: Hour, n_records: u64) -> ETag {
    ETag::new(&format!("0x{:08X}{n_records:07X}", hour.number()))
}

/// The container.
#[derive(Debug)]
pub(crate) struct Container {
    origin: Origin,
    size: Size,
    record: Record,
    /// Of each hour that exists, in order: `y=2026/m=11/d=24/h=05/`.
    dates: Vec<(String, Hour)>,
    present: Hour,
    /// Records of each blob of the present hour.
    n_records: AtomicU64,
    now: AtomicI64,
    /// How long each request is on its way.
    latency: Duration,
    requests: Requests<AtomicU64>,
    /// What the container costs itself.
    pub(crate) own: Own,
}

/// Requests by kind.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Requests<N> {
    pub(crate) lists: N,
    pub(crate) heads: N,
    pub(crate) reads: N,
}

impl Container {
    pub(crate) fn new(origin: Origin, size: Size, record: Record, now: DateTime<Utc>) -> Self {
        let present = Hour::containing(now);
        let hours = (present.number() - size.n_old_hours..=present.number()).map(Hour::from_number);
        Self {
            origin,
            size,
            record,
            dates: hours.map(|hour| (hour.prefix(), hour)).collect(),
            present,
            n_records: AtomicU64::new(1),
            now: AtomicI64::new(now.timestamp()),
            latency: Duration::ZERO,
            requests: Requests::default(),
            own: Own::default(),
        }
    }

    /// The same, so far away.
    pub(crate) fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> Requests<u64> {
        let Requests { lists, heads, reads } = &self.requests;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests { lists: load(lists), heads: load(heads), reads: load(reads) }
    }

    async fn travel(&self) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
    }

    pub(crate) fn n_blobs(&self) -> u64 {
        self.size.n_nics * self.dates.len() as u64
    }

    /// Lets time pass by the server's clock.
    pub(crate) fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Each blob of the present hour gets one record more.
    pub(crate) fn grow(&self) {
        self.grow_by(1);
    }

    /// Each blob of the present hour gets so many records more.
    pub(crate) fn grow_by(&self, n_records: u64) {
        self.n_records.fetch_add(n_records, Ordering::Relaxed);
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.now.load(Ordering::Relaxed), 0).unwrap_or_default()
    }

    fn n_records(&self, hour: Hour) -> u64 {
        if hour == self.present { self.n_records.load(Ordering::Relaxed) } else { 1 }
    }

    /// The blobs of an hour of a root as they are at first, with positions at their ends.
    pub(crate) fn read_through<'a>(
        record: &'a Record,
        size: Size,
        root: &'a str,
        hour: Hour,
    ) -> impl Iterator<Item = (HourlyBlob, Position)> + 'a {
        let number = root_number(root).expect("it is one of ours");
        let date = hour.prefix();
        (0..size.nics_of_root()).map(move |nic| {
            let name = name(root, number, size, &date, nic);
            let blob = HourlyBlob::new(name, root.len(), hour).expect("names are ASCII");
            (blob, record.position(hour, 1))
        })
    }

    fn blobs(&self, root: &str, number: u64, date: &str, from: u64) -> (Vec<BlobVersion>, Option<String>) {
        let dates = self.dates_below(date);
        let n_entries = dates.len() as u64 * self.size.nics_of_root();
        let page = from..n_entries.min(from + u64::from(LIST_PAGE_ENTRIES));
        let next = (page.end < n_entries).then(|| page.end.to_string());
        let mut blobs = Vec::with_capacity(usize::try_from(page.end - page.start).unwrap_or_default());
        for place in page {
            let index = usize::try_from(place / self.size.nics_of_root()).unwrap_or_default();
            let (date, hour) = &dates[index];
            let n_records = self.n_records(*hour);
            blobs.push(BlobVersion {
                name: name(root, number, self.size, date, place % self.size.nics_of_root()),
                length: self.record.end(n_records) + END.len() as u64,
                etag: etag(*hour, n_records),
                last_modified: (hour.end() + TimeDelta::minutes(1)).min(self.now()),
            });
        }
        (blobs, next)
    }

    /// The dates that begin so.
    fn dates_below(&self, prefix: &str) -> &[(String, Hour)] {
        let first = self.dates.partition_point(|(date, _)| date.as_str() < prefix);
        let behind = &self.dates[first..];
        &behind[..behind.partition_point(|(date, _)| date.starts_with(prefix))]
    }

    /// What lies below a prefix, each up to the next slash.
    fn folded(&self, prefix: &str) -> Vec<String> {
        if let Some(below) = FOLDERS.strip_prefix(prefix).filter(|below| !below.is_empty()) {
            let length = prefix.len() + below.find('/').map_or(below.len(), |at| at + 1);
            return vec![FOLDERS[..length].to_owned()];
        }
        if prefix == FOLDERS {
            return self.size.roots().map(|root| format!("{root}/")).collect();
        }
        let Some((root, _, date)) = split(prefix) else { return Vec::new() };
        let mut folded: Vec<String> = Vec::new();
        for (below, _) in self.dates_below(date) {
            let Some(length) = below[date.len()..].find('/') else { continue };
            let next = format!("{root}/{}", &below[..=date.len() + length]);
            if folded.last() != Some(&next) {
                folded.push(next);
            }
        }
        folded
    }

    fn page(&self, query: ListQuery<'_>) -> ListPage {
        let date = self.now();
        if query.delimiter.is_some() {
            return ListPage { blobs: Vec::new(), prefixes: self.folded(query.prefix), next: None, date };
        }
        let from = query.marker.and_then(|marker| marker.parse().ok()).unwrap_or_default();
        let listed = split(query.prefix).map(|(root, number, date)| self.blobs(root, number, date, from));
        let (blobs, next) = listed.unwrap_or_default();
        ListPage { blobs, prefixes: Vec::new(), next, date }
    }
}

/// `folders/root/y=2026/...` without what does not exist: the root, its number, and what follows.
fn split(prefix: &str) -> Option<(&str, u64, &str)> {
    let at = FOLDERS.len() + prefix.strip_prefix(FOLDERS)?.find('/')?;
    let (root, date) = prefix.split_at(at);
    Some((root, root_number(root)?, &date[1..]))
}

fn root_number(root: &str) -> Option<u64> {
    root.split('-').rev().nth(3)?.parse().ok()
}

fn name(root: &str, number: u64, size: Size, date: &str, nic: u64) -> BlobName {
    let address = number * size.nics_of_root() + nic;
    BlobName::new(format!("{root}/{date}{BEFORE_ADDRESS}{address:012X}{BEHIND_ADDRESS}"))
}

#[async_trait]
impl BlobStore for Container {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    async fn list_page(&self, query: ListQuery<'_>) -> Result<ListPage, StorageError> {
        self.requests.lists.fetch_add(1, Ordering::Relaxed);
        self.travel().await;
        Ok(self.own.spent_on(|| self.page(query)))
    }

    async fn head(&self, name: &BlobName) -> Result<BlobVersion, StorageError> {
        self.requests.heads.fetch_add(1, Ordering::Relaxed);
        let kind = StorageErrorKind::Other(String::from("nobody asks for it"));
        Err(StorageError { operation: format!("head {name}"), kind, source: None })
    }

    async fn read(&self, name: &BlobName, range: Range<u64>, etag: &ETag) -> Result<Bytes, StorageError> {
        self.requests.reads.fetch_add(1, Ordering::Relaxed);
        self.travel().await;
        self.own.spent_on(|| {
            let n_records = u64::from_str_radix(&etag.as_str()[10..], 16).unwrap_or_default();
            if *etag != self::etag(self.present, n_records) {
                let operation = format!("read {name}");
                return Err(StorageError { operation, kind: StorageErrorKind::Changed, source: None });
            }
            Ok(self.record.read(n_records, range))
        })
    }
}
