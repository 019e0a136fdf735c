//! Tests of the commit stage: what does not balance.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::*;
use crate::{
    batch::BatchLimits,
    checkpoint::{ContextHash, Position, SeenThrough, Tally},
    event::EventFormat,
    intake::{
        driver::{Driver, DriverConfig},
        stdout::StdoutIntake,
    },
    model::{BlobVersion, Origin, Scope, Span},
    pipeline::{
        Budget, DeliveryRules, Memory, ReadLimits, SourceRules,
        budget::Share,
        compare::compare,
        discover::Counts,
        filter::BlobFilter,
        listing::Listing,
        noted::{Held, HeldFor},
        state::{self, StateHandle},
    },
    storage::{
        Account as _,
        directory::{Config, Directory},
    },
    store::{FirstHour, sqlite::SqliteStore},
    telemetry::{health::Health, metrics::Metrics},
};

const ROOT: &str = "flowLogResourceID=/A_B/C";

fn lane(state: StateHandle, metrics: &Metrics, health: &Health) -> Lane {
    let origin = Origin { account: String::from("acct"), container: String::from("logs") };
    let config =
        Config { path: "nowhere".into(), account: String::from("acct"), container: String::from("logs") };
    Lane {
        storage: Directory::new(config).container("logs"),
        intake: Arc::new(StdoutIntake),
        driver: Arc::new(Driver::new(DriverConfig::default(), fastrand::Rng::with_seed(1))),
        state,
        scope: Scope { origin, intake: String::from("siem") },
        first_hour: FirstHour::Beginning,
        filter: BlobFilter::new(&[String::from("*")], &[]).unwrap(),
        budget: Budget::new(1 << 20),
        rules: SourceRules {
            seal_after: Duration::from_secs(60),
            revisit: Duration::from_secs(3_600),
            list_again_every: None,
            retention: None,
        },
        limits: ReadLimits {
            parallel_blobs: 1,
            record_bytes: 1 << 20,
            quarantine_bytes: 1 << 20,
            store_deadline: None,
        },
        delivery: DeliveryRules {
            format: EventFormat::Flow { provenance: false },
            batch: BatchLimits { max_bytes: 1_000, max_events: 10, max_age: Duration::from_secs(1) },
            max_in_flight: 1,
        },
        metrics: metrics.lane("source", "siem"),
        store_health: health.component("store"),
        ledger_health: health.component("ledger"),
        observer: Arc::new(()),
    }
}

fn hour() -> Hour {
    Hour::from_parts(2026, 11, 24, 5).unwrap()
}

fn version(mac: &str) -> BlobVersion {
    let name = format!("{ROOT}/{}m=00/macAddress={mac}/PT1H.json", hour().prefix());
    BlobVersion {
        name: BlobName::new(name),
        etag: ETag::new("\"1\""),
        length: 100,
        last_modified: DateTime::UNIX_EPOCH,
    }
}

fn blob(mac: &str) -> HourlyBlob {
    crate::flowlog::path::parse(&version(mac).name).unwrap()
}

/// A step of a blob: from byte to byte, with what was read and delivered, and one rejected tuple.
fn step(mac: &str, sequence: u64, (from, to): (u64, u64), (tuples, delivered): (u64, u64)) -> Delta {
    let version = version(mac);
    let seen = SeenThrough { etag: version.etag, length: version.length, tail: TailState::Clean };
    let last = to == version.length;
    let at = |bytes: u64, is_end: bool| {
        let offset = Some((bytes, ContextHash::of(b"")));
        (bytes > 0).then(|| Position { offset, seen: is_end.then(|| seen.clone()) })
    };
    let rejected = Rejected {
        reason: Reason::BadTuple,
        detail: String::from("bad"),
        span: Span { from, to },
        ordinal: Some(0),
        context: None,
        text: Vec::new(),
        answer: None,
    };
    Delta {
        blob: blob(mac),
        sequence,
        from: at(from, false),
        to: at(to, last),
        rejected: vec![rejected],
        tally: Tally { records: 1, tuples, delivered, quarantined: 1, pieces: 0 },
        ahead: BTreeMap::new(),
        started_over: false,
        last,
    }
}

