//! Records out of a stream of bytes that arrives in chunks.
//!
//! A record is the bytes from `{` to its balancing `}`, braces in strings not counted. Whether those bytes are JSON
//! is not looked at here. Every byte is copied once and scanned once, whatever the chunks; the buffer never holds
//! more than the largest record, one chunk and [`CONTEXT_BYTES`].

use crate::model::Span;

use super::nesting::{FirstObject, HeadScan, Nesting, is_white_space};

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

/// One record's bytes and their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// From `{` to the byte after the balancing `}`.
    pub span: Span,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// What stands behind the last complete record of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail<'a> {
    /// Nothing but white space, commas and the closing bracket.
    Clean,
    /// A record (or a head) without its end.
    Incomplete {
        /// Its place.
        span: Span,
        /// What there is of it.
        bytes: &'a [u8],
    },
}

/// Bytes that cannot belong to a flow log. The stream cannot be read on from here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {kind}")]
pub struct Damage {
    /// The first damaged byte of the stream.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// Kinds of damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// Neither a record nor what may stand between two.
    #[error("expected a record, found `{}`", .0.escape_ascii())]
    UnexpectedByte(u8),
    /// Something behind the bracket that closes the list of records.
    #[error("expected nothing after the closing bracket of the records, found `{}`", .0.escape_ascii())]
    TextAfterEnd(u8),
    /// A record without its end within the limit.
    #[error("the record that starts here is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Balanced braces around something that is not JSON; see [`super::record::RecordError::NotJson`].
    #[error("the record that starts here is not JSON: {0}")]
    NotJson(String),
}

/// Cuts a stream into records; see the module.
///
/// Push a chunk, take records until there is none, push the next one; after the last chunk ask [`Self::finish`].
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Offset in the stream of the buffer's first byte.
    base: u64,
    /// Index in the buffer of the next byte to scan.
    cursor: usize,
    state: State,
    record_limit: usize,
    /// The byte after the last record returned.
    offset: Option<u64>,
    context: Vec<u8>,
    damage: Option<Damage>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Before a possible byte order mark.
    Mark,
    /// Before the first object.
    Leading,
    /// In the first object, which starts at this index of the buffer.
    Head(usize, HeadScan),
    /// Before a record.
    Between,
    /// In a record, which starts at this index of the buffer.
    Record(usize, Nesting),
    /// Behind the closing bracket.
    Closed,
}

impl Splitter {
    /// `record_limit` is the most bytes that a record may have.
    #[must_use]
    pub fn new(start: Start<'_>, record_limit: usize) -> Self {
        let (context, offset, state) = match start {
            Start::Beginning => (&[] as &[u8], None, State::Mark),
            Start::After { offset, context } => (last_bytes(context), Some(offset), State::Between),
        };
        Self {
            buffer: context.to_vec(),
            base: offset.unwrap_or_default().saturating_sub(to_u64(context.len())),
            cursor: context.len(),
            state,
            record_limit,
            offset,
            context: context.to_vec(),
            damage: None,
        }
    }

    /// Adds the stream's next bytes. Take all records of the chunk before first.
    pub fn push(&mut self, chunk: &[u8]) {
        let needed_from = match self.state {
            State::Head(start, _) | State::Record(start, _) => start,
            State::Mark | State::Leading | State::Between | State::Closed => self.cursor,
        };
        let keep_from = needed_from.saturating_sub(CONTEXT_BYTES);
        self.buffer.drain(..keep_from);
        self.base += to_u64(keep_from);
        self.cursor -= keep_from;
        if let State::Head(start, _) | State::Record(start, _) = &mut self.state {
            *start -= keep_from;
        }
        if self.buffer.capacity() - self.buffer.len() < chunk.len() {
            // A quarter more than needed keeps appends cheap without doubling a large record's memory.
            self.buffer.reserve_exact(chunk.len().max(self.buffer.len() / 4));
        }
        self.buffer.extend_from_slice(chunk);
    }

