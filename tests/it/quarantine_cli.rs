//! The command quarantine: looking and dropping.

use std::{
    path::Path,
    process::{Command, Output},
};

use flowlogd::store::sqlite::SqliteStore;

use super::store_contract::fill;

fn quarantine(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
    command.env_remove("FLOWLOGD_CONFIG").arg("quarantine").arg("--state-dir").arg(state).args(arguments);
    command.output().unwrap()
}

fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fill(&mut SqliteStore::open(directory.path()).unwrap());
    directory
}

/// Runs the command, which must succeed; returns stdout with `(time)` in the place of each time of this run.
fn run(state: &Path, arguments: &[&str]) -> String {
    let output = quarantine(state, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let is_time = |word: &str| word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
    let masked = text.split_inclusive(['"', ' ', '\n']).map(|word| {
        let bare = word.trim_end_matches(['"', ' ', '\n']);
        if is_time(bare) { word.replace(bare, "(time)") } else { word.to_owned() }
    });
    masked.collect()
}

/// *Scenario*: a filled quarantine is listed and shown while its owner holds the state.
/// *Guarantees*: table and JSON say what is kept, all of it in `show`, and nobody is disturbed.
#[test]
fn rows_are_shown_beside_the_owner() {
    let directory = filled();
    let _owner = SqliteStore::open(directory.path()).unwrap();
    expect_test::expect![[r#"
        SOURCE     INTAKE  REASON             ROWS  BYTES  OLDEST                NEWEST
        acct/logs  sekoia  bad_tuple             1    279  (time)  (time)
        acct/logs  sekoia  incomplete_record     1    245  (time)  (time)
    "#]]
    .assert_eq(&run(directory.path(), &["list"]));
    expect_test::expect![[r#"
        {"account":"acct","container":"logs","intake":"sekoia","reason":"bad_tuple","rows":1,"bytes":279,"oldest":"(time)","newest":"(time)"}
        {"account":"acct","container":"logs","intake":"sekoia","reason":"incomplete_record","rows":1,"bytes":245,"oldest":"(time)","newest":"(time)"}
    "#]].assert_eq(&run(directory.path(), &["list", "--json"]));
    expect_test::expect![[r#"
        {"id":1,"time":"(time)","account":"acct","container":"logs","intake":"sekoia","blob":"flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress=A/PT1H.json","hour":"2026-11-24T05Z","offset":0,"length":100,"ordinal":3,"reason":"bad_tuple","detail":"flow state: expected B, C, E or D, found `X`","status":400,"response":"no","context":"{\"aclID\":\"x\"}","text":"again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again again "}
        {"id":2,"time":"(time)","account":"acct","container":"logs","intake":"sekoia","blob":"flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress=B/PT1H.json","hour":"2026-11-24T05Z","offset":500,"length":100,"ordinal":null,"reason":"incomplete_record","detail":"flow state: expected B, C, E or D, found `X`","status":null,"response":null,"context":null,"text":"{"}
    "#]].assert_eq(&run(directory.path(), &["show"]));
}

/// *Scenario*: rows are asked for by every filter, and by several at once.
/// *Guarantees*: a row is shown when it fits all of them, and only then.
#[test]
fn filters_are_joined() {
    let directory = filled();
    let blob =
        |mac: &str| format!("flowLogResourceID=/A_B/C/y=2026/m=11/d=24/h=05/m=00/macAddress={mac}/PT1H.json");
    let (one, other, part) = (blob("A"), blob("B"), blob("A/x"));
    let cases: [(&[&str], usize); 12] = [
        (&[], 2),
        (&["--intake", "sekoia"], 2),
        (&["--intake", "second"], 0),
        (&["--source", "acct/logs"], 2),
        (&["--source", "acct/log"], 0),
        (&["--blob", &one], 1),
        (&["--blob", &part], 0),
        (&["--reason", "bad_tuple"], 1),
        (&["--reason", "bad_tuple", "--blob", &other], 0),
        (&["--since", "1h", "--intake", "sekoia"], 2),
        (&["--since", "2020-01-01T00:00:00Z"], 2),
        (&["--since", "2100-01-01T00:00:00+01:00"], 0),
    ];
    for (filter, n_rows) in cases {
        let arguments = [&["show"], filter].concat();
        assert_eq!(run(directory.path(), &arguments).lines().count(), n_rows, "{filter:?}");
    }
}

/// *Scenario*: one reason is dropped, then everything; before that the command lacks a filter, or the state is held or
/// missing.
/// *Guarantees*: only what fits goes, the command says how much it was, and a refusal changes nothing.
#[test]
fn what_is_dropped_is_counted() {
    let directory = filled();
    let refuse = |state: &Path, arguments: &[&str], code: i32, expected: &str| {
        let output = quarantine(state, arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(expected) && output.stdout.is_empty(), "{errors}");
    };
    refuse(directory.path(), &["drop"], 2, "--help");
    refuse(directory.path(), &["drop", "--all", "--intake", "sekoia"], 2, "--help");
    refuse(directory.path(), &["drop", "--reason", "odd"], 2, "expected one of bad_tuple, bad_record");
    refuse(directory.path(), &["drop", "--since", "soon"], 2, "RFC 3339");
    let owner = SqliteStore::open(directory.path()).unwrap();
    refuse(directory.path(), &["drop", "--all"], 75, "holds the state");
    drop(owner);
    let empty = tempfile::tempdir().unwrap();
    for action in [["drop", "--all"].as_slice(), &["list"], &["show"]] {
        refuse(empty.path(), action, 1, "has no state.sqlite3");
    }
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);

    assert_eq!(run(directory.path(), &["show"]).lines().count(), 2);
    expect_test::expect![[r#"
        Dropped: 1 rows, 245 bytes.
    "#]]
    .assert_eq(&run(directory.path(), &["drop", "--reason", "incomplete_record"]));
    let left = run(directory.path(), &["show"]);
    assert!(left.lines().count() == 1 && left.contains("bad_tuple"), "{left}");
    assert!(run(directory.path(), &["drop", "--all"]).starts_with("Dropped: 1 rows, "));
    assert_eq!(run(directory.path(), &["drop", "--all"]), "Dropped: 0 rows, 0 bytes.\n");
}

/// *Scenario*: a row is damaged; then it is dropped with what else fits.
/// *Guarantees*: `show` names the row and the way out, and `drop` is one.
#[test]
fn a_damaged_row_can_be_dropped() {
    let directory = filled();
    let file = directory.path().join("state.sqlite3");
    let sql = "UPDATE quarantine SET text = x'00' WHERE ordinal IS NOT NULL";
    rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    let output = quarantine(directory.path(), &["show"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("table quarantine, row 1 is damaged") && errors.contains("quarantine drop"),
        "{errors}"
    );
    run(directory.path(), &["drop", "--reason", "bad_tuple"]);
    assert_eq!(run(directory.path(), &["show"]).lines().count(), 1);
}
