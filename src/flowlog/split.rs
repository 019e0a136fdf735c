//! Records out of a stream of bytes that arrives in chunks, past damage too.
//!
//! A record is the bytes from `{` to its balancing `}`, braces in strings not counted. Where the stream is damaged, the
//! splitter looks for the next place that starts a record of a flow log; the bytes before it are one damaged piece.
//! Where the chunks end never shows. The buffer never holds more than the largest record, one chunk and
//! [`CONTEXT_BYTES`]. Without damage every byte is scanned once; with it, more often only where objects that all lack
//! their end lie within each other, which [`super::json_scan`] bounds.

mod search;

use crate::model::Span;

use super::{
    head::{FirstObject, HeadScan, is_white_space},
    json_scan::{JsonScan, Scanned},
    piece::{DamageKind, Piece, PlainList, RawRecord, Tail},
};
use search::Search;

/// How many bytes before the offset are kept for [`Splitter::context`], at most.
const CONTEXT_BYTES: usize = 64;

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Where in the stream the first pushed byte stands.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// At byte 0: a byte order mark and the head through `"records":[` may come first.
    Beginning,
    /// Behind a complete record.
    After {
        /// The byte after that record: [`Splitter::offset`] of the earlier reading.
        offset: u64,
        /// The at most 64 bytes before it.
        context: &'a [u8],
    },
}

/// Cuts a stream into pieces; see the module.
///
/// Push a chunk, take pieces until there is none, push the next one. After the last chunk call [`Self::end`], take
/// pieces once more, and ask for the [`Self::tail`].
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Offset in the stream of the buffer's first byte.
    base: u64,
    /// Index in the buffer of the next byte to scan.
    cursor: usize,
    state: State,
    search: Search,
    record_limit: usize,
    /// No more bytes will come.
    ended: bool,
    /// Index in the buffer of the last record returned, until the next piece is asked for.
    last_record: Option<usize>,
    passed: Passed,
    /// What `passed` was before the last record.
    passed_before: Passed,
    bytes_scanned: u64,
    /// Of the object that was scanned last.
    plain_lists: Vec<PlainList>,
}

/// How far the pieces that were returned reach.
#[derive(Debug, Clone, Default)]
struct Passed {
    offset: Option<u64>,
    context: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Before a possible byte order mark.
    Mark,
    /// Before the first object.
    Leading,
    /// In the first object, which starts at this index of the buffer.
    Head(usize, HeadScan, JsonScan),
    /// Before a record.
    Between,
    /// In a record, which starts at this index of the buffer.
    Record(usize, JsonScan),
    /// Behind the closing bracket. Whether a line feed was the last thing there but other white space.
    Closed(bool),
    /// Behind damage, looking for a record; see [`Search`]. The candidate in work starts at this index of the buffer.
    Searching(Option<(usize, JsonScan)>),
    /// A search has found the record from this index to the cursor.
    Found(usize),
}

/// What a scan came to.
enum Step {
    Record(usize),
    Damaged(Span),
}

impl Splitter {
    /// `record_limit` is the most bytes that a record may have.
    #[must_use]
    pub fn new(start: Start<'_>, record_limit: usize) -> Self {
        let (context, offset, state) = match start {
            Start::Beginning => (&[] as &[u8], None, State::Mark),
            Start::After { offset, context } => (last_bytes(context), Some(offset), State::Between),
        };
        let passed = Passed { offset, context: context.to_vec() };
        Self {
            buffer: context.to_vec(),
            base: offset.unwrap_or_default().saturating_sub(to_u64(context.len())),
            cursor: context.len(),
            state,
            search: Search::none(),
            record_limit,
            ended: false,
            last_record: None,
            passed_before: passed.clone(),
            passed,
            bytes_scanned: 0,
            plain_lists: Vec::new(),
        }
    }

    /// Adds the stream's next bytes. Take all pieces of the chunk before first.
    pub fn push(&mut self, chunk: &[u8]) {
        self.last_record = None;
        self.cut_damage();
        let keep_from = self.needed_from().saturating_sub(CONTEXT_BYTES);
        self.buffer.drain(..keep_from);
        self.base += to_u64(keep_from);
        self.cursor -= keep_from;
        match &mut self.state {
            State::Head(start, ..)
            | State::Record(start, _)
            | State::Searching(Some((start, _)))
            | State::Found(start) => *start -= keep_from,
            State::Mark | State::Leading | State::Between | State::Closed(_) | State::Searching(None) => {}
        }
        let needed = self.buffer.len() + chunk.len();
        if self.buffer.capacity() < needed {
            // A quarter more than needed keeps appends cheap; more than the largest record is never needed.
            let most = self.record_limit.saturating_add(chunk.len() + CONTEXT_BYTES);
            let capacity = (needed + needed / 4).min(most).max(needed);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        } else if self.buffer.capacity() / 4 > needed {
            // The memory of a large record is given back.
            self.buffer.shrink_to(needed);
        }
        self.buffer.extend_from_slice(chunk);
    }

