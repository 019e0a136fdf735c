//! What a row is worth: the checksum of its logical content, conversions of its columns, and the errors of both.
//!
//! The checksum covers names, not the numbers that stand for them, so that a damaged name or a row that points to the
//! wrong name is found too.

use rusqlite::types::FromSqlError;

use crate::{
    model::Scope,
    planted::{self, Bug},
    store::StoreError,
};

/// Advice for damage that SQLite itself finds, or in what all rows need.
pub(super) const RESTORE: &str = "keep a copy of the file and restore a backup; or move the file away: everything from \
                                  the first hour on is then sent again, with the same event ids";

/// Advice for damage in one row.
pub(super) const RESET: &str = "`flowlogd checkpoints reset --yes` with `--blob`, `--source` or `--intake` drops \
                                what is damaged and has it sent again, with the same event ids";

/// What goes wrong below the store's own words.
#[derive(Debug)]
pub(super) enum RowError {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// A row's checksum or a column is wrong.
    Damaged { what: String, way_out: &'static str },
    /// A change does not chain.
    Gap { blob: String, stored: String, from: String },
    /// A number does not fit a column.
    TooLarge(std::num::TryFromIntError),
    /// Text could not be compressed or restored.
    Text(std::io::Error),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<std::num::TryFromIntError> for RowError {
    fn from(error: std::num::TryFromIntError) -> Self {
        Self::TooLarge(error)
    }
}

impl RowError {
    pub(super) fn row(what: String) -> Self {
        Self::Damaged { what, way_out: RESET }
    }

    /// In the store's words; `operation` is verb and object.
    pub(super) fn into_store_error(self, file: &str, operation: &str) -> StoreError {
        let io = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Io {
            operation: format!("{operation} in {file}"),
            source,
        };
        match self {
            Self::Sqlite(error) if is_damage(&error) => StoreError::Corrupt {
                file: file.to_owned(),
                what: format!("the database ({error})"),
                way_out: RESTORE.to_owned(),
            },
            Self::Sqlite(error) => match shortage(&error) {
                Some(Shortage::Space) => {
                    StoreError::Full { operation: format!("{operation} in {file}"), source: error.into() }
                }
                Some(Shortage::Access) => {
                    StoreError::ReadOnly { operation: format!("{operation} in {file}"), source: error.into() }
                }
                None => io(error.into()),
            },
            Self::Damaged { what, way_out } => {
                StoreError::Corrupt { file: file.to_owned(), what, way_out: way_out.to_owned() }
            }
            Self::Gap { blob, stored, from } => StoreError::Gap { blob, stored, from },
            Self::TooLarge(error) => io(error.into()),
            Self::Text(error) => io(error.into()),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of some thirty kinds of failure these few mean damage")]
fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        _ => false,
    }
}

/// What a change lacked, where it left the file as it was.
enum Shortage {
    Space,
    Access,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of some thirty kinds of failure these few pass by themselves"
)]
fn shortage(error: &rusqlite::Error) -> Option<Shortage> {
    let failure = error.sqlite_error()?;
    match failure.code {
        rusqlite::ErrorCode::DiskFull => Some(Shortage::Space),
        // The index of the write-ahead log could not grow.
        rusqlite::ErrorCode::SystemIoFailure
            if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE =>
        {
            Some(Shortage::Space)
        }
        rusqlite::ErrorCode::ReadOnly => Some(Shortage::Access),
        _ => None,
    }
}

/// A number of a column as the unsigned number that was stored there.
pub(super) fn unsigned(number: i64) -> rusqlite::Result<u64> {
    u64::try_from(number).map_err(|_error| FromSqlError::OutOfRange(number).into())
}

/// CRC32 over a row's content. Every part carries its kind and length, so that no two contents are spelled alike.
#[derive(Debug)]
pub(super) struct RowSum(crc32fast::Hasher);

impl RowSum {
    /// `table` keeps rows of different tables apart.
    pub(super) fn of(table: &str) -> Self {
        Self(crc32fast::Hasher::new()).bytes(table.as_bytes())
    }

    pub(super) fn scope(self, scope: &Scope) -> Self {
        self.text(&scope.origin.account).text(&scope.origin.container).text(&scope.intake)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(b"b");
        self.0.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn number(mut self, number: i64) -> Self {
        self.0.update(b"n");
        self.0.update(&number.to_le_bytes());
        self
    }

    pub(super) fn optional_number(mut self, number: Option<i64>) -> Self {
        let Some(number) = number else {
            self.0.update(b"-");
            return self;
        };
        self.number(number)
    }

    pub(super) fn optional_text(mut self, text: Option<&str>) -> Self {
        let Some(text) = text else {
            self.0.update(b"-");
            return self;
        };
        self.text(text)
    }

    pub(super) fn finish(self) -> i64 {
        if planted::is(Bug::NoChecksum) {
            return 0;
        }
        i64::from(self.0.finalize())
    }
}
