//! Rows of the state with other values than were written: with the checksum that was there, as damage leaves it, and with
//! a right one, as somebody would write it who knows how.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use fastrand::Rng;
use flate2::read::ZlibDecoder;
use flowlogd::{
    model::{Hour, Origin, Scope},
    store::{
        Commit, FirstHour, StateStore, StoreError,
        sqlite::{QuarantineEntry, QuarantineFilter, SqliteStore},
    },
};
use rusqlite::{
    Connection, params_from_iter,
    types::{Value, ValueRef},
};
use tempfile::TempDir;

use super::variable;
use crate::store_contract::fill;

const TABLES: [&str; 8] =
    ["source", "intake", "root", "position", "frontier", "sealed_hour", "first_hour", "quarantine"];

/// What the checksums of each table's rows are of, in the order in which it is summed up, behind the `n` columns of the
/// row's key.
const SUMMED: [(&str, &[&str], &str); 7] = [
    ("source", &["id"], "account, container"),
    ("intake", &["id"], "name"),
    ("root", &["id"], "source, name"),
    (
        "position",
        &["intake", "root", "hour", "leaf"],
        "account, container, intake.name, root.name, hour, leaf, offset, context, etag, length, tail, records, tuples, \
         delivered, quarantined, pieces",
    ),
    ("frontier", &["intake", "root"], "account, container, intake.name, root.name, first_unsealed"),
    ("first_hour", &["intake", "source"], "account, container, intake.name, hour"),
    (
        "quarantine",
        &["id"],
        "time, account, container, intake.name, root.name, hour, leaf, offset, length, ordinal, reason, detail, status, \
         response, context, text",
    ),
];

/// From this part on, a row of `position` has what is not summed up where it is not there: the ledger.
const LEDGER: usize = 11;

