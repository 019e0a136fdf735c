//! F0: large buffers that are used again.
//!
//! Events go through buffers as large as a body: run, batch, body. An allocator that takes the memory of each from the
//! system and gives it back makes the system fill every page with zeros first, which takes as long as all else that is done
//! with an event.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Smaller buffers are what allocators are good at.
const LEAST_BYTES: usize = 64 * 1024;

/// What is kept takes so much at most: a batch and a body of the usual size, and runs on their way there.
const MOST_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// A kept buffer is used for what needs at least such a part of it.
const LARGEST_WASTE: usize = 8;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer with room for so many bytes.
#[must_use]
pub fn take(n_bytes: usize) -> Vec<u8> {
    if n_bytes >= LEAST_BYTES {
        let mut kept = kept();
        let is_right =
            |buffer: &Vec<u8>| buffer.capacity() >= n_bytes && buffer.capacity() / LARGEST_WASTE <= n_bytes;
        // The last one is the likeliest to be in the processor's cache.
        if let Some(index) = kept.iter().rposition(is_right) {
            return kept.swap_remove(index);
        }
    }
    Vec::with_capacity(n_bytes)
}

/// Keeps a buffer that is not needed any more for the next one who takes one.
pub fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() < LEAST_BYTES {
        return;
    }
    let mut kept = kept();
    let kept_bytes = kept.iter().map(Vec::capacity).fold(buffer.capacity(), usize::saturating_add);
    if kept_bytes <= MOST_KEPT_BYTES {
        buffer.clear();
        kept.push(buffer);
    }
}

/// A buffer that is given back when nobody reads it any more.
#[derive(Debug)]
pub struct Recycled(Vec<u8>);

impl From<Vec<u8>> for Recycled {
    fn from(buffer: Vec<u8>) -> Self {
        Self(buffer)
    }
}

impl AsRef<[u8]> for Recycled {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.0));
    }
}

/// Nothing that is done under the lock panics, and a list of buffers is right whatever happened.
fn kept() -> MutexGuard<'static, Vec<Vec<u8>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: buffers of all sizes are given back, more than are kept, and taken.
    /// *Guarantees*: each that is taken is empty and has the room; what is kept is bounded, and never small.
    #[test]
    fn bounds() {
        for round in 0..4 {
            let mut taken: Vec<_> = (10..24).map(|power| take((1 << power) + round)).collect();
            for (buffer, power) in taken.iter_mut().zip(10..24) {
                assert!(buffer.is_empty() && buffer.capacity() >= 1 << power);
                buffer.push(1);
            }
            taken.into_iter().for_each(give_back);
            let kept = kept();
            let bytes: usize = kept.iter().map(Vec::capacity).sum();
            assert!(bytes <= MOST_KEPT_BYTES, "{bytes}");
            assert!(kept.iter().all(|buffer| buffer.is_empty() && buffer.capacity() >= LEAST_BYTES));
        }
    }
}
