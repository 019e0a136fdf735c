//! Whole listings out of pages, and the delimiter walks over a container's tree.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::plan::Stretch;
use crate::{
    flowlog::path::{DatePart, date_part},
    model::{BlobVersion, Hour},
    storage::{BlobStore, ListQuery, StorageError},
    telemetry::metrics::Counter,
};

/// First segments below which flow-log roots lie, in lower case (Microsoft Learn, "Virtual network flow logs" and
/// "NSG flow logs").
const ROOT_SEGMENTS: [&str; 2] = ["flowlogresourceid=", "resourceid="];

/// A root lies at most this many segments deep: the longest documented form has ten.
const ROOT_DEPTH: usize = 16;

/// Lists one container and counts the calls.
#[derive(Debug)]
pub(super) struct Lister<'a> {
    store: &'a dyn BlobStore,
    cancelled: &'a CancellationToken,
    metric: &'a Counter,
    /// Listing calls made.
    pub(super) calls: u64,
    /// The server's clock at the last answer.
    pub(super) date: Option<DateTime<Utc>>,
}

/// A complete listing.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    pub(super) blobs: Vec<BlobVersion>,
    pub(super) prefixes: Vec<String>,
    /// The server's clock at the first page: nothing that was committed later is promised to be in it.
    pub(super) date: DateTime<Utc>,
}

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListingError {
    /// The process is stopping.
    #[error("asked to stop")]
    Cancelled,
    /// The storage server could not be asked.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl<'a> Lister<'a> {
    pub(super) fn new(
        store: &'a dyn BlobStore,
        cancelled: &'a CancellationToken,
        metric: &'a Counter,
    ) -> Self {
        Self { store, cancelled, metric, calls: 0, date: None }
    }

    /// Every page below a prefix. A listing is complete or it is an error: an incomplete one never means that
    /// something is gone.
    pub(super) async fn list(
        &mut self,
        prefix: &str,
        delimiter: Option<char>,
    ) -> Result<Listing, ListingError> {
        let mut whole: Option<Listing> = None;
        let mut marker: Option<String> = None;
        loop {
            let query = ListQuery { prefix, delimiter, marker: marker.as_deref() };
            self.calls = self.calls.saturating_add(1);
            self.metric.inc();
            let page = tokio::select! {
                biased;
                () = self.cancelled.cancelled() => return Err(ListingError::Cancelled),
                page = self.store.list_page(query) => page?,
            };
            self.date = Some(page.date);
            let listing = match whole.take() {
                None => Listing { blobs: page.blobs, prefixes: page.prefixes, date: page.date },
                Some(mut listing) => {
                    listing.blobs.extend(page.blobs);
                    listing.prefixes.extend(page.prefixes);
                    listing
                }
            };
            match page.next {
                None => return Ok(listing),
                next => marker = next,
            }
            whole = Some(listing);
        }
    }

    /// The flow-log roots of the container: what stands before `/y=`.
    pub(super) async fn roots(&mut self) -> Result<BTreeSet<String>, ListingError> {
        let mut roots = BTreeSet::new();
        let mut open: Vec<(String, usize)> = Vec::new();
        for prefix in self.list("", Some('/')).await?.prefixes {
            if ROOT_SEGMENTS.iter().any(|segment| prefix.to_ascii_lowercase().starts_with(segment)) {
                open.push((prefix, 1));
            }
        }
        while let Some((prefix, depth)) = open.pop() {
            for below in self.list(&prefix, Some('/')).await?.prefixes {
                if date_part(last_segment(&below), DatePart::Year).is_some() {
                    roots.insert(prefix.trim_end_matches('/').to_owned());
                } else if depth < ROOT_DEPTH {
                    open.push((below, depth.saturating_add(1)));
                }
            }
        }
        Ok(roots)
    }

    /// The hours of a root that exist within a stretch, in order. Years, months and days outside it are not entered.
    pub(super) async fn hours(&mut self, root: &str, stretch: Stretch) -> Result<Vec<Hour>, ListingError> {
        const PARTS: [DatePart; 4] = [DatePart::Year, DatePart::Month, DatePart::Day, DatePart::Hour];
        let mut level = vec![(format!("{root}/"), Vec::<u32>::new())];
        for part in PARTS {
            let mut next_level = Vec::new();
            for (prefix, numbers) in level {
                for below in self.list(&prefix, Some('/')).await?.prefixes {
                    let Some(number) = date_part(last_segment(&below), part) else { continue };
                    let mut deeper = numbers.clone();
                    deeper.push(number);
                    if touches(stretch, &deeper) {
                        next_level.push((below, deeper));
                    }
                }
            }
            level = next_level;
        }
        let mut hours: Vec<Hour> = level.iter().filter_map(|(_, numbers)| first_hour_of(numbers)).collect();
        hours.sort_unstable();
        hours.dedup();
        Ok(hours)
    }
}

/// `h=05/` of `.../d=24/h=05/`.
fn last_segment(prefix: &str) -> &str {
    prefix.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// First hour of a year, month, day or hour given by one to four numbers.
fn first_hour_of(numbers: &[u32]) -> Option<Hour> {
    let number = |index: usize, default: u32| numbers.get(index).copied().unwrap_or(default);
    Hour::from_parts(i32::try_from(number(0, 1_970)).ok()?, number(1, 1), number(2, 1), number(3, 0))
}

/// Whether a year, month, day or hour has hours within a stretch. Where the date is none, it has not.
fn touches(stretch: Stretch, numbers: &[u32]) -> bool {
    let Some(first) = first_hour_of(numbers) else { return false };
    let longest_hours = match numbers.len() {
        0 | 1 => 366 * 24,
        2 => 31 * 24,
        3 => 24,
        _ => 1,
    };
    let end = Hour::from_number(first.number().saturating_add(longest_hours));
    first < stretch.before && stretch.from.is_none_or(|from| end > from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: parts of dates against a stretch of two days. Guarantees: what may contain an hour of it is entered,
    /// what cannot is not.
    #[test]
    fn only_parts_within_the_stretch_are_entered() {
        let hour = |day, hour| Hour::from_parts(2026, 11, day, hour).unwrap();
        let stretch = Stretch { from: Some(hour(23, 5)), before: hour(24, 5) };
        let cases: [(&[u32], bool); 10] = [
            (&[2026], true),
            (&[2025], false),
            (&[2026, 11], true),
            (&[2026, 12], false),
            (&[2026, 11, 23], true),
            (&[2026, 11, 25], false),
            (&[2026, 11, 23, 5], true),
            (&[2026, 11, 23, 4], false),
            (&[2026, 11, 24, 5], false),
            (&[2026, 13], false),
        ];
        for (numbers, expected) in cases {
            assert_eq!(touches(stretch, numbers), expected, "{numbers:?}");
        }
    }
}
