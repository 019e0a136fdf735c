//! The state store in one SQLite file, `state.sqlite3` in the state directory. Write-ahead log with full syncs: a
//! commit that has returned survives a power cut.

mod lock;
mod quarantine;
mod reset;
mod rows;
mod schema;
mod summary;

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Commit, FirstHour, PositionChange, StateStore, StoreError};
use crate::{
    checkpoint::{Frontier, Position},
    model::{BlobName, Hour, HourlyBlob, Origin, Scope},
};
use lock::StateLock;
pub use reset::{ResetCounts, Selection};
use rows::{PositionRow, RowHash};
pub use summary::ScopeSummary;

const DATABASE_FILE: &str = "state.sqlite3";

/// The way out where the whole file is of no use.
const START_AFRESH: &str = "restore it from a backup, or move it away to start afresh: then everything from `start` on \
                            is delivered again, with the same ids";

/// The way out where single rows are.
const RESET_ROW: &str = "restore the file from a backup, or forget what is damaged with `flowlogd checkpoints reset`: \
                         then it is delivered again, with the same ids";

/// The state store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    file: PathBuf,
    /// `None` for a store that only reads.
    _lock: Option<StateLock>,
}

/// Database ids of a scope.
#[derive(Debug, Clone, Copy)]
struct ScopeIds {
    source: i64,
    intake: i64,
}

impl SqliteStore {
    /// Opens the state in a directory, which is made where it is missing, and keeps others out of it.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NewerSchema`], [`StoreError::Corrupt`], or [`StoreError::Io`].
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| io_error(format!("make the state directory {}", directory.display()), error))?;
        let lock = StateLock::take(directory)?;
        let file = directory.join(DATABASE_FILE);
        schema::inspect(&file)?;
        let failed = |error| io_error(format!("open {}", file.display()), error);
        let mut connection = Connection::open(&file).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        schema::migrate(&mut connection, &file)?;
        // The files' names must survive a power cut as well as their content.
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| io_error(format!("sync {}", directory.display()), error))?;
        let store = Self { connection, file, _lock: Some(lock) };
        store.check()?;
        Ok(store)
    }

    /// Opens the state for looking only, beside a process that may be using it.
    ///
    /// # Errors
    /// As [`Self::open`] says, without the lock.
    pub fn open_read_only(directory: &Path) -> Result<Self, StoreError> {
        let file = directory.join(DATABASE_FILE);
        let failed = |error| io_error(format!("open {}: no state is stored there", file.display()), error);
        fs::metadata(&file).map_err(failed)?;
        schema::inspect(&file)?;
        let opened = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let connection = opened.map_err(|error| io_error(format!("open {}", file.display()), error))?;
        let store = Self { connection, file, _lock: None };
        store.check()?;
        Ok(store)
    }

    /// Checks the file's structure, and the rows that all others refer to.
    fn check(&self) -> Result<(), StoreError> {
        let found = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match found {
            Ok(found) if found == "ok" => {}
            Ok(found) => return Err(self.corrupt(found, START_AFRESH)),
            Err(error) => return Err(self.corrupt(error.to_string(), START_AFRESH)),
        }
        let mut rows: Vec<(&str, i64, i64, i64)> = Vec::new();
        let mut check = |table: &'static str, query: &str| -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(query)?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                let (id, crc, first, second): (i64, i64, String, String) =
                    (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                rows.push((table, id, crc, RowHash::of(table).text(&first).text(&second).finish()));
            }
            Ok(())
        };
        let checked = check("source", "SELECT id, crc, account, container FROM source")
            .and_then(|()| check("intake", "SELECT id, crc, name, '' FROM intake"))
            .and_then(|()| check("root", "SELECT id, crc, CAST(source AS TEXT), name FROM root"));
        checked.map_err(|error| self.failed("read the state", error))?;
        match rows.iter().find(|(_, _, stored, computed)| stored != computed) {
            Some((table, id, _, _)) => Err(self.corrupt(format!("row {id} of table {table}"), START_AFRESH)),
            None => Ok(()),
        }
    }

    fn corrupt(&self, what: String, way_out: &str) -> StoreError {
        StoreError::Corrupt { file: self.file.display().to_string(), what, way_out: way_out.to_owned() }
    }

    fn failed(&self, operation: &str, error: rusqlite::Error) -> StoreError {
        io_error(format!("{operation} in {}", self.file.display()), error)
    }

    fn damaged_row(&self, table: &str, place: &str) -> StoreError {
        self.corrupt(format!("the row of table {table} for {place}"), RESET_ROW)
    }

    fn transaction(&mut self) -> Result<Transaction<'_>, StoreError> {
        let file = self.file.clone();
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        begun.map_err(|error| io_error(format!("begin a transaction in {}", file.display()), error))
    }

    /// Ids of a scope; `None` where nothing is stored for it yet.
    fn scope_ids(&self, scope: &Scope) -> Result<Option<ScopeIds>, StoreError> {
        find_scope(&self.connection, scope).map_err(|error| self.failed("look up a scope", error))
    }

    fn frontier(&self, ids: ScopeIds, root_id: i64, root: &str) -> Result<Option<Frontier>, StoreError> {
        let read = || -> rusqlite::Result<Option<(i64, bool, Vec<(i64, bool)>)>> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT first_unsealed, crc FROM frontier WHERE root = ?1 AND intake = ?2")?;
            let first = statement.query_row(params![root_id, ids.intake], |row| {
                let (hour, crc): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok((hour, crc == hour_crc("frontier", root, hour)))
            });
            let Some((first, is_whole)) = first.optional()? else { return Ok(None) };
            let mut statement = self.connection.prepare_cached(
                "SELECT hour, crc FROM sealed_hour WHERE root = ?1 AND intake = ?2 ORDER BY hour",
            )?;
            let sealed = statement.query_map(params![root_id, ids.intake], |row| {
                let (hour, crc): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok((hour, crc == hour_crc("sealed_hour", root, hour)))
            })?;
            Ok(Some((first, is_whole, sealed.collect::<Result<_, _>>()?)))
        };
        let Some((first, is_whole, sealed)) =
            read().map_err(|error| self.failed("read sealed hours", error))?
        else {
            return Ok(None);
        };
        if !is_whole || sealed.iter().any(|(_, is_whole)| !is_whole) {
            return Err(self.damaged_row("frontier or sealed_hour", root));
        }
        let sealed = sealed.into_iter().map(|(hour, _)| Hour::from_number(hour));
        Ok(Some(Frontier::from_parts(Hour::from_number(first), sealed)))
    }

    /// One position, from columns 0 to 5: offset, context, etag, length, tail, crc.
    fn position(
        &self,
        scope: &Scope,
        blob: &HourlyBlob,
        row: &PositionRow,
        crc: i64,
    ) -> Result<Position, StoreError> {
        let is_whole = row.crc(position_place(scope, blob)) == crc;
        let position = row.to_position().filter(|_| is_whole);
        position.ok_or_else(|| self.damaged_row("position", blob.name().as_str()))
    }
}

