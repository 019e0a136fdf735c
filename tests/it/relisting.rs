//! Listing again while a pass is being delivered: the real pipeline over a directory, with the two moments that matter
//! brought together by hand.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use flowlogd::{
    batch::EncodedEvents,
    checkpoint::{Frontier, Position},
    intake::{Framing, Intake, Selection, Verdict, stdout::StdoutIntake},
    model::{BlobName, BlobVersion, ETag, Hour, HourlyBlob, Origin, Scope},
    pipeline::{Lane, Memory, SourceRules, Stopping, run_pass},
    storage::{
        Account, BlobStore, ListPage, ListQuery, StorageError,
        directory::{self, Directory},
    },
    store::{Commit, FirstHour, Pruned, QuarantineUsage, StateStore, StoreError},
};
use tokio::sync::Notify;

use crate::support::{documents, lane, memory_store::MemoryStore};

/// No step of a schedule takes this long; without it a schedule that does not come about would hang.
const STEP: Duration = Duration::from_secs(5);

/// What meets in the schedule.
#[derive(Debug, Default)]
struct Moments {
    hours_listed: AtomicUsize,
    accepted: AtomicUsize,
    /// The second listing of the hour has its answer.
    listed_again: Notify,
    /// The intake has the events: the second listing may go on.
    taken: Notify,
    /// The second listing has asked for the positions.
    asked: Notify,
}

#[derive(Debug)]
struct GatedStorage(Arc<dyn BlobStore>, Arc<Moments>);

#[async_trait]
impl BlobStore for GatedStorage {
    fn origin(&self) -> &Origin {
        self.0.origin()
    }

    async fn list_page(&self, query: ListQuery<'_>) -> Result<ListPage, StorageError> {
        let page = self.0.list_page(query).await?;
        if query.delimiter.is_none() && self.1.hours_listed.fetch_add(1, Ordering::SeqCst) == 1 {
            self.1.listed_again.notify_one();
            self.1.taken.notified().await;
        }
        Ok(page)
    }

    async fn head(&self, name: &BlobName) -> Result<BlobVersion, StorageError> {
        self.0.head(name).await
    }

    async fn read(
        &self,
        name: &BlobName,
        range: Range<u64>,
        etag: &ETag,
    ) -> Result<bytes::Bytes, StorageError> {
        self.0.read(name, range, etag).await
    }
}

#[derive(Debug)]
struct GatedIntake(Arc<Moments>);

#[async_trait]
impl Intake for GatedIntake {
    fn framing(&self) -> &dyn Framing {
        StdoutIntake.framing()
    }

    async fn attempt(&self, _events: &EncodedEvents, selection: &Selection) -> Verdict {
        if self.0.accepted.load(Ordering::SeqCst) == 0 {
            self.0.listed_again.notified().await;
        }
        self.0.accepted.fetch_add(selection.len(), Ordering::SeqCst);
        self.0.taken.notify_one();
        Verdict::Delivered
    }
}

/// Answers the second question for positions only once the collector's thread is busy, and tells of each commit.
#[derive(Debug)]
struct GatedStore {
    store: MemoryStore,
    moments: Arc<Moments>,
    n_asked: usize,
    busy: mpsc::Receiver<()>,
    committed: mpsc::Sender<()>,
}

impl StateStore for GatedStore {
    fn first_hour(&mut self, scope: &Scope, proposed: FirstHour) -> Result<FirstHour, StoreError> {
        self.store.first_hour(scope, proposed)
    }

    fn frontiers(&mut self, scope: &Scope) -> Result<Vec<(String, Frontier)>, StoreError> {
        self.store.frontiers(scope)
    }

