//! Rows of the quarantine: what could not be parsed, and what an intake refused.

use std::io::Write;

use flate2::{Compression, write::DeflateEncoder};
use rusqlite::{Connection, params};

use super::{ScopeIds, intern_root, rows::RowHash, scope_hash};
use crate::model::{HourlyBlob, Rejected, Scope};

/// Most bytes of an intake's answer that are kept.
const RESPONSE_BYTES: usize = 2 * 1024;

/// The ordinal of a whole record: NULL would let the same record in twice.
const WHOLE_RECORD: i64 = -1;

/// Writes a row; one of the same place is replaced.
pub(super) fn store(
    connection: &Connection,
    ids: ScopeIds,
    scope: &Scope,
    blob: &HourlyBlob,
    rejected: &Rejected,
) -> rusqlite::Result<()> {
    let too_large = |_| rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX);
    let offset = i64::try_from(rejected.span.from).map_err(too_large)?;
    let length = i64::try_from(rejected.span.length()).map_err(too_large)?;
    let ordinal = rejected.ordinal.map_or(WHOLE_RECORD, i64::from);
    let smaller = compress(&rejected.text).filter(|smaller| smaller.len() < rejected.text.len());
    let deflated = smaller.is_some();
    let text = smaller.as_deref().unwrap_or(&rejected.text);
    let (status, response) = match &rejected.answer {
        Some((status, body)) => (Some(i64::from(*status)), Some(beginning(body, RESPONSE_BYTES))),
        None => (None, None),
    };
    let crc = row_hash(scope, blob)
        .number(offset)
        .number(ordinal)
        .number(length)
        .text(rejected.reason.as_str())
        .text(&rejected.detail)
        .optional_number(status)
        .optional_text(response)
        .optional_text(rejected.context.as_deref())
        .number(i64::from(deflated))
        .bytes(text)
        .finish();
    let root = intern_root(connection, ids.source, blob.root())?;
    let insert = "INSERT OR REPLACE INTO quarantine \
                  (root, intake, hour, leaf, offset, ordinal, length, time, reason, detail, status, response, \
                   context, deflated, text, crc) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, unixepoch(), ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    connection.prepare_cached(insert)?.execute(params![
        root,
        ids.intake,
        blob.hour().number(),
        blob.leaf(),
        offset,
        ordinal,
        length,
        rejected.reason.as_str(),
        rejected.detail,
        status,
        response,
        rejected.context,
        deflated,
        text,
        crc
    ])?;
    Ok(())
}

fn row_hash(scope: &Scope, blob: &HourlyBlob) -> RowHash {
    scope_hash("quarantine", scope).text(blob.root()).number(blob.hour().number()).text(blob.leaf())
}

/// The beginning of a text, cut between two characters.
fn beginning(text: &str, most_bytes: usize) -> &str {
    let mut end = text.len().min(most_bytes);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

/// `None` where it cannot be compressed; then it is stored as it is.
fn compress(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).ok()?;
    encoder.finish().ok()
}
