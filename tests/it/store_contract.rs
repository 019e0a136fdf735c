//! One suite that every state store passes, and what the SQLite file promises beyond it.

mod upkeep;
mod versions;

use std::path::{Path, PathBuf};

use flowlogd::{
    checkpoint::{ContextHash, Frontier, Position, SeenThrough, TailState, Tally},
    model::{BlobName, ETag, Hour, HourlyBlob, Origin, Reason, Rejected, Scope, Span},
    store::{
        Commit, FirstHour, PositionChange, StateStore, StoreError,
        sqlite::{ResetCounts, ResetFilter, SqliteStore},
    },
};
use rusqlite::Connection;

use super::support::memory_store::MemoryStore;

const ROOT: &str = "flowLogResourceID=/A_B/C";

fn scope(intake: &str) -> Scope {
    let origin = Origin { account: String::from("acct"), container: String::from("logs") };
    Scope { origin, intake: intake.to_owned() }
}

fn hour(number: u32) -> Hour {
    Hour::from_parts(2026, 11, 24, number).unwrap()
}

fn blob(root: &str, of_hour: Hour, mac: &str) -> HourlyBlob {
    let name = format!("{root}/{}m=00/macAddress={mac}/PT1H.json", of_hour.prefix());
    HourlyBlob::new(BlobName::new(name), root.len(), of_hour).unwrap()
}

fn at(bytes: u64) -> Position {
    Position { offset: Some((bytes, ContextHash::of(&bytes.to_le_bytes()))), seen: None }
}

fn seen(bytes: Option<u64>, length: u64, tail: TailState) -> Position {
    let etag = ETag::new("0x8DE2B1C0FFEE000");
    Position {
        offset: bytes.and_then(|bytes| at(bytes).offset),
        seen: Some(SeenThrough { etag, length, tail }),
    }
}

fn rejected(offset: u64, ordinal: Option<u32>, text: &[u8]) -> Rejected {
    Rejected {
        reason: if ordinal.is_some() { Reason::BadTuple } else { Reason::IncompleteRecord },
        detail: String::from("flow state: expected B, C, E or D, found `X`"),
        span: Span { from: offset, to: offset + 100 },
        ordinal,
        context: ordinal.map(|_| String::from("{\"aclID\":\"x\"}")),
        text: text.to_vec(),
        answer: ordinal.map(|_| (400, String::from("no"))),
    }
}

fn nothing(of: &Scope) -> Commit {
    Commit { scope: of.clone(), positions: Vec::new(), rejected: Vec::new(), frontiers: Vec::new() }
}

fn moved(blob: &HourlyBlob, from: Option<Position>, to: Position) -> PositionChange {
    PositionChange { blob: blob.clone(), from, to, tally: Tally::default(), started_over: false }
}

/// Some of everything, balanced.
fn tally(number: u64) -> Tally {
    Tally {
        records: number,
        tuples: 10 * number,
        delivered: 9 * number,
        quarantined: number,
        pieces: number / 2,
    }
}

/// What a store holds of a scope, and its quarantine in the order of blob, offset and ordinal.
type Quarantined<S> = fn(&S, &Scope) -> Vec<(HourlyBlob, Rejected)>;

/// What the ledger has of a root's hour, in the order of the blobs' names.
type Ledgers<S> = fn(&S, &Scope, &str, Hour) -> Vec<Option<Tally>>;

fn contract<S: StateStore>(open: impl Fn() -> S, quarantined: Quarantined<S>, ledgers: Ledgers<S>) {
    first_hour_is_decided_once(&open);
    positions_move_and_are_found_by_hour(&open);
    a_gap_changes_nothing(&open, quarantined);
    quarantine_rows_are_replaced(&open, quarantined);
    a_rest_that_was_read_leaves_the_quarantine(&open, quarantined);
    frontiers_are_replaced(&open);
    upkeep::ledgers_add_up(&open, ledgers);
    upkeep::frontiers_are_reopened(&open);
    upkeep::the_quarantine_is_counted(&open);
    upkeep::sealed_hours_are_pruned(&open);
    upkeep::scopes_are_listed(&open);
    upkeep::days_are_found_in_order(&open);
}

