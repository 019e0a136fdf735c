//! Whether bytes that arrive in pieces can still become one JSON object, and where it ends.
//!
//! What fails here is not JSON. What passes may still be none: numbers, escapes and UTF-8 are left to the parser, which
//! sees every whole record anyway. That bytes fail early is what keeps damage cheap: a brace that is missing shows at
//! the next record, not at the end of the blob.

use super::{
    head::is_white_space,
    piece::PlainList,
    unescaped_length,
    wide_scan::{LANES, lowest, special},
};

/// JSON that is nested deeper counts as none. It bounds how often a byte can be scanned, since objects that are all
/// open at one byte lie within each other.
const MOST_LEVELS: u32 = u128::BITS;

/// Two quotes and a comma stand between two texts of a list.
const BETWEEN_BYTES: usize = 3;

/// A scan in work. Survives the border between two chunks, so that no byte is scanned twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonScan {
    /// One bit a level, the innermost lowest: set for a list.
    lists: u128,
    levels: u32,
    expected: Expected,
}

/// How far a scan came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scanned {
    /// To the end of the bytes: more are needed.
    All,
    /// Behind the object's end.
    Object,
    /// To a byte that no JSON has here.
    Foreign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    /// More of a text, which is the name of a member or a value.
    Text(TextRole),
    /// The byte behind a backslash.
    Escaped(TextRole),
    /// More of a number or a word.
    Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextRole {
    Name,
    Value,
}

impl JsonScan {
    /// A scan of an object, before its `{`.
    pub(super) fn new() -> Self {
        Self { lists: 0, levels: 0, expected: Expected::Value }
    }

    /// Scans on from `cursor`, which stands behind what was scanned afterwards. The object begins at `start`; its plain
    /// lists are noted in `plain_lists`, as far as each lies within the bytes of one call.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        start: usize,
        cursor: &mut usize,
        plain_lists: &mut Vec<PlainList>,
    ) -> Scanned {
        if self.levels == 0 {
            plain_lists.clear();
        }
        while let Some(&byte) = bytes.get(*cursor) {
            match self.expected {
                Expected::Text(role) => {
                    let in_list = self.lists & 1 == 1 && role == TextRole::Value;
                    let rest = bytes.get(*cursor..).unwrap_or_default();
                    let (n_passed, n_texts) = pass_texts(rest, in_list);
                    let begin = cursor.saturating_sub(1);
                    *cursor += n_passed;
                    match rest.get(n_passed..).unwrap_or_default() {
                        [b'"', behind @ ..] => {
                            self.expected = match role {
                                TextRole::Name => Expected::Colon,
                                TextRole::Value => Expected::CommaOrEnd,
                            };
                            let is_whole = bytes.get(..=begin).is_some_and(|before| before.ends_with(b"[\""))
                                && behind.first() == Some(&b']');
                            if in_list && is_whole && n_texts >= PlainList::LEAST_TEXTS {
                                let (begin, end) = (begin - start, *cursor + 1 - start);
                                plain_lists.push(PlainList { begin, end, n_texts });
                            }
                        }
                        [b'\\', ..] => self.expected = Expected::Escaped(role),
                        // A control character: the parser will say so.
                        [_, ..] => {}
                        [] => return Scanned::All,
                    }
                }
                Expected::Escaped(role) => self.expected = Expected::Text(role),
                Expected::Word if is_word(byte) => {}
                Expected::Word => {
                    self.expected = Expected::CommaOrEnd;
                    continue;
                }
                _ if is_white_space(byte) => {}
                expected @ (Expected::Value
                | Expected::ValueOrEnd
                | Expected::Name
                | Expected::NameOrEnd
                | Expected::Colon
                | Expected::CommaOrEnd) => match self.next(expected, byte) {
                    Some(next) => self.expected = next,
                    None => return Scanned::Foreign,
                },
            }
            *cursor += 1;
            if self.levels == 0 {
                return Scanned::Object;
            }
        }
        Scanned::All
    }

    fn next(&mut self, expected: Expected, byte: u8) -> Option<Expected> {
        let in_list = self.lists & 1 == 1;
        match (expected, byte) {
            (Expected::Value | Expected::ValueOrEnd, b'"') => Some(Expected::Text(TextRole::Value)),
            (Expected::Value | Expected::ValueOrEnd, b'{') => self.open(0, Expected::NameOrEnd),
            (Expected::Value | Expected::ValueOrEnd, b'[') => self.open(1, Expected::ValueOrEnd),
            (Expected::Value | Expected::ValueOrEnd, byte) if is_word(byte) => Some(Expected::Word),
            (Expected::Name | Expected::NameOrEnd, b'"') => Some(Expected::Text(TextRole::Name)),
            (Expected::Colon, b':') => Some(Expected::Value),
            (Expected::CommaOrEnd, b',') => Some(if in_list { Expected::Value } else { Expected::Name }),
            (Expected::ValueOrEnd, b']') | (Expected::NameOrEnd, b'}') => Some(self.close()),
            (Expected::CommaOrEnd, b']') if in_list => Some(self.close()),
            (Expected::CommaOrEnd, b'}') if !in_list => Some(self.close()),
            _ => None,
        }
    }

    fn open(&mut self, list: u128, inside: Expected) -> Option<Expected> {
        if self.levels == MOST_LEVELS {
            return None;
        }
        self.levels += 1;
        self.lists = self.lists << 1 | list;
        Some(inside)
    }

    fn close(&mut self) -> Expected {
        self.levels = self.levels.saturating_sub(1);
        self.lists >>= 1;
        Expected::CommaOrEnd
    }
}

