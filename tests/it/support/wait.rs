//! Waiting for what other programs do. The only place of the tests that sleeps, between two looks at a condition.

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