fn first_hour_is_decided_once<S: StateStore>(open: &impl Fn() -> S) {
    let (one, other) = (scope("first"), scope("other"));
    for proposed in [FirstHour::Beginning, FirstHour::At(hour(3))] {
        assert_eq!(open().first_hour(&one, proposed).unwrap(), FirstHour::Beginning);
    }
    for proposed in [FirstHour::At(hour(4)), FirstHour::Beginning] {
        assert_eq!(open().first_hour(&other, proposed).unwrap(), FirstHour::At(hour(4)));
    }
}

fn positions_move_and_are_found_by_hour<S: StateStore>(open: &impl Fn() -> S) {
    let of = scope("moves");
    assert_eq!(open().positions(&of, ROOT, hour(5)).unwrap(), Vec::new());
    let (first, second) = (blob(ROOT, hour(5), "A"), blob(ROOT, hour(5), "B"));
    let elsewhere = [blob(ROOT, hour(6), "A"), blob("flowLogResourceID=/A_B", hour(5), "A")];
    let mut commit = nothing(&of);
    commit
        .positions
        .extend([moved(&first, None, at(10)), moved(&second, None, seen(None, 0, TailState::Clean))]);
    commit.positions.extend(elsewhere.iter().map(|other| moved(other, None, at(1))));
    open().commit(&commit).unwrap();
    let steps = [
        seen(Some(20), 25, TailState::Incomplete),
        seen(Some(20), 25, TailState::Quarantined),
        at(u64::from(u32::MAX) + 1),
        Position { offset: None, seen: None },
    ];
    let mut from = at(10);
    for to in steps {
        let commit = Commit { positions: vec![moved(&first, Some(from), to.clone())], ..nothing(&of) };
        open().commit(&commit).unwrap();
        let expected = vec![(first.clone(), to.clone()), (second.clone(), seen(None, 0, TailState::Clean))];
        assert_eq!(open().positions(&of, ROOT, hour(5)).unwrap(), expected);
        from = to;
    }
    for other in elsewhere {
        let found = open().positions(&of, other.root(), other.hour()).unwrap();
        assert_eq!(found, vec![(other.clone(), at(1))]);
    }
    assert_eq!(open().positions(&scope("nobody"), ROOT, hour(5)).unwrap(), Vec::new());
}

fn a_gap_changes_nothing<S: StateStore>(open: &impl Fn() -> S, quarantined: Quarantined<S>) {
    let of = scope("gap");
    let (stored, fresh) = (blob(ROOT, hour(1), "A"), blob(ROOT, hour(1), "B"));
    let first = Commit { positions: vec![moved(&stored, None, at(10))], ..nothing(&of) };
    open().commit(&first).unwrap();
    let other_context = Position { offset: Some((10, ContextHash::of(b"other"))), seen: None };
    for from in [None, Some(at(9)), Some(other_context), Some(seen(Some(10), 10, TailState::Clean))] {
        let commit = Commit {
            scope: of.clone(),
            positions: vec![moved(&fresh, None, at(5)), moved(&stored, from, at(20))],
            rejected: vec![(fresh.clone(), rejected(0, None, b"x"))],
            frontiers: vec![(ROOT.to_owned(), Frontier::new(hour(2)))],
        };
        let error = open().commit(&commit).unwrap_err();
        assert!(matches!(&error, StoreError::Gap { stored, .. } if stored == "byte 10"), "{error}");
        assert_eq!(open().positions(&of, ROOT, hour(1)).unwrap(), vec![(stored.clone(), at(10))]);
        assert_eq!(open().frontiers(&of).unwrap(), Vec::new());
        assert_eq!(quarantined(&open(), &of), Vec::new());
    }
    let lost = Commit { positions: vec![moved(&fresh, Some(at(5)), at(6))], ..nothing(&of) };
    assert!(matches!(open().commit(&lost), Err(StoreError::Gap { .. })));
}

