//! One read for all intakes that stand level.
//!
//! Each intake reads on its own and from its own position. Those that stand level ask for the same ranges and the same
//! listing pages at about the same time; the first one's answer serves the others. An intake gets an answer at most
//! once: asking again means asking anew. One that falls behind finds nothing here and asks the storage itself, so no
//! intake ever waits for another.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    model::{BlobName, BlobVersion, ETag, Origin},
    storage::{BlobStore, ListPage, ListQuery, StorageError},
};

/// Bytes of ranges that wait for the slower ones of level intakes: as many of the largest size as are read at once by
/// default. With fewer, each would be gone before it is asked for again.
const RANGE_BYTES_KEPT: u64 = 8 * 1024 * 1024;

/// What a range counts at least, so that there are not too many to look through.
const RANGE_BYTES_COUNTED: u64 = 64 * 1024;

/// Listing pages that wait for them; each has at most 5,000 blobs.
const PAGES_KEPT: u64 = 2;

/// An answer that is older is not given any more, so that a listing is never older than this.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A container for several intakes.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn BlobStore>,
    n_intakes: usize,
    ranges: Answers<(BlobName, Range<u64>, ETag), Bytes>,
    pages: Answers<PageKey, ListPage>,
}

type PageKey = (String, Option<char>, Option<String>);

/// One handle for each of `n_intakes` intakes. For a single one: the container itself.
pub fn share(store: Arc<dyn BlobStore>, n_intakes: usize) -> Vec<Arc<dyn BlobStore>> {
    if n_intakes < 2 {
        return vec![store];
    }
    let shared = Arc::new(Shared {
        store,
        n_intakes,
        ranges: Answers::new(RANGE_BYTES_KEPT),
        pages: Answers::new(PAGES_KEPT),
    });
    let handle = |intake| Arc::new(Handle { shared: Arc::clone(&shared), intake }) as Arc<dyn BlobStore>;
    (0..n_intakes).map(handle).collect()
}

/// One intake's handle.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    intake: usize,
}

#[async_trait]
impl BlobStore for Handle {
    fn origin(&self) -> &Origin {
        self.shared.store.origin()
    }

    async fn list_page(&self, query: ListQuery<'_>) -> Result<ListPage, StorageError> {
        let key = (query.prefix.to_owned(), query.delimiter, query.marker.map(str::to_owned));
        let cell = self.shared.pages.cell(key, 1, self.intake, self.shared.n_intakes);
        cell.get_or_try_init(|| self.shared.store.list_page(query)).await.cloned()
    }

    async fn head(&self, name: &BlobName) -> Result<BlobVersion, StorageError> {
        self.shared.store.head(name).await
    }

    async fn read(&self, name: &BlobName, range: Range<u64>, etag: &ETag) -> Result<Bytes, StorageError> {
        let key = (name.clone(), range.clone(), etag.clone());
        let weight = range.end.saturating_sub(range.start).max(RANGE_BYTES_COUNTED);
        let cell = self.shared.ranges.cell(key, weight, self.intake, self.shared.n_intakes);
        cell.get_or_try_init(|| self.shared.store.read(name, range, etag)).await.cloned()
    }
}

/// Answers that not everybody has had yet, the oldest first.
#[derive(Debug)]
struct Answers<K, V> {
    kept: Mutex<VecDeque<Answer<K, V>>>,
    most_weight: u64,
}

#[derive(Debug)]
struct Answer<K, V> {
    key: K,
    weight: u64,
    cell: Arc<OnceCell<V>>,
    given_to: Vec<usize>,
    since: Instant,
}

impl<K: PartialEq, V> Answers<K, V> {
    fn new(most_weight: u64) -> Self {
        Self { kept: Mutex::default(), most_weight }
    }

    /// The place of the answer for one intake: where another one asked the same, its place. Whoever comes first fills
    /// it; where that fails, whoever waits tries itself.
    fn cell(&self, key: K, weight: u64, intake: usize, n_intakes: usize) -> Arc<OnceCell<V>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|answer| answer.since.elapsed() < KEPT_FOR);
        let place = kept.iter().position(|answer| answer.key == key);
        if let Some(place) = place
            && let Some(answer) = kept.get_mut(place)
            && !answer.given_to.contains(&intake)
        {
            answer.given_to.push(intake);
            let cell = Arc::clone(&answer.cell);
            if answer.given_to.len() >= n_intakes {
                kept.remove(place);
            }
            return cell;
        }
        if let Some(place) = place {
            kept.remove(place);
        }
        let room = self.most_weight.saturating_sub(weight);
        while kept.iter().map(|answer| answer.weight).sum::<u64>() > room && kept.pop_front().is_some() {}
        let cell = Arc::new(OnceCell::new());
        kept.push_back(Answer {
            key,
            weight,
            cell: Arc::clone(&cell),
            given_to: vec![intake],
            since: Instant::now(),
        });
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: two intakes ask for the same and for other things, once and again. Guarantees: the second to ask has
    /// the first one's answer, nobody has an answer twice, and no more are kept than allowed.
    #[test]
    fn an_answer_serves_everybody_once() {
        let answers: Answers<&str, u32> = Answers::new(2);
        let ask = |key, intake| answers.cell(key, 1, intake, 2);
        let first = ask("a", 0);
        assert!(Arc::ptr_eq(&first, &ask("a", 1)), "the second one shares");
        assert!(!Arc::ptr_eq(&first, &ask("a", 0)), "everybody has had it");

        let old = ask("b", 0);
        assert!(!Arc::ptr_eq(&old, &ask("b", 0)), "asking again is asking anew");
        let kept = ask("c", 0);
        let newest = ask("d", 0);
        assert!(Arc::ptr_eq(&kept, &ask("c", 1)));
        assert!(Arc::ptr_eq(&newest, &ask("d", 1)));
        assert!(!Arc::ptr_eq(&old, &ask("b", 1)), "it had to make room");
    }
}
