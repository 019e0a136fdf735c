//! The state store in one SQLite file, `state.sqlite3` in the state directory.
//!
//! WAL with `synchronous=FULL`: what is committed survives a power cut. SQLite's own checks miss single flipped bits,
//! so every row carries a checksum of its content; doubt is an error that names the row, never "no position".

mod check;
mod frontiers;
mod lock;
mod names;
mod positions;
mod quarantine;
mod quarantine_query;
mod report;
mod reset;
mod rows;
mod schema;

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{Commit, FirstHour, Pruned, QuarantineUsage, StateStore, StoreError};
use crate::{
    checkpoint::{Frontier, Position},
    model::{Hour, HourlyBlob, Scope},
    planted::{self, Bug},
};

pub use quarantine::QuarantineEntry;
pub use quarantine_query::{QuarantineFilter, QuarantineSummary};
pub use report::{ScopeSummary, StoredPosition};
pub use reset::{ResetCounts, ResetFilter};

use check::{Background, Check};
use lock::Lock;
use quarantine::Inserted;
use rows::{RESTORE, RowError};

const DATABASE_FILE: &str = "state.sqlite3";

/// Readers of other processes hold SQLite's locks for moments only.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The state in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    /// SQLite's own check of the whole file. Ends before the connection: the last one to close tidies up the files.
    check: Check,
    connection: Connection,
    /// The database file, for messages.
    file: String,
    /// What the quarantine holds, as of this number of SQLite's for what other connections changed.
    usage: Option<(i64, QuarantineUsage)>,
    /// `None` where the store only reads.
    _lock: Option<Lock>,
}

impl SqliteStore {
    /// Opens the state for its one owner. Creates directory and file where there are none, and migrates an older file
    /// after a backup beside it.
    ///
    /// # Errors
    /// As [`StoreError`] says; the file was not changed then.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        create_directory(state_dir)?;
        let lock = Lock::take(state_dir)?;
        let path = state_dir.join(DATABASE_FILE);
        if !is_there(&path)? {
            let log = state_dir.join(format!("{DATABASE_FILE}-wal"));
            if is_there(&log)? {
                return Err(StoreError::Corrupt {
                    file: path.display().to_string(),
                    what: String::from("the state (its write-ahead log is there, the file itself is not)"),
                    way_out: RESTORE.to_owned(),
                });
            }
            schema::create(state_dir, &path)?;
        }
        let file = path.display().to_string();
        // A file of a newer version, or not ours, must stay as it is: so it is looked at without write access first. What
        // a crash left half done while the file was set up has to be rolled back before anybody can look.
        match connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
            Ok(looked) => drop(looked),
            Err(error) if is_half_done(&error) => {}
            Err(error) => return Err(error),
        }
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let failed = |error: rusqlite::Error| RowError::from(error).into_store_error(&file, "set up SQLite");
        let mode: String = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(failed)?;
        if mode != "wal" {
            return Err(StoreError::Io {
                operation: format!("set up SQLite in {file}"),
                source: format!("the file system has no write-ahead log (journal mode is {mode})").into(),
            });
        }
        let synchronous = if planted::is(Bug::NoSync) { "OFF" } else { "FULL" };
        connection.pragma_update(None, "synchronous", synchronous).map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        schema::migrate(&mut connection, state_dir, &path, schema::MIGRATIONS)?;
        schema::sync_directory(state_dir)?;
        let reader = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let check = Background::start(reader).map_err(|source| StoreError::Io {
            operation: format!("start the check of {file}"),
            source: source.into(),
        })?;
        let check = Check::Running(check);
        Self { check, connection, file, usage: None, _lock: Some(lock) }.with_names_verified()
    }

    /// Opens the state to look at it, beside a running owner too. Creates nothing.
    ///
    /// # Errors
    /// As [`StoreError`] says; a missing file is an error.
    pub fn open_read_only(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(DATABASE_FILE);
        if !is_there(&path)? {
            return Err(StoreError::Io {
                operation: format!(
                    "find the state: {} has no {DATABASE_FILE}; has flowlogd run with this state directory?",
                    state_dir.display()
                ),
                source: std::io::Error::from(std::io::ErrorKind::NotFound).into(),
            });
        }
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let file = path.display().to_string();
        schema::read_as_newest(&connection, &file)?;
        Self { check: Check::Due, connection, file, usage: None, _lock: None }.with_names_verified()
    }

    /// Waits for SQLite's check of the whole file, which begins when the state is opened. The first commit does so by
    /// itself.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with what SQLite found; else as [`StoreError`] says. The next call checks again.
    pub fn check_file(&mut self) -> Result<(), StoreError> {
        let found = match std::mem::replace(&mut self.check, Check::Due) {
            Check::Passed => Ok(()),
            Check::Running(background) => {
                background.wait().unwrap_or_else(|| check::whole_file(&self.connection))
            }
            Check::Due => check::whole_file(&self.connection),
        };
        found.map_err(|error| self.error("check the file", error))?;
        self.check = Check::Passed;
        Ok(())
    }

    fn with_names_verified(self) -> Result<Self, StoreError> {
        names::verify(&self.connection).map_err(|error| self.error("read the names", error))?;
        Ok(self)
    }

    fn error(&self, operation: &str, error: RowError) -> StoreError {
        error.into_store_error(&self.file, operation)
    }

    /// Runs `change` in a transaction that is on stable storage when this returns, or has changed nothing.
    fn transact<T>(
        &mut self,
        operation: &str,
        change: impl FnOnce(&Connection) -> Result<T, RowError>,
    ) -> Result<T, StoreError> {
        self.check_file()?;
        let in_transaction = |connection: &mut Connection| -> Result<T, RowError> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        in_transaction(&mut self.connection).map_err(|error| error.into_store_error(&self.file, operation))
    }
}

