//! What is left of a batch while it is delivered in pieces: a piece that is too large or not liked is halved, down to
//! single events. Nothing is encoded again.

use std::time::Duration;

use tokio::time::Instant;

use crate::{intake::Selection, model::Reason, retry::Backoff};

/// An event that was not accepted for certain, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unaccepted {
    /// Its index in the batch.
    pub event: usize,
    /// Refused, or in doubt.
    pub reason: Reason,
    /// What exactly, for people.
    pub detail: String,
    /// Status and beginning of the intake's answer.
    pub answer: (u16, String),
}

/// Events that are sent together.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) selection: Selection,
    /// How often the connection was reset under it.
    pub(super) resets: u32,
    /// How many requests the intake had accepted when this piece failed last.
    failed_at: Option<u64>,
    backoff: Option<Backoff>,
}

impl Piece {
    fn new(selection: Selection) -> Self {
        Self { selection, resets: 0, failed_at: None, backoff: None }
    }

    /// Only the events at these places of it; what happened to it before happened to them.
    pub(super) fn pick(&self, places: &[usize]) -> Self {
        Self { selection: self.selection.pick(places), ..*self }
    }

    /// It failed once more. Where the intake took others since the last time, it is this piece that fails: it waits
    /// alone, so that the others do not wait for it and the intake is not asked for it without end.
    pub(super) fn failed(
        &mut self,
        n_accepted: u64,
        backoff: Backoff,
        random: impl FnOnce() -> f64,
    ) -> Option<Instant> {
        let others_were_taken = self.failed_at.replace(n_accepted).is_some_and(|then| then < n_accepted);
        let wait =
            if others_were_taken { self.backoff.get_or_insert(backoff).next(random) } else { Duration::ZERO };
        Instant::now().checked_add(wait).filter(|_| !wait.is_zero())
    }
}

/// The pieces of a batch that are not delivered yet, and the events that will not be.
#[derive(Debug)]
pub(super) struct Remaining {
    /// The next piece is the last.
    pieces: Vec<Piece>,
    unaccepted: Vec<Unaccepted>,
    /// How many of `unaccepted` are beyond doubt, because an event was accepted after them.
    settled: usize,
}

impl Remaining {
    /// The whole batch.
    pub(super) fn new(n_events: usize) -> Self {
        Self { pieces: vec![Piece::new(Selection::of(0..n_events))], unaccepted: Vec::new(), settled: 0 }
    }

    /// What is sent next.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.pieces.pop()
    }

    /// The piece is sent again, before all others.
    pub(super) fn again(&mut self, piece: Piece) {
        if !piece.selection.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// The piece is sent again, after all others.
    pub(super) fn later(&mut self, piece: Piece) {
        if !piece.selection.is_empty() {
            self.pieces.insert(0, piece);
        }
    }

    /// Both halves are sent instead, the first one first. A single event stays what it is.
    pub(super) fn halve(&mut self, piece: Piece) {
        let (first, second) = piece.selection.halves();
        if first.is_empty() {
            self.again(piece);
            return;
        }
        self.pieces.push(Piece::new(second));
        self.pieces.push(Piece::new(first));
    }

    /// Some events were accepted: those that were refused before are at fault themselves.
    pub(super) fn accepted(&mut self) {
        self.settled = self.unaccepted.len();
    }

    /// These events are not sent again.
    pub(super) fn unaccepted(&mut self, events: impl IntoIterator<Item = Unaccepted>) {
        self.unaccepted.extend(events);
    }

    /// The intake is at fault, not these events: others are tried first, then these in halves. Where nothing at all is
    /// believed (`all`), whatever was refused since the last accepted event is sent again too.
    pub(super) fn doubt(&mut self, piece: Piece, all: bool) {
        let n_pieces = self.pieces.len();
        self.halve(piece);
        let halves = self.pieces.split_off(n_pieces);
        self.pieces.splice(0..0, halves);
        if all {
            self.put_refused_back();
        }
    }

    fn put_refused_back(&mut self) {
        let settled = self.settled.min(self.unaccepted.len());
        let (refused, in_doubt): (Vec<_>, Vec<_>) =
            self.unaccepted.drain(settled..).partition(|unaccepted| unaccepted.reason == Reason::Refused);
        self.unaccepted.extend(in_doubt);
        let single = |event: usize| Piece::new(Selection::of(event..event.saturating_add(1)));
        let pieces = refused.iter().map(|refused| single(refused.event));
        self.pieces.splice(0..0, pieces);
        self.settled = self.unaccepted.len();
    }

    /// The events that were not accepted for certain, in order.
    pub(super) fn into_unaccepted(mut self) -> Vec<Unaccepted> {
        self.unaccepted.sort_unstable_by_key(|unaccepted| unaccepted.event);
        self.unaccepted
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn refused(event: usize) -> Unaccepted {
        Unaccepted { event, reason: Reason::Refused, detail: String::new(), answer: (400, String::new()) }
    }

    fn pieces<const N: usize>(ranges: [Range<usize>; N]) -> Vec<Selection> {
        ranges.map(Selection::of).into()
    }

    fn left(remaining: &Remaining) -> Vec<Selection> {
        remaining.pieces.iter().rev().map(|piece| piece.selection.clone()).collect()
    }

    /// *Scenario*: a batch of six is halved down to single events; the first is refused, the second accepted, the third
    /// refused; then nothing is believed any more.
    /// *Guarantees*: every event is in exactly one piece or done; what was refused since the last accepted event is sent
    /// again, what was refused before it is not; other events come before those that were just refused.
    #[test]
    fn pieces_cover_what_is_left() {
        let mut remaining = Remaining::new(6);
        let whole = remaining.next().unwrap();
        remaining.halve(whole);
        assert_eq!(left(&remaining), pieces([0..3, 3..6]));
        let half = remaining.next().unwrap();
        remaining.halve(half);
        assert_eq!(remaining.next().unwrap().selection, Selection::of(0..1));
        remaining.unaccepted([refused(0)]);
        let pair = remaining.next().unwrap();
        remaining.halve(pair);
        assert_eq!(remaining.next().unwrap().selection, Selection::of(1..2));
        remaining.accepted();
        assert_eq!(remaining.next().unwrap().selection, Selection::of(2..3));
        remaining.unaccepted([refused(2)]);
        let rest = remaining.next().unwrap();
        remaining.halve(rest);
        let single = remaining.next().unwrap();
        remaining.doubt(single, true);
        assert_eq!(left(&remaining), pieces([4..6, 3..4, 2..3]));
        let rest = remaining.next().unwrap();
        remaining.doubt(rest, true);
        assert_eq!(left(&remaining), pieces([3..4, 2..3, 4..5, 5..6]));
        assert_eq!(remaining.into_unaccepted(), [refused(0)]);
    }

    /// *Scenario*: a piece that fails alone, and one that fails with all others.
    /// *Guarantees*: only the first waits by itself, ever longer.
    #[tokio::test(start_paused = true)]
    async fn a_piece_that_fails_alone() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let begun = Instant::now();
        let mut piece = Piece::new(Selection::of(0..1));
        let waits = [7, 7, 8, 9, 9].map(|n_accepted| {
            piece.failed(n_accepted, backoff, || 1.0).map(|until| (until - begun).as_secs())
        });
        assert_eq!(waits, [None, None, Some(1), Some(2), None]);
    }
}
