//! F0: how long to wait after a failure. Pure: randomness and time are arguments.

use std::time::{Duration, SystemTime};

/// Longest wait that a server can ask for: a wrong clock or a typing error there must not stop deliveries for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Exponential back-off with full jitter: the n-th wait is anything from zero to `base * 2^(n-1)`, at most `cap`, so
/// that senders that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Starts at `base`, doubles, and never exceeds `cap`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, ceiling: base.min(cap) }
    }

    /// The next wait. `random` gives a number from 0 (no wait) to 1 (the whole step); anything else counts as 1.
    pub fn next(&mut self, random: impl FnOnce() -> f64) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.cap);
        let share = random();
        if (0.0..=1.0).contains(&share) { ceiling.mul_f64(share).min(ceiling) } else { ceiling }
    }

    /// Starts again at the base, after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.base.min(self.cap);
    }
}

/// The wait that a `Retry-After` header asks for (RFC 9110, section 10.2.3): seconds, or an HTTP date seen from `now`.
/// At most 10 minutes; a date that has passed is no wait; anything else is `None`.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let text = value.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large for 64 bits fails here.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: ten failures, a reset, one more failure, always with the whole step.
    /// *Guarantees*: the steps double from the base to the cap, stay there, and start again after a reset.
    #[test]
    fn steps_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let steps: Vec<u64> = (0..10).map(|_| backoff.next(|| 1.0).as_secs()).collect();
        assert_eq!(steps, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.next(|| 1.0), Duration::from_secs(1));
    }

    /// *Scenario*: random numbers at the ends, inside, and outside of what is allowed.
    /// *Guarantees*: full jitter reaches down to no wait at all; a broken source of randomness cannot panic or
    /// lengthen a wait.
    #[test]
    fn jitter_is_full_and_bounded() {
        for (random, expected_ms) in [
            (0.0, 0),
            (0.25, 1000),
            (1.0, 4000),
            (-1.0, 4000),
            (7.0, 4000),
            (f64::NAN, 4000),
            (f64::INFINITY, 4000),
        ] {
            let mut backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(60));
            assert_eq!(backoff.next(|| random), Duration::from_millis(expected_ms), "random number {random}");
        }
    }

    /// *Scenario*: a base above the cap, a base of zero, and the longest durations.
    /// *Guarantees*: the cap holds and nothing overflows.
    #[test]
    fn extreme_limits_hold() {
        for (base, cap, expected) in [
            (Duration::from_secs(9), Duration::from_secs(2), Duration::from_secs(2)),
            (Duration::ZERO, Duration::from_secs(2), Duration::ZERO),
            (Duration::MAX, Duration::MAX, Duration::MAX),
        ] {
            let mut backoff = Backoff::new(base, cap);
            for _ in 0..3 {
                assert_eq!(backoff.next(|| 2.0), expected);
            }
        }
    }

    /// *Scenario*: every form of `Retry-After`, with garbage among them.
    /// *Guarantees*: seconds and all three date forms are understood, the cap holds, garbage is no wait of its own.
    #[test]
    fn retry_after_forms() {
        // Sun, 06 Nov 1994 08:49:07 GMT, half a minute before the date of the examples.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_747);
        for (value, expected_seconds) in [
            ("0", Some(0)),
            ("2", Some(2)),
            (" 120 ", Some(120)),
            ("600", Some(600)),
            ("601", Some(600)),
            ("99999999999999999999999999", Some(600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(600)),
            ("", None),
            (" ", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
            ("2s", None),
        ] {
            assert_eq!(retry_after(value, now), expected_seconds.map(Duration::from_secs), "value `{value}`");
        }
    }
}
