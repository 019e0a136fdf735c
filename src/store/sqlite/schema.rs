//! Tables and their versions: one migration a version, each in one transaction, after a backup.

use std::{fs::File, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::{
    super::StoreError,
    rows::{RESTORE, RowError},
};

/// `flog` in ASCII: tells our file from any other SQLite database.
pub(super) const APPLICATION_ID: i64 = 0x666C_6F67;

/// Migration `n` (from 0) leads to version `n + 1`. Only appended to.
pub(super) const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2];

/// Hours are counted since 1970-01-01T00 UTC, times in seconds since then. A leaf is what `names.rs` makes of the
/// blob's name after its root. Positions are clustered by hour, because that is how they are asked for.
const VERSION_1: &str = "
CREATE TABLE source (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, container TEXT NOT NULL, crc INTEGER NOT NULL,
    UNIQUE (account, container)
) STRICT;
CREATE TABLE intake (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, crc INTEGER NOT NULL
) STRICT;
CREATE TABLE root (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES source, name TEXT NOT NULL, crc INTEGER NOT NULL,
    UNIQUE (source, name)
) STRICT;
CREATE TABLE position (
    intake INTEGER NOT NULL REFERENCES intake, root INTEGER NOT NULL REFERENCES root, hour INTEGER NOT NULL,
    leaf TEXT NOT NULL, offset INTEGER, context INTEGER, etag TEXT, length INTEGER, tail INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (intake, root, hour, leaf)
) STRICT, WITHOUT ROWID;
CREATE TABLE frontier (
    intake INTEGER NOT NULL REFERENCES intake, root INTEGER NOT NULL REFERENCES root,
    first_unsealed INTEGER NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (intake, root)
) STRICT, WITHOUT ROWID;
CREATE TABLE sealed_hour (
    intake INTEGER NOT NULL, root INTEGER NOT NULL, hour INTEGER NOT NULL,
    PRIMARY KEY (intake, root, hour),
    FOREIGN KEY (intake, root) REFERENCES frontier ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE TABLE first_hour (
    intake INTEGER NOT NULL REFERENCES intake, source INTEGER NOT NULL REFERENCES source,
    hour INTEGER, crc INTEGER NOT NULL,
    PRIMARY KEY (intake, source)
) STRICT, WITHOUT ROWID;
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL,
    intake INTEGER NOT NULL REFERENCES intake, root INTEGER NOT NULL REFERENCES root, hour INTEGER NOT NULL,
    leaf TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, ordinal INTEGER, reason TEXT NOT NULL,
    detail TEXT NOT NULL, status INTEGER, response TEXT, context TEXT, compressed INTEGER NOT NULL,
    text BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX quarantine_place ON quarantine (intake, root, hour, leaf, offset, ifnull(ordinal, -1));
";

/// What the ledger counts before a position. Rows that were written before have nothing there and keep their checksum.
const VERSION_2: &str = "
ALTER TABLE position ADD COLUMN records INTEGER;
ALTER TABLE position ADD COLUMN tuples INTEGER;
ALTER TABLE position ADD COLUMN delivered INTEGER;
ALTER TABLE position ADD COLUMN quarantined INTEGER;
ALTER TABLE position ADD COLUMN pieces INTEGER;
";

/// What a file of version 1 lacks, for who only reads: temporary, so that nothing is written to the file.
const VERSION_1_AS_2: &str = "
PRAGMA temp_store = MEMORY;
CREATE TEMP VIEW position AS SELECT intake, root, hour, leaf, offset, context, etag, length, tail, crc,
    NULL AS records, NULL AS tuples, NULL AS delivered, NULL AS quarantined, NULL AS pieces FROM main.position;
";

/// Lets a file of an older version be read as one of the newest.
pub(super) fn read_as_newest(connection: &Connection, file: &str) -> Result<(), StoreError> {
    if version(connection, file, MIGRATIONS)? == 1 {
        let made = connection.execute_batch(VERSION_1_AS_2).map_err(RowError::from);
        made.map_err(|error| error.into_store_error(file, "read the older state"))?;
    }
    Ok(())
}

/// The newest version that this program knows.
pub(super) fn known_version(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

/// Makes the file whole under another name first, so that an empty or half-made file is never taken for a fresh one.
pub(super) fn create(directory: &Path, file: &Path) -> Result<(), StoreError> {
    let unfinished = file.with_extension("sqlite3.new");
    let io = |operation: &str, source: std::io::Error| StoreError::Io {
        operation: format!("{operation} {}", unfinished.display()),
        source: source.into(),
    };
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", error)),
        Ok(()) | Err(_) => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let made = || -> Result<(), RowError> {
        let mut connection = Connection::open_with_flags(&unfinished, flags)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // A journal on disk would outlive a crash and be played into the next attempt; a half-made file is thrown away.
        connection.pragma_update(None, "journal_mode", "MEMORY")?;
        for version in 1..=known_version(MIGRATIONS) {
            apply(&mut connection, version, MIGRATIONS)?;
        }
        connection.close().map_err(|(_connection, error)| error.into())
    };
    made().map_err(|error| error.into_store_error(&unfinished.display().to_string(), "create the tables"))?;
    std::fs::rename(&unfinished, file).map_err(|error| io("rename", error))?;
    sync_directory(directory)
}

/// A file's name is on stable storage only after this.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(|source| StoreError::Io {
        operation: format!("sync the directory {}", directory.display()),
        source: source.into(),
    })
}

