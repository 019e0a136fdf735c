//! Which events of a batch are meant.

use std::ops::Range;

use crate::batch::EncodedEvents;

/// Some events of a batch, by their indexes, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Disjoint, none empty, in order.
    ranges: Vec<Range<usize>>,
}

impl Selection {
    /// The events from the first index to before the second.
    #[must_use]
    pub fn of(range: Range<usize>) -> Self {
        Self { ranges: std::iter::once(range).filter(|range| !range.is_empty()).collect() }
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).fold(0, usize::saturating_add)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Their indexes in the batch.
    pub fn indexes(&self) -> impl Iterator<Item = usize> + '_ {
        self.ranges.iter().cloned().flatten()
    }

    /// Where they stand in the batch's bytes: neighbours in one piece where the separators are between them already.
    #[must_use]
    pub fn byte_ranges(&self, events: &EncodedEvents) -> Vec<Range<usize>> {
        self.ranges.iter().flat_map(|range| events.pieces(range)).collect()
    }

    /// The bytes of all of them together.
    #[must_use]
    pub fn encoded_bytes(&self, events: &EncodedEvents) -> usize {
        self.ranges.iter().map(|range| events.encoded_bytes(range)).fold(0, usize::saturating_add)
    }

    /// Those at these places in the selection. The places are in order.
    #[must_use]
    pub fn pick(&self, places: &[usize]) -> Self {
        let mut picked = Self { ranges: Vec::new() };
        let mut wanted = places.iter().copied().peekable();
        for (place, index) in self.indexes().enumerate() {
            if wanted.next_if_eq(&place).is_some() {
                picked.push(index);
            }
        }
        picked
    }

    /// The first half and the second; of a single event the first half is empty.
    #[must_use]
    pub fn halves(&self) -> (Self, Self) {
        let middle = self.len() / 2;
        let (mut first, mut second) = (Self { ranges: Vec::new() }, Self { ranges: Vec::new() });
        for (place, index) in self.indexes().enumerate() {
            if place < middle { first.push(index) } else { second.push(index) }
        }
        (first, second)
    }

    /// Adds an event behind all others.
    fn push(&mut self, index: usize) {
        let end = index.saturating_add(1);
        match self.ranges.last_mut() {
            Some(last) if last.end == index => last.end = end,
            _ => self.ranges.push(index..end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batch::EventPlace, model::Span};

    fn indexes(selection: &Selection) -> Vec<usize> {
        selection.indexes().collect()
    }

    /// *Scenario*: events are picked out of a selection, picked out of that again, and halved.
    /// *Guarantees*: places count within the selection, indexes and bytes within the batch; halves are whole together.
    #[test]
    fn selections() {
        let mut events = EncodedEvents::default();
        for (ordinal, text) in (0..).zip(["a", "bb", "ccc", "dddd", "e", "ff"]) {
            events.bytes.extend_from_slice(text.as_bytes());
            events.finish_event(EventPlace { record: Span { from: 0, to: 1 }, ordinal });
        }
        let all = Selection::of(0..6);
        let picked = all.pick(&[1, 2, 4, 5]);
        assert_eq!(picked, Selection { ranges: vec![1..3, 4..6] });
        assert_eq!((indexes(&picked), picked.len()), (vec![1, 2, 4, 5], 4));
        assert_eq!(picked.encoded_bytes(&events), 8);
        let texts: Vec<&[u8]> =
            picked.byte_ranges(&events).into_iter().map(|range| &events.bytes[range]).collect();
        assert_eq!(texts, [&b"bb"[..], b"ccc", b"e", b"ff"]);
        assert_eq!(indexes(&picked.pick(&[0, 3])), [1, 5]);
        let (first, second) = picked.halves();
        assert_eq!((indexes(&first), indexes(&second)), (vec![1, 2], vec![4, 5]));
        let (nothing, single) = Selection::of(3..4).halves();
        assert!(nothing.is_empty() && indexes(&single) == [3]);
        assert!(Selection::of(2..2).is_empty() && picked.pick(&[]).is_empty());
    }
}
