//! Bytes looked at sixteen at a time.

use wide::u8x16;

const LANES: usize = 16;

/// How many bytes of a text stand before the first one that cannot stand in a JSON string as it is: a quote, a backslash
/// or a control character.
pub(crate) fn unescaped_length(text: &[u8]) -> usize {
    let special = |block: &[u8; LANES]| {
        let bytes = u8x16::new(*block);
        let quotes = bytes.simd_eq(u8x16::splat(b'"'));
        let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
        (quotes | backslashes | bytes.simd_eq(bytes.min(u8x16::splat(0x1F)))).to_bitmask()
    };
    let (blocks, rest) = text.as_chunks::<LANES>();
    for (index, block) in blocks.iter().enumerate() {
        let found = special(block);
        if found != 0 {
            return index * LANES + lowest(found);
        }
    }
    let found = special(&padded(text, rest)).checked_shr(n_looked_at(text, rest)).unwrap_or_default();
    if found == 0 { text.len() } else { text.len() - rest.len() + lowest(found) }
}

/// The parts of a text between its commas.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    text: &'a str,
    /// Where the next field begins; behind the text's end where there is none.
    next: usize,
    /// Commas in the block at hand that were not passed yet, the first byte lowest.
    commas: u32,
    /// Where the block at hand begins.
    block: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, next: 0, commas: commas_at(text.as_bytes(), 0), block: 0 }
    }

    /// Where in the text the next field begins.
    pub(super) fn position(&self) -> usize {
        self.next.min(self.text.len())
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while self.commas == 0 {
            self.block += LANES;
            if self.block >= self.text.len() {
                let last = self.text.get(self.next..);
                (self.next, self.block) = (self.text.len() + 1, self.text.len());
                return last;
            }
            self.commas = commas_at(self.text.as_bytes(), self.block);
        }
        let comma = self.block + lowest(self.commas);
        self.commas &= self.commas - 1;
        let field = self.text.get(self.next..comma);
        self.next = comma + 1;
        field
    }
}

/// The commas among the sixteen bytes from `block` on.
fn commas_at(text: &[u8], block: usize) -> u32 {
    let commas = |bytes: [u8; LANES]| u8x16::new(bytes).simd_eq(u8x16::splat(b',')).to_bitmask();
    let behind = text.get(block..).unwrap_or_default();
    match behind.first_chunk() {
        Some(bytes) => commas(*bytes),
        None => commas(padded(text, behind)).checked_shr(n_looked_at(text, behind)).unwrap_or_default(),
    }
}

/// Sixteen bytes that end with `rest`, which is the end of `text`. Where the text is shorter, spaces follow it.
fn padded(text: &[u8], rest: &[u8]) -> [u8; LANES] {
    if let Some(last) = text.last_chunk() {
        return *last;
    }
    let mut bytes = [b' '; LANES];
    bytes.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
    bytes
}

/// How many of [`padded`]'s bytes stand before `rest`.
fn n_looked_at(text: &[u8], rest: &[u8]) -> u32 {
    if text.len() < LANES { 0 } else { u32::try_from(LANES - rest.len()).unwrap_or_default() }
}

fn lowest(mask: u32) -> usize {
    usize::try_from(mask.trailing_zeros()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// *Scenario*: texts of any length and content, with many commas and bytes that need an escape.
        /// *Guarantees*: both looks find what a look at each byte does.
        #[test]
        fn as_byte_by_byte(text in "(,|\"|\\\\|[a-f]{0,12}|[\\x00-\\x7f]|\\PC){0,24}") {
            let first = text.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
            prop_assert_eq!(unescaped_length(text.as_bytes()), first.unwrap_or(text.len()));
            let fields: Vec<_> = Fields::of(&text).collect();
            prop_assert_eq!(&fields, &text.split(',').collect::<Vec<_>>());
            let mut walk = Fields::of(&text);
            let mut begin = 0;
            for field in fields {
                prop_assert_eq!(walk.position(), begin);
                walk.next();
                begin += field.len() + 1;
            }
            prop_assert_eq!(walk.next(), None);
        }
    }
}
