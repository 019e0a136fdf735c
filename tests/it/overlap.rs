//! What is under way at the same time: the real pipeline over a directory whose answers wait until enough was asked for.

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use flowlogd::{
    batch::EncodedEvents,
    event::EventFormat,
    intake::{Framing, Intake, Selection, Verdict, stdout::StdoutIntake},
    model::{BlobName, BlobVersion, ETag, Hour, Origin},
    pipeline::{Budget, DeliveryRules, Lane, Memory, PassReport, ReadLimits, Stopping, run_pass},
    storage::{
        Account, BlobStore, ListPage, ListQuery, StorageError,
        directory::{self, Directory},
    },
    store::FirstHour,
};
use tokio::{sync::watch, time::timeout};

use crate::support::{
    documents::{END, HEAD, minutes},
    lane::{lane, start},
    memory_store::MemoryStore,
};

/// Nothing that is asked for takes this long; without it, what never comes together would hang.
const STEP: Duration = Duration::from_secs(20);

/// Opens when enough have come.
#[derive(Debug)]
struct Gate {
    wanted: usize,
    come: watch::Sender<usize>,
    /// Whether somebody waited in vain.
    stayed_shut: AtomicBool,
}

impl Gate {
    fn of(wanted: usize) -> Self {
        Self { wanted, come: watch::Sender::new(0), stayed_shut: AtomicBool::new(false) }
    }

    fn come(&self) {
        self.come.send_modify(|n_come| *n_come += 1);
    }

    async fn opened(&self) {
        let mut come = self.come.subscribe();
        let enough = come.wait_for(|n_come| *n_come >= self.wanted);
        if timeout(STEP, enough).await.is_err() {
            self.stayed_shut.store(true, Ordering::SeqCst);
        }
    }

    fn has_opened(&self) -> bool {
        !self.stayed_shut.load(Ordering::SeqCst) && *self.come.borrow() >= self.wanted
    }
}

/// A container whose answers to listings of hours, and to reads, wait at gates.
#[derive(Debug)]
struct Gated {
    container: Arc<dyn BlobStore>,
    listed: Gate,
    read: Gate,
    /// Whether reads wait too, and do not only count.
    reads_wait: bool,
}

#[async_trait]
impl BlobStore for Gated {
    fn origin(&self) -> &Origin {
        self.container.origin()
    }

    async fn list_page(&self, query: ListQuery<'_>) -> Result<ListPage, StorageError> {
        if query.delimiter.is_none() {
            self.listed.come();
            self.listed.opened().await;
        }
        self.container.list_page(query).await
    }

    async fn head(&self, name: &BlobName) -> Result<BlobVersion, StorageError> {
        self.container.head(name).await
    }

    async fn read(&self, name: &BlobName, range: Range<u64>, etag: &ETag) -> Result<Bytes, StorageError> {
        self.read.come();
        if self.reads_wait {
            self.read.opened().await;
        }
        self.container.read(name, range, etag).await
    }
}

/// Takes nothing before enough was read.
#[derive(Debug)]
struct Late {
    storage: Arc<Gated>,
    n_taken: AtomicUsize,
}

#[async_trait]
impl Intake for Late {
    fn framing(&self) -> &dyn Framing {
        StdoutIntake.framing()
    }

    async fn attempt(&self, _events: &EncodedEvents, selection: &Selection) -> Verdict {
        self.storage.read.opened().await;
        self.n_taken.fetch_add(selection.len(), Ordering::SeqCst);
        Verdict::Delivered
    }
}

/// Puts a blob of the present hour into a root, and returns its number of events.
fn put(directory: &Path, hour: Hour, root: usize, n_times: usize) -> usize {
    let folder =
        format!("flowLogResourceID=/S_RG/NETWORKWATCHER_X_{root}/{}m=00/macAddress=00", hour.prefix());
    let folder = directory.join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let minute = &minutes(1, 1)[0];
    let records = vec![minute.records.as_slice(); n_times].join(&b","[..]);
    std::fs::write(folder.join("PT1H.json"), [HEAD, &records, END].concat()).unwrap();
    minute.events.len() * n_times
}