fn quarantine_rows_are_replaced<S: StateStore>(open: &impl Fn() -> S, quarantined: Quarantined<S>) {
    let of = scope("quarantine");
    let (one, other) = (blob(ROOT, hour(1), "A"), blob(ROOT, hour(1), "B"));
    let long = b"the same again ".repeat(100);
    let rows = [
        (one.clone(), rejected(0, None, b"")),
        (one.clone(), rejected(0, Some(0), &long)),
        (one.clone(), rejected(0, Some(1), b"short")),
        (one.clone(), rejected(7, None, &[0, 255, 128])),
        (other.clone(), rejected(0, None, b"other blob")),
    ];
    open().commit(&Commit { rejected: rows.to_vec(), ..nothing(&of) }).unwrap();
    assert_eq!(quarantined(&open(), &of), rows);
    let mut replaced = rows;
    replaced[0].1.text = b"longer now".to_vec();
    replaced[0].1.span.to = 500;
    replaced[2].1.answer = None;
    let again = vec![replaced[0].clone(), replaced[2].clone()];
    open().commit(&Commit { rejected: again, ..nothing(&of) }).unwrap();
    assert_eq!(quarantined(&open(), &of), replaced);
    assert_eq!(quarantined(&open(), &scope("nobody")), Vec::new());
}

/// The row of a rest goes when the position moves past the rest, however often the blob was looked at before; rows
/// before it, of tuples, of other blobs, and those that come with the move stay.
fn a_rest_that_was_read_leaves_the_quarantine<S: StateStore>(
    open: &impl Fn() -> S,
    quarantined: Quarantined<S>,
) {
    let of = scope("rest");
    let (place, other) = (blob(ROOT, hour(1), "A"), blob(ROOT, hour(1), "B"));
    let rows = [
        (place.clone(), rejected(5, None, b"before")),
        (place.clone(), rejected(10, None, b"at the beginning of the rest")),
        (place.clone(), rejected(10, Some(0), b"a tuple")),
        (place.clone(), rejected(12, None, b"in the rest")),
        (other.clone(), rejected(12, None, b"of another blob")),
    ];
    let step = |from: &Position, to: &Position, rejected: &[(HourlyBlob, Rejected)]| {
        let positions = vec![moved(&place, Some(from.clone()), to.clone())];
        let mut store = open();
        store.quarantine_usage().unwrap();
        store.commit(&Commit { positions, rejected: rejected.to_vec(), ..nothing(&of) }).unwrap();
        let counted = store.quarantine_usage().unwrap();
        drop(store);
        assert_eq!(counted, open().quarantine_usage().unwrap());
        quarantined(&open(), &of)
    };
    let kept = seen(Some(10), 15, TailState::Quarantined);
    open().commit(&Commit { positions: vec![moved(&place, None, kept.clone())], ..nothing(&of) }).unwrap();
    open().commit(&Commit { rejected: rows.to_vec(), ..nothing(&of) }).unwrap();
    let waited_for = seen(Some(10), 16, TailState::Incomplete);
    assert_eq!(step(&kept, &waited_for, &[]), rows);
    let anew = (place.clone(), rejected(20, None, b"a new rest"));
    let read = seen(Some(20), 25, TailState::Quarantined);
    let left = [rows[0].clone(), rows[2].clone(), anew.clone(), rows[4].clone()];
    assert_eq!(step(&waited_for, &read, std::slice::from_ref(&anew)), left);
    let from_the_beginning = Position { offset: None, seen: None };
    assert_eq!(step(&read, &from_the_beginning, &[]), left);
    assert_eq!(step(&from_the_beginning, &at(40), &[]), left);
}

