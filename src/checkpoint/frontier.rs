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
