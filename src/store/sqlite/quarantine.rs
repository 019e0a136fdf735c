//! The rows of the quarantine.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{
    names::{ScopeIds, blob_of, intern_root, stored_leaf},
    rows::{RowError, RowSum, unsigned},
};
use crate::model::{Hour, HourlyBlob, Origin, Reason, Rejected, Scope, Span};

/// Most bytes of an intake's answer that are kept.
const RESPONSE_BYTES: usize = 2 * 1024;

/// What a row takes, in bytes: its texts as they are stored, and a round sum for its other columns and its place in the
/// index, so that a flood of empty rows counts too.
pub(super) const SIZE: &str = "(200 + octet_length(detail) + coalesce(octet_length(response), 0) \
     + coalesce(octet_length(context), 0) + octet_length(text))";

/// One row of the quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineEntry {
    /// Number of the row, for commands that name it. It stays when the row is replaced.
    pub id: i64,
    /// When it was written, in seconds since 1970-01-01T00:00Z, by the local clock.
    pub time: i64,
    /// Whose row.
    pub scope: Scope,
    /// The blob.
    pub blob: HourlyBlob,
    /// What was rejected.
    pub rejected: Rejected,
}

/// What an insert changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inserted {
    /// Size of the row that was replaced.
    pub(super) replaced: Option<u64>,
    /// Size of the row.
    pub(super) bytes: u64,
}

pub(super) fn insert(
    connection: &Connection,
    scope: &Scope,
    ids: ScopeIds,
    blob: &HourlyBlob,
    rejected: &Rejected,
) -> Result<Inserted, RowError> {
    let root = intern_root(connection, ids.source, blob.root())?;
    let (hour, leaf) = (blob.hour().number(), stored_leaf(blob));
    let offset = i64::try_from(rejected.span.from)?;
    let sql = format!(
        "SELECT {SIZE} FROM quarantine WHERE intake = ?1 AND root = ?2 AND hour = ?3 AND leaf = ?4 \
         AND offset = ?5 AND ifnull(ordinal, -1) = ifnull(?6, -1)"
    );
    let replaced = connection
        .prepare_cached(&sql)?
        .query_row((ids.intake, root, hour, leaf, offset, rejected.ordinal), |row| unsigned(row.get(0)?))
        .optional()?;
    let time: i64 = connection.prepare_cached("SELECT unixepoch()")?.query_row([], |row| row.get(0))?;
    let (compressed, text) = packed(&rejected.text)?;
    let (status, response) = rejected.answer.as_ref().map_or((None, None), |(status, body)| {
        let end = body.floor_char_boundary(RESPONSE_BYTES);
        (Some(*status), Some(body.get(..end).unwrap_or_default()))
    });
    let kept = Rejected { answer: status.zip(response.map(str::to_owned)), ..rejected.clone() };
    let sql = format!(
        "INSERT INTO quarantine (time, intake, root, hour, leaf, offset, length, ordinal, reason, detail, \
             status, response, context, compressed, text, crc) VALUES (:time, :intake, :root, :hour, :leaf, \
             :offset, :length, :ordinal, :reason, :detail, :status, :response, :context, :compressed, :text, :crc) \
             ON CONFLICT (intake, root, hour, leaf, offset, ifnull(ordinal, -1)) DO UPDATE SET \
             time = excluded.time, length = excluded.length, reason = excluded.reason, detail = excluded.detail, \
             status = excluded.status, response = excluded.response, context = excluded.context, \
             compressed = excluded.compressed, text = excluded.text, crc = excluded.crc RETURNING {SIZE}",
    );
    let bytes = connection.prepare_cached(&sql)?.query_row(
        named_params! {
            ":time": time,
            ":intake": ids.intake,
            ":root": root,
            ":hour": hour,
            ":leaf": leaf,
            ":offset": offset,
            ":length": i64::try_from(rejected.span.length())?,
            ":ordinal": rejected.ordinal,
            ":reason": rejected.reason.as_str(),
            ":detail": rejected.detail,
            ":status": status,
            ":response": response,
            ":context": rejected.context,
            ":compressed": compressed,
            ":text": text,
            ":crc": sum(time, scope, blob, &kept),
        },
        |row| unsigned(row.get(0)?),
    )?;
    Ok(Inserted { replaced, bytes })
}

