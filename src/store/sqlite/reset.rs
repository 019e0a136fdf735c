//! Forgets positions, so that what they stand for is delivered again. The quarantine is not touched: it is the only
//! place where what is in it still exists.

use rusqlite::{Connection, params};

use super::{ScopeIds, SqliteStore, io_error, store_frontier};
use crate::{
    flowlog::path,
    model::{BlobName, Origin, Scope},
    store::StoreError,
};

/// What to forget. Empty parts stand for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only positions of this intake.
    pub intake: Option<String>,
    /// Only positions in this container.
    pub origin: Option<Origin>,
    /// Only this blob; its hour is listed again.
    pub blob: Option<BlobName>,
}

/// What was, or would be, forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResetCounts {
    /// Positions of blobs.
    pub positions: u64,
    /// Roots whose sealed hours are forgotten, or of which one hour is opened again.
    pub roots: u64,
    /// Decided first hours.
    pub first_hours: u64,
}

impl SqliteStore {
    /// Forgets what is selected. With `dry_run` it only counts.
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing is forgotten then.
    pub fn reset(&mut self, selection: &Selection, dry_run: bool) -> Result<ResetCounts, StoreError> {
        let scopes = self.summaries()?.into_iter().map(|summary| summary.scope).filter(|scope| {
            selection.intake.as_ref().is_none_or(|intake| *intake == scope.intake)
                && selection.origin.as_ref().is_none_or(|origin| *origin == scope.origin)
        });
        let mut counts = ResetCounts::default();
        let scopes: Vec<Scope> = scopes.collect();
        let mut reopened = Vec::new();
        for scope in &scopes {
            let Some(ids) = self.scope_ids(scope)? else { continue };
            let Some(blob) = selection.blob.as_ref().and_then(path::parse) else {
                reopened.push((ids, None));
                continue;
            };
            for (root_id, root) in self.roots(ids.source)? {
                if root != blob.root() {
                    continue;
                }
                if let Some(mut frontier) = self.frontier(ids, root_id, &root)? {
                    frontier.reopen(blob.hour());
                    reopened.push((ids, Some((blob.clone(), frontier))));
                }
            }
        }
        let file = self.file.clone();
        let failed = |error| io_error(format!("reset positions in {}", file.display()), error);
        let transaction = self.transaction()?;
        for (ids, reopened) in reopened {
            let (positions, roots, first_hours) = match reopened {
                None => forget_scope(&transaction, ids).map_err(failed)?,
                Some((blob, frontier)) => {
                    let delete = "DELETE FROM position WHERE intake = ?1 AND hour = ?2 AND leaf = ?3 \
                                  AND root = (SELECT id FROM root WHERE source = ?4 AND name = ?5)";
                    let values =
                        params![ids.intake, blob.hour().number(), blob.leaf(), ids.source, blob.root()];
                    let n_deleted = transaction.execute(delete, values).map_err(failed)?;
                    store_frontier(&transaction, ids, blob.root(), &frontier).map_err(failed)?;
                    (n_deleted, 1, 0)
                }
            };
            let add = |count: &mut u64, n: usize| {
                *count = count.saturating_add(u64::try_from(n).unwrap_or(u64::MAX))
            };
            add(&mut counts.positions, positions);
            add(&mut counts.roots, roots);
            add(&mut counts.first_hours, first_hours);
        }
        if dry_run {
            transaction.rollback().map_err(failed)?;
        } else {
            transaction.commit().map_err(failed)?;
        }
        Ok(counts)
    }
}

/// Forgets a scope; returns how many positions, roots and first hours.
fn forget_scope(connection: &Connection, ids: ScopeIds) -> rusqlite::Result<(usize, usize, usize)> {
    let delete = |table: &str| {
        let statement = format!(
            "DELETE FROM {table} WHERE intake = ?1 AND root IN (SELECT id FROM root WHERE source = ?2)"
        );
        connection.execute(&statement, params![ids.intake, ids.source])
    };
    let positions = delete("position")?;
    delete("sealed_hour")?;
    let roots = delete("frontier")?;
    let first_hours = connection.execute(
        "DELETE FROM first_hour WHERE intake = ?1 AND source = ?2",
        params![ids.intake, ids.source],
    )?;
    Ok((positions, roots, first_hours))
}
