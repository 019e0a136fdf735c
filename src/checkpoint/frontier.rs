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

    /// Makes an hour unsealed again, and only it.
    pub fn reopen(&mut self, hour: Hour) {
        for still_sealed in hour.number()..self.first_unsealed.number() {
            self.sealed.insert(Hour::from_number(still_sealed));
        }
        self.first_unsealed = self.first_unsealed.min(hour);
        self.sealed.remove(&hour);
    }

    /// The hours from the first unsealed one up to and including `last` that are not sealed, in order.
    pub fn unsealed_through(&self, last: Hour) -> impl Iterator<Item = Hour> + '_ {
        let first = self.first_unsealed.number();
        (first..=last.number()).map(Hour::from_number).filter(|hour| !self.sealed.contains(hour))
    }

    fn advance(&mut self) {
        while self.sealed.remove(&self.first_unsealed) {
            self.first_unsealed = self.first_unsealed.next();
        }
        let first_unsealed = self.first_unsealed;
        self.sealed.retain(|hour| *hour > first_unsealed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Seal(i64),
        Reopen(i64),
        Store,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (0_i64..30).prop_map(Change::Seal),
            1 => (0_i64..30).prop_map(Change::Reopen),
            1 => Just(Change::Store),
        ]
    }

    proptest! {
        /// *Scenario*: hours are sealed and reopened in any order, and the frontier is stored and loaded in between.
        /// *Guarantees*: it answers as a plain set of sealed hours does.
        #[test]
        fn behaves_as_a_set(changes in prop::collection::vec(change(), 0..60)) {
            let mut frontier = Frontier::new(Hour::from_number(5));
            let mut sealed: BTreeSet<i64> = (0..5).collect();
            for change in changes {
                match change {
                    Change::Seal(hour) => {
                        prop_assert_eq!(frontier.seal(Hour::from_number(hour)), sealed.insert(hour));
                    }
                    Change::Reopen(hour) => {
                        frontier.reopen(Hour::from_number(hour));
                        sealed.remove(&hour);
                    }
                    Change::Store => {
                        let loaded = Frontier::from_parts(frontier.first_unsealed(), frontier.sealed_after());
                        prop_assert_eq!(&loaded, &frontier);
                    }
                }
                for hour in 0..30 {
                    prop_assert_eq!(frontier.is_sealed(Hour::from_number(hour)), sealed.contains(&hour));
                }
                let unsealed: Vec<i64> = frontier.unsealed_through(Hour::from_number(29)).map(Hour::number).collect();
                let expected: Vec<i64> = (0..30).filter(|hour| !sealed.contains(hour)).collect();
                prop_assert_eq!(unsealed, expected);
            }
        }
    }
}
