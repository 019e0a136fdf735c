//! All that a state store holds, as one number to compare.

use flowlogd::store::{StoreError, sqlite::SqliteStore};
use xxhash_rust::xxh3::xxh3_64;

/// A number that is another one as soon as anything stored is; only the times at which rows entered the quarantine are
/// left out.
///
/// # Errors
/// As [`StoreError`] says.
pub(crate) fn digest(store: &SqliteStore) -> Result<u64, StoreError> {
    let mut text = format!("{:?}", store.summaries()?);
    store.for_each_position("", |stored| {
        text.push_str(&format!("{stored:?}"));
        Ok::<_, StoreError>(())
    })??;
    let mut rows = Vec::new();
    store.for_each_quarantined(|entry| {
        let place = (entry.scope, entry.blob, entry.rejected.span.from, entry.rejected.ordinal);
        let text = xxh3_64(&entry.rejected.text);
        let rest = flowlogd::model::Rejected { text: Vec::new(), ..entry.rejected };
        rows.push((place, text, format!("{rest:?}")));
    })?;
    rows.sort();
    text.push_str(&format!("{rows:?}"));
    Ok(xxh3_64(text.as_bytes()))
}