    /// The next complete record; `None` when more bytes are needed or the list has ended.
    ///
    /// # Errors
    /// [`Damage`], again at each further call.
    pub fn next_record(&mut self) -> Result<Option<RawRecord<'_>>, Damage> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        let start = match self.scan() {
            Ok(Some(start)) => start,
            Ok(None) => return Ok(None),
            Err(damage) => {
                self.damage = Some(damage.clone());
                return Err(damage);
            }
        };
        let span = Span { from: self.at(start), to: self.at(self.cursor) };
        self.offset = Some(span.to);
        self.context.clear();
        self.context.extend_from_slice(last_bytes(self.buffer.get(..self.cursor).unwrap_or_default()));
        let bytes = self.buffer.get(start..self.cursor).unwrap_or_default();
        Ok(Some(RawRecord { span, bytes }))
    }

    /// Bytes held: the beginning of a record whose end has not come, and what stands before it.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The byte after the last complete record that was returned; `None` before the first one.
    ///
    /// A caller that finds this record to be no JSON must not use the value: the position stays where it was before
    /// the record.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The at most 64 bytes of the stream before [`Self::offset`]; empty before the first record.
    #[must_use]
    pub fn context(&self) -> &[u8] {
        &self.context
    }

    /// What stands behind the last record, once all chunks are pushed and no record is left to take.
    ///
    /// # Errors
    /// [`Damage`], where reading met it.
    pub fn finish(&mut self) -> Result<Tail<'_>, Damage> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        match self.state {
            State::Head(start, _) | State::Record(start, _) => {
                let span = Span { from: self.at(start), to: self.at(self.buffer.len()) };
                Ok(Tail::Incomplete { span, bytes: self.buffer.get(start..).unwrap_or_default() })
            }
            // A part of a byte order mark, and nothing else.
            State::Mark => match self.buffer.get(self.cursor) {
                Some(&byte) => Err(self.damage_here(DamageKind::UnexpectedByte(byte))),
                None => Ok(Tail::Clean),
            },
            State::Leading | State::Between | State::Closed => Ok(Tail::Clean),
        }
    }

    /// Reads on to the end of a record and returns the index of its start.
    fn scan(&mut self) -> Result<Option<usize>, Damage> {
        loop {
            match self.state {
                State::Mark => {
                    let rest = self.buffer.get(self.cursor..).unwrap_or_default();
                    if rest.starts_with(&BYTE_ORDER_MARK) {
                        self.cursor += BYTE_ORDER_MARK.len();
                    } else if BYTE_ORDER_MARK.starts_with(rest) {
                        return Ok(None);
                    }
                    self.state = State::Leading;
                }
                State::Leading => match self.skip(is_white_space) {
                    None => return Ok(None),
                    Some(b'{') => self.state = State::Head(self.cursor, HeadScan::default()),
                    Some(byte @ b']') => {
                        return Err(self.damage_here(DamageKind::UnexpectedByte(byte)));
                    }
                    Some(_) => self.state = State::Between,
                },
                State::Head(start, mut scan) => {
                    let end = scan.advance(&self.buffer, &mut self.cursor);
                    self.state = State::Head(start, scan);
                    self.check_size(start)?;
                    match end {
                        None => return Ok(None),
                        Some(FirstObject::Wrapper) => self.state = State::Between,
                        Some(FirstObject::Object) => {
                            self.state = State::Between;
                            return Ok(Some(start));
                        }
                    }
                }
                State::Between => match self.skip(|byte| byte == b',' || is_white_space(byte)) {
                    None => return Ok(None),
                    Some(b'{') => self.state = State::Record(self.cursor, Nesting::default()),
                    Some(b']') => {
                        self.cursor += 1;
                        self.state = State::Closed;
                    }
                    Some(byte) => return Err(self.damage_here(DamageKind::UnexpectedByte(byte))),
                },
                State::Record(start, mut nesting) => {
                    let ended = nesting.advance(&self.buffer, &mut self.cursor);
                    self.state = State::Record(start, nesting);
                    self.check_size(start)?;
                    if !ended {
                        return Ok(None);
                    }
                    self.state = State::Between;
                    return Ok(Some(start));
                }
                State::Closed => {
                    return match self.skip(|byte| byte == b'}' || is_white_space(byte)) {
                        None => Ok(None),
                        Some(byte) => Err(self.damage_here(DamageKind::TextAfterEnd(byte))),
                    };
                }
            }
        }
    }

    /// Moves the cursor over the bytes that `skipped` allows; returns the byte that stopped it.
    fn skip(&mut self, skipped: impl Fn(u8) -> bool) -> Option<u8> {
        let rest = self.buffer.get(self.cursor..).unwrap_or_default();
        let n_skipped = rest.iter().position(|byte| !skipped(*byte)).unwrap_or(rest.len());
        self.cursor += n_skipped;
        self.buffer.get(self.cursor).copied()
    }

    fn check_size(&self, start: usize) -> Result<(), Damage> {
        if self.cursor - start <= self.record_limit {
            return Ok(());
        }
        Err(Damage { offset: self.at(start), kind: DamageKind::TooLarge { limit: self.record_limit } })
    }

    fn damage_here(&self, kind: DamageKind) -> Damage {
        Damage { offset: self.at(self.cursor), kind }
    }

    fn at(&self, index: usize) -> u64 {
        self.base + to_u64(index)
    }
}

