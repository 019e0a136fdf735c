//! The time of a record: RFC 3339, as several writers spell it.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

/// The moment of a record. Its year has four digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordTime(DateTime<Utc>);

impl RecordTime {
    /// Parses RFC 3339 with up to 9 fraction digits; without a zone the time is UTC. `None` for anything else, and
    /// for moments outside the years 0 to 9999 of UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = Reader(text.as_bytes());
        let year = rest.number(4)?;
        rest.literal(b"-")?;
        let month = rest.number(2)?;
        rest.literal(b"-")?;
        let day = rest.number(2)?;
        rest.literal(b"Tt ")?;
        let hour = rest.number(2)?;
        rest.literal(b":")?;
        let minute = rest.number(2)?;
        rest.literal(b":")?;
        let second = rest.number(2)?;
        let nanosecond = if rest.literal(b".").is_some() { rest.fraction()? } else { 0 };
        let offset_minutes = rest.zone()?;
        let local = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?
            .and_hms_nano_opt(hour, minute, second, nanosecond)?;
        let moment = local.and_utc().checked_sub_signed(TimeDelta::minutes(offset_minutes))?;
        (FIRST_SECOND..=LAST_SECOND).contains(&moment.timestamp()).then_some(Self(moment))
    }

    /// Microseconds since 1970, truncated.
    #[must_use]
    pub fn microseconds(self) -> i64 {
        self.0.timestamp_micros()
    }
}

/// 0000-01-01T00:00:00Z.
const FIRST_SECOND: i64 = -62_167_219_200;
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// The next byte, when it is one of `wanted`.
    fn literal(&mut self, wanted: &[u8]) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        wanted.contains(byte).then(|| {
            self.0 = rest;
            *byte
        })
    }

    /// Exactly `n_digits` digits.
    fn number(&mut self, n_digits: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(n_digits)?;
        self.0 = rest;
        digits.iter().try_fold(0, |value: u32, digit| {
            digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0'))
        })
    }

    /// 1 to 9 digits, as nanoseconds.
    fn fraction(&mut self) -> Option<u32> {
        let n_digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let missing = 9_usize.checked_sub(n_digits).filter(|missing| *missing < 9)?;
        Some(self.number(n_digits)? * 10_u32.pow(u32::try_from(missing).ok()?))
    }

    /// The zone at the end of the text: minutes that local time is ahead of UTC.
    fn zone(&mut self) -> Option<i64> {
        let sign = match self.literal(b"Zz+-") {
            None | Some(b'Z' | b'z') => return self.0.is_empty().then_some(0),
            Some(b'-') => -1,
            Some(_) => 1,
        };
        let hours = self.number(2).filter(|hours| *hours < 24)?;
        self.literal(b":")?;
        let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
        self.0.is_empty().then_some(sign * (i64::from(hours) * 60 + i64::from(minutes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: times in every spelling that is accepted. Guarantees: the moment, in microseconds, truncated.
    #[test]
    fn accepted_spellings() {
        for (text, microseconds) in [
            ("2025-04-30T09:07:40.9861829Z", 1_746_004_060_986_182),
            ("2025-04-30T09:07:40.986182999Z", 1_746_004_060_986_182),
            ("2025-04-30T09:07:40.9861829", 1_746_004_060_986_182),
            ("2025-04-30t09:07:40.986182z", 1_746_004_060_986_182),
            ("2025-04-30 11:37:40.986182+02:30", 1_746_004_060_986_182),
            ("2025-04-30T01:07:40.986182-08:00", 1_746_004_060_986_182),
            ("2025-04-30T09:07:40Z", 1_746_004_060_000_000),
            ("2025-04-30T09:07:40.5Z", 1_746_004_060_500_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999),
        ] {
            let parsed = RecordTime::parse(text).map(RecordTime::microseconds);
            assert_eq!(parsed, Some(microseconds), "{text}");
        }
    }

    /// Scenario: texts that are no time. Guarantees: none is taken for one.
    #[test]
    fn refused_spellings() {
        for text in [
            "",
            "now",
            "2025-04-30",
            "2025-02-29T00:00:00Z",
            "2025-04-30T24:00:00Z",
            "2025-04-30T09:07:60Z",
            "2025-04-30T09:07:40.Z",
            "2025-04-30T09:07:40.1234567890Z",
            "2025-04-30T09:07:40+0200",
            "2025-04-30T09:07:40+24:00",
            "2025-04-30T09:07:40ZZ",
            "2025-04-30T09:07:40Z ",
            "9999-12-31T23:59:59-01:00",
            "+025-04-30T09:07:40Z",
        ] {
            assert_eq!(RecordTime::parse(text), None, "{text}");
        }
    }
}
