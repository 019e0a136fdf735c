//! When to alarm about a source: it has fallen silent, or what is not delivered will soon be deleted. Pure. Each alarm
//! is said once when it is raised and once when it clears, however often it is looked at.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Azure writes once a minute, and an append may be some minutes late: less than this is no silence.
const SHORTEST_SILENCE: Duration = Duration::from_mins(15);

/// With long intervals between polls, this many of them must have passed.
const SILENT_POLLS: u32 = 5;

/// Of how long the account keeps blobs, this part in a hundred may pass before what is unread is in danger: the rest is
/// the time to act.
const RETENTION_PERCENT: u32 = 80;

/// What has changed since the alarm was looked at last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing to say.
    None,
    /// It is raised; what is wrong and what to do, for people.
    Raised(String),
    /// It is over; for people.
    Cleared(String),
}

/// Whether a source that once wrote does not any more.
#[derive(Debug, Clone)]
pub struct SilenceAlarm {
    silent_after: Duration,
    is_raised: bool,
}

impl SilenceAlarm {
    /// For a source that is polled so often.
    #[must_use]
    pub fn new(poll_interval: Duration) -> Self {
        let silent_after = poll_interval.saturating_mul(SILENT_POLLS).max(SHORTEST_SILENCE);
        Self { silent_after, is_raised: false }
    }

    /// Looks at the newest change that any listing ever showed, `None` before there was one, at `now` of the storage's
    /// clock. A poll that could not list says nothing about silence: do not look then.
    pub fn look(&mut self, newest_change: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Change {
        let Some(newest_change) = newest_change else { return Change::None };
        let age = age(newest_change, now);
        let (was_raised, is_raised) = (self.is_raised, age > self.silent_after);
        self.is_raised = is_raised;
        match (was_raised, is_raised) {
            (false, true) => Change::Raised(format!(
                "no blob has changed for {}: see in Azure whether the flow logs are still enabled, their storage account \
                 is still this one, and the virtual machines run",
                whole_seconds(age)
            )),
            (true, false) => Change::Cleared("blobs change again".to_owned()),
            (true, true) | (false, false) => Change::None,
        }
    }

    /// Whether it is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.is_raised
    }
}

/// Whether something not delivered will soon be deleted by the account.
#[derive(Debug, Clone)]
pub struct RetentionAlarm {
    retention: Duration,
    is_raised: bool,
}

impl RetentionAlarm {
    /// For an account that keeps blobs so long after their last change.
    #[must_use]
    pub fn new(retention: Duration) -> Self {
        Self { retention, is_raised: false }
    }

