//! F3: events on their way to an intake, collected up to limits of bytes, events and age. Pure: time is an argument.

use std::{ops::Range, time::Duration};

use crate::{checkpoint::Delta, model::Span};

/// Where an event came from, so that a refused one can be put into the quarantine with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPlace {
    /// The record's bytes in the blob.
    pub span: Span,
    /// The tuple's ordinal in the record.
    pub ordinal: u32,
}

/// Events encoded for one intake's protocol (escaped or enveloped once), one after the other without separators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedEvents {
    /// The encoded events.
    pub bytes: Vec<u8>,
    /// End of each event in `bytes`.
    pub ends: Vec<usize>,
    /// Where each event came from.
    pub places: Vec<EventPlace>,
}

impl EncodedEvents {
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
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end)
    }

    /// Ends the event that was written to `bytes` since the last end.
    pub fn finish_event(&mut self, place: EventPlace) {
        self.ends.push(self.bytes.len());
        self.places.push(place);
    }
}

/// What leaves the batcher: one request's events and the steps that their acceptance acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The events, in order.
    pub events: EncodedEvents,
    /// The steps, one a blob and batch: `events[from_event..]` of a step's blob precede its end.
    pub deltas: Vec<Delta>,
}

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most bytes of a request body before compression, exact.
    pub max_bytes: usize,
    /// Most events of a request.
    pub max_events: usize,
    /// Longest time that an event waits for others.
    pub max_age: Duration,
}