fn frontiers_are_replaced<S: StateStore>(open: &impl Fn() -> S) {
    let of = scope("frontiers");
    let frontiers = [
        Frontier::from_parts(hour(1), [hour(3), hour(5)]),
        Frontier::from_parts(hour(2), [hour(5), hour(7)]),
        Frontier::new(hour(9)),
        Frontier::from_parts(hour(0), (1..9).map(hour)),
    ];
    for frontier in frontiers {
        let pair = (ROOT.to_owned(), frontier.clone());
        let other = (String::from("another"), Frontier::new(hour(4)));
        let commit = Commit { frontiers: vec![pair.clone(), other.clone()], ..nothing(&of) };
        open().commit(&commit).unwrap();
        assert_eq!(open().frontiers(&of).unwrap(), vec![other, pair]);
    }
    assert_eq!(open().frontiers(&scope("nobody")).unwrap(), Vec::new());
}

fn sqlite_quarantine(store: &SqliteStore, of: &Scope) -> Vec<(HourlyBlob, Rejected)> {
    let mut rows = Vec::new();
    store
        .for_each_quarantined(|entry| {
            assert!(entry.time > 0);
            if entry.scope == *of {
                rows.push((entry.blob, entry.rejected));
            }
        })
        .unwrap();
    rows.sort_by_key(|(blob, rejected)| (blob.clone(), rejected.span.from, rejected.ordinal));
    rows
}

fn sqlite_ledgers(store: &SqliteStore, of: &Scope, root: &str, hour: Hour) -> Vec<Option<Tally>> {
    store.stored_hour(of, root, hour).unwrap().into_iter().map(|stored| stored.ledger).collect()
}

/// Scenario: the suite runs on the store in memory. Guarantees: tests that use it see what they would see in SQLite.
#[test]
fn memory_keeps_the_contract() {
    let store = MemoryStore::default();
    contract(|| store.clone(), MemoryStore::quarantined, MemoryStore::ledgers);
}

/// Scenario: the suite runs on SQLite, and the file is closed and opened again before every call. Guarantees: every
/// answer comes from the disk.
#[test]
fn sqlite_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract(|| SqliteStore::open(directory.path()).unwrap(), sqlite_quarantine, sqlite_ledgers);
}

/// Some of everything, as the golden files hold it; that of version 1 has no ledger. Must never change.
pub(crate) fn fill(store: &mut SqliteStore) {
    let of = scope("sekoia");
    assert_eq!(store.first_hour(&of, FirstHour::At(hour(1))).unwrap(), FirstHour::At(hour(1)));
    assert_eq!(store.first_hour(&scope("second"), FirstHour::Beginning).unwrap(), FirstHour::Beginning);
    let (one, two) = (blob(ROOT, hour(5), "A"), blob(ROOT, hour(5), "B"));
    store
        .commit(&Commit {
            scope: of.clone(),
            positions: vec![
                PositionChange {
                    tally: tally(7),
                    ..moved(&one, None, seen(Some(1_000), 1_002, TailState::Clean))
                },
                PositionChange { tally: tally(3), ..moved(&two, None, at(500)) },
            ],
            rejected: vec![
                (one.clone(), rejected(0, Some(3), &b"again ".repeat(50))),
                (two, rejected(500, None, b"{")),
            ],
            frontiers: vec![(ROOT.to_owned(), Frontier::from_parts(hour(4), [hour(5), hour(7)]))],
        })
        .unwrap();
    let second = Commit { positions: vec![moved(&one, None, at(10))], ..nothing(&scope("second")) };
    store.commit(&second).unwrap();
}

/// Everything that [`fill`] wrote, as a store gives it back; times left out.
fn dump(store: &mut SqliteStore) -> String {
    let mut text = format!("{:#?}\n", store.summaries().unwrap());
    for of in [scope("sekoia"), scope("second")] {
        let first = store.first_hour(&of, FirstHour::At(hour(23))).unwrap();
        let parts = (first, store.frontiers(&of).unwrap(), store.positions(&of, ROOT, hour(5)).unwrap());
        text.push_str(&format!("{parts:#?}\n{:#?}\n", sqlite_quarantine(store, &of)));
    }
    text
}

fn filled() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fill(&mut SqliteStore::open(directory.path()).unwrap());
    let file = directory.path().join("state.sqlite3");
    (directory, file)
}