/// Whose file it is and of which version. Changes nothing.
pub(super) fn version(connection: &Connection, file: &str, migrations: &[&str]) -> Result<i64, StoreError> {
    let number = |name: &str| -> Result<i64, StoreError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| RowError::from(error).into_store_error(file, "read the version"))
    };
    let application_id = number("application_id")?;
    let found = number("user_version")?;
    if application_id != APPLICATION_ID || found < 1 {
        return Err(StoreError::Corrupt {
            file: file.to_owned(),
            what: format!("the header (application {application_id:#x}, version {found})"),
            way_out: RESTORE.to_owned(),
        });
    }
    let known = known_version(migrations);
    if found > known {
        return Err(StoreError::NewerSchema { file: file.to_owned(), found, known });
    }
    Ok(found)
}

/// Leads a file of a known version to the newest one.
pub(super) fn migrate(
    connection: &mut Connection,
    directory: &Path,
    file: &Path,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let shown = file.display().to_string();
    let found = version(connection, &shown, migrations)?;
    if found == known_version(migrations) {
        return Ok(());
    }
    let backup = file.with_extension(format!("sqlite3.v{found}.bak"));
    let failed = |error: RowError| error.into_store_error(&shown, "migrate the tables");
    if !backup.exists() {
        // Under another name first: a backup that was cut short must not pass for one.
        let unfinished = backup.with_extension("bak.new");
        let io = |source: std::io::Error| StoreError::Io {
            operation: format!("write the backup {}", backup.display()),
            source: source.into(),
        };
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            Ok(()) | Err(_) => {}
        }
        connection
            .execute("VACUUM INTO ?1", [unfinished.display().to_string()])
            .map_err(|error| failed(error.into()))?;
        File::open(&unfinished).and_then(|written| written.sync_all()).map_err(io)?;
        std::fs::rename(&unfinished, &backup).map_err(io)?;
        sync_directory(directory)?;
    }
    for next in found.saturating_add(1)..=known_version(migrations) {
        apply(connection, next, migrations).map_err(failed)?;
    }
    Ok(())
}

fn apply(connection: &mut Connection, version: i64, migrations: &[&str]) -> Result<(), RowError> {
    let index = usize::try_from(version.saturating_sub(1))?;
    let sql = migrations.get(index).copied().unwrap_or_default();
    let transaction = connection.transaction()?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a file of version 1 is opened by a program that knows two more versions; the second migration fails
    /// at first. Guarantees: the backup holds version 1, a failed migration leaves the version before it, and the
    /// next start ends at the newest.
    #[test]
    fn migrations_go_one_by_one_after_a_backup() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.sqlite3");
        let mut connection = Connection::open(&file).unwrap();
        apply(&mut connection, 1, &[VERSION_1]).unwrap();
        let add = "CREATE TABLE added (id INTEGER) STRICT;";
        let broken = [VERSION_1, add, "CREATE TABLE third (id INTEGER); nonsense;"];
        assert!(migrate(&mut connection, directory.path(), &file, &broken).is_err());
        let shown = file.display().to_string();
        assert_eq!(version(&connection, &shown, &broken).unwrap(), 2);
        let fixed = [VERSION_1, add, "CREATE TABLE third (id INTEGER) STRICT;"];
        migrate(&mut connection, directory.path(), &file, &fixed).unwrap();
        assert_eq!(version(&connection, &shown, &fixed).unwrap(), 3);
        let backup = Connection::open(directory.path().join("state.sqlite3.v1.bak")).unwrap();
        assert_eq!(version(&backup, "backup", &fixed).unwrap(), 1);
        let n_tables: i64 = backup
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'added'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(n_tables, 0);
    }
}
