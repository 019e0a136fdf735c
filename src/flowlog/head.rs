//! Whether the first object of a stream wraps the records, over bytes that arrive in pieces.

/// White space of JSON.
pub(super) fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// What the first object of a stream turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstObject {
    /// The wrapper of the records, through `"records":[`.
    Wrapper,
    /// A whole object: the stream has no wrapper.
    Object,
}

/// The scan of the first object, byte by byte: it looks for the member `records` that opens a list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeadScan {
    braces: usize,
    brackets: usize,
    string: Option<OpenString>,
    expect: Expect,
}

#[derive(Debug, Clone, Copy)]
struct OpenString {
    /// How many bytes of [`KEY`] the string matches so far; `None` when it differs.
    matched: Option<usize>,
    escaped: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Nothing,
    Colon,
    Bracket,
}

const KEY: &[u8] = b"records";

impl HeadScan {
    /// Scans on from `cursor`, which must first stand on the object's `{`. `None`: more bytes are needed.
    pub(super) fn advance(&mut self, bytes: &[u8], cursor: &mut usize) -> Option<FirstObject> {
        while let Some(&byte) = bytes.get(*cursor) {
            *cursor += 1;
            if self.string.is_some() {
                self.read_string_byte(byte);
            } else if let Some(end) = self.read_byte(byte) {
                return Some(end);
            }
        }
        None
    }

    fn read_string_byte(&mut self, byte: u8) {
        let Some(string) = &mut self.string else { return };
        if string.escaped {
            string.escaped = false;
        } else if byte == b'\\' {
            *string = OpenString { matched: None, escaped: true };
        } else if byte == b'"' {
            let is_key = string.matched == Some(KEY.len()) && (self.braces, self.brackets) == (1, 0);
            self.expect = if is_key { Expect::Colon } else { Expect::Nothing };
            self.string = None;
        } else {
            string.matched = string.matched.filter(|n| KEY.get(*n) == Some(&byte)).map(|n| n + 1);
        }
    }

    fn read_byte(&mut self, byte: u8) -> Option<FirstObject> {
        if is_white_space(byte) {
            return None;
        }
        let expected = std::mem::take(&mut self.expect);
        match (byte, expected) {
            (b':', Expect::Colon) => self.expect = Expect::Bracket,
            (b'[', Expect::Bracket) => return Some(FirstObject::Wrapper),
            (b'"', _) => self.string = Some(OpenString { matched: Some(0), escaped: false }),
            (b'{', _) => self.braces += 1,
            (b'[', _) => self.brackets += 1,
            (b']', _) => self.brackets = self.brackets.saturating_sub(1),
            (b'}', _) => {
                self.braces = self.braces.saturating_sub(1);
                return (self.braces == 0).then_some(FirstObject::Object);
            }
            _ => {}
        }
        None
    }
}