/// *Scenario*: an hour of four blobs, with a rejected tuple in each step. The first is all there. Of the second, the middle
/// step lost an event, and what comes after it was acknowledged before. Of the third, a step has more than was read, of the
/// fourth, all that was acknowledged balances, but less than its reader handed over.
/// *Guarantees*: the first is stored to its end; the position of each other one stays before what does not balance, and
/// later steps do not move it; every rejected tuple is kept; the hour is not sealed; each blob is counted, and the process
/// is not ready.
#[tokio::test]
async fn a_position_waits_where_the_ledger_does_not_balance() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH);
    let (state, owner) =
        state::start(Box::new(SqliteStore::open(directory.path()).unwrap()), metrics.store());
    let health = Health::default();
    let lane = lane(state, &metrics, &health);
    lane.store_health.ready();
    lane.ledger_health.ready();
    let pass = Pass::default();
    for (mac, tuples) in [("A", 8), ("B", 12), ("C", 4), ("D", 9)] {
        pass.outstanding.take(&blob(mac), &version(mac));
        pass.handed_over.add(&blob(mac), if mac == "B" { 3 } else { 2 }, tuples);
    }
    let (found_sender, found) = mpsc::channel(8);
    let (receipt_sender, receipts) = mpsc::channel(8);
    let outstanding = ["A", "B", "C", "D"].map(|mac| (blob(mac), version(mac).etag)).into();
    let root = ROOT.to_owned();
    found_sender.send(Found::Root { root: root.clone(), first_hour: hour() }).await.unwrap();
    found_sender.send(Found::Hour { root, hour: hour(), outstanding }).await.unwrap();
    let groups = [
        vec![step("A", 0, (0, 50), (4, 3)), step("B", 0, (0, 40), (4, 3)), step("B", 2, (60, 100), (4, 3))],
        vec![step("A", 1, (50, 100), (4, 3)), step("B", 1, (40, 60), (4, 2)), step("C", 0, (0, 30), (5, 4))],
        vec![step("D", 0, (0, 50), (4, 3)), step("D", 1, (50, 100), (4, 3)), step("C", 1, (30, 100), (4, 3))],
    ];
    for deltas in groups {
        let receipt = Receipt { deltas, delivered: 9, share: Share::empty() };
        receipt_sender.send(receipt).await.unwrap();
    }
    drop((found_sender, receipt_sender));
    let committed = run(&lane, found, receipts, &pass).await;
    assert!(committed.failed.is_none(), "{:?}", committed.failed);
    assert_eq!((committed.hours_sealed, committed.quarantined), (0, 9));
    let unbalanced = ["B", "C", "D"].map(|mac| version(mac).name);
    assert_eq!(committed.unbalanced, HashSet::from(unbalanced.clone()));
    let mut given_up: Vec<_> = pass.outstanding.given_up().into_iter().map(|(name, _, _)| name).collect();
    given_up.sort_unstable();
    assert_eq!(given_up, unbalanced);
    assert!(health.reasons().iter().all(|reason| reason.starts_with("ledger: ")), "{:?}", health.reasons());
    assert!(!health.is_ready());
    let counted = "flowlogd_ledger_mismatches_total{source=\"source\",intake=\"siem\"} 3";
    assert!(metrics.encode().contains(counted), "{}", metrics.encode());
    drop(lane);
    owner.await.unwrap();

    let store = SqliteStore::open_read_only(directory.path()).unwrap();
    let scope = Scope {
        origin: Origin { account: String::from("acct"), container: String::from("logs") },
        intake: String::from("siem"),
    };
    let stored = store.stored_hour(&scope, ROOT, hour()).unwrap();
    let shown: Vec<_> = stored
        .into_iter()
        .map(|stored| (stored.blob, stored.position.bytes(), stored.ledger.map(|ledger| ledger.tuples)))
        .collect();
    let at_b = (blob("B"), Some(40), Some(4));
    let at_d = (blob("D"), Some(50), Some(4));
    // Whether two steps are stored together depends on what the stage finds waiting.
    assert_eq!(
        shown.iter().filter(|row| row.0 == blob("A")).collect::<Vec<_>>(),
        [&(blob("A"), Some(100), Some(8))]
    );
    assert_eq!(shown.iter().filter(|row| row.0 == blob("B")).collect::<Vec<_>>(), [&at_b]);
    assert_eq!(shown.iter().filter(|row| row.0 == blob("C")).count(), 0);
    assert_eq!(shown.iter().filter(|row| row.0 == blob("D")).collect::<Vec<_>>(), [&at_d]);
}

/// *Scenario*: a listing shows a blob that is held, in the same version and in another one, before and after its hour's time
/// to be sealed has come.
/// *Guarantees*: for a ledger that does not balance, the version is not read again even then, and the hour stays open; for
/// damage it is read again then; another version is read in any case.
#[tokio::test]
async fn a_blob_whose_ledger_does_not_balance_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH);
    let (state, _owner) =
        state::start(Box::new(SqliteStore::open(directory.path()).unwrap()), metrics.store());
    let lane = lane(state, &metrics, &Health::default());
    let during: DateTime<Utc> = hour().start();
    let later = hour().end() + Duration::from_secs(7_200);
    let cases = [
        (HeldFor::Ledger, "\"1\"", during, (0, 1)),
        (HeldFor::Ledger, "\"1\"", later, (0, 1)),
        (HeldFor::Ledger, "\"0\"", during, (1, 0)),
        (HeldFor::Damage, "\"1\"", during, (0, 1)),
        (HeldFor::Damage, "\"1\"", later, (1, 0)),
        (HeldFor::Damage, "\"0\"", later, (1, 0)),
    ];
    for (reason, etag, date, (n_works, n_held)) in cases {
        let mut memory = Memory::default();
        memory.held.insert(&version("A").name, Held { etag: ETag::new(etag), reason });
        let mut counts = Counts::default();
        let listing = Listing { blobs: vec![version("A")], prefixes: Vec::new(), date };
        let pass = Pass::default();
        let compared = compare(&lane, &mut memory, &mut counts, &pass, (ROOT, hour()), listing).await;
        let Ok((found, works)) = compared else { panic!("the state could not be read") };
        assert_eq!((works.len(), counts.held), (n_works, n_held), "{reason:?} {etag} {date}");
        assert_eq!(found.is_some(), n_works > 0 && date == later);
        assert_eq!(pass.outstanding.n_under_way(), n_works);
    }
}
