//! The command checkpoints.

use std::{
    path::Path,
    process::{Command, Output},
};

use flowlogd::store::sqlite::SqliteStore;

use super::store_contract::fill;

fn checkpoints(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
    command.env_remove("FLOWLOGD_CONFIG").arg("checkpoints").arg("--state-dir").arg(state).args(arguments);
    command.output().unwrap()
}

fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fill(&mut SqliteStore::open(directory.path()).unwrap());
    directory
}

/// Runs the command and compares code and stdout.
fn check(state: &Path, arguments: &[&str], code: i32, expected: &expect_test::Expect) {
    let output = checkpoints(state, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    expected.assert_eq(&String::from_utf8(output.stdout).unwrap());
}

/// Scenario: a filled state is listed, shown and exported while its owner holds it. Guarantees: tables and JSON say
/// what is stored, and nobody is disturbed.
#[test]
fn positions_are_shown_beside_the_owner() {
    let directory = filled();
    let _owner = SqliteStore::open(directory.path()).unwrap();
    check(
        directory.path(),
        &["list"],
        0,
        &expect_test::expect![[r#"
        SOURCE     INTAKE  FIRST HOUR      BLOBS  COMPLETE  BYTES  QUARANTINED
        acct/logs  second  earliest            1         0     10            0
        acct/logs  sekoia  2026-11-24T01Z      2         1   1500            2

        SOURCE     INTAKE  OPEN FROM       SEALED LATER  ROOT
        acct/logs  sekoia  2026-11-24T04Z             2  flowLogResourceID=/A_B/C
    "#]],
    );
    check(
        directory.path(),
        &["list", "--json"],
        0,
        &expect_test::expect![[r#"
        {"account":"acct","container":"logs","intake":"second","first_hour":"earliest","blobs":1,"complete":0,"bytes":10,"quarantined":0,"roots":[]}
        {"account":"acct","container":"logs","intake":"sekoia","first_hour":"2026-11-24T01Z","blobs":2,"complete":1,"bytes":1500,"quarantined":2,"roots":[{"root":"flowLogResourceID=/A_B/C","open_from":"2026-11-24T04Z","sealed_later":2}]}
    "#]],
    );
    check(
        directory.path(),
        &["show", "macAddress=A"],
        0,
        &expect_test::expect![[r#"
        source acct/logs, intake second
                  OFFSET  STATE        BLOB
                      10  reading      flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress=A/PT1H.json
        source acct/logs, intake sekoia
                  OFFSET  STATE        BLOB
                    1000  complete     flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress=A/PT1H.json
    "#]],
    );
    check(
        directory.path(),
        &["show", "macAddress=B", "--json"],
        0,
        &expect_test::expect![[r#"
            {"account":"acct","container":"logs","intake":"sekoia","blob":"flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress=B/PT1H.json","hour":"2026-11-24T05Z","offset":500,"context":"7a0b2635db2e7bb6","state":"reading","etag":null,"length":null,"ledger":{"records":3,"tuples":30,"delivered":27,"quarantined":3,"pieces":1}}
        "#]],
    );
    check(
        directory.path(),
        &["export"],
        0,
        &expect_test::expect![[r#"
            {"account":"acct","container":"logs","intake":"second","blob":"flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress=A/PT1H.json","hour":"2026-11-24T05Z","offset":10,"context":"e6ad1be9a8972875","state":"reading","etag":null,"length":null,"ledger":{"records":0,"tuples":0,"delivered":0,"quarantined":0,"pieces":0}}
            {"account":"acct","container":"logs","intake":"sekoia","blob":"flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress=A/PT1H.json","hour":"2026-11-24T05Z","offset":1000,"context":"8b128e30f237258d","state":"complete","etag":"0x8DE2B1C0FFEE000","length":1002,"ledger":{"records":7,"tuples":70,"delivered":63,"quarantined":7,"pieces":3}}
            {"account":"acct","container":"logs","intake":"sekoia","blob":"flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress=B/PT1H.json","hour":"2026-11-24T05Z","offset":500,"context":"7a0b2635db2e7bb6","state":"reading","etag":null,"length":null,"ledger":{"records":3,"tuples":30,"delivered":27,"quarantined":3,"pieces":1}}
        "#]],
    );
    check(directory.path(), &["show", "nothing like it"], 0, &expect_test::expect![[r#""#]]);
}

/// Scenario: one intake is reset, first without and then with --yes; then everything. Guarantees: nothing changes
/// before --yes, and only what was named goes.
#[test]
fn a_reset_asks_first() {
    let directory = filled();
    let before = checkpoints(directory.path(), &["export"]).stdout;
    let would = expect_test::expect![[r#"
        Would delete: 2 positions, 1 frontiers (or seals), 1 first hours.
        Nothing was changed; add --yes to do it.
    "#]];
    check(directory.path(), &["reset", "--intake", "sekoia"], 0, &would);
    assert_eq!(checkpoints(directory.path(), &["export"]).stdout, before);
    let did = expect_test::expect![[r#"
        Deleted: 2 positions, 1 frontiers (or seals), 1 first hours.
    "#]];
    check(directory.path(), &["reset", "--intake", "sekoia", "--source", "acct/logs", "--yes"], 0, &did);
    let left = String::from_utf8(checkpoints(directory.path(), &["export"]).stdout).unwrap();
    assert_eq!((left.lines().count(), left.contains("\"second\"")), (1, true));
    check(
        directory.path(),
        &["reset", "--all", "--yes"],
        0,
        &expect_test::expect![[r#"
        Deleted: 1 positions, 0 frontiers (or seals), 1 first hours.
    "#]],
    );
    assert!(checkpoints(directory.path(), &["export"]).stdout.is_empty());
}

/// Scenario: a reset names an intake, a container or a blob that nothing is stored of, or two that do not go together;
/// with and without --yes. Guarantees: it ends with 1, names what was asked for and what is stored, and changes
/// nothing; resetting everything where nothing is left is no mistake.
#[test]
fn a_reset_of_nothing_is_a_mistake() {
    let directory = filled();
    let before = checkpoints(directory.path(), &["export"]).stdout;
    for (arguments, expected) in [
        (["--intake", "secnod"].as_slice(), "--intake secnod"),
        (&["--source", "acct/lgos"], "--source acct/lgos"),
        (&["--blob", "no/such/blob"], "--blob no/such/blob"),
        (&["--intake", "second", "--source", "acct/lgos"], "--intake second --source acct/lgos"),
    ] {
        for sure in [[].as_slice(), &["--yes"]] {
            let output = checkpoints(directory.path(), &[["reset"].as_slice(), arguments, sure].concat());
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
            assert!(output.stdout.is_empty());
            let stored = "stored are --source acct/logs --intake second, --source acct/logs --intake sekoia;";
            for part in [&format!("no checkpoint fits {expected}:"), stored, "checkpoints show TEXT"] {
                assert!(errors.contains(part), "{part}: {errors}");
            }
        }
    }
    assert_eq!(checkpoints(directory.path(), &["export"]).stdout, before);
    for _again in 0..2 {
        assert!(checkpoints(directory.path(), &["reset", "--all", "--yes"]).status.success());
    }
}

/// Scenario: the state is missing, held, newer or unreadable, or the command is incomplete. Guarantees: each ends
/// with the exit code of the contract and a message that names the reason; no state is begun.
#[test]
fn failures_have_their_exit_codes() {
    let refuse = |state: &Path, arguments: &[&str], code: i32, expected: &str| {
        let output = checkpoints(state, arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{errors}");
        assert!(output.stdout.is_empty());
    };
    let empty = tempfile::tempdir().unwrap();
    for arguments in [["list"].as_slice(), &["export"], &["reset", "--all", "--yes"]] {
        refuse(empty.path(), arguments, 1, "has no state.sqlite3");
    }
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);

    let directory = filled();
    for arguments in [
        ["reset"].as_slice(),
        &["reset", "--yes"],
        &["reset", "--all", "--blob", "x"],
        &["reset", "--source", "x"],
    ] {
        refuse(directory.path(), arguments, 2, "--help");
    }
    let owner = SqliteStore::open(directory.path()).unwrap();
    let pid = format!("process {}", std::process::id());
    refuse(directory.path(), &["reset", "--all", "--yes"], 75, &pid);
    drop(owner);
    let file = directory.path().join("state.sqlite3");
    rusqlite::Connection::open(&file).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
    refuse(directory.path(), &["list"], 78, "schema version 9");
    std::fs::write(&file, "not a database, but long enough to be taken for one by a hurried reader").unwrap();
    refuse(directory.path(), &["list"], 1, "restore a backup");
}
