//! The rows of the quarantine.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use rusqlite::{Connection, Row, named_params};

use super::{
    names::{ScopeIds, blob_of, intern_root, stored_leaf},
    rows::{RowError, RowSum, unsigned},
};
use crate::model::{Hour, HourlyBlob, Origin, Reason, Rejected, Scope, Span};

/// Most bytes of an intake's answer that are kept.
const RESPONSE_BYTES: usize = 2 * 1024;

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

pub(super) fn insert(
    connection: &Connection,
    scope: &Scope,
    ids: ScopeIds,
    blob: &HourlyBlob,
    rejected: &Rejected,
) -> Result<(), RowError> {
    let root = intern_root(connection, ids.source, blob.root())?;
    let time: i64 = connection.prepare_cached("SELECT unixepoch()")?.query_row([], |row| row.get(0))?;
    let (compressed, text) = packed(&rejected.text)?;
    let (status, response) = rejected.answer.as_ref().map_or((None, None), |(status, body)| {
        let end = body.floor_char_boundary(RESPONSE_BYTES);
        (Some(*status), Some(body.get(..end).unwrap_or_default()))
    });
    let kept = Rejected { answer: status.zip(response.map(str::to_owned)), ..rejected.clone() };
    connection
        .prepare_cached(
            "INSERT INTO quarantine (time, intake, root, hour, leaf, offset, length, ordinal, reason, detail, \
             status, response, context, compressed, text, crc) VALUES (:time, :intake, :root, :hour, :leaf, \
             :offset, :length, :ordinal, :reason, :detail, :status, :response, :context, :compressed, :text, :crc) \
             ON CONFLICT (intake, root, hour, leaf, offset, ifnull(ordinal, -1)) DO UPDATE SET \
             time = excluded.time, length = excluded.length, reason = excluded.reason, detail = excluded.detail, \
             status = excluded.status, response = excluded.response, context = excluded.context, \
             compressed = excluded.compressed, text = excluded.text, crc = excluded.crc",
        )?
        .execute(named_params! {
            ":time": time,
            ":intake": ids.intake,
            ":root": root,
            ":hour": blob.hour().number(),
            ":leaf": stored_leaf(blob),
            ":offset": i64::try_from(rejected.span.from)?,
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
        })?;
    Ok(())
}

/// Calls `each` with every row, in the order of their numbers. One row is held at a time.
pub(super) fn for_each(
    connection: &Connection,
    mut each: impl FnMut(QuarantineEntry) -> Result<(), RowError>,
) -> Result<(), RowError> {
    let mut statement = connection.prepare(
        "SELECT quarantine.id, time, account, container, intake.name, root.name, hour, leaf, offset, length, \
         ordinal, reason, detail, status, response, context, compressed, text, quarantine.crc FROM quarantine \
         JOIN intake ON intake.id = intake JOIN root ON root.id = root JOIN source ON source.id = root.source \
         ORDER BY quarantine.id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(checked(row)?)?;
    }
    Ok(())
}

fn checked(row: &Row<'_>) -> Result<QuarantineEntry, RowError> {
    let id: i64 = row.get(0)?;
    let damaged = || RowError::Damaged {
        what: format!("table quarantine, row {id}"),
        way_out: "keep a copy of the file and delete that row with `sqlite3`; its input is in the blob",
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
