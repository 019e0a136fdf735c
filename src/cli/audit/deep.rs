//! Reads again what lies before a position, and counts it.

use super::{
    super::blob_text::{Absent, BlobText},
    judge::Recount,
};
use crate::{
    checkpoint::ContextHash,
    flowlog::{
        DamageKind, Piece, Splitter, Start,
        record::{self, RecordError},
    },
    model::BlobName,
    storage::{BlobStore, StorageErrorKind},
    telemetry::chain,
};

/// A blob that changes while it is read is read anew so often.
const ATTEMPTS: u32 = 3;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deep {
    /// This.
    Counted(Recount),
    /// The blob is gone by now.
    Gone,
}

/// Counts the records and tuples before a position. Memory stays at a record of `record_limit` bytes and a range.
///
/// # Errors
/// Why the blob cannot be read.
pub(super) async fn recount(
    store: &dyn BlobStore,
    name: &BlobName,
    (offset, hash): (u64, ContextHash),
    record_limit: usize,
) -> Result<Deep, String> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match count(store, name, offset, hash, record_limit).await {
            Ok(recount) => return Ok(Deep::Counted(recount)),
            Err(Absent::Unreadable(reason)) => last = reason,
            // Or what was there cannot be decompressed any more.
            Err(Absent::Gone(_)) => {
                return match store.head(name).await {
                    Ok(_) => Ok(Deep::Counted(Recount { records: 0, tuples: 0, is_same: false })),
                    Err(error) if error.kind == StorageErrorKind::BlobNotFound => Ok(Deep::Gone),
                    Err(error) => Err(chain(&error).to_string()),
                };
            }
        }
    }
    Err(last)
}

async fn count(
    store: &dyn BlobStore,
    name: &BlobName,
    offset: u64,
    hash: ContextHash,
    record_limit: usize,
) -> Result<Recount, Absent> {
    let mut text = BlobText::open(store, name, 0..offset).await?;
    let mut splitter = Splitter::new(Start::Beginning, record_limit);
    let mut recount = Recount { records: 0, tuples: 0, is_same: false };
    let mut n_bytes: u64 = 0;
    let mut context: Vec<u8> = Vec::new();
    loop {
        let bytes = text.next().await?;
        if bytes.is_empty() {
            break;
        }
        n_bytes = n_bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        context.extend_from_slice(
            bytes.get(bytes.len().saturating_sub(ContextHash::BYTES)..).unwrap_or_default(),
        );
        context.drain(..context.len().saturating_sub(ContextHash::BYTES));
        splitter.push(&bytes);
        take_pieces(&mut splitter, &mut recount);
    }
    // The collector found the records behind one without an end when it had read all that there was.
    splitter.end();
    take_pieces(&mut splitter, &mut recount);
    recount.is_same = n_bytes == offset && ContextHash::of(&context) == hash;
    Ok(recount)
}

/// Counts the records that are whole by now, as the collector does.
fn take_pieces(splitter: &mut Splitter, recount: &mut Recount) {
    loop {
        let n_tuples = match splitter.next_piece() {
            None => return,
            Some(Piece::Damaged(_)) => continue,
            Some(Piece::Record(raw)) => match record::parse_raw(&raw) {
                Ok(record) => {
                    Ok(record.groups.iter().map(|group| group.tuples.n_left()).fold(0, usize::saturating_add))
                }
                Err(RecordError::BadRecord(_) | RecordError::UnknownVersion { .. }) => Ok(0),
                Err(RecordError::NotJson(detail)) => Err(detail),
            },
        };
        match n_tuples {
            Ok(n_tuples) => {
                recount.records = recount.records.saturating_add(1);
                let n_tuples = u64::try_from(n_tuples).unwrap_or(u64::MAX);
                recount.tuples = recount.tuples.saturating_add(n_tuples);
            }
            Err(detail) => splitter.not_json(DamageKind::NotJson(detail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        Account as _,
        directory::{Config, Directory},
    };

    const HEAD: &str = r#"{"records":["#;
    const RECORD: &str = concat!(
        r#"{"time":"2026-11-24T05:00:00Z","flowLogVersion":4,"flowRecords":{"flows":[{"aclID":"a","flowGroups":"#,
        r#"[{"rule":"r","flowTuples":["1,::1,::2,1,2,6,I,B,NX,,,,","bad"]}]}]}}"#
    );

    /// *Scenario*: blobs with two records, and between them nothing else, bytes that are no record, a record of another
    /// version, or records that were cut off within a text, between members, or where another object may come. One is
    /// changed before the position, another one is shorter, a third is gone.
    /// *Guarantees*: the records and tuples before the position are those that the collector counts; a change shows.
    #[tokio::test]
    async fn counts_are_those_of_the_collector() {
        let directory = tempfile::tempdir().unwrap();
        let account = Directory::new(Config {
            path: directory.path().to_owned(),
            account: String::new(),
            container: String::new(),
        });
        let store = account.container("");
        let name = BlobName::new("blob");
        let count = async |text: &str, position: &str| {
            std::fs::write(directory.path().join("blob"), text).unwrap();
            let hash =
                ContextHash::of(&position.as_bytes()[position.len().saturating_sub(ContextHash::BYTES)..]);
            let at = (u64::try_from(position.len()).unwrap(), hash);
            recount(store.as_ref(), &name, at, 1 << 20).await.unwrap()
        };
        let counted = |records, tuples, is_same| Deep::Counted(Recount { records, tuples, is_same });
        let other_version = RECORD.replace(":4,", ":5,");
        let cut = |behind: &str| RECORD.split_inclusive(behind).next().unwrap().to_owned();
        for (between, records) in [
            (String::new(), 2),
            (",xyz".to_owned(), 2),
            (format!(",{other_version}"), 3),
            (format!(",{}", cut("::1")), 2),
            (format!(",{}", cut("flowRecords\":")), 2),
            (format!(",{}", cut("]}]}")), 2),
        ] {
            let position = format!("{HEAD}{RECORD}{between},{RECORD}");
            for end in ["", "]}", ",{\"time\":"] {
                let text = format!("{position}{end}");
                assert_eq!(count(&text, &position).await, counted(records, 4, true), "{text}");
            }
        }
        let position = format!("{HEAD}{RECORD}");
        assert_eq!(count(&position, &position.replace("bad", "BAD")).await, counted(1, 2, false));
        assert_eq!(count(HEAD, &position).await, counted(0, 0, false));
        std::fs::remove_file(directory.path().join("blob")).unwrap();
        let at = (7, ContextHash::of(b""));
        assert_eq!(recount(store.as_ref(), &name, at, 1 << 20).await.unwrap(), Deep::Gone);
    }
}
