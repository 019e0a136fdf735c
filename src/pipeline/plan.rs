//! Which hours of a root a poll must list. Pure.
//!
//! An hour that can still grow is listed at each poll. Older hours are listed until they are sealed; where there are
//! many of them (a first start, a long outage), a delimiter walk tells first which of them exist at all.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{checkpoint::Frontier, model::Hour, store::FirstHour};

/// Up to this many old hours are listed directly; for more, a walk over the days is cheaper.
const OLD_HOURS_LISTED_DIRECTLY: usize = 6;

/// What to list for one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HourPlan {
    /// Where there are many old hours, or nobody knows since when: find out which hours exist in this stretch.
    pub(super) walk: Option<Stretch>,
    /// Old hours to list; empty where there is a walk.
    pub(super) old: Vec<Hour>,
    /// Hours that can still grow.
    pub(super) open: Vec<Hour>,
}

impl HourPlan {
    /// Whether any of these hours is planned.
    pub(super) fn touches(&self, hours: &Range<Hour>) -> bool {
        let is_walked = self.walk.is_some_and(|stretch| {
            hours.start < stretch.before && stretch.from.is_none_or(|from| hours.end > from)
        });
        is_walked || self.old.iter().chain(&self.open).any(|hour| hours.contains(hour))
    }
}

/// A stretch of hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// First hour; `None`: from the beginning.
    pub(super) from: Option<Hour>,
    /// The hour after the last one.
    pub(super) before: Hour,
}

/// The hours that flow logs can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// First hour.
    pub(super) from: Hour,
    /// The hour after the last one.
    pub(super) before: Hour,
}

/// 2016-01-01T00: Azure had no flow logs then. A date before it is a mistake, and the hours from there to now would be
/// looked at for nothing.
const BEFORE_FLOW_LOGS: Hour = Hour::from_number(403_224);

/// A clock that wrote a name may be ahead by this much, without anybody having to know.
const CLOCKS_APART: TimeDelta = TimeDelta::days(1);

/// The hours that a name may have at `now`.
pub(crate) fn accepted(now: DateTime<Utc>) -> Accepted {
    let latest = now.checked_add_signed(CLOCKS_APART).unwrap_or(now);
    Accepted { from: BEFORE_FLOW_LOGS, before: Hour::containing(latest).next() }
}

/// The first hour that is still open at `now`: its end, or a change at its end, is less than `seal_after` ago.
pub(super) fn first_open_hour(now: DateTime<Utc>, seal_after: Duration) -> Hour {
    let seal_after = TimeDelta::from_std(seal_after).unwrap_or(TimeDelta::MAX);
    Hour::containing(now.checked_sub_signed(seal_after).unwrap_or(DateTime::<Utc>::MIN_UTC))
}

/// The oldest hour at `now` that is looked at again though it is sealed. An hour is as old as its end: the one that contains
/// the moment ends after it.
pub(crate) fn first_young_hour(now: DateTime<Utc>, revisit: Duration) -> Hour {
    let revisit = TimeDelta::from_std(revisit).unwrap_or(TimeDelta::MAX);
    Hour::containing(now.checked_sub_signed(revisit).unwrap_or(DateTime::<Utc>::MIN_UTC))
}

/// Plans one root's poll.
pub(super) fn plan(
    frontier: Option<&Frontier>,
    first_hour: FirstHour,
    now: DateTime<Utc>,
    seal_after: Duration,
) -> HourPlan {
    let first_open = first_open_hour(now, seal_after);
    let last = Hour::containing(now);
    let from = frontier.map(Frontier::first_unsealed).or(match first_hour {
        FirstHour::Beginning => None,
        FirstHour::At(hour) => Some(hour.max(BEFORE_FLOW_LOGS)),
    });
    let Some(from) = from else {
        let walk = Some(Stretch { from: None, before: first_open });
        return HourPlan { walk, old: Vec::new(), open: hours(first_open, last) };
    };
    let all_unsealed = frontier.cloned().unwrap_or_else(|| Frontier::new(from));
    let mut old: Vec<Hour> = all_unsealed
        .unsealed_through(first_open.previous())
        .take(OLD_HOURS_LISTED_DIRECTLY.saturating_add(1))
        .collect();
    let walk = (old.len() > OLD_HOURS_LISTED_DIRECTLY).then(|| {
        old.clear();
        Stretch { from: Some(from), before: first_open }
    });
    HourPlan { walk, old, open: hours(from.max(first_open), last) }
}

/// The frontier after a walk: every hour of the stretch that does not exist is sealed.
pub(super) fn frontier_after_walk(
    known: Option<&Frontier>,
    stretch: Stretch,
    existing: impl IntoIterator<Item = Hour>,
) -> Frontier {
    let mut existing: BTreeSet<Hour> = existing.into_iter().filter(|hour| *hour < stretch.before).collect();
    let from = stretch.from.or_else(|| existing.first().copied()).unwrap_or(stretch.before);
    if let (Some(from), Some(known)) = (stretch.from, known) {
        // Unsealed since the walk was planned, and not looked at by it.
        existing.extend(known.unsealed_through(from.previous()));
    }
    let mut frontier = known.cloned().unwrap_or_else(|| Frontier::new(from));
    frontier.seal_all_but(stretch.before, existing);
    frontier
}