/// Scenario: the state is opened while it is held, and again after it was let go; a reader comes in between.
/// Guarantees: the second owner is refused and told the first one's process id; readers are not.
#[test]
fn a_second_owner_is_refused() {
    let (directory, _file) = filled();
    let owner = SqliteStore::open(directory.path()).unwrap();
    match SqliteStore::open(directory.path()) {
        Err(StoreError::Locked { pid, directory: named }) => {
            assert_eq!(pid, std::process::id().to_string());
            assert_eq!(named, directory.path().display().to_string());
        }
        other => panic!("expected a refusal, found {other:?}"),
    }
    assert_eq!(SqliteStore::open_read_only(directory.path()).unwrap().summaries().unwrap().len(), 2);
    drop(owner);
    SqliteStore::open(directory.path()).unwrap();
}

/// What is done to a file before it is opened.
type Spoil = Box<dyn Fn(&Path)>;

/// Scenario: the file is of a newer version, of another program, not a database at all, or empty. Guarantees: the
/// start is refused with the reason and the way out, and not one byte of the file changes.
#[test]
fn files_that_are_not_ours_stay_untouched() {
    let sql =
        |sql: &'static str| move |file: &Path| Connection::open(file).unwrap().execute_batch(sql).unwrap();
    let bytes = |bytes: &'static [u8]| move |file: &Path| std::fs::write(file, bytes).unwrap();
    let cases: [(Spoil, &str); 4] = [
        (Box::new(sql("PRAGMA user_version = 99;")), "has schema version 99, this program knows 2"),
        (Box::new(sql("PRAGMA application_id = 7;")), "restore a backup"),
        (Box::new(bytes(&[b'x'; 5_000])), "restore a backup"),
        (Box::new(bytes(b"")), "restore a backup"),
    ];
    for (spoil, expected) in cases {
        let (directory, file) = filled();
        spoil(&file);
        let before = std::fs::read(&file).unwrap();
        for error in [
            SqliteStore::open(directory.path()).unwrap_err(),
            SqliteStore::open_read_only(directory.path()).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains(expected) && error.contains(&file.display().to_string()), "{error}");
        }
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}

/// Scenario: the database is gone, its write-ahead log is still there. Guarantees: no new state is begun.
#[test]
fn a_lost_file_is_not_a_fresh_start() {
    let (directory, file) = filled();
    std::fs::rename(&file, directory.path().join("state.sqlite3-wal")).unwrap();
    assert!(matches!(SqliteStore::open(directory.path()), Err(StoreError::Corrupt { .. })));
    assert!(!file.exists());
}

/// Scenario: one value of one row is changed behind the store's back, in every table. Guarantees: whoever reads it
/// gets an error that names the place and the way out, never another answer.
#[test]
fn a_changed_value_is_found() {
    let cases = [
        ("UPDATE position SET offset = offset + 1", "the position of intake"),
        ("UPDATE position SET context = context + 1", "the position of intake"),
        ("UPDATE position SET etag = '0x8DE2B1C0FFEE001' WHERE etag IS NOT NULL", "the position of intake"),
        ("UPDATE position SET tail = 2 WHERE tail IS NOT NULL", "the position of intake"),
        ("UPDATE position SET offset = NULL", "the position of intake"),
        ("UPDATE position SET tuples = tuples + 1, delivered = delivered + 1", "the position of intake"),
        ("UPDATE position SET pieces = NULL", "the position of intake"),
        ("UPDATE position SET leaf = leaf || 'x'", "the position of intake"),
        ("UPDATE frontier SET first_unsealed = first_unsealed + 1", "the frontier of intake sekoia"),
        ("UPDATE sealed_hour SET hour = hour + 10 WHERE hour % 2 = 1", "the frontier of intake sekoia"),
        ("DELETE FROM sealed_hour", "the frontier of intake sekoia"),
        ("UPDATE first_hour SET hour = 0", "the first hour of intake"),
        ("UPDATE quarantine SET offset = offset + 1", "table quarantine, row 1"),
        ("UPDATE quarantine SET text = x'00'", "table quarantine, row 1"),
        ("UPDATE quarantine SET reason = 'odd'", "table quarantine, row 1"),
        ("UPDATE quarantine SET time = time + 1", "table quarantine, row 1"),
        ("UPDATE root SET name = name || 'x'", "table root, row 1"),
        ("UPDATE intake SET name = name || 'x'", "table intake, row 1"),
        ("UPDATE source SET container = 'other'", "table source, row 1"),
    ];
    for (sql, expected) in cases {
        let (directory, file) = filled();
        let n_changed = Connection::open(&file).unwrap().execute(sql, []).unwrap();
        assert!(n_changed > 0, "{sql}");
        let read = || -> Result<(), StoreError> {
            let mut store = SqliteStore::open(directory.path())?;
            for of in [scope("sekoia"), scope("second")] {
                store.first_hour(&of, FirstHour::Beginning)?;
                store.frontiers(&of)?;
                store.positions(&of, ROOT, hour(5))?;
            }
            store.for_each_quarantined(|_entry| ())
        };
        let error = read().unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { what, .. } if what.contains(expected)),
            "{sql}: {error}"
        );
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}

