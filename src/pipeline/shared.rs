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

use super::listing::LISTINGS_AT_ONCE;
use crate::{
    model::{BlobName, BlobVersion, ETag, Origin},
    storage::{BlobStore, ListPage, ListQuery, StorageError},
};

/// This part of the memory is for ranges that wait for the slower ones of level intakes. Of the default memory that is
/// more than an intake reads at once; with less, each would be gone before it is asked for again.
const PART_OF_MEMORY: usize = 8;

/// What a range counts at least, so that there are not too many to look through.
const RANGE_BYTES_COUNTED: u64 = 64 * 1024;

/// Listing pages that wait for them; each has at most 5,000 blobs. Level intakes are about as far apart as one has
/// listings under way.
const PAGES_KEPT: usize = 2 * LISTINGS_AT_ONCE;

/// An answer that is older is not given any more, so that a listing is never older than this.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The most that ranges take while they wait, of so much memory. A single intake needs none.
#[must_use]
pub fn memory_for_ranges(n_intakes: usize, memory_bytes: usize) -> usize {
    if n_intakes < 2 { 0 } else { memory_bytes / PART_OF_MEMORY }
}

/// The intakes of a process, and the ranges of all containers that wait for the slower ones of them.
#[derive(Debug, Clone)]
pub struct Sharing {
    n_intakes: usize,
    ranges: Arc<Answers<RangeKey, Bytes>>,
}

type RangeKey = (Origin, BlobName, Range<u64>, ETag);

/// A container for several intakes.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn BlobStore>,
    n_intakes: usize,
    ranges: Arc<Answers<RangeKey, Bytes>>,
    pages: Answers<PageKey, ListPage>,
}

type PageKey = (String, Option<char>, Option<String>);

impl Sharing {
    /// Sharing among so many intakes, with its part of so much memory.
    #[must_use]
    pub fn new(n_intakes: usize, memory_bytes: usize) -> Self {
        let bytes = u64::try_from(memory_for_ranges(n_intakes, memory_bytes)).unwrap_or(u64::MAX);
        Self { n_intakes, ranges: Arc::new(Answers::new(bytes)) }
    }

    /// One handle for each of the intakes. For a single one: the container itself.
    #[must_use]
    pub fn handles(&self, store: Arc<dyn BlobStore>) -> Vec<Arc<dyn BlobStore>> {
        if self.n_intakes < 2 {
            return vec![store];
        }
        let shared = Arc::new(Shared {
            store,
            n_intakes: self.n_intakes,
            ranges: Arc::clone(&self.ranges),
            pages: Answers::new(u64::try_from(PAGES_KEPT).unwrap_or(u64::MAX)),
        });
        let handle = |intake| Arc::new(Handle { shared: Arc::clone(&shared), intake }) as Arc<dyn BlobStore>;
        (0..self.n_intakes).map(handle).collect()
    }
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
        let key = (self.origin().clone(), name.clone(), range.clone(), etag.clone());
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
    /// it; where that fails, whoever waits tries itself. What is too large to be kept is for the one who asked.
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
        let Some(room) = self.most_weight.checked_sub(weight) else { return Arc::default() };
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

        let large = answers.cell("e", 3, 0, 2);
        assert!(!Arc::ptr_eq(&large, &answers.cell("e", 3, 1, 2)), "it is larger than the room");
    }

    /// A container of large blobs.
    #[derive(Debug)]
    struct Large(Origin);

    #[async_trait]
    impl BlobStore for Large {
        fn origin(&self) -> &Origin {
            &self.0
        }
        async fn list_page(&self, _query: ListQuery<'_>) -> Result<ListPage, StorageError> {
            unreachable!("nothing is listed")
        }
        async fn head(&self, _name: &BlobName) -> Result<BlobVersion, StorageError> {
            unreachable!("no version is asked for")
        }
        async fn read(
            &self,
            _name: &BlobName,
            range: Range<u64>,
            _etag: &ETag,
        ) -> Result<Bytes, StorageError> {
            Ok(vec![0; usize::try_from(range.end - range.start).unwrap()].into())
        }
    }

    /// *Scenario*: one of two intakes reads 3 MiB of each of four containers, and the other one nothing.
    /// *Guarantees*: what is kept for it is no more than the part of the memory for all containers together; a range
    /// that is still kept is not read again.
    #[tokio::test]
    async fn ranges_of_all_containers_have_one_room() {
        const MEBIBYTE: u64 = 1 << 20;
        let sharing = Sharing::new(2, 32 << 20);
        assert_eq!([1, 2, 3].map(|n_intakes| memory_for_ranges(n_intakes, 32 << 20)), [0, 4 << 20, 4 << 20]);
        let (name, etag) = (BlobName::new("blob"), ETag::new("1"));
        let mut handles = Vec::new();
        for container in ["a", "b", "c", "d"] {
            let origin = Origin { account: String::new(), container: container.to_owned() };
            let both = sharing.handles(Arc::new(Large(origin)));
            for n in 0..3 {
                both[0].read(&name, n * MEBIBYTE..(n + 1) * MEBIBYTE, &etag).await.unwrap();
            }
            handles.push(both);
        }
        let kept = sharing.ranges.kept.lock().unwrap();
        let bytes: usize = kept.iter().map(|answer| answer.cell.get().unwrap().len()).sum();
        let containers: Vec<&str> = kept.iter().map(|answer| answer.key.0.container.as_str()).collect();
        assert_eq!((bytes, containers), (4 << 20, vec!["c", "d", "d", "d"]));
    }
}
