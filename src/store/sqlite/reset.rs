//! Forgetting positions, so that blobs are read again. The quarantine is never touched here.

use rusqlite::{Connection, named_params};

use super::{
    SqliteStore, frontiers,
    names::{ScopeIds, stored_leaf},
    rows::RowError,
};
use crate::{
    model::{HourlyBlob, Origin, Scope},
    store::StoreError,
};

/// What is forgotten: everything that fits all parts that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResetFilter {
    /// Only this intake.
    pub intake: Option<String>,
    /// Only this source container.
    pub source: Option<Origin>,
    /// Only the blob of this full name; first hours and all other hours stay then.
    pub blob: Option<String>,
}

/// How many rows were forgotten, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResetCounts {
    /// Positions of blobs.
    pub positions: usize,
    /// Frontiers of roots: dropped, or with one hour opened again.
    pub frontiers: usize,
    /// First hours; they are decided anew from the setting `start`.
    pub first_hours: usize,
}

/// Which rows of `position` and `frontier` a filter means; both have the columns `intake` and `root`.
const OF_SCOPE: &str = "(:intake IS NULL OR intake IN (SELECT id FROM intake WHERE name = :intake)) AND \
     (:account IS NULL OR root IN (SELECT root.id FROM root JOIN source ON source.id = root.source \
     WHERE account = :account AND container = :container))";

impl SqliteStore {
    /// Counts what [`Self::reset`] would change.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn preview_reset(&self, filter: &ResetFilter) -> Result<ResetCounts, StoreError> {
        // The change itself, taken back: so the two never disagree.
        let preview = || -> Result<ResetCounts, RowError> {
            let transaction = self.connection.unchecked_transaction()?;
            let counts = apply(&transaction, filter)?;
            transaction.rollback()?;
            Ok(counts)
        };
        preview().map_err(|error| self.error("count what a reset deletes", error))
    }

    /// Forgets positions, and seals of their hours, in one transaction.
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing changed then.
    pub fn reset(&mut self, filter: &ResetFilter) -> Result<ResetCounts, StoreError> {
        self.transact("reset", |connection| apply(connection, filter))
    }
}

fn apply(connection: &Connection, filter: &ResetFilter) -> Result<ResetCounts, RowError> {
    match &filter.blob {
        Some(name) => forget_blob(connection, filter, name),
        None => forget_scopes(connection, filter),
    }
}

/// Does not decode what it deletes: damaged rows go too.
fn forget_scopes(connection: &Connection, filter: &ResetFilter) -> Result<ResetCounts, RowError> {
    let delete = |table: &str, of_scope: &str| -> Result<usize, RowError> {
        let mut statement = connection.prepare(&format!("DELETE FROM {table} WHERE {of_scope}"))?;
        Ok(statement.execute(named_params! {
            ":intake": filter.intake,
            ":account": filter.source.as_ref().map(|source| &source.account),
            ":container": filter.source.as_ref().map(|source| &source.container),
        })?)
    };
    let of_source = OF_SCOPE.replace(
        "root IN (SELECT root.id FROM root JOIN source ON source.id = root.source",
        "source IN (SELECT id FROM source",
    );
    Ok(ResetCounts {
        positions: delete("position", OF_SCOPE)?,
        frontiers: delete("frontier", OF_SCOPE)?,
        first_hours: delete("first_hour", &of_source)?,
    })
}

/// A sealed hour is not read again, so the blob's hour is opened where it was sealed.
fn forget_blob(connection: &Connection, filter: &ResetFilter, name: &str) -> Result<ResetCounts, RowError> {
    let mut counts = ResetCounts::default();
    for (scope, ids, root, blob) in stored_blobs(connection, filter, name)? {
        let sql = "DELETE FROM position WHERE intake = ?1 AND root = ?2 AND hour = ?3 AND leaf = ?4";
        counts.positions += connection.prepare_cached(sql)?.execute((
            ids.intake,
            root,
            blob.hour().number(),
            stored_leaf(&blob),
        ))?;
        let known = frontiers::of_scope(connection, &scope, ids)?;
        let of_root = known.into_iter().find(|(root_name, _)| root_name == blob.root());
        if let Some((root_name, mut frontier)) = of_root
            && frontier.reopen(blob.hour())
        {
            frontiers::replace(connection, &scope, ids, &root_name, &frontier)?;
            counts.frontiers += 1;
        }
    }
    Ok(counts)
}

/// Every position of a blob name: the scope, its numbers, the root's number, the blob.
fn stored_blobs(
    connection: &Connection,
    filter: &ResetFilter,
    name: &str,
) -> Result<Vec<(Scope, ScopeIds, i64, HourlyBlob)>, RowError> {
    let sql = format!(
        "SELECT account, container, intake.name, intake.id, source.id, root.id, root.name, hour, leaf FROM \
         (SELECT intake, root, hour, leaf FROM position WHERE {OF_SCOPE} AND \
         root IN (SELECT id FROM root WHERE substr(:name, 1, length(name)) = name)) \
         JOIN intake ON intake.id = intake JOIN root ON root.id = root JOIN source ON source.id = root.source"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(named_params! {
        ":intake": filter.intake,
        ":account": filter.source.as_ref().map(|source| &source.account),
        ":container": filter.source.as_ref().map(|source| &source.container),
        ":name": name,
    })?;
    let mut blobs = Vec::new();
    while let Some(row) = rows.next()? {
        let hour = crate::model::Hour::from_number(row.get(7)?);
        let blob = super::names::blob_of(&row.get::<_, String>(6)?, hour, &row.get::<_, String>(8)?)?;
        if blob.name().as_str() != name {
            continue;
        }
        let scope =
            Scope { origin: Origin { account: row.get(0)?, container: row.get(1)? }, intake: row.get(2)? };
        blobs.push((scope, ScopeIds { intake: row.get(3)?, source: row.get(4)? }, row.get(5)?, blob));
    }
    Ok(blobs)
}
