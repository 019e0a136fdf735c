//! Waiting for what other programs do. The only place of the tests that sleeps: between two looks at a
//! condition, or on a paused clock.

use std::time::{Duration, Instant};

/// Time between two looks: short beside anything that is waited for, long beside a look.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until there is something to see, at most `deadline` long; then the test fails with what `problem` says.
pub(crate) async fn until_some<T>(
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
    problem: impl FnOnce() -> String,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        if begun.elapsed() > deadline {
            panic!("after {deadline:?}: {}", problem());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Time between two bytes of a peer that is slow on purpose.
pub(crate) async fn pace(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Time passes on a paused clock: nobody waits. Fails on a clock that goes.
pub(crate) async fn time_passes(duration: Duration) {
    assert_eq!(tokio::time::Instant::now().elapsed(), Duration::ZERO, "the clock goes");
    tokio::time::sleep(duration).await;
}

/// Something is due again and again on a paused clock, as far as nobody is late.
pub(crate) fn again_and_again(period: Duration) -> tokio::time::Interval {
    let mut due = tokio::time::interval(period);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    due
}
