//! Whole listings out of pages, and the delimiter walks over a container's tree.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream::FuturesOrdered};
use tokio_util::sync::CancellationToken;

use super::plan::Accepted;
use crate::{
    flowlog::path::{DATE_PARTS, DatePart, DateSpelling, date_part},
    model::{BlobVersion, Hour},
    storage::{BlobStore, ListQuery, StorageError},
    telemetry::metrics::Counter,
};

/// First segments below which flow-log roots lie, in lower case (Microsoft Learn, "Virtual network flow logs" and
/// "NSG flow logs").
const ROOT_SEGMENTS: [&str; 2] = ["flowlogresourceid=", "resourceid="];

/// A root lies at most this many segments deep: the longest documented form has ten.
const ROOT_DEPTH: usize = 16;

/// So many listings of one lane are under way at once. With one after the other, a thousand roots would keep a poll
/// waiting for thousands of answers, each of them small; an account takes hundreds at once.
pub(super) const LISTINGS_AT_ONCE: usize = 8;

/// Lists one container and counts the calls.
#[derive(Debug)]
pub(crate) struct Lister<'a> {
    store: &'a dyn BlobStore,
    cancelled: &'a CancellationToken,
    metric: &'a Counter,
    calls: AtomicU64,
    date: Mutex<Option<DateTime<Utc>>>,
    /// What the walk to the roots saw below them and their years: the walk over their hours begins with it.
    seen: Mutex<HashMap<String, Vec<String>>>,
}

/// What a walk over the dates of a root found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// The hours that were wanted and exist, in order.
    pub(crate) hours: BTreeSet<Hour>,
    /// How their names are spelled.
    pub(crate) spellings: BTreeSet<DateSpelling>,
    /// Prefixes with a date that is not accepted, and why.
    pub(crate) strange: Vec<(String, StrangeDate)>,
}

/// Why a date in a name is not that of a flow log that can be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrangeDate {
    #[error("there is no such date")]
    None,
    #[error("it is before the first flow logs of all; what lies there is not read")]
    TooEarly,
    #[error("it is in the future; what lies there is read when its time has come")]
    Future,
}

