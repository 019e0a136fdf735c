//! The rows of positions.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{
    frontiers,
    names::{ScopeIds, blob_of, find_root, intern_root, stored_leaf},
    rows::{RowError, RowSum, unsigned},
};
use crate::{
    checkpoint::{ContextHash, Position, SeenThrough, TailState, Tally},
    model::{ETag, Hour, HourlyBlob, Scope},
    store::{PositionChange, Pruned},
};

/// The columns after the key, as every query of this table selects them.
pub(super) const COLUMNS: &str =
    "offset, context, etag, length, tail, crc, records, tuples, delivered, quarantined, pieces";

/// What a row says: a position, and what the ledger has of all that lies before it; `None` where that was not counted.
pub(super) type Stored = (Position, Option<Tally>);

/// A position as it is stored.
#[derive(Debug, PartialEq)]
struct Columns {
    offset: Option<i64>,
    context: Option<i64>,
    etag: Option<String>,
    length: Option<i64>,
    tail: Option<i64>,
    ledger: Ledger,
}

/// Records, tuples, delivered, quarantined and pieces: all or none.
type Ledger = [Option<i64>; 5];

fn ledger_columns(tally: Option<Tally>) -> Result<Ledger, RowError> {
    let Some(Tally { records, tuples, delivered, quarantined, pieces }) = tally else { return Ok([None; 5]) };
    let mut columns = [None; 5];
    for (column, count) in columns.iter_mut().zip([records, tuples, delivered, quarantined, pieces]) {
        *column = Some(i64::try_from(count)?);
    }
    Ok(columns)
}

/// The outer `None`: the columns contradict each other.
fn tally_of(columns: Ledger) -> Option<Option<Tally>> {
    let count = |column: i64| unsigned(column).ok();
    match columns {
        [None, None, None, None, None] => Some(None),
        [Some(records), Some(tuples), Some(delivered), Some(quarantined), Some(pieces)] => {
            Some(Some(Tally {
                records: count(records)?,
                tuples: count(tuples)?,
                delivered: count(delivered)?,
                quarantined: count(quarantined)?,
                pieces: count(pieces)?,
            }))
        }
        _ => None,
    }
}

impl Columns {
    fn of(position: &Position, ledger: Option<Tally>) -> Result<Self, RowError> {
        let offset = position.bytes().map(i64::try_from).transpose()?;
        let context = position.offset.map(|(_, context)| context.number().cast_signed());
        let seen = position.seen.as_ref();
        Ok(Self {
            offset,
            context,
            etag: seen.map(|seen| seen.etag.as_str().to_owned()),
            length: seen.map(|seen| i64::try_from(seen.length)).transpose()?,
            tail: seen.map(|seen| match seen.tail {
                TailState::Clean => 0,
                TailState::Incomplete => 1,
                TailState::Quarantined => 2,
            }),
            ledger: ledger_columns(ledger)?,
        })
    }

    /// `None` where the columns contradict each other.
    fn stored(self) -> Option<Stored> {
        let ledger = tally_of(self.ledger)?;
        let offset = match (self.offset, self.context) {
            (None, None) => None,
            (Some(offset), Some(context)) => {
                Some((unsigned(offset).ok()?, ContextHash::from_number(context.cast_unsigned())))
            }
            (Some(_), None) | (None, Some(_)) => return None,
        };
        let seen = match (self.etag, self.length, self.tail) {
            (None, None, None) => None,
            (Some(etag), Some(length), Some(tail)) => Some(SeenThrough {
                etag: ETag::new(&etag),
                length: unsigned(length).ok()?,
                tail: match tail {
                    0 => TailState::Clean,
                    1 => TailState::Incomplete,
                    2 => TailState::Quarantined,
                    _ => return None,
                },
            }),
            (_, _, _) => return None,
        };
        Some((Position { offset, seen }, ledger))
    }

    fn sum(&self, scope: &Scope, root: &str, hour: i64, leaf: &str) -> i64 {
        let sum = RowSum::of("position")
            .scope(scope)
            .text(root)
            .number(hour)
            .text(leaf)
            .optional_number(self.offset)
            .optional_number(self.context)
            .optional_text(self.etag.as_deref())
            .optional_number(self.length)
            .optional_number(self.tail);
        // Without a ledger: the sum as it was before there were ledgers.
        self.ledger.iter().flatten().fold(sum, |sum, count| sum.number(*count)).finish()
    }
}

/// Reads [`COLUMNS`], which start at column `first`, and checks them.
pub(super) fn checked(
    row: &Row<'_>,
    first: usize,
    scope: &Scope,
    root: &str,
    hour: i64,
    leaf: &str,
) -> Result<(HourlyBlob, Stored), RowError> {
    let blob = blob_of(root, Hour::from_number(hour), leaf)?;
    let damaged =
        || RowError::row(format!("the position of intake {} in blob {}", scope.intake, blob.name()));
    let columns = || -> rusqlite::Result<Columns> {
        Ok(Columns {
            offset: row.get(first)?,
            context: row.get(first.saturating_add(1))?,
            etag: row.get(first.saturating_add(2))?,
            length: row.get(first.saturating_add(3))?,
            tail: row.get(first.saturating_add(4))?,
            ledger: [
                row.get(first.saturating_add(6))?,
                row.get(first.saturating_add(7))?,
                row.get(first.saturating_add(8))?,
                row.get(first.saturating_add(9))?,
                row.get(first.saturating_add(10))?,
            ],
        })
    };
    let columns = columns().map_err(|_error| damaged())?;
    if row.get::<_, i64>(first.saturating_add(5))? != columns.sum(scope, root, hour, leaf) {
        return Err(damaged());
    }
    let stored = columns.stored().ok_or_else(damaged)?;
    Ok((blob, stored))
}