/// Deletes the rows of whole records and damage of a blob from an offset on. Returns their sizes.
pub(super) fn delete_rest(
    connection: &Connection,
    ids: ScopeIds,
    blob: &HourlyBlob,
    from: u64,
) -> Result<Vec<u64>, RowError> {
    let root = intern_root(connection, ids.source, blob.root())?;
    let sql = format!(
        "DELETE FROM quarantine WHERE intake = ?1 AND root = ?2 AND hour = ?3 AND leaf = ?4 AND offset >= ?5 \
         AND ordinal IS NULL RETURNING {SIZE}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let place = (ids.intake, root, blob.hour().number(), stored_leaf(blob), i64::try_from(from)?);
    let mut rows = statement.query(place)?;
    let mut sizes = Vec::new();
    while let Some(row) = rows.next()? {
        sizes.push(unsigned(row.get(0)?)?);
    }
    Ok(sizes)
}

pub(super) fn delete(connection: &Connection, ids: &[i64]) -> Result<(), RowError> {
    let mut statement = connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(())
}

/// One row; `None` where there is none of that number.
pub(super) fn entry(connection: &Connection, id: i64) -> Result<Option<QuarantineEntry>, RowError> {
    let mut statement = connection.prepare_cached(
        "SELECT quarantine.id, time, account, container, intake.name, root.name, hour, leaf, offset, length, \
         ordinal, reason, detail, status, response, context, compressed, text, quarantine.crc FROM quarantine \
         JOIN intake ON intake.id = intake JOIN root ON root.id = root JOIN source ON source.id = root.source \
         WHERE quarantine.id = ?1",
    )?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(checked).transpose()
}

fn checked(row: &Row<'_>) -> Result<QuarantineEntry, RowError> {
    let id: i64 = row.get(0)?;
    let damaged = || RowError::Damaged {
        what: format!("table quarantine, row {id}"),
        way_out: "`flowlogd quarantine drop` with `--intake`, `--source`, `--reason` or `--since` deletes it and all \
                  that fits; its input is in the blob",
    };
    let scope =
        Scope { origin: Origin { account: row.get(2)?, container: row.get(3)? }, intake: row.get(4)? };
    let hour = Hour::from_number(row.get(6)?);
    let blob = blob_of(&row.get::<_, String>(5)?, hour, &row.get::<_, String>(7)?)?;
    let rejected = || -> Result<Rejected, RowError> {
        let from = unsigned(row.get(8)?)?;
        let reason: String = row.get(11)?;
        let status: Option<u16> = row.get(13)?;
        let text: Vec<u8> = row.get(17)?;
        Ok(Rejected {
            reason: Reason::ALL.into_iter().find(|known| known.as_str() == reason).ok_or_else(damaged)?,
            detail: row.get(12)?,
            span: Span { from, to: from.saturating_add(unsigned(row.get(9)?)?) },
            ordinal: row.get(10)?,
            context: row.get(15)?,
            text: if row.get(16)? { unpacked(&text)? } else { text },
            answer: status.zip(row.get(14)?),
        })
    };
    let rejected = rejected().map_err(|_error| damaged())?;
    let time: i64 = row.get(1)?;
    if row.get::<_, i64>(18)? != sum(time, &scope, &blob, &rejected) {
        return Err(damaged());
    }
    Ok(QuarantineEntry { id, time, scope, blob, rejected })
}

/// Compressed where that is smaller.
fn packed(text: &[u8]) -> Result<(bool, Vec<u8>), RowError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).map_err(RowError::Text)?;
    let smaller = encoder.finish().map_err(RowError::Text)?;
    if smaller.len() < text.len() { Ok((true, smaller)) } else { Ok((false, text.to_vec())) }
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>, RowError> {
    let mut text = Vec::new();
    ZlibDecoder::new(packed).read_to_end(&mut text).map_err(RowError::Text)?;
    Ok(text)
}

fn sum(time: i64, scope: &Scope, blob: &HourlyBlob, rejected: &Rejected) -> i64 {
    let answer = rejected.answer.as_ref();
    RowSum::of("quarantine")
        .number(time)
        .scope(scope)
        .text(blob.root())
        .number(blob.hour().number())
        .text(stored_leaf(blob))
        .number(rejected.span.from.cast_signed())
        .number(rejected.span.length().cast_signed())
        .optional_number(rejected.ordinal.map(i64::from))
        .text(rejected.reason.as_str())
        .text(&rejected.detail)
        .optional_number(answer.map(|(status, _)| i64::from(*status)))
        .optional_text(answer.map(|(_, response)| response.as_str()))
        .optional_text(rejected.context.as_deref())
        .bytes(&rejected.text)
        .finish()
}