    /// Time until the oldest change that is not delivered is deleted; zero where that has come. `None`: everything is
    /// delivered.
    #[must_use]
    pub fn left(&self, oldest_undelivered: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Duration> {
        oldest_undelivered.map(|oldest| self.retention.saturating_sub(age(oldest, now)))
    }

    /// Looks at the oldest change that is not delivered, `None` when everything is, at `now` of the storage's clock.
    pub fn look(&mut self, oldest_undelivered: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Change {
        let safe_age = self.retention / 100 * RETENTION_PERCENT;
        let endangered = self.left(oldest_undelivered, now).filter(|left| self.retention - *left > safe_age);
        let was_raised = self.is_raised;
        self.is_raised = endangered.is_some();
        match (was_raised, endangered) {
            (false, Some(left)) => Change::Raised(format!(
                "{}: make the source or intake that is stuck work again (/readyz says which), or let the account keep \
                 blobs for longer than {}",
                if left.is_zero() {
                    "what is not delivered is being deleted by the account".to_owned()
                } else {
                    format!("in {} the account deletes what is not delivered", whole_seconds(left))
                },
                whole_seconds(self.retention)
            )),
            (true, None) => {
                Change::Cleared("what is not delivered is in no danger of being deleted any more".to_owned())
            }
            (true, Some(_)) | (false, None) => Change::None,
        }
    }

    /// Whether it is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.is_raised
    }
}

/// How long ago a change was; a change in the future is no time ago.
fn age(change: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    now.signed_duration_since(change).to_std().unwrap_or_default()
}

fn whole_seconds(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    /// What is said: `+` and `-` with the beginning of the text.
    fn shown(change: &Change) -> String {
        match change {
            Change::None => String::new(),
            Change::Raised(text) => format!("+{}", text.split(':').next().unwrap_or_default()),
            Change::Cleared(text) => format!("-{text}"),
        }
    }

    /// *Scenario*: a source that never wrote; one that stops writing and goes on. *Guarantees*: no alarm before the first
    /// change nor up to the limit; one word when it falls silent, none while it stays so, one when it writes again; then
    /// all over again.
    #[test]
    fn silence_is_said_once() {
        let mut alarm = SilenceAlarm::new(Duration::from_secs(60));
        let looks = [
            (None, 1_000_000, ""),
            (Some(0), 0, ""),
            (Some(0), 900, ""),
            (Some(0), 901, "+no blob has changed for 15m 1s"),
            (Some(0), 5_000, ""),
            (Some(4_990), 5_000, "-blobs change again"),
            (Some(4_990), 5_060, ""),
            (Some(4_990), 6_000, "+no blob has changed for 16m 50s"),
        ];
        for (newest, now, expected) in looks {
            assert_eq!(shown(&alarm.look(newest.map(at), at(now))), expected, "at {now}");
        }
        assert!(alarm.is_raised());
    }

    /// *Scenario*: polls far apart; a change that lies in the future. *Guarantees*: five intervals must have passed; the
    /// future is no silence; no interval is too long to compute with.
    #[test]
    fn silence_of_slow_polls() {
        let mut alarm = SilenceAlarm::new(Duration::from_secs(600));
        assert_eq!(alarm.look(Some(at(0)), at(3_000)), Change::None);
        assert_eq!(alarm.look(Some(at(9_000)), at(3_001)), Change::None);
        assert!(matches!(alarm.look(Some(at(0)), at(3_001)), Change::Raised(_)));
        assert_eq!(SilenceAlarm::new(Duration::MAX).look(Some(at(0)), at(i64::from(u32::MAX))), Change::None);
    }

    /// *Scenario*: an account that keeps ten days; the backlog grows old, is worked off, and grows old again past the
    /// end. *Guarantees*: raised after eight days with what is left, once; cleared once, also when nothing is left to
    /// deliver; what is past its end has nothing left.
    #[test]
    fn retention_is_said_once() {
        let mut alarm = RetentionAlarm::new(Duration::from_hours(240));
        let looks = [
            (None, 0, ""),
            (Some(0), 8 * DAY, ""),
            (Some(0), 8 * DAY + 1, "+in 1day 23h 59m 59s the account deletes what is not delivered"),
            (Some(0), 9 * DAY, ""),
            (Some(DAY), 9 * DAY, "-what is not delivered is in no danger of being deleted any more"),
            (Some(DAY), 12 * DAY, "+what is not delivered is being deleted by the account"),
            (None, 12 * DAY, "-what is not delivered is in no danger of being deleted any more"),
        ];
        for (oldest, now, expected) in looks {
            assert_eq!(shown(&alarm.look(oldest.map(at), at(now))), expected, "at {now}");
        }
        assert!(!alarm.is_raised());
        assert_eq!(alarm.left(None, at(0)), None);
        assert_eq!(alarm.left(Some(at(0)), at(9 * DAY)), Some(Duration::from_hours(24)));
        assert_eq!(alarm.left(Some(at(0)), at(11 * DAY)), Some(Duration::ZERO));
    }

    /// *Scenario*: either alarm is raised. *Guarantees*: the text says what to do.
    #[test]
    fn raised_alarms_name_the_way_out() {
        let silence = SilenceAlarm::new(Duration::ZERO).look(Some(at(0)), at(DAY));
        let retention = RetentionAlarm::new(Duration::from_hours(24)).look(Some(at(0)), at(DAY - 60));
        assert_eq!(
            [silence, retention],
            [
                Change::Raised(
                    "no blob has changed for 1day: see in Azure whether the flow logs are still enabled, their storage \
                     account is still this one, and the virtual machines run"
                        .to_owned()
                ),
                Change::Raised(
                    "in 1m the account deletes what is not delivered: make the source or intake that is stuck work \
                     again (/readyz says which), or let the account keep blobs for longer than 1day"
                        .to_owned()
                ),
            ]
        );
    }
}
