//! More of what only the store on disk promises: size, company, and rows whose key is damaged.

use std::{os::unix::fs::PermissionsExt, path::Path};

use flowlogd::{
    checkpoint::{ContextHash, Position, SeenThrough, TailState, Tally},
    model::{BlobName, ETag, Hour, HourlyBlob, Origin, Reason, Rejected, Scope, Span},
    store::{
        Commit, FirstHour, PositionChange, QuarantineUsage, StateStore, StoreError,
        sqlite::{QuarantineFilter, SqliteStore},
    },
};
use rusqlite::Connection;

use super::store_contract::fill;

fn scope() -> Scope {
    let origin = Origin { account: String::from("acct"), container: String::from("logs") };
    Scope { origin, intake: String::from("sekoia") }
}

fn hour(of_day: u32) -> Hour {
    Hour::from_parts(2026, 11, 24, of_day).unwrap()
}

fn blob(root: &str, of_hour: Hour, mac: u64) -> HourlyBlob {
    let name = format!("{root}/{}m=00/macAddress={mac:012X}/PT1H.json", of_hour.prefix());
    HourlyBlob::new(BlobName::new(name), root.len(), of_hour).unwrap()
}

/// A position at the end of a version.
fn complete(bytes: u64) -> Position {
    let seen = SeenThrough {
        etag: ETag::new(&format!("0x8DE{:012X}", bytes * 0x9E37_79B9)),
        length: bytes + 2,
        tail: TailState::Clean,
    };
    Position { offset: Some((bytes, ContextHash::of(&bytes.to_le_bytes()))), seen: Some(seen) }
}

fn commit_of(positions: Vec<PositionChange>) -> Commit {
    Commit { scope: scope(), positions, rejected: Vec::new(), frontiers: Vec::new() }
}

fn new(blob: HourlyBlob, to: Position) -> PositionChange {
    PositionChange { blob, from: None, to, tally: Tally::default(), started_over: false }
}

/// *Scenario*: the positions of ten thousand blobs, committed hour by hour as they come.
/// *Guarantees*: a million of them fit into 100 MB.
#[test]
fn positions_are_small() {
    const HOURS: u32 = 24;
    const ROOTS: u32 = 10;
    const CARDS: u32 = 42;
    let directory = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(directory.path()).unwrap();
    for of_day in 0..HOURS {
        let places = (0..ROOTS).flat_map(|root| (0..CARDS).map(move |card| (root, card)));
        let changes = places.map(|(root, card)| {
            let root = format!("flowLogResourceID=/SUB_RG/NETWORKWATCHER_{root:02}");
            let blob = blob(&root, hour(of_day), u64::from(card) * 0x0123_4567_89AB);
            new(blob, complete(1_000_000 + u64::from(card * of_day)))
        });
        store.commit(&commit_of(changes.collect())).unwrap();
    }
    drop(store);
    let n_bytes = std::fs::metadata(directory.path().join("state.sqlite3")).unwrap().len();
    let bytes_per_blob = n_bytes / u64::from(HOURS * ROOTS * CARDS);
    assert!(bytes_per_blob < 100, "{bytes_per_blob} bytes a blob");
}

/// *Scenario*: a store that only looks walks over the positions while the owner commits.
/// *Guarantees*: neither is in the way of the other; the walk shows one state, the next look shows what is new.
#[test]
fn looking_while_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let mut owner = SqliteStore::open(directory.path()).unwrap();
    fill(&mut owner);
    let looking = SqliteStore::open_read_only(directory.path()).unwrap();
    let count = || looking.summaries().unwrap().iter().map(|summary| summary.blobs).sum::<u64>();
    let before = count();
    let mut n_walked = 0;
    looking
        .for_each_position("", |_stored| {
            n_walked += 1;
            owner.commit(&commit_of(vec![new(blob("root", hour(8), n_walked), complete(1))]))
        })
        .unwrap()
        .unwrap();
    assert_eq!(n_walked, before);
    assert_eq!(count(), before * 2);
}

/// *Scenario*: an intake answers with more than is kept, with a wide character at the cut.
/// *Guarantees*: the beginning is kept, whole characters only.
#[test]
fn answers_are_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(directory.path()).unwrap();
    let refused = Rejected {
        reason: Reason::Doubtful,
        detail: String::from("doubtful 1 of 2"),
        span: Span { from: 0, to: 9 },
        ordinal: Some(0),
        context: None,
        text: b"event".to_vec(),
        answer: Some((202, format!("a{}", "\u{e9}".repeat(2_000)))),
    };
    let mut commit = commit_of(Vec::new());
    commit.rejected.push((blob("root", hour(4), 1), refused));
    store.commit(&commit).unwrap();
    let mut answers = Vec::new();
    store.for_each_quarantined(|entry| answers.push(entry.rejected.answer)).unwrap();
    assert_eq!(answers, [Some((202, format!("a{}", "\u{e9}".repeat(1_023))))]);
}

