//! Which hours of a root a poll must list. Pure.
//!
//! An hour that can still grow is listed at each poll. Older hours are listed until they are sealed; where there are
//! many of them (a first start, a long outage), a delimiter walk tells first which of them exist at all.

use std::time::Duration;

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

/// A stretch of hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// First hour; `None`: from the beginning.
    pub(super) from: Option<Hour>,
    /// The hour after the last one.
    pub(super) before: Hour,
}

/// The first hour that is still open at `now`: its end, or a change at its end, is less than `seal_after` ago.
pub(super) fn first_open_hour(now: DateTime<Utc>, seal_after: Duration) -> Hour {
    let seal_after = TimeDelta::from_std(seal_after).unwrap_or(TimeDelta::MAX);
    Hour::containing(now.checked_sub_signed(seal_after).unwrap_or(DateTime::<Utc>::MIN_UTC))
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
        FirstHour::At(hour) => Some(hour),
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
    let existing: Vec<Hour> = existing.into_iter().collect();
    let from = stretch.from.or_else(|| existing.iter().min().copied()).unwrap_or(stretch.before);
    let mut frontier = known.cloned().unwrap_or_else(|| Frontier::new(from));
    for hour in hours(from, stretch.before.previous()) {
        if !existing.contains(&hour) {
            frontier.seal(hour);
        }
    }
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

    /// Scenario: `start = "now"`. Guarantees: nothing before the first hour is listed; an hour in the future is not.
    #[test]
    fn nothing_before_the_first_hour() {
        let now = plan(None, FirstHour::At(Hour::from_number(1_000)), at(1_000, 10), SEAL_AFTER);
        assert_eq!((now.walk, numbers(&now.open)), (None, vec![1_000]));
        let future = plan(None, FirstHour::At(Hour::from_number(2_000)), at(1_000, 10), SEAL_AFTER);
        assert_eq!((future.walk, future.old.len(), future.open.len()), (None, 0, 0));
    }
}