pub(super) fn of_hour(
    connection: &Connection,
    scope: &Scope,
    ids: ScopeIds,
    root: &str,
    hour: Hour,
) -> Result<Vec<(HourlyBlob, Stored)>, RowError> {
    let Some(root_id) = find_root(connection, ids.source, root)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT leaf, {COLUMNS} FROM position WHERE intake = ?1 AND root = ?2 AND hour = ?3 ORDER BY leaf"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((ids.intake, root_id, hour.number()))?;
    let mut positions = Vec::new();
    while let Some(row) = rows.next()? {
        positions.push(checked(row, 1, scope, root, hour.number(), &row.get::<_, String>(0)?)?);
    }
    Ok(positions)
}

/// Moves one position, from what is stored.
pub(super) fn change(
    connection: &Connection,
    scope: &Scope,
    ids: ScopeIds,
    change: &PositionChange,
) -> Result<(), RowError> {
    let blob = &change.blob;
    let root = intern_root(connection, ids.source, blob.root())?;
    let (hour, leaf) = (blob.hour().number(), stored_leaf(blob));
    let sql =
        format!("SELECT {COLUMNS} FROM position WHERE intake = ?1 AND root = ?2 AND hour = ?3 AND leaf = ?4");
    let stored = connection
        .prepare_cached(&sql)?
        .query_row((ids.intake, root, hour, leaf), |row| {
            Ok(checked(row, 0, scope, blob.root(), hour, leaf).map(|(_, stored)| stored))
        })
        .optional()?
        .transpose()?;
    let (stored, ledger) = stored.unzip();
    if stored != change.from {
        let spelled = |position: &Option<Position>| {
            position.as_ref().map_or_else(|| String::from("none"), Position::to_string)
        };
        return Err(RowError::Gap {
            blob: blob.name().to_string(),
            stored: spelled(&stored),
            from: spelled(&change.from),
        });
    }
    let columns = Columns::of(&change.to, change.ledger(ledger.flatten()))?;
    let sum = columns.sum(scope, blob.root(), hour, leaf);
    let [records, tuples, delivered, quarantined, pieces] = columns.ledger;
    connection
        .prepare_cached(
            "INSERT INTO position (intake, root, hour, leaf, offset, context, etag, length, tail, crc, records, tuples, \
             delivered, quarantined, pieces) VALUES (:intake, :root, :hour, :leaf, :offset, :context, :etag, :length, \
             :tail, :crc, :records, :tuples, :delivered, :quarantined, :pieces) \
             ON CONFLICT (intake, root, hour, leaf) DO UPDATE SET offset = excluded.offset, \
             context = excluded.context, etag = excluded.etag, length = excluded.length, tail = excluded.tail, \
             crc = excluded.crc, records = excluded.records, tuples = excluded.tuples, \
             delivered = excluded.delivered, quarantined = excluded.quarantined, pieces = excluded.pieces",
        )?
        .execute(named_params! {
            ":intake": ids.intake,
            ":root": root,
            ":hour": hour,
            ":leaf": leaf,
            ":offset": columns.offset,
            ":context": columns.context,
            ":etag": &columns.etag,
            ":length": columns.length,
            ":tail": columns.tail,
            ":crc": sum,
            ":records": records,
            ":tuples": tuples,
            ":delivered": delivered,
            ":quarantined": quarantined,
            ":pieces": pieces,
        })?;
    Ok(())
}

/// See [`crate::store::StateStore::stored_day`].
pub(super) fn stored_day(
    connection: &Connection,
    ids: ScopeIds,
    root: &str,
    after: Option<Hour>,
) -> Result<Option<Hour>, RowError> {
    let Some(root_id) = find_root(connection, ids.source, root)? else { return Ok(None) };
    let from = after.map_or(i64::MIN, |hour| hour.day().number().saturating_add(24));
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(hour) FROM position WHERE intake = ?1 AND root = ?2 AND hour >= ?3")?
        .query_row((ids.intake, root_id, from), |row| row.get(0))?;
    Ok(first.map(|hour| Hour::from_number(hour).day()))
}

/// See [`crate::store::StateStore::prune`].
pub(super) fn prune(
    connection: &Connection,
    scope: &Scope,
    ids: ScopeIds,
    root: &str,
    day: Hour,
    present: &[HourlyBlob],
) -> Result<Pruned, RowError> {
    let mut pruned = Pruned::default();
    let Some(root_id) = find_root(connection, ids.source, root)? else { return Ok(pruned) };
    let Some(frontier) = frontiers::of_root(connection, scope, ids.intake, (root_id, root))? else {
        return Ok(pruned);
    };
    let present: HashSet<&HourlyBlob> = present.iter().collect();
    let hours = day.hours_of_day().filter(|hour| frontier.is_sealed(*hour));
    for hour in hours {
        for (blob, (position, _ledger)) in of_hour(connection, scope, ids, root, hour)? {
            if present.contains(&blob) {
                continue;
            }
            connection
                .prepare_cached(
                    "DELETE FROM position WHERE intake = ?1 AND root = ?2 AND hour = ?3 AND leaf = ?4",
                )?
                .execute((ids.intake, root_id, hour.number(), stored_leaf(&blob)))?;
            pruned.add(&position);
        }
    }
    Ok(pruned)
}