/// A complete listing.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) blobs: Vec<BlobVersion>,
    pub(crate) prefixes: Vec<String>,
    /// The server's clock at the oldest page: nothing that was committed later is promised to be in it.
    pub(crate) date: DateTime<Utc>,
}

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListingError {
    /// The process is stopping.
    #[error("asked to stop")]
    Cancelled,
    /// The storage server could not be asked.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl<'a> Lister<'a> {
    pub(crate) fn new(
        store: &'a dyn BlobStore,
        cancelled: &'a CancellationToken,
        metric: &'a Counter,
    ) -> Self {
        let calls = AtomicU64::new(0);
        Self { store, cancelled, metric, calls, date: Mutex::default(), seen: Mutex::default() }
    }

    /// Listing calls made.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The server's clock at the last answer.
    pub(crate) fn date(&self) -> Option<DateTime<Utc>> {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every page below a prefix. A listing is complete or it is an error: an incomplete one never means that
    /// something is gone.
    pub(super) async fn list(&self, prefix: &str, delimiter: Option<char>) -> Result<Listing, ListingError> {
        let mut whole: Option<Listing> = None;
        let mut marker: Option<String> = None;
        loop {
            let query = ListQuery { prefix, delimiter, marker: marker.as_deref() };
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.metric.inc();
            let page = tokio::select! {
                biased;
                () = self.cancelled.cancelled() => return Err(ListingError::Cancelled),
                page = self.store.list_page(query) => page?,
            };
            *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some(page.date);
            let listing = match whole.take() {
                None => Listing { blobs: page.blobs, prefixes: page.prefixes, date: page.date },
                Some(mut listing) => {
                    listing.blobs.extend(page.blobs);
                    listing.prefixes.extend(page.prefixes);
                    listing.date = listing.date.min(page.date);
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

    /// One hour of a root, in each spelling of its date. As old as the oldest of its listings.
    pub(crate) async fn list_hour(
        &self,
        root: &str,
        hour: Hour,
        spellings: &BTreeSet<DateSpelling>,
    ) -> Result<Listing, ListingError> {
        self.list_spelled(spellings, |spelling| format!("{root}/{}", spelling.prefix(hour))).await
    }

    /// One day of a root, likewise.
    pub(super) async fn list_day(
        &self,
        root: &str,
        day: Hour,
        spellings: &BTreeSet<DateSpelling>,
    ) -> Result<Listing, ListingError> {
        self.list_spelled(spellings, |spelling| format!("{root}/{}", spelling.day_prefix(day))).await
    }

    async fn list_spelled(
        &self,
        spellings: &BTreeSet<DateSpelling>,
        prefix: impl Fn(DateSpelling) -> String,
    ) -> Result<Listing, ListingError> {
        let mut spellings = spellings.iter().copied();
        let first = spellings.next().unwrap_or_default();
        let mut whole = self.list(&prefix(first), None).await?;
        for other in spellings {
            let listing = self.list(&prefix(other), None).await?;
            whole.blobs.extend(listing.blobs);
            whole.date = whole.date.min(listing.date);
        }
        Ok(whole)
    }

    /// The flow-log roots of the container: what stands before the year of a date. `years` holds the prefixes of years
    /// that are known to begin a date; another one is looked into, as a root may itself contain what looks like a year.
    pub(crate) async fn roots(&self, years: &mut HashSet<String>) -> Result<BTreeSet<String>, ListingError> {
        let mut roots = BTreeSet::new();
        let is_root_segment = |prefix: &String| {
            let prefix = prefix.to_ascii_lowercase();
            ROOT_SEGMENTS.iter().any(|segment| prefix.starts_with(segment))
        };
        let mut level: Vec<String> =
            self.list("", Some('/')).await?.prefixes.into_iter().filter(is_root_segment).collect();
        let mut depth = 1_usize;
        while !level.is_empty() {
            let is_known = |prefix: &String| is_year(prefix) && years.contains(prefix);
            let (known, unknown): (Vec<String>, Vec<String>) = level.into_iter().partition(is_known);
            roots.extend(known.iter().map(|prefix| parent(prefix).to_owned()));
            let mut next_level = Vec::new();
            let mut listings = InOrder::new(unknown.iter().map(|prefix| self.list(prefix, Some('/'))));
            let mut prefixes = unknown.iter();
            while let (Some(prefix), Some(listing)) = (prefixes.next(), listings.next().await) {
                let below = listing?.prefixes;
                let mut begins_date = false;
                for deeper in &below {
                    if is_year(prefix) && date_part(last_segment(deeper), DatePart::Month).is_some() {
                        begins_date = true;
                    } else if depth < ROOT_DEPTH {
                        next_level.push(deeper.clone());
                    }
                }
                if begins_date {
                    roots.insert(parent(prefix).to_owned());
                    years.insert(prefix.clone());
                }
                // What is not below a root after all is forgotten with the pass.
                if begins_date || below.iter().any(|deeper| is_year(deeper)) {
                    self.seen().insert(prefix.clone(), below);
                }
            }
            level = next_level;
            depth = depth.saturating_add(1);
        }
        Ok(roots)
    }

    /// The hours of a root that exist and that are wanted. Years, months and days without any such hour are not entered.
    pub(crate) async fn hours(
        &self,
        root: &str,
        accepted: &Accepted,
        is_wanted: impl Fn(&Range<Hour>) -> bool,
    ) -> Result<Walked, ListingError> {
        let mut walked = Walked::default();
        let mut level = vec![(format!("{root}/"), Vec::<u32>::new())];
        for part in DATE_PARTS {
            let mut next_level = Vec::new();
            for (prefix, numbers) in level {
                let seen = self.seen().remove(&prefix);
                let below = match seen {
                    Some(below) => below,
                    None => self.list(&prefix, Some('/')).await?.prefixes,
                };
                for deeper in below {
                    let Some(number) = date_part(last_segment(&deeper), part) else { continue };
                    let numbers = [numbers.as_slice(), &[number]].concat();
                    match hours_within(&numbers, accepted) {
                        Err(strange) => walked.strange.push((deeper, strange)),
                        Ok(hours) if is_wanted(&hours) => next_level.push((deeper, numbers)),
                        Ok(_) => {}
                    }
                }
            }
            level = next_level;
        }
        for (prefix, numbers) in level {
            walked.hours.extend(first_hour_of(&numbers));
            walked.spellings.extend(DateSpelling::of_prefix(&prefix));
        }
        Ok(walked)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listings of which some are under way at once, with their answers in order.
pub(super) struct InOrder<I, F: Future> {
    waiting: I,
    under_way: FuturesOrdered<F>,
}

impl<I: Iterator<Item = F>, F: Future> InOrder<I, F> {
    /// Nothing is asked for before the first answer is.
    pub(super) fn new(waiting: I) -> Self {
        Self { waiting, under_way: FuturesOrdered::new() }
    }

    /// The next one's answer; `None` behind the last one.
    pub(super) async fn next(&mut self) -> Option<F::Output> {
        while self.under_way.len() < LISTINGS_AT_ONCE
            && let Some(one) = self.waiting.next()
        {
            self.under_way.push_back(one);
        }
        self.under_way.next().await
    }
}

/// Whether what a prefix ends with looks like a year.
fn is_year(prefix: &str) -> bool {
    date_part(last_segment(prefix), DatePart::Year).is_some()
}

/// `h=05/` of `.../d=24/h=05/`.
fn last_segment(prefix: &str) -> &str {
    prefix.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// `.../NETWORKWATCHER_X_L` of `.../NETWORKWATCHER_X_L/y=2026/`.
fn parent(prefix: &str) -> &str {
    prefix.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// First hour of a year, month, day or hour given by one to four numbers.
fn first_hour_of(numbers: &[u32]) -> Option<Hour> {
    let number = |index: usize, default: u32| numbers.get(index).copied().unwrap_or(default);
    Hour::from_parts(i32::try_from(number(0, 1_970)).ok()?, number(1, 1), number(2, 1), number(3, 0))
}

/// The hours that a year, month, day or hour may have, or why it is none that is read.
fn hours_within(numbers: &[u32], accepted: &Accepted) -> Result<Range<Hour>, StrangeDate> {
    let first = first_hour_of(numbers).ok_or(StrangeDate::None)?;
    let longest_hours = match numbers.len() {
        0 | 1 => 366 * 24,
        2 => 31 * 24,
        3 => 24,
        _ => 1,
    };
    let end = Hour::from_number(first.number().saturating_add(longest_hours));
    if end <= accepted.from {
        return Err(StrangeDate::TooEarly);
    }
    if first >= accepted.before {
        return Err(StrangeDate::Future);
    }
    Ok(first..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: parts of dates, of which two days and what surrounds them are accepted. Guarantees: what may contain
    /// an accepted hour is, with its hours; what cannot says why.
    #[test]
    fn only_accepted_dates_are_entered() {
        let hour = |day, hour| Hour::from_parts(2026, 11, day, hour).unwrap();
        let accepted = Accepted { from: hour(23, 5), before: hour(24, 5) };
        let cases: [(&[u32], Option<StrangeDate>); 12] = [
            (&[2026], None),
            (&[2024], Some(StrangeDate::TooEarly)),
            (&[1], Some(StrangeDate::TooEarly)),
            (&[9999], Some(StrangeDate::Future)),
            (&[2026, 11], None),
            (&[2026, 12], Some(StrangeDate::Future)),
            (&[2026, 11, 23], None),
            (&[2026, 11, 25], Some(StrangeDate::Future)),
            (&[2026, 11, 23, 5], None),
            (&[2026, 11, 23, 4], Some(StrangeDate::TooEarly)),
            (&[2026, 11, 24, 5], Some(StrangeDate::Future)),
            (&[2026, 13], Some(StrangeDate::None)),
        ];
        for (numbers, expected) in cases {
            assert_eq!(hours_within(numbers, &accepted).err(), expected, "{numbers:?}");
        }
        assert_eq!(hours_within(&[2026, 11, 23, 5], &accepted), Ok(hour(23, 5)..hour(23, 6)));
    }
}
