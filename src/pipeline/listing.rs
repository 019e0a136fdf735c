//! Whole listings out of pages, and the delimiter walks over a container's tree.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
};

use chrono::{DateTime, Utc};
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

/// Lists one container and counts the calls.
#[derive(Debug)]
pub(crate) struct Lister<'a> {
    store: &'a dyn BlobStore,
    cancelled: &'a CancellationToken,
    metric: &'a Counter,
    /// Listing calls made.
    pub(super) calls: u64,
    /// The server's clock at the last answer.
    pub(crate) date: Option<DateTime<Utc>>,
    /// What the walk to the roots saw below them and their years: the walk over their hours begins with it.
    seen: HashMap<String, Vec<String>>,
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
        Self { store, cancelled, metric, calls: 0, date: None, seen: HashMap::new() }
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
        &mut self,
        root: &str,
        hour: Hour,
        spellings: &BTreeSet<DateSpelling>,
    ) -> Result<Listing, ListingError> {
        self.list_spelled(spellings, |spelling| format!("{root}/{}", spelling.prefix(hour))).await
    }

    /// One day of a root, likewise.
    pub(super) async fn list_day(
        &mut self,
        root: &str,
        day: Hour,
        spellings: &BTreeSet<DateSpelling>,
    ) -> Result<Listing, ListingError> {
        self.list_spelled(spellings, |spelling| format!("{root}/{}", spelling.day_prefix(day))).await
    }

    async fn list_spelled(
        &mut self,
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
    pub(crate) async fn roots(
        &mut self,
        years: &mut HashSet<String>,
    ) -> Result<BTreeSet<String>, ListingError> {
        let mut roots = BTreeSet::new();
        let mut open: Vec<(String, usize)> = Vec::new();
        for prefix in self.list("", Some('/')).await?.prefixes {
            if ROOT_SEGMENTS.iter().any(|segment| prefix.to_ascii_lowercase().starts_with(segment)) {
                open.push((prefix, 1));
            }
        }
        while let Some((prefix, depth)) = open.pop() {
            let is_year = date_part(last_segment(&prefix), DatePart::Year).is_some();
            if is_year && years.contains(&prefix) {
                roots.insert(parent(&prefix).to_owned());
                continue;
            }
            let below = self.list(&prefix, Some('/')).await?.prefixes;
            let mut begins_date = false;
            for deeper in &below {
                if is_year && date_part(last_segment(deeper), DatePart::Month).is_some() {
                    begins_date = true;
                } else if depth < ROOT_DEPTH {
                    open.push((deeper.clone(), depth.saturating_add(1)));
                }
            }
            if begins_date {
                roots.insert(parent(&prefix).to_owned());
                years.insert(prefix.clone());
            }
            // What is not below a root after all is forgotten with the pass.
            let is_year_below =
                below.iter().any(|deeper| date_part(last_segment(deeper), DatePart::Year).is_some());
            if begins_date || is_year_below {
                self.seen.insert(prefix, below);
            }
        }
        Ok(roots)
    }

    /// The hours of a root that exist and that are wanted. Years, months and days without any such hour are not entered.
    pub(crate) async fn hours(
        &mut self,
        root: &str,
        accepted: &Accepted,
        is_wanted: impl Fn(&Range<Hour>) -> bool,
    ) -> Result<Walked, ListingError> {
        let mut walked = Walked::default();
        let mut level = vec![(format!("{root}/"), Vec::<u32>::new())];
        for part in DATE_PARTS {
            let mut next_level = Vec::new();
            for (prefix, numbers) in level {
                let below = match self.seen.remove(&prefix) {
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
