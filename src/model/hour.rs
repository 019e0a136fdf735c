//! UTC hours, as flow-log blob names carry them.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Timelike, Utc};

/// A UTC hour, counted since 1970-01-01T00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// The hour of a date; `None` where there is no such date or hour.
    #[must_use]
    pub fn from_parts(year: i32, month: u32, day: u32, hour: u32) -> Option<Self> {
        let time = NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(hour, 0, 0)?;
        Some(Self(time.and_utc().timestamp().div_euclid(3_600)))
    }

    /// The hour that contains a moment.
    #[must_use]
    pub fn containing(moment: DateTime<Utc>) -> Self {
        Self(moment.timestamp().div_euclid(3_600))
    }

    /// From the number of hours since 1970-01-01T00, as it is stored.
    #[must_use]
    pub const fn from_number(hours_since_epoch: i64) -> Self {
        Self(hours_since_epoch)
    }

    /// The number of hours since 1970-01-01T00.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// The hour's first moment.
    #[must_use]
    pub fn start(self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
            .checked_add_signed(TimeDelta::try_hours(self.0).unwrap_or(TimeDelta::MAX))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The first moment after the hour.
    #[must_use]
    pub fn end(self) -> DateTime<Utc> {
        self.next().start()
    }

    /// The hour after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The hour before this one.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The first hour of this hour's UTC day.
    #[must_use]
    pub fn day(self) -> Self {
        Self(self.0.div_euclid(24).saturating_mul(24))
    }

    /// The 24 hours of this hour's UTC day, in order.
    pub fn hours_of_day(self) -> impl Iterator<Item = Self> {
        let first = self.day().0;
        (first..first.saturating_add(24)).map(Self)
    }

    /// The part of a blob name that names the day: `y=2026/m=11/d=24/`.
    #[must_use]
    pub fn day_prefix(self) -> String {
        let start = self.start();
        format!("y={:04}/m={:02}/d={:02}/", start.year(), start.month(), start.day())
    }

    /// The part of a blob name that names the hour: `y=2026/m=11/d=24/h=05/`.
    #[must_use]
    pub fn prefix(self) -> String {
        format!("{}h={:02}/", self.day_prefix(), self.start().hour())
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.start().format("%Y-%m-%dT%HZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: an hour is built from its parts and printed. Guarantees: parts, prefix and end agree, across a
    /// year's end too.
    #[test]
    fn parts_and_prefix_agree() {
        let hour = Hour::from_parts(2026, 12, 31, 23).unwrap();
        assert_eq!(hour.prefix(), "y=2026/m=12/d=31/h=23/");
        assert_eq!(hour.next().prefix(), "y=2027/m=01/d=01/h=00/");
        assert_eq!(hour.to_string(), "2026-12-31T23Z");
        assert_eq!(hour.end(), hour.next().start());
        assert_eq!(Hour::containing(hour.start()), hour);
        assert_eq!(hour.day().prefix(), "y=2026/m=12/d=31/h=00/");
        assert_eq!(hour.hours_of_day().count(), 24);
        assert_eq!(hour.hours_of_day().last(), Some(hour));
        assert_eq!(Hour::from_parts(2026, 2, 30, 0), None);
    }
}