fn hours(first: Hour, last: Hour) -> Vec<Hour> {
    (first.number()..=last.number()).map(Hour::from_number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL_AFTER: Duration = Duration::from_secs(7_200);

    fn at(hour: i64, minute: i64) -> DateTime<Utc> {
        Hour::from_number(hour).start() + TimeDelta::minutes(minute)
    }

    fn numbers(hours: &[Hour]) -> Vec<i64> {
        hours.iter().map(|hour| hour.number()).collect()
    }

    /// Scenario: everything up to two hours ago is sealed. Guarantees: a poll lists the open hour and the two that a
    /// late append may still reach, and nothing else, whatever lies before.
    #[test]
    fn a_steady_poll_lists_the_open_hours_only() {
        for frontier in
            [Frontier::new(Hour::from_number(998)), Frontier::from_parts(Hour::from_number(998), [])]
        {
            let plan = plan(Some(&frontier), FirstHour::Beginning, at(1_000, 30), SEAL_AFTER);
            assert_eq!(plan.walk, None);
            assert_eq!(numbers(&plan.old), Vec::<i64>::new());
            assert_eq!(numbers(&plan.open), [998, 999, 1_000]);
        }
    }

    /// Scenario: a few old hours are not sealed. Guarantees: exactly these are listed.
    #[test]
    fn few_old_hours_are_listed_directly() {
        let sealed = [991, 993, 994, 995, 997].map(Hour::from_number);
        let frontier = Frontier::from_parts(Hour::from_number(990), sealed);
        let plan = plan(Some(&frontier), FirstHour::Beginning, at(1_000, 0), SEAL_AFTER);
        assert_eq!(plan.walk, None);
        assert_eq!(numbers(&plan.old), [990, 992, 996]);
    }

    /// Scenario: a first start from the beginning, and one after an outage of 400 hours. Guarantees: a walk finds out
    /// what exists; hours that do not exist are sealed by it, others are not.
    #[test]
    fn many_old_hours_are_walked() {
        let first_start = plan(None, FirstHour::Beginning, at(1_000, 0), SEAL_AFTER);
        assert_eq!(first_start.walk, Some(Stretch { from: None, before: Hour::from_number(998) }));

        let frontier = Frontier::new(Hour::from_number(600));
        let outage = plan(Some(&frontier), FirstHour::Beginning, at(1_000, 0), SEAL_AFTER);
        let stretch = outage.walk.unwrap();
        assert_eq!(stretch, Stretch { from: Some(Hour::from_number(600)), before: Hour::from_number(998) });

        let after = frontier_after_walk(Some(&frontier), stretch, [602, 700].map(Hour::from_number));
        assert_eq!(after.first_unsealed().number(), 602);
        let unsealed: Vec<_> = after.unsealed_through(Hour::from_number(998)).map(Hour::number).collect();
        assert_eq!(unsealed, [602, 700, 998]);
    }

    /// Scenario: first starts and outages whose first hour is far in the past, and one hour at the bound. Guarantees:
    /// only what is accepted is left to seal; sealing all of it in any order takes each hour once.
    #[test]
    fn old_dates_are_bounded() {
        let bound = Hour::from_parts(2016, 1, 1, 0).unwrap();
        let now = Hour::from_parts(2026, 11, 24, 5).unwrap();
        let accepted = accepted(now.start());
        assert_eq!(accepted, Accepted { from: bound, before: Hour::from_parts(2026, 11, 25, 6).unwrap() });

        let old = Hour::from_parts(1, 1, 1, 0).unwrap();
        let first = plan(None, FirstHour::At(old), now.start(), SEAL_AFTER).walk.unwrap();
        assert_eq!(first.from, Some(bound));
        let after = frontier_after_walk(None, first, [bound.next(), now]);
        assert_eq!(after.first_unsealed(), bound.next());
        let stored = Frontier::new(old);
        let outage = plan(Some(&stored), FirstHour::Beginning, now.start(), SEAL_AFTER).walk.unwrap();
        let after = frontier_after_walk(Some(&stored), outage, []);
        assert_eq!((after.first_unsealed(), after.sealed_after().count()), (outage.before, 0));

        let mut backwards = Frontier::new(bound);
        for number in (bound.number()..now.number()).rev() {
            assert!(backwards.seal(Hour::from_number(number)));
        }
        assert_eq!(backwards, Frontier::new(now));
    }

    /// Scenario: a walk over two days beside the open hours, and a plan of few old hours. Guarantees: what has an hour
    /// of the plan is entered, what has none is not.
    #[test]
    fn only_parts_with_planned_hours_are_touched() {
        let hour = Hour::from_number;
        let walk = Some(Stretch { from: Some(hour(100)), before: hour(148) });
        let walked = HourPlan { walk, old: Vec::new(), open: vec![hour(150)] };
        let few = HourPlan { walk: None, old: vec![hour(100), hour(120)], open: vec![hour(150)] };
        for (first, end, by_walk, by_few) in [
            (76, 100, false, false),
            (76, 101, true, true),
            (101, 120, true, false),
            (147, 148, true, false),
            (148, 150, false, false),
            (150, 151, true, true),
            (151, 999, false, false),
        ] {
            let hours = hour(first)..hour(end);
            assert_eq!((walked.touches(&hours), few.touches(&hours)), (by_walk, by_few), "{first}..{end}");
        }
    }

    /// Scenario: `start = "now"`. Guarantees: nothing before the first hour is listed; an hour in the future is not.
    #[test]
    fn nothing_before_the_first_hour() {
        let now = plan(None, FirstHour::At(Hour::from_number(501_000)), at(501_000, 10), SEAL_AFTER);
        assert_eq!((now.walk, numbers(&now.open)), (None, vec![501_000]));
        let future = plan(None, FirstHour::At(Hour::from_number(502_000)), at(501_000, 10), SEAL_AFTER);
        assert_eq!((future.walk, future.old.len(), future.open.len()), (None, 0, 0));
    }
}