/// A part of what a checksum is of, spelled with its kind and length.
fn spelled(part: ValueRef<'_>) -> Vec<u8> {
    match part {
        ValueRef::Null | ValueRef::Real(_) => b"-".to_vec(),
        ValueRef::Integer(number) => [b"n".as_slice(), &number.to_le_bytes()].concat(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            [b"b".as_slice(), &u64::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
        }
    }
}

/// Gives every row the checksum that its content has now.
fn make_sums_right(connection: &Connection) {
    for (table, key, summed) in SUMMED {
        let joined = match table {
            "source" | "intake" | "root" => "",
            "first_hour" => "LEFT JOIN source ON source.id = source LEFT JOIN intake ON intake.id = intake",
            _ => {
                "LEFT JOIN intake ON intake.id = intake LEFT JOIN root ON root.id = root \
                 LEFT JOIN source ON source.id = root.source"
            }
        };
        let keys: Vec<String> = key.iter().map(|column| format!("{table}.{column}")).collect();
        let is_packed = if table == "quarantine" { "compressed" } else { "0" };
        let sql = format!("SELECT {}, {is_packed}, {summed} FROM {table} {joined}", keys.join(", "));
        let mut statement = connection.prepare(&sql).unwrap();
        let n_columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut sums = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<ValueRef<'_>> =
                (0..n_columns).map(|column| row.get_ref(column).unwrap()).collect();
            let mut content = spelled(ValueRef::Text(table.as_bytes()));
            for (part, value) in values[key.len() + 1..].iter().enumerate() {
                content.extend(match (value, values[key.len()]) {
                    (ValueRef::Null, _) if table == "position" && part >= LEDGER => Vec::new(),
                    (ValueRef::Blob(packed), ValueRef::Integer(1)) => {
                        spelled(ValueRef::Blob(&unpacked(packed)))
                    }
                    _ => spelled(*value),
                });
            }
            if table == "frontier" {
                let (intake, root): (i64, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
                let mut sealed = connection
                    .prepare("SELECT hour FROM sealed_hour WHERE intake = ?1 AND root = ?2 ORDER BY hour")
                    .unwrap();
                let hours = sealed.query_map((intake, root), |row| row.get::<_, i64>(0)).unwrap();
                hours.for_each(|hour| content.extend(spelled(ValueRef::Integer(hour.unwrap()))));
            }
            let mut parameters = vec![Value::Integer(crc32fast::hash(&content).into())];
            parameters.extend(values[..key.len()].iter().map(|value| owned(*value)));
            sums.push(parameters);
        }
        let fits: Vec<String> = key.iter().map(|column| format!("{column} IS ?")).collect();
        let sql = format!("UPDATE {table} SET crc = ? WHERE {}", fits.join(" AND "));
        for parameters in sums {
            connection.execute(&sql, params_from_iter(parameters)).unwrap();
        }
    }
}

/// A text that is not UTF-8 cannot be bound as one: as a key it fits no row then, and keeps its wrong sum.
fn owned(value: ValueRef<'_>) -> Value {
    Value::try_from(value).unwrap_or(Value::Null)
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    // What cannot be decompressed has no right sum.
    ZlibDecoder::new(packed).read_to_end(&mut text).ok();
    text
}

/// Other values for a column of this type, as SQL. The first ones are the same each time.
fn others(column: &str, kind: &str, random: &mut Rng) -> Vec<String> {
    let bit = random.u8(0..63);
    let byte = random.u8(..);
    let values = match kind {
        "INTEGER" => vec![
            "0".to_owned(),
            "1".to_owned(),
            "-1".to_owned(),
            i64::MAX.to_string(),
            "-9223372036854775807 - 1".to_owned(),
            format!("{column} + 1"),
            format!("({column} | 1 << {bit}) - ({column} & 1 << {bit})"),
        ],
        "TEXT" => vec![
            "''".to_owned(),
            "'/'".to_owned(),
            "'a' || char(0, 10, 27, 34) || 'b'".to_owned(),
            "CAST(x'ff41' AS TEXT)".to_owned(),
            "hex(zeroblob(40000))".to_owned(),
            format!("{column} || 'x'"),
            format!("substr({column}, 1, {}) || char({byte})", byte % 40),
        ],
        "BLOB" => vec![
            "x''".to_owned(),
            "x'789c'".to_owned(),
            "randomblob(40)".to_owned(),
            format!("CAST(substr({column}, 1, {}) || x'{byte:02x}' AS BLOB)", byte % 40),
        ],
        other => panic!("{other} is no type of ours"),
    };
    [vec!["NULL".to_owned()], values].concat()
}

/// All that a file holds and looks at before it is given away, as text.
fn everything(state: &Path) -> Result<String, StoreError> {
    let mut store = SqliteStore::open_read_only(state)?;
    let mut shown = String::new();
    let origin = Origin { account: String::from("acct"), container: String::from("logs") };
    for intake in ["sekoia", "second"] {
        let of = Scope { origin: origin.clone(), intake: intake.to_owned() };
        let first = store.first_hour(&of, FirstHour::At(Hour::from_number(7)))?;
        let frontiers = store.frontiers(&of)?;
        shown += &format!("{first:?} {frontiers:?}\n");
        for (root, frontier) in &frontiers {
            shown += &format!("{:?}\n", store.stored_day(&of, root, None)?);
            shown += &format!("{:?}\n", store.positions(&of, root, frontier.first_unsealed().next())?);
        }
    }
    store.for_each_position("", |stored| {
        shown += &format!("{stored:?}\n");
        Ok::<_, StoreError>(())
    })??;
    // The number of a row is for people to name it by.
    let mut entries = Vec::new();
    store
        .for_each_quarantined(|entry| entries.push(format!("{:?}\n", QuarantineEntry { id: 0, ..entry })))?;
    entries.sort_unstable();
    // As before the first commit.
    SqliteStore::open(state)?.check_file()?;
    Ok(shown + &entries.concat())
}

/// What does not look at the content of rows, and what changes them.
fn count_and_change(state: &Path) -> Result<(), StoreError> {
    let mut store = SqliteStore::open(state)?;
    let summaries = store.summaries()?;
    store.quarantine_summaries(&QuarantineFilter::default())?;
    store.quarantine_usage()?;
    for scope in summaries.into_iter().map(|summary| summary.scope).chain(store.scopes()?) {
        let frontiers = store.frontiers(&scope)?;
        for (root, frontier) in &frontiers {
            store.prune(&scope, root, frontier.first_unsealed().day(), &[])?;
        }
        store.commit(&Commit { scope, positions: Vec::new(), rejected: Vec::new(), frontiers })?;
    }
    Ok(())
}

/// Every command that shows the state. None panics.
fn show(state: &Path) {
    let arguments: [&[&str]; 6] = [
        &["checkpoints", "list"],
        &["checkpoints", "show", ""],
        &["checkpoints", "export"],
        &["quarantine", "list"],
        &["quarantine", "list", "--json"],
        &["quarantine", "show"],
    ];
    for arguments in arguments {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
        let output =
            command.env_remove("FLOWLOGD_CONFIG").args(arguments).arg("--state-dir").arg(state).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0..=78)) && !said.contains("panicked"),
            "{arguments:?}: {said}"
        );
    }
}

