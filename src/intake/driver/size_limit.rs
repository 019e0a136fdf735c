//! How large a body an intake takes, as far as it has shown.

/// No body is made smaller because of one that was too large: halving reaches single events all the same.
const LEAST_BYTES: usize = 64 * 1024;

/// After so many requests that were taken, a little more is tried.
const TAKEN_BEFORE_RISE: u32 = 100;

/// The largest body worth trying. It falls to half of what was too large, and rises by a tenth now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeLimit {
    bytes: Option<usize>,
    taken: u32,
}

impl SizeLimit {
    /// Nothing was too large yet.
    pub(super) fn new() -> Self {
        Self { bytes: None, taken: 0 }
    }

    /// Most bytes of a body before compression; `None`: whatever the settings say.
    pub(super) fn bytes(self) -> Option<usize> {
        self.bytes
    }

    /// A body of `length` bytes was too large.
    pub(super) fn too_large(&mut self, length: usize) {
        let half = (length / 2).max(LEAST_BYTES);
        self.bytes = Some(self.bytes.map_or(half, |bytes| bytes.min(half)));
        self.taken = 0;
    }

    /// A body was taken. `most` is what the settings allow: once the limit reaches it, there is none.
    pub(super) fn taken(&mut self, most: usize) {
        let Some(bytes) = self.bytes else { return };
        self.taken = self.taken.saturating_add(1);
        if self.taken >= TAKEN_BEFORE_RISE {
            self.taken = 0;
            let raised = bytes.saturating_add(bytes / 10);
            self.bytes = (raised < most).then_some(raised);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: a body of 4 MB and one of 100 kB are too large, then ever more are taken.
    /// *Guarantees*: the limit falls to half of each, not below 64 KiB, and comes back by tenths until it is gone.
    #[test]
    fn the_limit_falls_and_recovers() {
        let mut limit = SizeLimit::new();
        limit.taken(4_000_000);
        assert_eq!(limit.bytes(), None);
        limit.too_large(4_000_000);
        assert_eq!(limit.bytes(), Some(2_000_000));
        limit.too_large(3_000_000);
        assert_eq!(limit.bytes(), Some(1_500_000));
        limit.too_large(100_000);
        assert_eq!(limit.bytes(), Some(65_536));
        for _ in 0..99 {
            limit.taken(4_000_000);
        }
        assert_eq!(limit.bytes(), Some(65_536));
        limit.taken(4_000_000);
        assert_eq!(limit.bytes(), Some(72_089));
        let n_taken = (0..).take_while(|_| {
            limit.taken(4_000_000);
            limit.bytes().is_some()
        });
        assert_eq!(n_taken.count(), 4_299);
    }
}
