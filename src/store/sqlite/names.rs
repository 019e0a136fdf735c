//! Names are stored once and stand for a number elsewhere: a million blobs share a few roots.

use rusqlite::{Connection, OptionalExtension};

use super::rows::{RESTORE, RowError, RowSum};
use crate::model::{BlobName, Hour, HourlyBlob, Scope};

/// The numbers that stand for a scope.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScopeIds {
    pub(super) source: i64,
    pub(super) intake: i64,
}

pub(super) fn find_scope(connection: &Connection, scope: &Scope) -> rusqlite::Result<Option<ScopeIds>> {
    let source = connection
        .prepare_cached("SELECT id FROM source WHERE account = ?1 AND container = ?2")?
        .query_row((&scope.origin.account, &scope.origin.container), |row| row.get(0))
        .optional()?;
    let intake = connection
        .prepare_cached("SELECT id FROM intake WHERE name = ?1")?
        .query_row([&scope.intake], |row| row.get(0))
        .optional()?;
    Ok(source.zip(intake).map(|(source, intake)| ScopeIds { source, intake }))
}

pub(super) fn intern_scope(connection: &Connection, scope: &Scope) -> rusqlite::Result<ScopeIds> {
    if let Some(ids) = find_scope(connection, scope)? {
        return Ok(ids);
    }
    let (account, container) = (&scope.origin.account, &scope.origin.container);
    connection
        .prepare_cached(
            "INSERT INTO source (account, container, crc) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?
        .execute((account, container, source_sum(account, container)))?;
    connection
        .prepare_cached("INSERT INTO intake (name, crc) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((&scope.intake, intake_sum(&scope.intake)))?;
    find_scope(connection, scope)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

pub(super) fn find_root(connection: &Connection, source: i64, root: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM root WHERE source = ?1 AND name = ?2")?
        .query_row((source, root), |row| row.get(0))
        .optional()
}

pub(super) fn intern_root(connection: &Connection, source: i64, root: &str) -> rusqlite::Result<i64> {
    if let Some(id) = find_root(connection, source, root)? {
        return Ok(id);
    }
    connection.prepare_cached("INSERT INTO root (source, name, crc) VALUES (?1, ?2, ?3)")?.execute((
        source,
        root,
        root_sum(source, root),
    ))?;
    Ok(connection.last_insert_rowid())
}

/// Checks every name. A damaged one would hide its rows from every question, so this comes before all others.
pub(super) fn verify(connection: &Connection) -> Result<(), RowError> {
    let check = |table: &str, id: i64, stored: i64, expected: i64| {
        if stored == expected {
            return Ok(());
        }
        Err(RowError::Damaged { what: format!("table {table}, row {id}"), way_out: RESTORE })
    };
    let mut sources = connection.prepare("SELECT id, crc, account, container FROM source")?;
    let mut rows = sources.query([])?;
    while let Some(row) = rows.next()? {
        let sum = source_sum(&row.get::<_, String>(2)?, &row.get::<_, String>(3)?);
        check("source", row.get(0)?, row.get(1)?, sum)?;
    }
    let mut intakes = connection.prepare("SELECT id, crc, name FROM intake")?;
    let mut rows = intakes.query([])?;
    while let Some(row) = rows.next()? {
        check("intake", row.get(0)?, row.get(1)?, intake_sum(&row.get::<_, String>(2)?))?;
    }
    let mut roots = connection.prepare("SELECT id, crc, source, name FROM root")?;
    let mut rows = roots.query([])?;
    while let Some(row) = rows.next()? {
        check("root", row.get(0)?, row.get(1)?, root_sum(row.get(2)?, &row.get::<_, String>(3)?))?;
    }
    Ok(())
}

fn source_sum(account: &str, container: &str) -> i64 {
    RowSum::of("source").text(account).text(container).finish()
}

fn intake_sum(name: &str) -> i64 {
    RowSum::of("intake").text(name).finish()
}

fn root_sum(source: i64, name: &str) -> i64 {
    RowSum::of("root").number(source).text(name).finish()
}

/// What stands around the hardware address in nearly every name, between hour and end (Microsoft Learn, "Virtual
/// network flow logs", log location).
const USUAL_AROUND: (&str, &str) = ("m=00/macAddress=", "/PT1H.json");

/// What is stored of a blob's name after its root, so that a million rows stay below 100 MB. The hour stands in a
/// column of its own and is left out where the name spells it in the usual way; of a wholly usual name only the
/// hardware address is left.
///
/// | stored | name after the root |
/// |---|---|
/// | no slash | usual hour, `m=00/macAddress=`, stored, `/PT1H.json` |
/// | a slash within | usual hour, stored |
/// | a slash at its beginning | stored |
pub(super) fn stored_leaf(blob: &HourlyBlob) -> &str {
    let leaf = blob.leaf();
    let after_hour = leaf
        .strip_prefix('/')
        .and_then(|rest| rest.strip_prefix(&blob.hour().prefix()))
        .filter(|rest| rest.contains('/') && !rest.starts_with('/'));
    let Some(after_hour) = after_hour else { return leaf };
    let (before, behind) = USUAL_AROUND;
    let address = after_hour.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
    address.filter(|address| !address.is_empty() && !address.contains('/')).unwrap_or(after_hour)
}

/// The blob whose root, hour and stored leaf these are.
pub(super) fn blob_of(root: &str, hour: Hour, stored: &str) -> Result<HourlyBlob, RowError> {
    let (before, behind) = USUAL_AROUND;
    let name = if stored.starts_with('/') {
        format!("{root}{stored}")
    } else if stored.contains('/') {
        format!("{root}/{}{stored}", hour.prefix())
    } else {
        format!("{root}/{}{before}{stored}{behind}", hour.prefix())
    };
    HourlyBlob::new(BlobName::new(name), root.len(), hour)
        .ok_or_else(|| RowError::row(format!("the name of a blob below {root}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: leaves that are as usual, that spell the hour or what follows it otherwise, or that have an empty or
    /// odd rest. Guarantees: what is stored leads back to the same name; what is usual is short.
    #[test]
    fn a_stored_leaf_leads_back_to_the_name() {
        let hour = Hour::from_parts(2026, 11, 24, 5).unwrap();
        let date = "/y=2026/m=11/d=24/h=05/";
        for (rest, stored) in [
            ("m=00/macAddress=0022482F8D3A/PT1H.json", "0022482F8D3A"),
            ("m=00/PT1H.json", "m=00/PT1H.json"),
            ("m=30/macAddress=A/PT1H.json", "m=30/macAddress=A/PT1H.json"),
            ("m=00/macAddress=A/B/PT1H.json", "m=00/macAddress=A/B/PT1H.json"),
            ("m=00/macAddress=A/pt1h.json", "m=00/macAddress=A/pt1h.json"),
            ("m=00/macAddress=/PT1H.json", "m=00/macAddress=/PT1H.json"),
            ("m=00/macAddress=PT1H.json", "m=00/macAddress=PT1H.json"),
            ("a/", "a/"),
        ] {
            check(hour, &format!("{date}{rest}"), stored);
        }
        for whole in ["PT1H.json", "/PT1H.json", "/a/PT1H.json", ""] {
            check(hour, &format!("{date}{whole}"), &format!("{date}{whole}"));
        }
        for leaf in ["/y=2026/m=11/d=24/h=5/m=00/PT1H.json", "/Y=2026/m=11/d=24/h=05/m=00/PT1H.json"] {
            check(hour, leaf, leaf);
        }
    }

    fn check(hour: Hour, leaf: &str, stored: &str) {
        let blob = HourlyBlob::new(BlobName::new(format!("a/b{leaf}")), 3, hour).unwrap();
        assert_eq!(stored_leaf(&blob), stored);
        assert_eq!(blob_of("a/b", hour, stored).unwrap(), blob);
    }
}
