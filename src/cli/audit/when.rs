//! The hours that an audit is about.

use std::{ops::Range, time::Duration};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::model::Hour;

/// A moment, an hour or a day, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum When {
    /// These hours: the one that contains a moment, or those of a day.
    Hours(Range<Hour>),
    /// This long ago.
    Back(Duration),
}

/// The argument of `--from` and `--to`.
///
/// # Errors
/// What is expected, where it is not that.
pub(super) fn parse(text: &str) -> Result<When, String> {
    if let Ok(back) = humantime::parse_duration(text) {
        return Ok(When::Back(back));
    }
    let whole = |first: DateTime<Utc>, n_hours: i64| {
        let first = Hour::containing(first);
        When::Hours(first..Hour::from_number(first.number().saturating_add(n_hours)))
    };
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(whole(day.and_time(chrono::NaiveTime::MIN).and_utc(), 24));
    }
    let full = text.strip_suffix('Z').map(|hour| format!("{hour}:00:00Z"));
    let moment =
        DateTime::parse_from_rfc3339(text).ok().or_else(|| DateTime::parse_from_rfc3339(&full?).ok());
    let moment = moment.ok_or_else(|| {
        String::from(
            "expected a day such as 2026-11-24, an hour such as 2026-11-24T05Z, a time such as 2026-11-24T05:30:00Z, or \
             a duration back such as 2d",
        )
    })?;
    Ok(whole(moment.with_timezone(&Utc), 1))
}

/// The hours from `from` to `to`, both included.
pub(super) fn hours(from: &When, to: Option<&When>, now: DateTime<Utc>) -> Range<Hour> {
    let resolve = |when: &When| match when {
        When::Hours(hours) => hours.clone(),
        When::Back(back) => {
            let moment = TimeDelta::from_std(*back).ok().and_then(|back| now.checked_sub_signed(back));
            let hour = Hour::containing(moment.unwrap_or(DateTime::<Utc>::MIN_UTC));
            hour..hour.next()
        }
    };
    let end = to.map_or_else(|| Hour::containing(now).next(), |to| resolve(to).end);
    resolve(from).start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: each way to write a stretch of time, and texts that are none. *Guarantees*: both ends are in it, whole
    /// hours and whole days; what cannot be read says what is expected.
    #[test]
    fn stretches() {
        let now = DateTime::parse_from_rfc3339("2026-11-24T05:30:00Z").unwrap().with_timezone(&Utc);
        let check = |from: &str, to: Option<&str>, expected: [&str; 2]| {
            let to = to.map(|to| parse(to).unwrap());
            let Range { start, end } = hours(&parse(from).unwrap(), to.as_ref(), now);
            assert_eq!([start.to_string(), end.to_string()], expected);
        };
        check("2026-11-24", None, ["2026-11-24T00Z", "2026-11-24T06Z"]);
        check("2026-11-23", Some("2026-11-23"), ["2026-11-23T00Z", "2026-11-24T00Z"]);
        check("2026-11-23T07Z", Some("2026-11-23T07Z"), ["2026-11-23T07Z", "2026-11-23T08Z"]);
        check("2026-11-23T07:59:00+01:00", Some("1h"), ["2026-11-23T06Z", "2026-11-24T05Z"]);
        check("2d", Some("2026-11-23T07Z"), ["2026-11-22T05Z", "2026-11-23T08Z"]);
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-24T25Z", "2026-11-24T05"] {
            assert!(parse(wrong).unwrap_err().contains("such as 2026-11-24T05Z"), "{wrong}");
        }
    }
}
