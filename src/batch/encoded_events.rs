//! Events as they stand in bodies, with the place that each came from.

use std::ops::Range;

use crate::{buffers, model::Span};

/// Where an event came from, so that one that is refused enters the quarantine with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPlace {
    /// The record's bytes in the blob.
    pub record: Span,
    /// The tuple's ordinal in the record.
    pub ordinal: u32,
}

/// Events encoded for one intake's protocol (escaped or enveloped once), one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedEvents {
    /// The encoded events, each with the separator behind it, if there is one.
    pub bytes: Vec<u8>,
    /// End of each event in `bytes`, before its separator.
    pub ends: Vec<usize>,
    /// Where each event came from.
    pub places: Vec<EventPlace>,
    separator: Option<u8>,
}

impl EncodedEvents {
    /// No event yet. What stands between two events of a body stands between those that come, so that many of them can
    /// go into a body as one piece.
    #[must_use]
    pub fn separated_by(separator: Option<u8>) -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), places: Vec::new(), separator }
    }

    /// Makes room for so many bytes and events, so that they need not be moved while they grow.
    pub fn reserve(&mut self, n_bytes: usize, n_events: usize) {
        if self.bytes.capacity() == 0 {
            self.bytes = buffers::take(n_bytes);
        }
        self.bytes.reserve(n_bytes);
        self.ends.reserve(n_events);
        self.places.reserve(n_events);
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The byte range of every event in `bytes`, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let behind = self.ends.iter().map(|end| end.saturating_add(self.gap()));
        std::iter::once(0).chain(behind).zip(self.ends.iter().copied()).map(|(start, end)| start..end)
    }

    /// The bytes of `self[range]`, where `range` counts events: in one piece where the separators are between them, else
    /// a piece for each event.
    pub fn pieces(&self, range: &Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let n_together = if self.separator.is_some() { range.len().max(1) } else { 1 };
        range.clone().step_by(n_together).filter_map(move |first| {
            let last = first.saturating_add(n_together).checked_sub(1)?;
            Some(self.start(first)..*self.ends.get(last)?)
        })
    }

    /// Bytes of `self[range]`, where `range` counts events, without separators.
    #[must_use]
    pub fn encoded_bytes(&self, range: &Range<usize>) -> usize {
        let Some(end) = range.end.checked_sub(1).and_then(|last| self.ends.get(last)) else { return 0 };
        let gaps = self.gap().saturating_mul(range.len().saturating_sub(1));
        end.saturating_sub(self.start(range.start)).saturating_sub(gaps)
    }

    /// Ends the event that was written to `bytes` since the last end.
    pub fn finish_event(&mut self, place: EventPlace) {
        self.ends.push(self.bytes.len());
        self.places.push(place);
        if let Some(separator) = self.separator {
            self.bytes.push(separator);
        }
    }

    fn gap(&self) -> usize {
        usize::from(self.separator.is_some())
    }

    /// Where an event begins, or the one that comes next.
    fn start(&self, index: usize) -> usize {
        let before = index.checked_sub(1).and_then(|before| self.ends.get(before));
        before.map_or(0, |end| end.saturating_add(self.gap()))
    }

    /// Appends `other[range]`, where `range` counts events. All have the same separator.
    pub(super) fn append(&mut self, other: &Self, range: Range<usize>) {
        if self.is_empty() {
            self.separator = other.separator;
        }
        let Some(ends) = other.ends.get(range.clone()) else { return };
        let Some(end) = ends.last().map(|end| end.saturating_add(other.gap())) else { return };
        let (start, base) = (other.start(range.start), self.bytes.len());
        self.bytes.extend_from_slice(other.bytes.get(start..end).unwrap_or_default());
        // Every end lies behind `start`, and no buffer is as large as the address space.
        self.ends.extend(ends.iter().map(|end| end.wrapping_sub(start).wrapping_add(base)));
        self.places.extend_from_slice(other.places.get(range).unwrap_or_default());
    }
}

impl Drop for EncodedEvents {
    fn drop(&mut self) {
        buffers::give_back(std::mem::take(&mut self.bytes));
    }
}
