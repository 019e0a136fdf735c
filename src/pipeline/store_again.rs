//! Storing again what there was no room for.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{retry::Backoff, store::StoreError};

/// First pause before something for which there was no room is tried again,
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// and the longest: soon after there is room again, all goes on.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// The patience with a store that has no room.
#[derive(Debug)]
pub struct StoreAgain {
    began: Instant,
    deadline: Option<Duration>,
    backoff: Backoff,
}

impl StoreAgain {
    /// Begins now. `deadline` is how long it may last; `None`: without end.
    #[must_use]
    pub fn within(deadline: Option<Duration>) -> Self {
        Self { began: Instant::now(), deadline, backoff: Backoff::new(FIRST_PAUSE, LAST_PAUSE) }
    }

    /// For how long it has failed, where the same can still succeed in time; else `None`.
    #[must_use]
    pub fn worthwhile_after(&self, error: &StoreError) -> Option<Duration> {
        let failed_for = self.began.elapsed();
        let is_too_late = self.deadline.is_some_and(|deadline| failed_for >= deadline);
        (error.is_transient() && !is_too_late).then_some(failed_for)
    }

    /// Waits before the next time. Returns false where `stopped` came first.
    pub async fn pause(&mut self, stopped: &CancellationToken) -> bool {
        let pause = self.backoff.next(fastrand::f64);
        tokio::select! {
            biased;
            () = stopped.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}
