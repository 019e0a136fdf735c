//! The tables, and how a file of an older version becomes one of this version.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{START_AFRESH, io_error};
use crate::store::StoreError;

/// `flwd`, in the file's header: what tells this database from others (SQLite documentation, "PRAGMA
/// application_id").
const APPLICATION_ID: i32 = 0x666C_7764;

/// One step a version, the first one from nothing. A step that has shipped never changes.
const MIGRATIONS: [&str; 1] = [V1];

/// Every row of the state has a CRC-32 over its content: SQLite's own check does not see a flipped bit in a value.
const V1: &str = "
CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    container TEXT NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE (account, container)
) STRICT;
CREATE TABLE intake (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    crc INTEGER NOT NULL
) STRICT;
-- The part of a blob's name before /y=; kept once, because it is most of the name.
CREATE TABLE root (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL REFERENCES source (id),
    name TEXT NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE (source, name)
) STRICT;
-- hour counts hours since 1970-01-01T00Z; NULL is from the beginning.
CREATE TABLE first_hour (
    source INTEGER NOT NULL REFERENCES source (id),
    intake INTEGER NOT NULL REFERENCES intake (id),
    hour INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (source, intake)
) STRICT, WITHOUT ROWID;
CREATE TABLE frontier (
    root INTEGER NOT NULL REFERENCES root (id),
    intake INTEGER NOT NULL REFERENCES intake (id),
    first_unsealed INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (root, intake)
) STRICT, WITHOUT ROWID;
CREATE TABLE sealed_hour (
    root INTEGER NOT NULL REFERENCES root (id),
    intake INTEGER NOT NULL REFERENCES intake (id),
    hour INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (root, intake, hour)
) STRICT, WITHOUT ROWID;
-- leaf is the blob's name from /y= on. offset and context: see checkpoint::Position; NULL is no record yet.
-- etag, length and tail: the version that was read to its end; NULL is there is more to read.
CREATE TABLE position (
    root INTEGER NOT NULL REFERENCES root (id),
    intake INTEGER NOT NULL REFERENCES intake (id),
    hour INTEGER NOT NULL,
    leaf TEXT NOT NULL,
    offset INTEGER,
    context INTEGER,
    etag TEXT,
    length INTEGER,
    tail INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (root, intake, hour, leaf)
) STRICT, WITHOUT ROWID;
-- ordinal is -1 for a whole record. time counts seconds since 1970. text is deflated where deflated is 1.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    root INTEGER NOT NULL REFERENCES root (id),
    intake INTEGER NOT NULL REFERENCES intake (id),
    hour INTEGER NOT NULL,
    leaf TEXT NOT NULL,
    offset INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    length INTEGER NOT NULL,
    time INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    status INTEGER,
    response TEXT,
    context TEXT,
    deflated INTEGER NOT NULL,
    text BLOB NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE (root, intake, hour, leaf, offset, ordinal)
) STRICT;
";

/// Refuses a file that is newer or is something else, without changing a byte of it.
pub(super) fn inspect(file: &Path) -> Result<(), StoreError> {
    if !file.exists() {
        return Ok(());
    }
    let shown = file.display().to_string();
    let foreign = |what: &str| StoreError::Corrupt {
        file: shown.clone(),
        what: what.to_owned(),
        way_out: START_AFRESH.to_owned(),
    };
    let opened = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = opened.map_err(|error| io_error(format!("open {shown}"), error))?;
    let Ok(found) = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)) else {
        return Err(foreign("the file header"));
    };
    let known = known_version();
    if found > known {
        return Err(StoreError::NewerSchema { file: shown, found, known });
    }
    let application = connection.query_row("PRAGMA application_id", [], |row| row.get::<_, i32>(0));
    match (found, application) {
        (0, _) | (_, Ok(APPLICATION_ID)) => Ok(()),
        _ => Err(foreign("the application id (another program's database?)")),
    }
}

/// Brings the file to this version: a backup, then each step in one transaction.
pub(super) fn migrate(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    let failed = |error| io_error(format!("upgrade {}", file.display()), error);
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let steps = MIGRATIONS.iter().zip(1_i64..).skip_while(|(_, version)| *version <= found);
    for (step, version) in steps {
        if version > 1 {
            let backup = format!("{}.v{}.bak", file.display(), version.saturating_sub(1));
            connection.execute("VACUUM INTO ?1", [backup]).map_err(failed)?;
        }
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}