impl StateStore for SqliteStore {
    fn first_hour(&mut self, scope: &Scope, proposed: FirstHour) -> Result<FirstHour, StoreError> {
        let stored = frontiers::first_hour(&self.connection, scope);
        if let Some(stored) = stored.map_err(|error| self.error("read a first hour", error))? {
            return Ok(stored);
        }
        self.transact("store a first hour", |connection| {
            let ids = names::intern_scope(connection, scope)?;
            frontiers::store_first_hour(connection, scope, ids, proposed)
        })?;
        Ok(proposed)
    }

    fn frontiers(&mut self, scope: &Scope) -> Result<Vec<(String, Frontier)>, StoreError> {
        let read = || {
            let Some(ids) = names::find_scope(&self.connection, scope)? else { return Ok(Vec::new()) };
            frontiers::of_scope(&self.connection, scope, ids)
        };
        read().map_err(|error| self.error("read the frontiers", error))
    }

    fn positions(
        &mut self,
        scope: &Scope,
        root: &str,
        hour: Hour,
    ) -> Result<Vec<(HourlyBlob, Position)>, StoreError> {
        let read = || {
            let Some(ids) = names::find_scope(&self.connection, scope)? else { return Ok(Vec::new()) };
            let stored = positions::of_hour(&self.connection, scope, ids, root, hour)?;
            Ok(stored.into_iter().map(|(blob, (position, _ledger))| (blob, position)).collect())
        };
        read().map_err(|error| self.error("read the positions", error))
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let scope = &commit.scope;
        let (inserted, deleted) = self.transact("commit", |connection| {
            let (mut inserted, mut deleted) = (Vec::new(), Vec::new());
            let ids = names::intern_scope(connection, scope)?;
            for change in &commit.positions {
                positions::change(connection, scope, ids, change)?;
                if let Some(from) = change.read_rest() {
                    deleted.extend(quarantine::delete_rest(connection, ids, &change.blob, from)?);
                }
            }
            for (blob, rejected) in &commit.rejected {
                inserted.push(quarantine::insert(connection, scope, ids, blob, rejected)?);
            }
            for (root, frontier) in &commit.frontiers {
                frontiers::replace(connection, scope, ids, root, frontier)?;
            }
            Ok((inserted, deleted))
        })?;
        if let Some((_, usage)) = &mut self.usage {
            deleted.into_iter().for_each(|bytes| usage.remove(bytes));
            for Inserted { replaced, bytes } in inserted {
                replaced.into_iter().for_each(|replaced| usage.remove(replaced));
                usage.add(bytes);
            }
        }
        Ok(())
    }

    fn quarantine_usage(&mut self) -> Result<QuarantineUsage, StoreError> {
        let read = || -> Result<(i64, QuarantineUsage), RowError> {
            // This number changes when another connection has changed anything; what this one changes is counted.
            let version = self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
            match self.usage {
                Some((known, usage)) if known == version => Ok((known, usage)),
                _ => Ok((version, quarantine_query::usage(&self.connection)?)),
            }
        };
        let (version, usage) = read().map_err(|error| self.error("count the quarantine", error))?;
        self.usage = Some((version, usage));
        Ok(usage)
    }

    fn stored_day(
        &mut self,
        scope: &Scope,
        root: &str,
        after: Option<Hour>,
    ) -> Result<Option<Hour>, StoreError> {
        let read = || -> Result<Option<Hour>, RowError> {
            let Some(ids) = names::find_scope(&self.connection, scope)? else { return Ok(None) };
            positions::stored_day(&self.connection, ids, root, after)
        };
        read().map_err(|error| self.error("look for stored days", error))
    }

