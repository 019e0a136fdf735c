//! One byte budget for everything that is read, parsed or encoded and not acknowledged yet.
//!
//! Each intake has an equal part of `limits.memory`, so an intake that takes nothing stops its own reads only. Half of
//! a part is for reading, half for what is encoded: encoded bytes leave without needing any of the readers' bytes, so
//! the two never wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::telemetry::metrics::Gauge;

/// Bytes are counted in units of this size: a semaphore's single request has 32 bits.
const UNIT_BYTES: usize = 1024;

/// A part of the budget; clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    reading: Pool,
    encoded: Pool,
    gauge: Option<Gauge>,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { reading: Pool::new(bytes / 2), encoded: Pool::new(bytes / 2), gauge: None }
    }

    /// Shows in a gauge what is taken, whenever a pass looks at it.
    #[must_use]
    pub fn observed(mut self, gauge: Gauge) -> Self {
        self.gauge = Some(gauge);
        self
    }

    /// Shows what is taken now.
    pub(super) fn show(&self) {
        if let Some(gauge) = &self.gauge {
            gauge.set_count(u64::try_from(self.used_bytes()).unwrap_or(u64::MAX));
        }
    }

    /// For the buffers of readers.
    pub(super) fn reading(&self) -> &Pool {
        &self.reading
    }

    /// For encoded events, until they are acknowledged.
    pub(super) fn encoded(&self) -> &Pool {
        &self.encoded
    }

    fn used_bytes(&self) -> usize {
        self.reading.used_bytes().saturating_add(self.encoded.used_bytes())
    }
}

/// Half of a part. Requests are served in the order in which they come.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    units: Arc<Semaphore>,
    total: usize,
    /// How many requests wait.
    waiting: Arc<watch::Sender<usize>>,
}

/// A request that waits until this is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn note(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|n_requests| *n_requests = n_requests.saturating_add(1));
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n_requests| *n_requests = n_requests.saturating_sub(1));
    }
}

/// Bytes that are taken from a pool until this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    permit: Option<OwnedSemaphorePermit>,
}

impl Pool {
    fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(total)), total, waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// All of it, bytes.
    pub(super) fn total_bytes(&self) -> usize {
        self.total.saturating_mul(UNIT_BYTES)
    }

    /// Takes bytes, when they are free. Whoever asks for more than there is gets all of it, and so goes alone.
    pub(super) async fn take(&self, bytes: usize) -> Share {
        let units = self.units_of(bytes);
        if let Some(share) = self.try_units(units) {
            return share;
        }
        let _waiting = Waiting::note(&self.waiting);
        // The semaphore is never closed; were it, nothing would be counted any more, and nothing would stop.
        Share { permit: Arc::clone(&self.units).acquire_many_owned(units).await.ok() }
    }

    /// Whether somebody waits for bytes.
    pub(super) fn is_short(&self) -> bool {
        *self.waiting.borrow() > 0
    }

    /// Completes when somebody waits for bytes.
    pub(super) async fn short(&self) {
        // The sender lives as long as `self`.
        let _waiting = self.waiting.subscribe().wait_for(|n_requests| *n_requests > 0).await.is_ok();
    }

    /// Makes a share larger, if that many bytes are free now. Returns whether it is large enough.
    pub(super) fn try_grow(&self, share: &mut Share, bytes: usize) -> bool {
        let missing = self.units_of(bytes).saturating_sub(share.units());
        if missing == 0 {
            return true;
        }
        match self.try_units(missing) {
            Some(more) => {
                share.merge(more);
                true
            }
            None => false,
        }
    }

    fn try_units(&self, units: u32) -> Option<Share> {
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        Some(Share { permit: Some(permit) })
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES).min(self.total)).unwrap_or(u32::MAX)
    }

    fn used_bytes(&self) -> usize {
        self.total.saturating_sub(self.units.available_permits()).saturating_mul(UNIT_BYTES)
    }
}

impl Share {
    /// Of nothing.
    pub(super) fn empty() -> Self {
        Self { permit: None }
    }

    /// Adds another share of the same pool.
    pub(super) fn merge(&mut self, mut other: Self) {
        match (&mut self.permit, other.permit.take()) {
            (Some(permit), Some(more)) => permit.merge(more),
            (None, more) => self.permit = more,
            (Some(_), None) => {}
        }
    }

    /// Takes out what stands for so many bytes, or all that there is.
    pub(super) fn split_off(&mut self, bytes: usize) -> Self {
        let Some(permit) = &mut self.permit else { return Self::empty() };
        let units = bytes.div_ceil(UNIT_BYTES).min(permit.num_permits());
        match permit.split(units) {
            Some(part) => Self { permit: Some(part) },
            None => Self::empty(),
        }
    }

    fn units(&self) -> u32 {
        let units = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Scenario: shares are taken, split, merged and dropped. Guarantees: what is dropped is free again, a request for
    /// more than there is goes alone, one that has to wait is served in its turn and shows until it is served or gone.
    #[test]
    fn shares_come_back() {
        let pool = Pool::new(10 * UNIT_BYTES);
        let mut first = pool.take(4 * UNIT_BYTES).now_or_never().unwrap();
        let part = first.split_off(UNIT_BYTES + 1);
        assert_eq!(pool.used_bytes(), 4 * UNIT_BYTES);
        drop(part);
        assert_eq!(pool.used_bytes(), 2 * UNIT_BYTES);
        assert!(pool.try_grow(&mut first, 9 * UNIT_BYTES));
        assert!(pool.try_grow(&mut first, UNIT_BYTES));
        let mut second = pool.take(UNIT_BYTES).now_or_never().unwrap();
        assert!(!pool.try_grow(&mut second, 2 * UNIT_BYTES));

        assert!(!pool.is_short());
        let mut alone = Box::pin(pool.take(100 * UNIT_BYTES));
        assert!((&mut alone).now_or_never().is_none());
        assert!(pool.short().now_or_never().is_some());
        assert!((&mut Box::pin(pool.take(UNIT_BYTES))).now_or_never().is_none());
        drop(first);
        assert!((&mut alone).now_or_never().is_none());
        second.merge(Share::empty());
        drop(second);
        let alone = alone.now_or_never().unwrap();
        assert!(!pool.is_short() && pool.short().now_or_never().is_none());
        assert_eq!(pool.used_bytes(), pool.total_bytes());
        drop(alone);
        assert_eq!(pool.used_bytes(), 0);
    }
}