impl StateStore for SqliteStore {
    fn first_hour(&mut self, scope: &Scope, proposed: FirstHour) -> Result<FirstHour, StoreError> {
        let place = format!("{} and intake {}", scope.origin, scope.intake);
        if let Some(ids) = self.scope_ids(scope)? {
            let query = "SELECT hour, crc FROM first_hour WHERE source = ?1 AND intake = ?2";
            let stored = self.connection.query_row(query, params![ids.source, ids.intake], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?))
            });
            if let Some((hour, crc)) =
                stored.optional().map_err(|error| self.failed("read the first hour", error))?
            {
                if crc != first_hour_crc(scope, hour) {
                    return Err(self.damaged_row("first_hour", &place));
                }
                return Ok(hour.map_or(FirstHour::Beginning, |hour| FirstHour::At(Hour::from_number(hour))));
            }
        }
        let hour = match proposed {
            FirstHour::Beginning => None,
            FirstHour::At(hour) => Some(hour.number()),
        };
        let file = self.file.clone();
        let failed = |error| io_error(format!("store the first hour in {}", file.display()), error);
        let transaction = self.transaction()?;
        let ids = intern_scope(&transaction, scope).map_err(failed)?;
        let insert = "INSERT INTO first_hour (source, intake, hour, crc) VALUES (?1, ?2, ?3, ?4)";
        let values = params![ids.source, ids.intake, hour, first_hour_crc(scope, hour)];
        transaction.execute(insert, values).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(proposed)
    }

    fn frontiers(&mut self, scope: &Scope) -> Result<Vec<(String, Frontier)>, StoreError> {
        let Some(ids) = self.scope_ids(scope)? else { return Ok(Vec::new()) };
        let mut frontiers = Vec::new();
        for (root_id, root) in self.roots(ids.source)? {
            if let Some(frontier) = self.frontier(ids, root_id, &root)? {
                frontiers.push((root, frontier));
            }
        }
        Ok(frontiers)
    }

    fn positions(
        &mut self,
        scope: &Scope,
        root: &str,
        hour: Hour,
    ) -> Result<Vec<(HourlyBlob, Position)>, StoreError> {
        let Some(ids) = self.scope_ids(scope)? else { return Ok(Vec::new()) };
        let read = || -> rusqlite::Result<Vec<(String, PositionRow, i64)>> {
            let query = "SELECT p.offset, p.context, p.etag, p.length, p.tail, p.crc, p.leaf FROM position p \
                         JOIN root r ON r.id = p.root \
                         WHERE r.source = ?1 AND r.name = ?2 AND p.intake = ?3 AND p.hour = ?4";
            let mut statement = self.connection.prepare_cached(query)?;
            let rows = statement.query_map(params![ids.source, root, ids.intake, hour.number()], |row| {
                let (position, crc) = position_columns(row)?;
                Ok((row.get(6)?, position, crc))
            })?;
            rows.collect()
        };
        let rows = read().map_err(|error| self.failed("read positions", error))?;
        let mut positions = Vec::with_capacity(rows.len());
        for (leaf, row, crc) in rows {
            let name = BlobName::new(format!("{root}{leaf}"));
            let blob = HourlyBlob::new(name, root.len(), hour)
                .ok_or_else(|| self.damaged_row("position", &format!("{root}{leaf}")))?;
            let position = self.position(scope, &blob, &row, crc)?;
            positions.push((blob, position));
        }
        Ok(positions)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let file = self.file.clone();
        let failed = |error| io_error(format!("commit to {}", file.display()), error);
        for change in &commit.positions {
            self.check_chain(&commit.scope, change)?;
        }
        let transaction = self.transaction()?;
        let ids = intern_scope(&transaction, &commit.scope).map_err(failed)?;
        for change in &commit.positions {
            store_position(&transaction, ids, &commit.scope, change).map_err(failed)?;
        }
        for (blob, rejected) in &commit.rejected {
            quarantine::store(&transaction, ids, &commit.scope, blob, rejected).map_err(failed)?;
        }
        for (root, frontier) in &commit.frontiers {
            store_frontier(&transaction, ids, root, frontier).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

impl SqliteStore {
    /// Nobody else writes while the lock is held, so what is checked before the transaction still holds in it.
    fn check_chain(&self, scope: &Scope, change: &PositionChange) -> Result<(), StoreError> {
        let blob = &change.blob;
        let query = "SELECT p.offset, p.context, p.etag, p.length, p.tail, p.crc FROM position p \
                     JOIN root r ON r.id = p.root JOIN source s ON s.id = r.source JOIN intake i ON i.id = p.intake \
                     WHERE s.account = ?1 AND s.container = ?2 AND i.name = ?3 AND r.name = ?4 AND p.hour = ?5 \
                     AND p.leaf = ?6";
        let Origin { account, container } = &scope.origin;
        let values =
            params![account, container, scope.intake, blob.root(), blob.hour().number(), blob.leaf()];
        let row = self
            .connection
            .prepare_cached(query)
            .and_then(|mut statement| statement.query_row(values, |row| position_columns(row)).optional())
            .map_err(|error| self.failed("read a position", error))?;
        let stored = row.map(|(row, crc)| self.position(scope, blob, &row, crc)).transpose()?;
        if stored == change.from {
            return Ok(());
        }
        let shown =
            |position: Option<&Position>| position.map_or_else(|| "none".to_owned(), Position::to_string);
        Err(StoreError::Gap {
            blob: blob.name().to_string(),
            stored: shown(stored.as_ref()),
            from: shown(change.from.as_ref()),
        })
    }

    /// Id and name of every root of a source.
    fn roots(&self, source: i64) -> Result<Vec<(i64, String)>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(i64, String)>> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT id, name FROM root WHERE source = ?1 ORDER BY name")?;
            let rows = statement.query_map([source], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        read().map_err(|error| self.failed("read the roots", error))
    }
}

fn io_error(operation: String, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Io { operation, source: error.into() }
}

fn position_columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<(PositionRow, i64)> {
    let position = PositionRow {
        offset: row.get(0)?,
        context: row.get(1)?,
        etag: row.get(2)?,
        length: row.get(3)?,
        tail: row.get(4)?,
    };
    Ok((position, row.get(5)?))
}

fn scope_hash(table: &str, scope: &Scope) -> RowHash {
    RowHash::of(table).text(&scope.origin.account).text(&scope.origin.container).text(&scope.intake)
}

fn position_place(scope: &Scope, blob: &HourlyBlob) -> RowHash {
    scope_hash("position", scope).text(blob.root()).number(blob.hour().number()).text(blob.leaf())
}

fn first_hour_crc(scope: &Scope, hour: Option<i64>) -> i64 {
    scope_hash("first_hour", scope).optional_number(hour).finish()
}

fn hour_crc(table: &str, root: &str, hour: i64) -> i64 {
    RowHash::of(table).text(root).number(hour).finish()
}

fn find_scope(connection: &Connection, scope: &Scope) -> rusqlite::Result<Option<ScopeIds>> {
    let query =
        "SELECT s.id, i.id FROM source s, intake i WHERE s.account = ?1 AND s.container = ?2 AND i.name = ?3";
    let Origin { account, container } = &scope.origin;
    connection
        .prepare_cached(query)?
        .query_row(params![account, container, scope.intake], |row| {
            Ok(ScopeIds { source: row.get(0)?, intake: row.get(1)? })
        })
        .optional()
}

/// Ids of a scope, stored where it is new.
fn intern_scope(connection: &Connection, scope: &Scope) -> rusqlite::Result<ScopeIds> {
    if let Some(ids) = find_scope(connection, scope)? {
        return Ok(ids);
    }
    let Origin { account, container } = &scope.origin;
    let source_crc = RowHash::of("source").text(account).text(container).finish();
    let insert = "INSERT OR IGNORE INTO source (account, container, crc) VALUES (?1, ?2, ?3)";
    connection.execute(insert, params![account, container, source_crc])?;
    let intake_crc = RowHash::of("intake").text(&scope.intake).text("").finish();
    let insert = "INSERT OR IGNORE INTO intake (name, crc) VALUES (?1, ?2)";
    connection.execute(insert, params![scope.intake, intake_crc])?;
    find_scope(connection, scope)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Id of a root, stored where it is new.
fn intern_root(connection: &Connection, source: i64, root: &str) -> rusqlite::Result<i64> {
    let query = "SELECT id FROM root WHERE source = ?1 AND name = ?2";
    let found =
        connection.prepare_cached(query)?.query_row(params![source, root], |row| row.get(0)).optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    let crc = RowHash::of("root").text(&source.to_string()).text(root).finish();
    let insert = "INSERT INTO root (source, name, crc) VALUES (?1, ?2, ?3)";
    connection.execute(insert, params![source, root, crc])?;
    Ok(connection.last_insert_rowid())
}

fn store_position(
    connection: &Connection,
    ids: ScopeIds,
    scope: &Scope,
    change: &PositionChange,
) -> rusqlite::Result<()> {
    let blob = &change.blob;
    let row = PositionRow::from_position(&change.to)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))?;
    let crc = row.crc(position_place(scope, blob));
    let root = intern_root(connection, ids.source, blob.root())?;
    let insert = "INSERT OR REPLACE INTO position \
                  (root, intake, hour, leaf, offset, context, etag, length, tail, crc) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let PositionRow { offset, context, etag, length, tail } = row;
    let values = params![
        root,
        ids.intake,
        blob.hour().number(),
        blob.leaf(),
        offset,
        context,
        etag,
        length,
        tail,
        crc
    ];
    connection.prepare_cached(insert)?.execute(values)?;
    Ok(())
}

fn store_frontier(
    connection: &Connection,
    ids: ScopeIds,
    root: &str,
    frontier: &Frontier,
) -> rusqlite::Result<()> {
    let root_id = intern_root(connection, ids.source, root)?;
    let first = frontier.first_unsealed().number();
    let insert =
        "INSERT OR REPLACE INTO frontier (root, intake, first_unsealed, crc) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(insert)?.execute(params![
        root_id,
        ids.intake,
        first,
        hour_crc("frontier", root, first)
    ])?;
    connection
        .prepare_cached("DELETE FROM sealed_hour WHERE root = ?1 AND intake = ?2")?
        .execute(params![root_id, ids.intake])?;
    let insert = "INSERT INTO sealed_hour (root, intake, hour, crc) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare_cached(insert)?;
    for hour in frontier.sealed_after() {
        let crc = hour_crc("sealed_hour", root, hour.number());
        statement.execute(params![root_id, ids.intake, hour.number(), crc])?;
    }
    Ok(())
}