    fn prune(
        &mut self,
        scope: &Scope,
        root: &str,
        day: Hour,
        present: &[HourlyBlob],
    ) -> Result<Pruned, StoreError> {
        self.transact("prune positions", |connection| {
            let Some(ids) = names::find_scope(connection, scope)? else { return Ok(Pruned::default()) };
            positions::prune(connection, scope, ids, root, day, present)
        })
    }

    fn scopes(&mut self) -> Result<Vec<Scope>, StoreError> {
        let used = report::used_scopes(&self.connection);
        let used = used.map_err(|error| self.error("read the scopes", error))?;
        Ok(used.into_iter().map(|(scope, _ids)| scope).collect())
    }
}

/// Creates the directory with what is missing above it, readable for the owner alone and on stable storage: the state
/// in it must not go with its name at a power cut.
fn create_directory(directory: &Path) -> Result<(), StoreError> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| StoreError::Io {
        operation: format!("create the state directory {}", directory.display()),
        source: source.into(),
    })?;
    for created in missing {
        let above = created.parent().filter(|above| !above.as_os_str().is_empty());
        schema::sync_directory(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Opens an existing file and checks whose it is.
fn connect(path: &PathBuf, access: OpenFlags) -> Result<Connection, StoreError> {
    let file = path.display().to_string();
    let failed = |error: rusqlite::Error| RowError::from(error).into_store_error(&file, "open the state");
    let connection =
        Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    schema::version(&connection, &file, schema::MIGRATIONS)?;
    Ok(connection)
}

/// Whether a journal is there that must be rolled back first.
fn is_half_done(error: &StoreError) -> bool {
    let StoreError::ReadOnly { source, .. } = error else { return false };
    let error = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error);
    error.is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

fn is_there(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(|source| StoreError::Io {
        operation: format!("look for {}", path.display()),
        source: source.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BlobName, Origin, Reason, Rejected, Span};

    /// A commit that needs some pages more.
    fn large(of: &Scope, hour: i64) -> Commit {
        let name = BlobName::new(format!("root/y=2026/{hour}"));
        let blob = HourlyBlob::new(name, 4, Hour::from_number(hour)).unwrap();
        let random = fastrand::Rng::with_seed(7).choose_multiple(u8::MIN..=u8::MAX, 255).repeat(200);
        let rejected = Rejected {
            reason: Reason::BadRecord,
            detail: String::from("time: expected a text, found none"),
            span: Span { from: 0, to: 9 },
            ordinal: None,
            context: Some(String::from_utf8_lossy(&random).into_owned()),
            text: b"{}".to_vec(),
            answer: None,
        };
        let rejected = vec![(blob, rejected)];
        Commit { scope: of.clone(), positions: Vec::new(), rejected, frontiers: Vec::new() }
    }

    /// *Scenario*: the file may not grow, then may not be written to at all, then both are over; a row is committed each
    /// time.
    /// *Guarantees*: each failure says what it lacks and that it passes, nothing of it is stored, and the same store
    /// goes on afterwards.
    #[test]
    fn shortages_pass() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(directory.path()).unwrap();
        let origin = Origin { account: String::new(), container: String::new() };
        let of = Scope { origin, intake: String::from("a") };
        store.commit(&large(&of, 0)).unwrap();
        let one_row = store.quarantine_usage().unwrap();
        let shorten = |store: &SqliteStore, name: &str, value: i64| {
            store.connection.pragma_update_and_check(None, name, value, |_row| Ok(())).or_else(|error| {
                // Some answer with the new value, some with nothing.
                if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) }
            })
        };
        for (name, short, enough) in [("max_page_count", 1, i64::from(u32::MAX - 1)), ("query_only", 1, 0)] {
            shorten(&store, name, short).unwrap();
            let error = store.commit(&large(&of, 1)).unwrap_err();
            let is_named = match name {
                "query_only" => matches!(error, StoreError::ReadOnly { .. }),
                _ => matches!(error, StoreError::Full { .. }),
            };
            assert!(is_named && error.is_transient(), "{name}: {error:?}");
            assert_eq!(store.quarantine_usage().unwrap(), one_row);
            shorten(&store, name, enough).unwrap();
            store.commit(&large(&of, 0)).unwrap();
            assert_eq!(store.quarantine_usage().unwrap(), one_row);
        }
        store.commit(&large(&of, 1)).unwrap();
        assert_eq!(store.quarantine_usage().unwrap().rows, 2);
    }
}