    /// No more bytes will come: what has no end now is damaged.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Bytes held: the beginning of a record whose end has not come, and what stands before it.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next piece; `None` when more bytes are needed or nothing is left.
    pub fn next_piece(&mut self) -> Option<Piece<'_>> {
        self.last_record = None;
        let scanned = self.scan();
        match scanned? {
            Step::Record(start) => {
                std::mem::swap(&mut self.passed, &mut self.passed_before);
                self.pass(self.cursor);
                self.last_record = Some(start);
                let span = Span { from: self.at(start), to: self.at(self.cursor) };
                let bytes = self.buffer.get(start..self.cursor).unwrap_or_default();
                Some(Piece::Record(RawRecord { span, bytes, plain_lists: &self.plain_lists }))
            }
            Step::Damaged(span) => {
                self.pass(self.index_of(span.to));
                Some(Piece::Damaged(self.damaged(span)))
            }
        }
    }

    /// The last record returned is not JSON, its reader says: it counts as damaged, and the search for the next record
    /// starts within it. To be called before anything else.
    pub fn not_json(&mut self, kind: DamageKind) {
        if let Some(start) = self.last_record.take() {
            std::mem::swap(&mut self.passed, &mut self.passed_before);
            self.search_from(start, kind);
        }
    }

    /// The byte after the last piece that was returned; `None` before the first one.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.passed.offset
    }

    /// The at most 64 bytes of the stream before [`Self::offset`]; empty before the first piece.
    #[must_use]
    pub fn context(&self) -> &[u8] {
        &self.passed.context
    }

    /// How many bytes were looked at so far, those that were looked at twice counted twice.
    #[must_use]
    pub fn bytes_scanned(&self) -> u64 {
        self.bytes_scanned
    }

    /// What stands behind the last piece, once the stream has ended and no piece is left to take.
    #[must_use]
    pub fn tail(&self) -> Tail<'_> {
        if !matches!(self.state, State::Searching(_)) {
            return Tail::Clean;
        }
        let damaged = self.damaged(Span { from: self.search.from, to: self.at(self.buffer.len()) });
        if damaged.kind == DamageKind::Unbalanced {
            Tail::Incomplete(damaged)
        } else {
            Tail::Damaged(damaged)
        }
    }

    /// Reads on to the end of a record, or to a record behind damage.
    fn scan(&mut self) -> Option<Step> {
        loop {
            match self.state {
                State::Mark => {
                    let rest = self.buffer.get(self.cursor..).unwrap_or_default();
                    if rest.starts_with(&BYTE_ORDER_MARK) {
                        self.cursor += BYTE_ORDER_MARK.len();
                    } else if BYTE_ORDER_MARK.starts_with(rest) && (rest.is_empty() || !self.ended) {
                        return None;
                    }
                    self.state = State::Leading;
                }
                State::Leading => match self.skip(is_white_space)? {
                    b'{' => {
                        self.state = State::Head(self.cursor, HeadScan::default(), JsonScan::new());
                    }
                    byte @ b']' => self.search_from(self.cursor, DamageKind::UnexpectedByte(byte)),
                    _ => self.state = State::Between,
                },
                State::Head(start, head, json) => {
                    if let Some(step) = self.scan_head(start, head, json)? {
                        return Some(step);
                    }
                }
                State::Between => match self.skip(|byte| byte == b',' || is_white_space(byte))? {
                    b'{' => self.state = State::Record(self.cursor, JsonScan::new()),
                    b']' => {
                        self.cursor += 1;
                        self.state = State::Closed(false);
                    }
                    byte => self.search_from(self.cursor, DamageKind::UnexpectedByte(byte)),
                },
                State::Record(start, mut json) => {
                    let scanned = self.advance(start, &mut json);
                    self.state = State::Record(start, json);
                    match scanned {
                        Scanned::Object => {
                            self.state = State::Between;
                            return Some(Step::Record(start));
                        }
                        Scanned::Foreign => self.search_from(start, self.foreign_byte()),
                        Scanned::All => self.unfinished(start)?,
                    }
                }
                State::Closed(line_feed) => {
                    let begin = self.cursor;
                    let stopped = self.skip(|byte| byte == b'}' || is_white_space(byte));
                    let skipped = self.buffer.get(begin..self.cursor).unwrap_or_default();
                    let line_feed = armed_behind(line_feed, skipped);
                    self.state = State::Closed(line_feed);
                    self.search_from(self.cursor, DamageKind::TextAfterEnd(stopped?));
                    self.search.armed = line_feed;
                }
                State::Searching(None) => self.find_candidate()?,
                State::Searching(Some((start, json))) => self.try_candidate(start, json)?,
                State::Found(start) => {
                    self.state = State::Between;
                    return Some(Step::Record(start));
                }
            }
            if let (State::Found(start), from) = (self.state, self.search.from) {
                let to = self.at(start);
                if from < to {
                    return Some(Step::Damaged(Span { from, to }));
                }
            }
        }
    }
}