fn last_bytes(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(CONTEXT_BYTES)..).unwrap_or_default()
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records, and what ended the reading.
    fn split(stream: &[u8], chunk_bytes: usize, limit: usize) -> (Vec<String>, String) {
        let mut splitter = Splitter::new(Start::Beginning, limit);
        let mut records = Vec::new();
        for chunk in stream.chunks(chunk_bytes) {
            splitter.push(chunk);
            loop {
                match splitter.next_record() {
                    Ok(Some(record)) => records.push(String::from_utf8(record.bytes.to_vec()).unwrap()),
                    Ok(None) => break,
                    Err(damage) => return (records, damage.to_string()),
                }
            }
        }
        let end = match splitter.finish() {
            Ok(Tail::Clean) => "clean".to_owned(),
            Ok(Tail::Incomplete { span, .. }) => format!("incomplete {span}"),
            Err(damage) => damage.to_string(),
        };
        (records, end)
    }

    fn check(stream: &str, records: &[&str], end: &str) {
        for chunk_bytes in [1, 2, 3, 7, 1_000] {
            let (found, found_end) = split(stream.as_bytes(), chunk_bytes, 20);
            assert_eq!(
                (found, found_end.as_str()),
                (records.iter().map(ToString::to_string).collect(), end),
                "{stream}"
            );
        }
    }

    /// Scenario: streams of every shape, whole, cut and damaged, in chunks of several sizes. Guarantees: the records
    /// before the damage, and the damage with its byte.
    #[test]
    fn streams() {
        check("", &[], "clean");
        check(" \n", &[], "clean");
        check(r#"{"records":[]}"#, &[], "clean");
        check(r#"{"records":[{}]}"#, &["{}"], "clean");
        check(r#"{"a":[],"records":[{"b":"}"},{"\\":"\""}"#, &[r#"{"b":"}"}"#, r#"{"\\":"\""}"#], "clean");
        check("{\"records\":[\n{},\n{} ,\r\n{}\n] } \n", &["{}", "{}", "{}"], "clean");
        check("{\"a\":1}\n{\"b\":2}\n", &[r#"{"a":1}"#, r#"{"b":2}"#], "clean");
        check(r#"{"records":{"a":1}}"#, &[r#"{"records":{"a":1}}"#], "clean");
        check(r#"{"records":[{},{"a"#, &["{}"], "incomplete 15..18");
        check(r#"{"rec"#, &[], "incomplete 0..5");
        check("\u{feff}{}", &["{}"], "clean");
        check("]", &[], "byte 0: expected a record, found `]`");
        check("x{}", &[], "byte 0: expected a record, found `x`");
        check("{},\n[", &["{}"], "byte 4: expected a record, found `[`");
        check(r#"{"records":[{}"x"#, &["{}"], r#"byte 14: expected a record, found `\"`"#);
        check(
            r#"{"records":[{}]},{}"#,
            &["{}"],
            "byte 16: expected nothing after the closing bracket of the records, found `,`",
        );
    }

    /// Scenario: records as large as the limit, and one byte larger, with and without their end. Guarantees: the
    /// limit is exact and does not depend on the chunks.
    #[test]
    fn the_record_limit() {
        let fits = r#"{"a":"45678901234"}"#.to_owned() + " ";
        let exact = r#"{"a":"456789012345"}"#;
        let larger = r#"{"a":"4567890123456"}"#;
        let message = |at: usize| format!("byte {at}: the record that starts here is larger than 20 bytes");
        check(&format!("{fits}{exact}"), &[fits.trim(), exact], "clean");
        check(larger, &[], &message(0));
        check(&format!("{{\"records\":[{exact},{larger}]}}"), &[exact], &message(33));
        check(&format!("{{}}{}", larger.trim_end_matches('}')), &["{}"], "incomplete 2..22");
        check(&format!("{{}}{}x", larger.trim_end_matches('}')), &["{}"], &message(2));
    }

    /// Scenario: many small records, then a large one, in small chunks. Guarantees: the buffer holds no more than the
    /// record in work, a chunk and the context, and the context is what stands before the offset.
    #[test]
    fn memory_and_context() {
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(5_000));
        let stream = format!("{{\"records\":[{}{large}]}}", "{\"b\":1},".repeat(1_000));
        let mut splitter = Splitter::new(Start::Beginning, 10_000);
        let mut carry = 0;
        for chunk in stream.as_bytes().chunks(100) {
            splitter.push(chunk);
            assert!(splitter.buffer.len() <= carry + chunk.len() + CONTEXT_BYTES);
            while splitter.next_record().unwrap().is_some() {}
            if let Some(offset) = splitter.offset() {
                let end = usize::try_from(offset).unwrap();
                assert_eq!(splitter.context(), &stream.as_bytes()[end.saturating_sub(CONTEXT_BYTES)..end]);
            }
            carry = splitter.buffer.len() - splitter.cursor;
            if let State::Record(start, _) | State::Head(start, _) = splitter.state {
                carry = splitter.buffer.len() - start;
            }
        }
        assert!(splitter.buffer.capacity() <= large.len() * 5 / 4 + 200, "{}", splitter.buffer.capacity());
        assert_eq!(splitter.finish(), Ok(Tail::Clean));
    }
}
