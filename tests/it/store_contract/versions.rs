//! The files that earlier versions of the schema wrote.

use std::path::Path;

use flowlogd::{
    checkpoint::TailState,
    store::{Commit, PositionChange, StateStore, sqlite::SqliteStore},
};

use super::{ROOT, at, blob, dump, filled, hour, moved, nothing, scope, seen, sqlite_ledgers, tally};

/// A state directory with the file that a version of the schema wrote.
fn golden(version: u32) -> tempfile::TempDir {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/state/v{version}.sqlite3"));
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(golden, directory.path().join("state.sqlite3")).unwrap();
    directory
}

/// Scenario: the files that each version of the schema wrote are opened, to look at them first, then to own them.
/// Guarantees: they hold what was written then, with the ledger from version 2 on; who only looks changes nothing.
#[test]
fn the_files_of_all_versions_are_read() {
    let (fresh, _file) = filled();
    let expected = dump(&mut SqliteStore::open(fresh.path()).unwrap());
    let counted = vec![Some(tally(7)), Some(tally(3))];
    for (version, ledgers) in [(1, vec![None, None]), (2, counted)] {
        let directory = golden(version);
        let file = directory.path().join("state.sqlite3");
        let before = std::fs::read(&file).unwrap();
        for is_owned in [false, true] {
            let open = if is_owned { SqliteStore::open } else { SqliteStore::open_read_only };
            let mut store = open(directory.path()).unwrap();
            assert_eq!(dump(&mut store), expected);
            assert_eq!(sqlite_ledgers(&store, &scope("sekoia"), ROOT, hour(5)), ledgers);
            if !is_owned {
                assert_eq!(std::fs::read(&file).unwrap(), before);
            }
        }
    }
}

/// Scenario: a file of version 1 is opened; its positions move on, one from the beginning because its blob was rewritten,
/// and a blob that is new gets one. Guarantees: what was not counted stays not counted, what is read from its beginning is
/// counted.
#[test]
fn what_version_1_read_is_not_counted() {
    let directory = golden(1);
    let mut store = SqliteStore::open(directory.path()).unwrap();
    let of = scope("sekoia");
    let (one, two, three) = (blob(ROOT, hour(5), "A"), blob(ROOT, hour(5), "B"), blob(ROOT, hour(5), "C"));
    let counting = |change| PositionChange { tally: tally(4), ..change };
    let rewritten = moved(&one, Some(seen(Some(1_000), 1_002, TailState::Clean)), at(70));
    let positions = vec![
        PositionChange { started_over: true, ..counting(rewritten) },
        counting(moved(&two, Some(at(500)), at(600))),
        counting(moved(&three, None, at(9))),
    ];
    store.commit(&Commit { positions, ..nothing(&of) }).unwrap();
    assert_eq!(sqlite_ledgers(&store, &of, ROOT, hour(5)), [Some(tally(4)), None, Some(tally(4))]);
}
