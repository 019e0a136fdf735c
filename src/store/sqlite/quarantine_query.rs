//! What the commands ask of the quarantine: sums, rows one by one, and rows that go.

use std::collections::BTreeMap;

use rusqlite::{Connection, named_params};

use super::{
    SqliteStore,
    names::{blob_of, intern_scope},
    quarantine::{self, QuarantineEntry, SIZE},
    rows::{RowError, unsigned},
};
use crate::{
    model::{Hour, HourlyBlob, Origin, Reason, Rejected, Scope},
    store::{QuarantineUsage, StoreError},
};

/// Which rows are meant: those that fit all parts that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    /// Only rows of this intake.
    pub intake: Option<String>,
    /// Only rows of this source container.
    pub source: Option<Origin>,
    /// Only rows of the blob of this full name.
    pub blob: Option<String>,
    /// Only rows with this reason.
    pub reason: Option<Reason>,
    /// Only rows written at this time or later, in seconds since 1970-01-01T00:00Z.
    pub since: Option<i64>,
}

/// The rows of one source container and intake that have the same reason, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineSummary {
    /// Whose rows.
    pub scope: Scope,
    /// The reason, as it is stored.
    pub reason: String,
    /// How many, and how large.
    pub usage: QuarantineUsage,
    /// When the first of them was written, in seconds since 1970-01-01T00:00Z.
    pub oldest: i64,
    /// When the last of them was written.
    pub newest: i64,
}

/// A row that fits a filter. Its content is not looked at, so that damaged rows fit too.
struct Fitting {
    id: i64,
    time: i64,
    scope: Scope,
    reason: String,
    bytes: u64,
}