/// Scenario: pages of the file are overwritten with zeros. Guarantees: SQLite's own check stops the first commit.
#[test]
fn damage_is_found_before_the_first_commit() {
    let (directory, file) = filled();
    let mut bytes = std::fs::read(&file).unwrap();
    let n_bytes = bytes.len();
    bytes[n_bytes - 4_096..].fill(0);
    std::fs::write(&file, bytes).unwrap();
    let mut store = SqliteStore::open(directory.path()).unwrap();
    let error = store.commit(&nothing(&scope("sekoia"))).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
}

/// Scenario: the state directory lies below a regular file. Guarantees: the error names the directory.
#[test]
fn an_impossible_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteStore::open(&file.join("state")).unwrap_err().to_string();
    assert_eq!(error, format!("create the state directory {}", file.join("state").display()));
}

/// Scenario: positions of one blob, of an intake, and of a damaged row are reset. Guarantees: the preview says what
/// the reset does and changes nothing; a blob's sealed hour is owed again, the others stay sealed; damage can be
/// reset away.
#[test]
fn a_reset_makes_blobs_owed_again() {
    let (directory, file) = filled();
    Connection::open(&file).unwrap().execute("UPDATE position SET offset = offset + 1", []).unwrap();
    let mut store = SqliteStore::open(directory.path()).unwrap();
    let one = blob(ROOT, hour(5), "A").name().to_string();
    let steps = [
        (ResetFilter { blob: Some(format!("{one}x")), ..ResetFilter::default() }, (0, 0, 0)),
        (ResetFilter { blob: Some(one), intake: Some(String::from("sekoia")), source: None }, (1, 1, 0)),
        (ResetFilter { intake: Some(String::from("second")), ..ResetFilter::default() }, (1, 0, 1)),
        (ResetFilter { source: Some(scope("").origin), ..ResetFilter::default() }, (1, 1, 1)),
        (ResetFilter::default(), (0, 0, 0)),
    ];
    for (number, (filter, (positions, frontiers, first_hours))) in steps.into_iter().enumerate() {
        let expected = ResetCounts { positions, frontiers, first_hours };
        assert_eq!(store.preview_reset(&filter).unwrap(), expected);
        assert_eq!(store.reset(&filter).unwrap(), expected);
        if number == 1 {
            let opened = Frontier::from_parts(hour(4), [hour(7)]);
            assert_eq!(store.frontiers(&scope("sekoia")).unwrap(), vec![(ROOT.to_owned(), opened)]);
        }
    }
    assert_eq!(store.positions(&scope("sekoia"), ROOT, hour(5)).unwrap(), Vec::new());
    assert_eq!(sqlite_quarantine(&store, &scope("sekoia")).len(), 2);
}