/// *Scenario*: the first start in a directory below ones that do not exist.
/// *Guarantees*: all of them are made, and nobody else can look into the state.
#[test]
fn a_new_directory() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b/state");
    drop(SqliteStore::open(&directory).unwrap());
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
}

/// All that a file holds is looked at, once the file is checked; the first hour is proposed anew.
fn read_all(directory: &Path) -> Result<(), StoreError> {
    let mut store = SqliteStore::open(directory)?;
    store.check_file()?;
    let of = scope();
    store.first_hour(&of, FirstHour::At(hour(23)))?;
    store.frontiers(&of)?;
    store.frontiers(&Scope { intake: String::from("second"), ..of })?;
    store.summaries()?;
    store.for_each_position("", |_stored| Ok::<_, StoreError>(()))??;
    store.for_each_quarantined(|_entry| ())
}

/// *Scenario*: one value in the key of a row, or which makes a row look like one that was never written, is another one
/// than was written, also one that points nowhere.
/// *Guarantees*: it is damage when the table is read, never "nothing stored": a first hour decided anew would skip
/// what lies before it.
#[test]
fn a_damaged_key_is_found() {
    for statement in [
        "UPDATE first_hour SET intake = intake + 16 WHERE hour IS NOT NULL",
        "UPDATE first_hour SET source = source + 16 WHERE hour IS NOT NULL",
        "UPDATE first_hour SET hour = NULL",
        "UPDATE first_hour SET hour = hour + 1 WHERE hour IS NOT NULL",
        "UPDATE frontier SET intake = 3 - intake",
        "UPDATE frontier SET intake = intake + 16",
        "UPDATE position SET intake = 3 - intake WHERE offset = 500",
        "UPDATE position SET intake = -126 WHERE offset = 500",
        "UPDATE position SET root = root + 16",
        "UPDATE position SET hour = hour + 8",
        "UPDATE position SET etag = NULL, length = NULL, tail = NULL",
        "UPDATE position SET offset = NULL, context = NULL",
        "UPDATE position SET crc = crc + 1",
        "UPDATE quarantine SET intake = 3 - intake",
        "UPDATE quarantine SET root = root + 16",
        "UPDATE quarantine SET hour = hour + 1",
        "UPDATE quarantine SET ordinal = NULL WHERE ordinal IS NOT NULL",
        "UPDATE quarantine SET compressed = 1 - compressed",
        "UPDATE root SET source = source + 1",
    ] {
        let directory = tempfile::tempdir().unwrap();
        fill(&mut SqliteStore::open(directory.path()).unwrap());
        read_all(directory.path()).unwrap();
        let connection = Connection::open(directory.path().join("state.sqlite3")).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        assert!(connection.execute(statement, []).unwrap() > 0, "{statement}");
        drop(connection);
        let read = read_all(directory.path());
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{statement}: {read:?}");
    }
}

/// *Scenario*: rows are counted, another connection takes one away, and the owner goes on.
/// *Guarantees*: the next count sees it, and counts what is committed from there on.
#[test]
fn the_count_sees_what_others_change() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(directory.path()).unwrap();
    fill(&mut store);
    let before = store.quarantine_usage().unwrap();
    assert_eq!(before.rows, 2);
    let other = Connection::open(directory.path().join("state.sqlite3")).unwrap();
    other.execute("DELETE FROM quarantine WHERE ordinal IS NULL", []).unwrap();
    let after = store.quarantine_usage().unwrap();
    assert!(after.rows == 1 && after.bytes < before.bytes, "{before:?}, {after:?}");
    assert_eq!(store.drop_quarantined(&QuarantineFilter::default()).unwrap(), after);
    assert_eq!(store.quarantine_usage().unwrap(), QuarantineUsage::default());
}

/// Scenario: the process was killed while the file was being set up, and left a journal that must be rolled back.
/// Guarantees: the next start does so, and what was stored before is there.
#[test]
fn a_file_that_was_left_half_done() {
    let [seed, left] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let scope = Scope {
        origin: Origin { account: "a".to_owned(), container: "c".to_owned() },
        intake: "i".to_owned(),
    };
    let first_hour = FirstHour::At(Hour::from_number(400_000));
    SqliteStore::open(seed.path()).unwrap().first_hour(&scope, first_hour).unwrap();
    let file = seed.path().join("state.sqlite3");
    let connection = Connection::open(&file).unwrap();
    // With so small a cache, pages are written before the end of the transaction, and the journal before them.
    connection
        .execute_batch(
            "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; PRAGMA cache_size = 1; BEGIN;
             CREATE TABLE filling (text TEXT) STRICT;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO filling SELECT hex(randomblob(100)) FROM n;",
        )
        .unwrap();
    for name in ["state.sqlite3", "state.sqlite3-journal"] {
        std::fs::copy(seed.path().join(name), left.path().join(name)).unwrap();
    }
    drop(connection);
    let mut store = SqliteStore::open(left.path()).unwrap();
    assert_eq!(store.first_hour(&scope, FirstHour::Beginning).unwrap(), first_hour);
    assert!(!left.path().join("state.sqlite3-journal").exists());
}