/// Passes over the rest of a text and, in a list, over the texts behind it, as long as there is nothing but a comma between
/// them. Returns where that ends, at a quote or within a text, and how many texts have begun.
#[inline]
fn pass_texts(bytes: &[u8], in_list: bool) -> (usize, usize) {
    let is_between =
        |at: usize| in_list && bytes.get(at..).and_then(|rest| rest.first_chunk()) == Some(b"\",\"");
    let (mut n_texts, mut begin) = (1, 0);
    let (blocks, _) = bytes.as_chunks();
    for (index, block) in blocks.iter().enumerate() {
        let mut found = special(block);
        while found != 0 {
            let at = index * LANES + lowest(found);
            found &= found - 1;
            if at < begin {
                // The quote that this text begins with.
                continue;
            }
            if !is_between(at) {
                return (at, n_texts);
            }
            n_texts += 1;
            begin = at + BETWEEN_BYTES;
        }
    }
    let mut at = begin.max(blocks.len() * LANES);
    loop {
        at += unescaped_length(bytes.get(at..).unwrap_or_default());
        if !is_between(at) {
            return (at, n_texts);
        }
        n_texts += 1;
        at += BETWEEN_BYTES;
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, expected: Scanned, expected_cursor: usize) {
        let (mut scan, mut cursor) = (JsonScan::new(), 0);
        assert_eq!(
            (scan.advance(bytes.as_bytes(), 0, &mut cursor, &mut Vec::new()), cursor),
            (expected, expected_cursor),
            "{bytes}"
        );
        let (mut scan, mut cursor) = (JsonScan::new(), 0);
        let mut scanned = Scanned::All;
        for end in 1..=bytes.len() {
            scanned = scan.advance(&bytes.as_bytes()[..end], 0, &mut cursor, &mut Vec::new());
            if scanned != Scanned::All {
                break;
            }
        }
        assert_eq!((scanned, cursor), (expected, expected_cursor), "{bytes}, byte by byte");
    }

    /// *Scenario*: objects, beginnings of objects and what is none, whole and byte by byte.
    /// *Guarantees*: each is told apart, with the byte.
    #[test]
    fn objects() {
        let whole = r#"{"a":[1,-2.5e+3,true,null,{}, [] ,"}]\"\\"], "b" : {"c":""}}"#;
        check(whole, Scanned::Object, whole.len());
        check("{} x", Scanned::Object, 2);
        check(r#"{"a":"b\"#, Scanned::All, 8);
        check(r#"{"a":tr"#, Scanned::All, 7);
        for (bytes, at) in [
            (r#"{"a":1,{"#, 7),
            (r#"{"a":1,}"#, 7),
            (r#"{"a"}"#, 4),
            (r#"{"a":[1}"#, 7),
            (r#"{"a":1]"#, 6),
            (r#"{"a":[,"#, 6),
            (r#"{"a":"x"y"#, 8),
            (r#"{"a":}"#, 5),
            ("{a", 1),
        ] {
            check(bytes, Scanned::Foreign, at);
        }
    }

    /// *Scenario*: lists within lists, as many as are allowed and one more.
    /// *Guarantees*: the limit is exact.
    #[test]
    fn levels() {
        let nested =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        check(&nested(128), Scanned::Object, 260);
        check(&nested(129), Scanned::Foreign, 132);
    }
}
