//! The sealed hours of one root.

use std::collections::BTreeSet;

use crate::model::Hour;

/// Which hours of a root are sealed: every hour before `first_unsealed`, and those in `sealed` after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    first_unsealed: Hour,
    sealed: BTreeSet<Hour>,
}

impl Frontier {
    /// A frontier with everything before `first_unsealed` sealed.
    #[must_use]
    pub fn new(first_unsealed: Hour) -> Self {
        Self { first_unsealed, sealed: BTreeSet::new() }
    }

    /// From stored parts.
    #[must_use]
    pub fn from_parts(first_unsealed: Hour, sealed: impl IntoIterator<Item = Hour>) -> Self {
        let mut frontier = Self { first_unsealed, sealed: sealed.into_iter().collect() };
        frontier.advance();
        frontier
    }

    /// The first hour that is not sealed.
    #[must_use]
    pub fn first_unsealed(&self) -> Hour {
        self.first_unsealed
    }

    /// The sealed hours after the first unsealed one, in order.
    pub fn sealed_after(&self) -> impl Iterator<Item = Hour> + '_ {
        self.sealed.iter().copied()
    }

    /// Whether an hour is sealed.
    #[must_use]
    pub fn is_sealed(&self, hour: Hour) -> bool {
        hour < self.first_unsealed || self.sealed.contains(&hour)
    }

    /// Seals an hour. Returns whether anything changed.
    pub fn seal(&mut self, hour: Hour) -> bool {
        if self.is_sealed(hour) {
            return false;
        }
        self.sealed.insert(hour);
        self.advance();
        true
    }

    /// Seals every hour before `before` but those of `open`, in one go over what lies between. What was sealed stays so.
    pub fn seal_all_but(&mut self, before: Hour, open: impl IntoIterator<Item = Hour>) {
        let open: BTreeSet<Hour> =
            open.into_iter().filter(|hour| *hour < before && !self.is_sealed(*hour)).collect();
        let first = open.first().copied().unwrap_or(before).max(self.first_unsealed);
        let gaps = (first.number()..before.number()).map(Hour::from_number);
        self.sealed.extend(gaps.filter(|hour| !open.contains(hour)));
        self.first_unsealed = first;
        self.advance();
    }

    /// Makes a sealed hour unsealed; the other hours stay as they are. Returns whether anything changed.
    pub fn reopen(&mut self, hour: Hour) -> bool {
        if !self.is_sealed(hour) {
            return false;
        }
        if !self.sealed.remove(&hour) {
            let between = hour.next().number()..self.first_unsealed.number();
            self.sealed.extend(between.map(Hour::from_number));
            self.first_unsealed = hour;
        }
        true
    }

    /// The hours from the first unsealed one up to and including `last` that are not sealed, in order.
    pub fn unsealed_through(&self, last: Hour) -> impl Iterator<Item = Hour> + '_ {
        let first = self.first_unsealed.number();
        (first..=last.number()).map(Hour::from_number).filter(|hour| !self.sealed.contains(hour))
    }

    fn advance(&mut self) {
        // Each hour leaves the set once: no step looks at all of them.
        while let Some(first) = self.sealed.first().copied().filter(|first| *first <= self.first_unsealed) {
            self.sealed.pop_first();
            if first == self.first_unsealed {
                self.first_unsealed = first.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hours that the naive model looks at.
    const HOURS: std::ops::Range<i64> = 0..30;

    proptest! {
        /// Scenario: hours are sealed and reopened in any order, and the frontier is rebuilt from its parts after
        /// each change. Guarantees: it says the same as a plain set of sealed hours, in every question it answers.
        #[test]
        fn a_frontier_is_a_set_of_sealed_hours(
            first in HOURS,
            changes in prop::collection::vec((any::<bool>(), HOURS), 0..40),
        ) {
            let mut frontier = Frontier::new(Hour::from_number(first));
            let mut model: BTreeSet<i64> = (HOURS.start..first).collect();
            for (seal, hour) in changes {
                let changed = if seal {
                    frontier.seal(Hour::from_number(hour))
                } else {
                    frontier.reopen(Hour::from_number(hour))
                };
                let model_changed = if seal { model.insert(hour) } else { model.remove(&hour) };
                prop_assert_eq!(changed, model_changed);
                frontier = {
                    let rebuilt = Frontier::from_parts(frontier.first_unsealed(), frontier.sealed_after());
                    prop_assert_eq!(&rebuilt, &frontier);
                    rebuilt
                };
                for number in HOURS {
                    prop_assert_eq!(frontier.is_sealed(Hour::from_number(number)), model.contains(&number));
                }
                let last = Hour::from_number(HOURS.end);
                let unsealed: Vec<i64> = frontier.unsealed_through(last).map(Hour::number).collect();
                let expected: Vec<i64> = (HOURS.start..=HOURS.end).filter(|hour| !model.contains(hour)).collect();
                prop_assert_eq!(unsealed, expected);
                prop_assert!(frontier.sealed_after().all(|sealed| sealed > frontier.first_unsealed()));
            }
        }

        /// Scenario: hours are sealed, then all before a moment but some. Guarantees: it is the same as sealing one by
        /// one.
        #[test]
        fn gaps_are_sealed_in_one_go(
            first in HOURS,
            sealed in prop::collection::vec(HOURS, 0..20),
            before in HOURS,
            open in prop::collection::btree_set(HOURS, 0..20),
        ) {
            let mut frontier =
                Frontier::from_parts(Hour::from_number(first), sealed.into_iter().map(Hour::from_number));
            let mut one_by_one = frontier.clone();
            frontier.seal_all_but(Hour::from_number(before), open.iter().copied().map(Hour::from_number));
            for hour in (HOURS.start..before).filter(|hour| !open.contains(hour)) {
                one_by_one.seal(Hour::from_number(hour));
            }
            prop_assert_eq!(frontier, one_by_one);
        }
    }
}
