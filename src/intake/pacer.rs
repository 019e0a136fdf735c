//! Spaces the starts of requests.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Lets at most so many requests start in a second, evenly spaced, whoever sends them.
#[derive(Debug)]
pub(super) struct Pacer {
    spacing: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pacer {
    /// `None`: no limit.
    pub(super) fn new(requests_per_second: Option<u32>) -> Self {
        let spacing = requests_per_second
            .and_then(|requests| Duration::from_secs(1).checked_div(requests))
            .unwrap_or_default();
        Self { spacing, next: Mutex::new(None) }
    }

    /// Waits for the caller's turn.
    pub(super) async fn turn(&self) {
        if self.spacing.is_zero() {
            return;
        }
        let start = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let start = next.map_or(now, |next| next.max(now));
            *next = Some(start + self.spacing);
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: eleven requests at once at five a second.
    /// *Guarantees*: the last one starts two seconds after the first; without a limit nobody waits.
    #[tokio::test(start_paused = true)]
    async fn starts_are_spaced() {
        let begun = Instant::now();
        let pacer = Pacer::new(Some(5));
        futures_util::future::join_all((0..11).map(|_| pacer.turn())).await;
        assert_eq!(begun.elapsed().as_millis(), 2_000);
        let unlimited = Pacer::new(None);
        futures_util::future::join_all((0..11).map(|_| unlimited.turn())).await;
        assert_eq!(begun.elapsed().as_millis(), 2_000);
    }
}
