//! The rows of frontiers with their sealed hours, and of first hours. One checksum covers a frontier with all of its
//! sealed hours, so that a lost row of them is found too.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::{
    names::{ScopeIds, intern_root},
    rows::{RowError, RowSum},
};
use crate::{
    checkpoint::Frontier,
    model::{Hour, Origin, Scope},
    store::FirstHour,
};

pub(super) fn of_scope(
    connection: &Connection,
    scope: &Scope,
    ids: ScopeIds,
) -> Result<Vec<(String, Frontier)>, RowError> {
    let mut statement = connection.prepare_cached(
        "SELECT root.id, root.name, first_unsealed, frontier.crc FROM frontier JOIN root ON root.id = root \
         WHERE intake = ?1 AND root.source = ?2 ORDER BY root.name",
    )?;
    let mut rows = statement.query((ids.intake, ids.source))?;
    let mut frontiers = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        let sealed = sealed_hours(connection, ids.intake, row.get(0)?)?;
        let frontier = checked(scope, &name, row.get(2)?, sealed, row.get(3)?)?;
        frontiers.push((name, frontier));
    }
    Ok(frontiers)
}

/// The frontier of one root alone: what is done root by root must not look at all of them each time.
pub(super) fn of_root(
    connection: &Connection,
    scope: &Scope,
    intake: i64,
    (root_id, root): (i64, &str),
) -> Result<Option<Frontier>, RowError> {
    let stored: Option<(i64, i64)> = connection
        .prepare_cached("SELECT first_unsealed, crc FROM frontier WHERE intake = ?1 AND root = ?2")?
        .query_row((intake, root_id), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((first_unsealed, crc)) = stored else { return Ok(None) };
    let sealed = sealed_hours(connection, intake, root_id)?;
    checked(scope, root, first_unsealed, sealed, crc).map(Some)
}

fn checked(
    scope: &Scope,
    root: &str,
    first_unsealed: i64,
    sealed: BTreeSet<i64>,
    crc: i64,
) -> Result<Frontier, RowError> {
    if crc != sum(scope, root, first_unsealed, &sealed) {
        return Err(RowError::row(format!("the frontier of intake {} in root {root}", scope.intake)));
    }
    let sealed = sealed.into_iter().map(Hour::from_number);
    Ok(Frontier::from_parts(Hour::from_number(first_unsealed), sealed))
}

pub(super) fn replace(
    connection: &Connection,
    scope: &Scope,
    ids: ScopeIds,
    root: &str,
    frontier: &Frontier,
) -> Result<(), RowError> {
    let root_id = intern_root(connection, ids.source, root)?;
    let first_unsealed = frontier.first_unsealed().number();
    let sealed: BTreeSet<i64> = frontier.sealed_after().map(Hour::number).collect();
    connection
        .prepare_cached(
            "INSERT INTO frontier (intake, root, first_unsealed, crc) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (intake, root) DO UPDATE SET first_unsealed = excluded.first_unsealed, crc = excluded.crc",
        )?
        .execute((ids.intake, root_id, first_unsealed, sum(scope, root, first_unsealed, &sealed)))?;
    let stored = sealed_hours(connection, ids.intake, root_id)?;
    for hour in stored.difference(&sealed) {
        connection
            .prepare_cached("DELETE FROM sealed_hour WHERE intake = ?1 AND root = ?2 AND hour = ?3")?
            .execute((ids.intake, root_id, hour))?;
    }
    for hour in sealed.difference(&stored) {
        connection
            .prepare_cached("INSERT INTO sealed_hour (intake, root, hour) VALUES (?1, ?2, ?3)")?
            .execute((ids.intake, root_id, hour))?;
    }
    Ok(())
}

fn sealed_hours(connection: &Connection, intake: i64, root: i64) -> Result<BTreeSet<i64>, RowError> {
    let mut statement =
        connection.prepare_cached("SELECT hour FROM sealed_hour WHERE intake = ?1 AND root = ?2")?;
    let hours = statement.query_map((intake, root), |row| row.get(0))?;
    Ok(hours.collect::<rusqlite::Result<_>>()?)
}

fn sum(scope: &Scope, root: &str, first_unsealed: i64, sealed: &BTreeSet<i64>) -> i64 {
    let start = RowSum::of("frontier").scope(scope).text(root).number(first_unsealed);
    sealed.iter().fold(start, |so_far, hour| so_far.number(*hour)).finish()
}

/// The first hour of a scope. Looks at all rows: one whose key is damaged would pass for none, a later hour would be
/// decided then, and what lies before it skipped.
pub(super) fn first_hour(connection: &Connection, scope: &Scope) -> Result<Option<FirstHour>, RowError> {
    let mut statement = connection.prepare_cached(
        "SELECT account, container, name, hour, first_hour.crc FROM first_hour \
         LEFT JOIN source ON source.id = source LEFT JOIN intake ON intake.id = intake",
    )?;
    let mut rows = statement.query(())?;
    let mut found = None;
    while let Some(row) = rows.next()? {
        let text = |index| -> rusqlite::Result<String> {
            Ok(row.get::<_, Option<String>>(index)?.unwrap_or_else(|| String::from("(unknown)")))
        };
        let origin = Origin { account: text(0)?, container: text(1)? };
        let of = Scope { origin, intake: text(2)? };
        let hour: Option<i64> = row.get(3)?;
        if row.get::<_, i64>(4)? != first_hour_sum(&of, hour) {
            return Err(RowError::row(format!("the first hour of intake {} in {}", of.intake, of.origin)));
        }
        if of == *scope {
            found =
                Some(hour.map_or(FirstHour::Beginning, |number| FirstHour::At(Hour::from_number(number))));
        }
    }
    Ok(found)
}

pub(super) fn store_first_hour(
    connection: &Connection,
    scope: &Scope,
    ids: ScopeIds,
    first: FirstHour,
) -> Result<(), RowError> {
    let hour = match first {
        FirstHour::Beginning => None,
        FirstHour::At(hour) => Some(hour.number()),
    };
    connection
        .prepare_cached("INSERT INTO first_hour (intake, source, hour, crc) VALUES (?1, ?2, ?3, ?4)")?
        .execute((ids.intake, ids.source, hour, first_hour_sum(scope, hour)))?;
    Ok(())
}

fn first_hour_sum(scope: &Scope, hour: Option<i64>) -> i64 {
    RowSum::of("first_hour").scope(scope).optional_number(hour).finish()
}