impl SqliteStore {
    /// One summary for each source container, intake and reason, in this order.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn quarantine_summaries(
        &self,
        filter: &QuarantineFilter,
    ) -> Result<Vec<QuarantineSummary>, StoreError> {
        let mut summaries = BTreeMap::new();
        for_each_fitting(&self.connection, filter, |fitting| {
            let Fitting { time, scope, reason, bytes, .. } = fitting;
            let summary = summaries.entry((scope.clone(), reason.clone())).or_insert(QuarantineSummary {
                scope,
                reason,
                usage: QuarantineUsage::default(),
                oldest: time,
                newest: time,
            });
            summary.usage.add(bytes);
            summary.oldest = summary.oldest.min(time);
            summary.newest = summary.newest.max(time);
        })
        .map_err(|error| self.error("count the quarantine", error))?;
        Ok(summaries.into_values().collect())
    }

    /// The numbers of the rows that fit, in the order in which they were first written.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn quarantined_ids(&self, filter: &QuarantineFilter) -> Result<Vec<i64>, StoreError> {
        fitting(&self.connection, filter)
            .map(|(ids, _usage)| ids)
            .map_err(|error| self.error("read the quarantine", error))
    }

    /// One row; `None` where there is none of that number.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn quarantined(&self, id: i64) -> Result<Option<QuarantineEntry>, StoreError> {
        quarantine::entry(&self.connection, id).map_err(|error| self.error("read the quarantine", error))
    }

    /// Calls `each` with every row that fits, in the order in which they were first written. One row is held at a time;
    /// where `each` fails, the walk ends with its error.
    ///
    /// # Errors
    /// Outside: as [`StoreError`] says. Inside: what `each` said.
    pub fn visit_quarantine<E>(
        &self,
        filter: &QuarantineFilter,
        mut each: impl FnMut(QuarantineEntry) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        let mut walk = || -> Result<Result<(), E>, RowError> {
            // One state is shown, whatever the owner does meanwhile.
            let snapshot = self.connection.unchecked_transaction()?;
            let (ids, _usage) = fitting(&snapshot, filter)?;
            for id in ids {
                if let Some(entry) = quarantine::entry(&snapshot, id)?
                    && let Err(error) = each(entry)
                {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        };
        walk().map_err(|error| self.error("read the quarantine", error))
    }

    /// Deletes the rows that fit, damaged ones too, in one transaction. Returns what went.
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing changed then.
    pub fn drop_quarantined(&mut self, filter: &QuarantineFilter) -> Result<QuarantineUsage, StoreError> {
        let dropped = self.transact("drop the quarantine", |connection| {
            let (ids, usage) = fitting(connection, filter)?;
            quarantine::delete(connection, &ids)?;
            Ok(usage)
        })?;
        self.usage = None;
        Ok(dropped)
    }

    /// Deletes the rows `done`, whose input an intake has now, and writes rows for what of it could not be delivered, in
    /// one transaction.
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing changed then.
    pub fn settle_quarantined(
        &mut self,
        done: &[i64],
        left: &[(Scope, HourlyBlob, Rejected)],
    ) -> Result<(), StoreError> {
        self.transact("settle the quarantine", |connection| {
            quarantine::delete(connection, done)?;
            for (scope, blob, rejected) in left {
                let ids = intern_scope(connection, scope)?;
                quarantine::insert(connection, scope, ids, blob, rejected)?;
            }
            Ok(())
        })?;
        self.usage = None;
        Ok(())
    }
}

/// The numbers of the rows that fit, and their size together.
fn fitting(
    connection: &Connection,
    filter: &QuarantineFilter,
) -> Result<(Vec<i64>, QuarantineUsage), RowError> {
    let (mut ids, mut usage) = (Vec::new(), QuarantineUsage::default());
    for_each_fitting(connection, filter, |fitting| {
        ids.push(fitting.id);
        usage.add(fitting.bytes);
    })?;
    Ok((ids, usage))
}

fn for_each_fitting(
    connection: &Connection,
    filter: &QuarantineFilter,
    mut each: impl FnMut(Fitting),
) -> Result<(), RowError> {
    let sql = format!(
        "SELECT quarantine.id, time, account, container, intake.name, reason, {SIZE}, root.name, hour, leaf \
         FROM quarantine JOIN intake ON intake.id = intake JOIN root ON root.id = root \
         JOIN source ON source.id = root.source \
         WHERE (:intake IS NULL OR intake.name = :intake) \
         AND (:account IS NULL OR account = :account AND container = :container) \
         AND (:reason IS NULL OR reason = :reason) AND (:since IS NULL OR time >= :since) \
         AND (:blob IS NULL OR substr(:blob, 1, length(root.name)) = root.name) ORDER BY quarantine.id"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(named_params! {
        ":intake": filter.intake,
        ":account": filter.source.as_ref().map(|source| &source.account),
        ":container": filter.source.as_ref().map(|source| &source.container),
        ":reason": filter.reason.map(Reason::as_str),
        ":since": filter.since,
        ":blob": filter.blob,
    })?;
    while let Some(row) = rows.next()? {
        if let Some(name) = &filter.blob {
            let hour = Hour::from_number(row.get(8)?);
            let blob = blob_of(&row.get::<_, String>(7)?, hour, &row.get::<_, String>(9)?)?;
            if blob.name().as_str() != name {
                continue;
            }
        }
        let origin = Origin { account: row.get(2)?, container: row.get(3)? };
        each(Fitting {
            id: row.get(0)?,
            time: row.get(1)?,
            scope: Scope { origin, intake: row.get(4)? },
            reason: row.get(5)?,
            bytes: unsigned(row.get(6)?)?,
        });
    }
    Ok(())
}

/// What the whole quarantine holds. Looks at every row, but at no text.
pub(super) fn usage(connection: &Connection) -> Result<QuarantineUsage, RowError> {
    let sql = format!("SELECT count(*), coalesce(sum({SIZE}), 0) FROM quarantine");
    let usage = connection.prepare_cached(&sql)?.query_row([], |row| {
        Ok(QuarantineUsage { rows: unsigned(row.get(0)?)?, bytes: unsigned(row.get(1)?)? })
    })?;
    Ok(usage)
}
