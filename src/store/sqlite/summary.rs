//! What the state holds, for people: scopes with their counts, and every position.

use rusqlite::params;

use super::{SqliteStore, position_columns};
use crate::{
    checkpoint::Position,
    model::{BlobName, Hour, HourlyBlob, Origin, Scope},
    store::StoreError,
};

/// One container on its way to one intake, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSummary {
    /// Which.
    pub scope: Scope,
    /// Blobs with a position.
    pub blobs: u64,
    /// Blobs that have been read to the end of a version.
    pub blobs_complete: u64,
    /// Sum of all offsets: bytes acknowledged.
    pub bytes: u64,
    /// The decided first hour; `None`: from the beginning.
    pub first_hour: Option<Hour>,
    /// The earliest hour that is not sealed, over all roots.
    pub first_unsealed: Option<Hour>,
    /// Rows in the quarantine.
    pub quarantined: u64,
}

impl SqliteStore {
    /// Every scope that has a first hour, in order.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn summaries(&self) -> Result<Vec<ScopeSummary>, StoreError> {
        let read = || -> rusqlite::Result<Vec<ScopeSummary>> {
            let query = "SELECT s.account, s.container, i.name, f.hour, \
                (SELECT count(*) FROM position p JOIN root r ON r.id = p.root \
                    WHERE r.source = s.id AND p.intake = i.id), \
                (SELECT count(p.etag) FROM position p JOIN root r ON r.id = p.root \
                    WHERE r.source = s.id AND p.intake = i.id), \
                (SELECT coalesce(sum(p.offset), 0) FROM position p JOIN root r ON r.id = p.root \
                    WHERE r.source = s.id AND p.intake = i.id), \
                (SELECT min(x.first_unsealed) FROM frontier x JOIN root r ON r.id = x.root \
                    WHERE r.source = s.id AND x.intake = i.id), \
                (SELECT count(*) FROM quarantine q JOIN root r ON r.id = q.root \
                    WHERE r.source = s.id AND q.intake = i.id) \
                FROM first_hour f JOIN source s ON s.id = f.source JOIN intake i ON i.id = f.intake \
                ORDER BY s.account, s.container, i.name";
            let mut statement = self.connection.prepare(query)?;
            let rows = statement.query_map([], |row| {
                let count = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
                let origin = Origin { account: row.get(0)?, container: row.get(1)? };
                Ok(ScopeSummary {
                    scope: Scope { origin, intake: row.get(2)? },
                    first_hour: row.get::<_, Option<i64>>(3)?.map(Hour::from_number),
                    blobs: count(4)?,
                    blobs_complete: count(5)?,
                    bytes: count(6)?,
                    first_unsealed: row.get::<_, Option<i64>>(7)?.map(Hour::from_number),
                    quarantined: count(8)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(|error| self.failed("count the positions", error))
    }

    /// Hands out every position whose blob's name contains `text`, in order, one at a time.
    ///
    /// # Errors
    /// As [`StoreError`] says; an error of `visit` ends the walk.
    pub fn visit_positions<E: From<StoreError>>(
        &self,
        text: &str,
        mut visit: impl FnMut(&Scope, &HourlyBlob, &Position) -> Result<(), E>,
    ) -> Result<(), E> {
        let query = "SELECT p.offset, p.context, p.etag, p.length, p.tail, p.crc, \
                     s.account, s.container, i.name, r.name, p.hour, p.leaf \
                     FROM position p JOIN root r ON r.id = p.root JOIN source s ON s.id = r.source \
                     JOIN intake i ON i.id = p.intake WHERE instr(r.name || p.leaf, ?1) > 0 \
                     ORDER BY s.account, s.container, i.name, r.name, p.hour, p.leaf";
        let failed = |error| self.failed("read positions", error);
        let mut statement = self.connection.prepare(query).map_err(failed)?;
        let mut rows = statement.query(params![text]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let columns = || -> rusqlite::Result<_> {
                let (position, crc) = position_columns(row)?;
                let origin = Origin { account: row.get(6)?, container: row.get(7)? };
                let scope = Scope { origin, intake: row.get(8)? };
                let (root, hour, leaf): (String, i64, String) = (row.get(9)?, row.get(10)?, row.get(11)?);
                Ok((position, crc, scope, root, hour, leaf))
            };
            let (position, crc, scope, root, hour, leaf) = columns().map_err(failed)?;
            let name = format!("{root}{leaf}");
            let blob = HourlyBlob::new(BlobName::new(name.as_str()), root.len(), Hour::from_number(hour))
                .ok_or_else(|| self.damaged_row("position", &name))?;
            let position = self.position(&scope, &blob, &position, crc)?;
            visit(&scope, &blob, &position)?;
        }
        Ok(())
    }
}