/// A copy of a filled state whose row `number` of `table` has another value; `None` where no such row can be.
fn changed(
    filled: &Path,
    table: &str,
    column: &str,
    value: &str,
    number: u16,
) -> Option<(TempDir, Connection)> {
    let directory = tempfile::tempdir().unwrap();
    let file: PathBuf = directory.path().join("state.sqlite3");
    std::fs::copy(filled.join("state.sqlite3"), &file).unwrap();
    let connection = Connection::open(file).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    let key = SUMMED
        .iter()
        .find(|(name, ..)| *name == table)
        .map_or("intake, root, hour".to_owned(), |(_, key, _)| key.join(", "));
    let sql = format!(
        "UPDATE {table} SET {column} = {value} WHERE ({key}) IN (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {number}) \
         AND {column} IS NOT {value}"
    );
    let n_changed = connection.execute(&sql, []).unwrap_or_default();
    (n_changed > 0).then_some((directory, connection))
}

/// *Scenario*: in every row, every column has other values, hostile ones among them, one at a time; with the checksum that
/// was there, and with right ones.
/// *Guarantees*: with the old checksum what is read is damage, or the same as before. With right ones nothing panics and
/// nothing hangs: reading, counting, changing, and the commands that show it.
#[test]
fn every_column_of_every_row() {
    let filled = tempfile::tempdir().unwrap();
    fill(&mut SqliteStore::open(filled.path()).unwrap());
    let before = everything(filled.path()).unwrap();
    let connection = Connection::open(filled.path().join("state.sqlite3")).unwrap();
    make_sums_right(&connection);
    assert_eq!(everything(filled.path()).unwrap(), before, "the sums of this file are those of the store");
    let mut random = Rng::with_seed(variable("SEED", 1));
    let (mut n_tried, mut n_found) = (0, 0);
    let mut unseen = Vec::new();
    for table in TABLES {
        let n_rows: u16 =
            connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        let mut columns =
            connection.prepare(&format!("SELECT name, type FROM pragma_table_info('{table}')")).unwrap();
        let columns = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let columns: Vec<(String, String)> = columns.collect::<Result<_, _>>().unwrap();
        for (number, (column, kind)) in
            (0..n_rows).flat_map(|number| columns.iter().map(move |of| (number, of)))
        {
            let mut values = others(column, kind, &mut random);
            for _ in 1..variable("MUTATIONS", 1) {
                values.extend(others(column, kind, &mut random));
            }
            let shown = random.usize(0..values.len());
            for (place, value) in values.iter().enumerate() {
                let Some((state, connection)) = changed(filled.path(), table, column, value, number) else {
                    continue;
                };
                n_tried += 1;
                match everything(state.path()) {
                    Err(StoreError::Corrupt { .. }) => n_found += 1,
                    Ok(after) if after == before => {}
                    Ok(_) => unseen.push(format!("row {number} of {table}: {column} = {value}")),
                    Err(error) => {
                        unseen.push(format!("row {number} of {table}: {column} = {value}: {error:?}"))
                    }
                }
                make_sums_right(&connection);
                drop(connection);
                drop(everything(state.path()));
                // Some of them: a process takes as long as a hundred looks.
                if place == shown && random.u8(..) < 80 {
                    show(state.path());
                }
                drop(count_and_change(state.path()));
            }
        }
    }
    assert!(
        unseen.is_empty(),
        "{} of {n_tried} pass for what was written:\n{}",
        unseen.len(),
        unseen.join("\n")
    );
    assert!(n_found > 300, "{n_found} of {n_tried}");
}