impl Splitter {
    /// `None`: more bytes are needed.
    fn scan_head(&mut self, start: usize, mut head: HeadScan, mut json: JsonScan) -> Option<Option<Step>> {
        let mut end = self.cursor;
        let first = head.advance(self.within_limit(start), &mut end);
        let mut cursor = self.cursor;
        let bytes = self.buffer.get(..end).unwrap_or_default();
        let scanned = json.advance(bytes, start, &mut cursor, &mut self.plain_lists);
        self.bytes_scanned += to_u64(cursor - self.cursor);
        self.cursor = cursor;
        self.state = State::Head(start, head, json);
        match (scanned, first) {
            (Scanned::Foreign, _) => self.search_from(start, self.foreign_byte()),
            (_, Some(FirstObject::Wrapper)) => self.state = State::Between,
            (Scanned::Object, _) => {
                self.state = State::Between;
                return Some(Some(Step::Record(start)));
            }
            (Scanned::All, _) => self.unfinished(start)?,
        }
        Some(None)
    }

    /// An object goes on behind the cursor. `None`: more bytes are needed; else it is damaged.
    fn unfinished(&mut self, start: usize) -> Option<()> {
        if self.may_go_on(start) {
            return None;
        }
        let is_too_large = self.buffer.len() - start > self.record_limit;
        let kind = if is_too_large {
            DamageKind::TooLarge { limit: self.record_limit }
        } else {
            DamageKind::Unbalanced
        };
        self.search_from(start, kind);
        Some(())
    }

    fn advance(&mut self, start: usize, json: &mut JsonScan) -> Scanned {
        let mut cursor = self.cursor;
        let mut plain_lists = std::mem::take(&mut self.plain_lists);
        let scanned = json.advance(self.within_limit(start), start, &mut cursor, &mut plain_lists);
        self.plain_lists = plain_lists;
        self.bytes_scanned += to_u64(cursor - self.cursor);
        self.cursor = cursor;
        scanned
    }

    /// The buffer to the last byte that an object from `start` on may have.
    fn within_limit(&self, start: usize) -> &[u8] {
        let end = start.saturating_add(self.record_limit).min(self.buffer.len());
        self.buffer.get(..end).unwrap_or_default()
    }

    /// Whether bytes yet to come can complete an object that has no end so far.
    fn may_go_on(&self, start: usize) -> bool {
        !self.ended && self.buffer.len() - start <= self.record_limit
    }

    /// Moves the cursor over the bytes that `skipped` allows; returns the byte that stopped it.
    fn skip(&mut self, skipped: impl Fn(u8) -> bool) -> Option<u8> {
        let rest = self.buffer.get(self.cursor..).unwrap_or_default();
        let n_skipped = rest.iter().position(|byte| !skipped(*byte)).unwrap_or(rest.len());
        self.cursor += n_skipped;
        self.bytes_scanned += to_u64(n_skipped);
        self.buffer.get(self.cursor).copied()
    }

    /// Index of the first byte that is still needed.
    fn needed_from(&self) -> usize {
        match self.state {
            State::Searching(_) if self.search.first.is_none() => self.index_of(self.search.from),
            State::Head(start, ..)
            | State::Record(start, _)
            | State::Found(start)
            | State::Searching(Some((start, _))) => start,
            State::Mark | State::Leading | State::Between | State::Closed(_) | State::Searching(None) => {
                self.cursor
            }
        }
    }

    fn foreign_byte(&self) -> DamageKind {
        let found = self.buffer.get(self.cursor).copied().unwrap_or_default();
        DamageKind::NotJson(format!("`{}` at byte {}", found.escape_ascii(), self.at(self.cursor)))
    }

    fn pass(&mut self, end: usize) {
        self.passed.offset = Some(self.at(end));
        self.passed.context.clear();
        self.passed.context.extend_from_slice(last_bytes(self.buffer.get(..end).unwrap_or_default()));
    }

    fn at(&self, index: usize) -> u64 {
        self.base + to_u64(index)
    }

    fn index_of(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.buffer.len())
    }
}

/// Whether a record may start behind `bytes`, where before them it might or might not.
fn armed_behind(armed: bool, bytes: &[u8]) -> bool {
    bytes.iter().fold(armed, |armed, byte| match byte {
        b',' | b'[' | b'\n' => true,
        byte => armed && is_white_space(*byte),
    })
}

fn last_bytes(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(CONTEXT_BYTES)..).unwrap_or_default()
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