    fn positions(
        &mut self,
        scope: &Scope,
        root: &str,
        hour: Hour,
    ) -> Result<Vec<(HourlyBlob, Position)>, StoreError> {
        self.n_asked += 1;
        let positions = self.store.positions(scope, root, hour);
        if self.n_asked == 2 {
            self.moments.asked.notify_one();
            self.busy.recv_timeout(STEP).ok();
        }
        positions
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.store.commit(commit)?;
        if !commit.positions.is_empty() {
            self.committed.send(()).ok();
        }
        Ok(())
    }

    fn quarantine_usage(&mut self) -> Result<QuarantineUsage, StoreError> {
        self.store.quarantine_usage()
    }

    fn stored_day(
        &mut self,
        scope: &Scope,
        root: &str,
        after: Option<Hour>,
    ) -> Result<Option<Hour>, StoreError> {
        self.store.stored_day(scope, root, after)
    }

    fn prune(
        &mut self,
        scope: &Scope,
        root: &str,
        day: Hour,
        present: &[HourlyBlob],
    ) -> Result<Pruned, StoreError> {
        self.store.prune(scope, root, day, present)
    }

    fn scopes(&mut self) -> Result<Vec<Scope>, StoreError> {
        self.store.scopes()
    }
}

/// Keeps the thread busy from the moment at which positions are asked for until the commit is done.
async fn neighbour(moments: Arc<Moments>, busy: mpsc::Sender<()>, committed: mpsc::Receiver<()>) {
    moments.asked.notified().await;
    busy.send(()).ok();
    committed.recv_timeout(STEP).ok();
}

/// One pass over one blob, listed twice. Returns how many events the intake took, and how many there are.
async fn pass() -> (usize, usize) {
    let directory = tempfile::tempdir().unwrap();
    let hour = Hour::containing(DateTime::<Utc>::from(SystemTime::now()));
    let folder = directory.path().join(format!("flowLogResourceID=/R/{}m=00/macAddress=00", hour.prefix()));
    std::fs::create_dir_all(&folder).unwrap();
    let minutes = documents::minutes(1, 1);
    std::fs::write(folder.join("PT1H.json"), documents::document(&[&minutes[0]])).unwrap();

    let moments = Arc::new(Moments::default());
    let (busy, is_busy) = mpsc::channel();
    let (committed, is_committed) = mpsc::channel();
    let neighbour = tokio::spawn(neighbour(Arc::clone(&moments), busy, is_committed));
    let store = MemoryStore::default();
    let store = GatedStore { store, moments: Arc::clone(&moments), n_asked: 0, busy: is_busy, committed };
    let (state, owner) = lane::start(store);
    let account = Directory::new(directory::Config {
        path: directory.path().to_owned(),
        account: String::new(),
        container: String::new(),
    });
    let storage = account.container("");
    let storage = Arc::new(GatedStorage(storage, Arc::clone(&moments)));
    let plain = lane::lane(storage, Arc::new(GatedIntake(Arc::clone(&moments))), state);
    let rules = SourceRules { list_again_every: Some(Duration::from_millis(1)), ..plain.rules };
    let lane = Arc::new(Lane { first_hour: FirstHour::At(hour), rules, ..plain });
    let report = run_pass(&lane, &mut Memory::default(), &Stopping::default()).await;
    assert!(report.is_complete(), "{:?}", report.errors);
    neighbour.await.unwrap();
    drop(lane);
    owner.await.unwrap();
    (moments.accepted.load(Ordering::SeqCst), documents::events(&[&minutes[0]]).len())
}

/// *Scenario*: an hour is listed again, and while the collector's thread is busy elsewhere, its positions are asked for
/// and the commit of its blob is done; which of the two is heard of first is the scheduler's choice, so there are many
/// passes, each with a thread of its own to keep busy. *Guarantees*: the blob is not read again from where it was, so no
/// event is sent twice and the commits chain.
#[test]
fn a_commit_beside_a_listing_sends_nothing_twice() {
    std::thread::scope(|threads| {
        for _pass in 0..16 {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let (accepted, written) = runtime.block_on(pass());
                assert_eq!(accepted, written);
            });
        }
    });
}
