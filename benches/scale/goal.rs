//! A goal and what was found.

use std::fmt;

/// One goal: at most so much.
pub(crate) struct Goal {
    what: String,
    found: f64,
    most: f64,
}

impl Goal {
    pub(crate) fn at_most(what: impl Into<String>, found: f64, most: f64) -> Self {
        Self { what: what.into(), found, most }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, found, most } = self;
        let verdict = if found <= most { "reached" } else { "NOT REACHED" };
        write!(f, "{what:<44}{found:>12.3}  <= {most:<9} {verdict}")
    }
}
