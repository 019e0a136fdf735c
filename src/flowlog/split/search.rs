//! Behind damage: the next place that starts a record of a flow log, and what lies before it.

use super::{Splitter, State, armed_behind, to_u64};
use crate::{
    flowlog::{
        json_scan::{JsonScan, Scanned},
        piece::{DamageKind, Damaged, KEPT_BYTES, is_flow_record},
    },
    model::Span,
};

/// The search for the next record behind damage.
#[derive(Debug)]
pub(super) struct Search {
    /// Offset of the first damaged byte.
    pub(super) from: u64,
    pub(super) kind: DamageKind,
    /// Whether a record may start at the cursor: behind a comma, a bracket that opens a list, or a line feed.
    pub(super) armed: bool,
    /// The byte behind the last one that was looked at, be it in vain.
    farthest: u64,
    /// The first damaged bytes, once the buffer does not hold all of them any more.
    pub(super) first: Option<Vec<u8>>,
}

impl Search {
    /// Before the first damage.
    pub(super) fn none() -> Self {
        Self { from: 0, kind: DamageKind::Unbalanced, armed: false, farthest: 0, first: None }
    }
}

impl Splitter {
    /// Begins a search behind the byte at `from`.
    pub(super) fn search_from(&mut self, from: usize, kind: DamageKind) {
        let farthest = self.at(self.cursor.max(from));
        self.search = Search { from: self.at(from), kind, armed: false, farthest, first: None };
        self.cursor = from;
        self.state = State::Searching(None);
    }

    /// Looks for a place where a record may start. `None`: more bytes are needed.
    pub(super) fn find_candidate(&mut self) -> Option<()> {
        let begin = self.cursor;
        let mut armed = self.search.armed;
        let rest = self.buffer.get(begin..).unwrap_or_default();
        let found = rest.iter().position(|byte| {
            let is_candidate = armed && *byte == b'{';
            armed = armed_behind(armed, &[*byte]);
            is_candidate
        });
        self.search.armed = armed;
        self.cursor += found.unwrap_or(rest.len());
        self.bytes_scanned += to_u64(self.cursor - begin);
        self.search.farthest = self.search.farthest.max(self.at(self.cursor));
        found?;
        self.state = State::Searching(Some((self.cursor, JsonScan::new())));
        Some(())
    }

    /// Reads on in a candidate. `None`: more bytes are needed.
    pub(super) fn try_candidate(&mut self, start: usize, mut json: JsonScan) -> Option<()> {
        let scanned = self.advance(start, &mut json);
        self.search.farthest = self.search.farthest.max(self.at(self.cursor));
        if scanned == Scanned::All && self.may_go_on(start) {
            self.state = State::Searching(Some((start, json)));
            return None;
        }
        let bytes = self.buffer.get(start..self.cursor).unwrap_or_default();
        if scanned == Scanned::Object {
            self.bytes_scanned += to_u64(bytes.len());
            if is_flow_record(bytes) {
                self.state = State::Found(start);
                return Some(());
            }
        }
        self.cursor = start + 1;
        self.search.armed = false;
        self.state = State::Searching(None);
        Some(())
    }

    /// Lets go of damaged bytes where they have become too many.
    pub(super) fn cut_damage(&mut self) {
        let is_searching = matches!(self.state, State::Searching(_));
        let held = self.at(self.buffer.len()).saturating_sub(self.search.from);
        if is_searching && self.search.first.is_none() && held > to_u64(self.record_limit) {
            let from = self.index_of(self.search.from);
            let first = self.buffer.get(from..from + self.kept_bytes()).unwrap_or_default();
            self.search.first = Some(first.to_vec());
        }
    }

    pub(super) fn damaged(&self, span: Span) -> Damaged<'_> {
        let Search { from, kind, farthest, first, .. } = &self.search;
        let mut length = usize::try_from(span.length()).unwrap_or(usize::MAX);
        if farthest.saturating_sub(*from) > to_u64(self.record_limit) {
            length = length.min(self.kept_bytes());
        }
        let held = match first {
            Some(first) => first,
            None => self.buffer.get(self.index_of(*from)..).unwrap_or_default(),
        };
        let bytes = held.get(..length.min(held.len())).unwrap_or_default();
        Damaged { span, kind: kind.clone(), bytes }
    }

    fn kept_bytes(&self) -> usize {
        KEPT_BYTES.min(self.record_limit)
    }
}