/// One pass over a directory with this much memory. Returns the container and how many events were taken.
async fn pass(
    directory: &Path,
    (listed, read): (Gate, Gate),
    reads_wait: bool,
    memory_bytes: usize,
) -> (Arc<Gated>, PassReport, usize) {
    let path = directory.to_owned();
    let config = directory::Config { path, account: String::new(), container: String::new() };
    let container = Directory::new(config).container("");
    let storage = Arc::new(Gated { container, listed, read, reads_wait });
    let intake = Arc::new(Late { storage: Arc::clone(&storage), n_taken: AtomicUsize::new(0) });
    let (state, owner) = start(MemoryStore::default());
    let of_lane: Arc<dyn Intake> = Arc::<Late>::clone(&intake);
    let of_pass: Arc<dyn BlobStore> = Arc::<Gated>::clone(&storage);
    let plain = lane(of_pass, of_lane, state);
    let limits = ReadLimits { parallel_blobs: 8, record_bytes: 16 << 20, ..plain.limits };
    let delivery = DeliveryRules { format: EventFormat::Flow { provenance: false }, ..plain.delivery };
    let first_hour = FirstHour::At(Hour::containing(DateTime::<Utc>::from(SystemTime::now())));
    let lane = Arc::new(Lane { budget: Budget::new(memory_bytes), first_hour, limits, delivery, ..plain });
    let report = run_pass(&lane, &mut Memory::default(), &Stopping::default()).await;
    assert!(report.is_complete(), "{report:?}");
    drop(lane);
    owner.await.unwrap();
    (storage, report, intake.n_taken.load(Ordering::SeqCst))
}

/// *Scenario*: a blob of three ranges, of which one alone has more events than the memory holds, and an intake that takes
/// nothing before the second range was asked for.
/// *Guarantees*: the second range is on its way while the first one is parsed, and no range is asked for twice.
#[tokio::test]
async fn a_range_is_fetched_while_the_one_before_is_parsed() {
    let directory = tempfile::tempdir().unwrap();
    let hour = Hour::containing(DateTime::<Utc>::from(SystemTime::now()));
    let n_bytes = minutes(1, 1)[0].records.len();
    let n_events = put(directory.path(), hour, 0, (5 << 19) / n_bytes);
    let gates = (Gate::of(1), Gate::of(2));
    let (storage, report, n_taken) = pass(directory.path(), gates, false, 6 << 20).await;
    assert!(storage.read.has_opened());
    assert_eq!((n_taken, report.read_calls), (n_events, 3));
}

/// *Scenario*: six roots with one small blob each; no listing of their hours is answered before all are asked for, and no
/// read either. The memory for reading is less than two whole ranges.
/// *Guarantees*: listings are under way at once, and so are reads of small appends, which take no more memory than they
/// need.
#[tokio::test]
async fn roots_are_listed_and_read_at_once() {
    const N_ROOTS: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let hour = Hour::containing(DateTime::<Utc>::from(SystemTime::now()));
    let n_events: usize = (0..N_ROOTS).map(|root| put(directory.path(), hour, root, 1)).sum();
    let gates = (Gate::of(N_ROOTS), Gate::of(N_ROOTS));
    let (storage, report, n_taken) = pass(directory.path(), gates, true, 3 << 20).await;
    assert!(storage.listed.has_opened() && storage.read.has_opened());
    assert_eq!((n_taken, report.read_calls), (n_events, N_ROOTS as u64));
}

/// *Scenario*: two blobs of records that are larger than a reader's usual share, and memory for reading that each of the
/// two would like to have whole.
/// *Guarantees*: both come to their end: a reader that others wait for keeps what it has taken.
#[tokio::test]
async fn readers_of_large_records_do_not_wait_for_each_other() {
    const N_RECORDS: usize = 4;
    const N_TUPLES: usize = 40_000;
    let directory = tempfile::tempdir().unwrap();
    let hour = Hour::containing(DateTime::<Utc>::from(SystemTime::now()));
    let tuples =
        vec!["\"1663146003599,10.0.0.6,192.0.2.180,23956,443,6,O,B,NX,1000,100000,1000,100000\""; N_TUPLES];
    let record = format!(
        "{{\"time\":\"2025-04-30T09:07:40Z\",\"flowLogVersion\":4,\"flowRecords\":{{\"flows\":[{{\"aclID\":\"a\",\
         \"flowGroups\":[{{\"rule\":\"r\",\"flowTuples\":[{}]}}]}}]}}}}",
        tuples.join(",")
    );
    for root in 0..2 {
        put(directory.path(), hour, root, 1);
        let folder = format!("flowLogResourceID=/S_RG/NETWORKWATCHER_X_{root}/{}m=00", hour.prefix());
        let records = [record.as_bytes(); N_RECORDS].join(&b","[..]);
        let path = directory.path().join(folder).join("macAddress=00/PT1H.json");
        std::fs::write(path, [HEAD, &records, END].concat()).unwrap();
    }
    let passing = pass(directory.path(), (Gate::of(0), Gate::of(0)), false, 12 << 20);
    let (_, _, n_taken) = timeout(3 * STEP, passing).await.expect("the readers come to their end");
    assert_eq!(n_taken, 2 * N_RECORDS * N_TUPLES);
}
