//! All that a state store holds, to compare.

use flowlogd::{
    model::Rejected,
    store::{StoreError, sqlite::SqliteStore},
};
use xxhash_rust::xxh3::xxh3_64;

/// A text that is another one as soon as anything stored is; only the times at which rows entered the quarantine are
/// left out. The texts of its rows stand there as their hash.
///
/// # Errors
/// As [`StoreError`] says.
pub(crate) fn text(store: &SqliteStore) -> Result<String, StoreError> {
    let mut lines: Vec<String> =
        store.summaries()?.into_iter().map(|summary| format!("{summary:?}")).collect();
    store.for_each_position("", |stored| {
        lines.push(format!("{stored:?}"));
        Ok::<_, StoreError>(())
    })??;
    let mut rows = Vec::new();
    store.for_each_quarantined(|entry| {
        let place = (entry.scope, entry.blob, entry.rejected.span.from, entry.rejected.ordinal);
        let text = xxh3_64(&entry.rejected.text);
        rows.push((place, text, format!("{:?}", Rejected { text: Vec::new(), ..entry.rejected })));
    })?;
    rows.sort();
    lines.extend(rows.into_iter().map(|row| format!("{row:?}")));
    Ok(lines.join("\n"))
}

/// The same as a number.
///
/// # Errors
/// As [`StoreError`] says.
pub(crate) fn digest(store: &SqliteStore) -> Result<u64, StoreError> {
    Ok(xxh3_64(text(store)?.as_bytes()))
}
