//! What the commands read: summaries, and all positions one by one.

use std::convert::Infallible;

use rusqlite::{Connection, named_params};

use super::{
    SqliteStore, frontiers,
    names::{self, ScopeIds},
    positions::{self, COLUMNS},
    quarantine::QuarantineEntry,
    quarantine_query::QuarantineFilter,
    rows::{RowError, unsigned},
};
use crate::{
    checkpoint::{Frontier, Position, Tally},
    model::{Hour, HourlyBlob, Origin, Scope},
    store::{FirstHour, StoreError},
};

/// The state of one source container and intake, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSummary {
    /// Whose state.
    pub scope: Scope,
    /// From where on the scope is read; `None` where that was never decided.
    pub first_hour: Option<FirstHour>,
    /// The roots with their sealed hours, in the order of their names.
    pub frontiers: Vec<(String, Frontier)>,
    /// Blobs with a position.
    pub blobs: u64,
    /// Of these, blobs of which a version was read to its end with all of it acknowledged.
    pub complete: u64,
    /// Sum of the offsets, in bytes.
    pub bytes: u64,
    /// Rows in the quarantine.
    pub quarantined: u64,
}

/// One stored position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPosition {
    /// Whose position.
    pub scope: Scope,
    /// The blob.
    pub blob: HourlyBlob,
    /// The position.
    pub position: Position,
    /// What was counted of all that lies before it; `None` where a part was read by a version that did not count.
    pub ledger: Option<Tally>,
}

impl SqliteStore {
    /// One summary for each source container and intake that has anything stored, in the order of their names.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn summaries(&self) -> Result<Vec<ScopeSummary>, StoreError> {
        let read = || -> Result<Vec<ScopeSummary>, RowError> {
            let used = used_scopes(&self.connection)?;
            used.into_iter().map(|(scope, ids)| self.summary(scope, ids)).collect()
        };
        read().map_err(|error| self.error("count the positions", error))
    }

    fn summary(&self, scope: Scope, ids: ScopeIds) -> Result<ScopeSummary, RowError> {
        let first_hour = frontiers::first_hour(&self.connection, &scope)?;
        let frontiers = frontiers::of_scope(&self.connection, &scope, ids)?;
        let ScopeIds { intake, source } = ids;
        let (blobs, complete, bytes) = self
            .connection
            .prepare_cached(
                "SELECT count(*), count(etag), coalesce(sum(offset), 0) FROM position \
                 WHERE intake = ?1 AND root IN (SELECT id FROM root WHERE source = ?2)",
            )?
            .query_row((intake, source), |row| {
                Ok((unsigned(row.get(0)?)?, unsigned(row.get(1)?)?, unsigned(row.get(2)?)?))
            })?;
        let quarantined = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM quarantine \
                 WHERE intake = ?1 AND root IN (SELECT id FROM root WHERE source = ?2)",
            )?
            .query_row((intake, source), |row| unsigned(row.get(0)?))?;
        Ok(ScopeSummary { scope, first_hour, frontiers, blobs, complete, bytes, quarantined })
    }

    /// Calls `each` with every position of blobs whose name contains `text`, in the order of source, intake, root,
    /// hour and name. One position is held at a time; where `each` fails, the walk ends with its error.
    ///
    /// # Errors
    /// Outside: as [`StoreError`] says. Inside: what `each` said.
    pub fn for_each_position<E>(
        &self,
        text: &str,
        mut each: impl FnMut(StoredPosition) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        let mut walk = || -> Result<Result<(), E>, RowError> {
            let sql = format!(
                "SELECT account, container, intake.name, root.name, hour, leaf, {} FROM position \
                 LEFT JOIN intake ON intake.id = intake LEFT JOIN root ON root.id = root \
                 LEFT JOIN source ON source.id = root.source \
                 ORDER BY account, container, intake.name, root.name, hour, leaf",
                COLUMNS.replace("crc", "position.crc")
            );
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query(named_params! {})?;
            while let Some(row) = rows.next()? {
                let scope = Scope {
                    origin: Origin { account: row.get(0)?, container: row.get(1)? },
                    intake: row.get(2)?,
                };
                let (root, leaf): (String, String) = (row.get(3)?, row.get(5)?);
                let (blob, (position, ledger)) =
                    positions::checked(row, 6, &scope, &root, row.get(4)?, &leaf)?;
                if !blob.name().as_str().contains(text) {
                    continue;
                }
                if let Err(error) = each(StoredPosition { scope, blob, position, ledger }) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        };
        walk().map_err(|error| self.error("read the positions", error))
    }

    /// The first hour of a scope; `None` where it was not decided yet.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn stored_first_hour(&self, scope: &Scope) -> Result<Option<FirstHour>, StoreError> {
        let stored = frontiers::first_hour(&self.connection, scope);
        stored.map_err(|error| self.error("read a first hour", error))
    }

    /// The positions of one root's hour, with what was counted.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn stored_hour(
        &self,
        scope: &Scope,
        root: &str,
        hour: Hour,
    ) -> Result<Vec<StoredPosition>, StoreError> {
        let read = || -> Result<Vec<StoredPosition>, RowError> {
            let Some(ids) = names::find_scope(&self.connection, scope)? else { return Ok(Vec::new()) };
            let stored = positions::of_hour(&self.connection, scope, ids, root, hour)?;
            let positions = stored.into_iter().map(|(blob, (position, ledger))| StoredPosition {
                scope: scope.clone(),
                blob,
                position,
                ledger,
            });
            Ok(positions.collect())
        };
        read().map_err(|error| self.error("read the positions", error))
    }

    /// Calls `each` with every row of the quarantine, in the order in which they were first written.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn for_each_quarantined(&self, mut each: impl FnMut(QuarantineEntry)) -> Result<(), StoreError> {
        let visited = self.visit_quarantine(&QuarantineFilter::default(), |entry| {
            each(entry);
            Ok::<_, Infallible>(())
        })?;
        visited.unwrap_or_else(|never| match never {});
        Ok(())
    }
}

/// Every scope that has anything stored, in the order of their names. Asks once for each intake and root, so that the
/// number of positions does not matter.
pub(super) fn used_scopes(connection: &Connection) -> Result<Vec<(Scope, ScopeIds)>, RowError> {
    let mut statement = connection.prepare(
        "WITH used (intake, source) AS (SELECT intake, source FROM first_hour \
         UNION SELECT intake.id, root.source FROM intake CROSS JOIN root WHERE \
         EXISTS (SELECT 1 FROM frontier WHERE intake = intake.id AND root = root.id) \
         OR EXISTS (SELECT 1 FROM position WHERE intake = intake.id AND root = root.id) \
         OR EXISTS (SELECT 1 FROM quarantine WHERE intake = intake.id AND root = root.id)) \
         SELECT account, container, intake.name, intake.id, source.id FROM used \
         JOIN intake ON intake.id = intake JOIN source ON source.id = source ORDER BY 1, 2, 3",
    )?;
    let scopes = statement.query_map([], |row| {
        let origin = Origin { account: row.get(0)?, container: row.get(1)? };
        Ok((Scope { origin, intake: row.get(2)? }, ScopeIds { intake: row.get(3)?, source: row.get(4)? }))
    })?;
    Ok(scopes.collect::<rusqlite::Result<_>>()?)
}
