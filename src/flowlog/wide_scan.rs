//! Bytes looked at sixteen at a time.

use wide::u8x16;

/// So many bytes are looked at at once.
pub(super) const LANES: usize = 16;

/// How many bytes of a text stand before the first one that cannot stand in a JSON string as it is: a quote, a backslash
/// or a control character.
#[inline]
pub(crate) fn unescaped_length(text: &[u8]) -> usize {
    let (blocks, rest) = text.as_chunks();
    for (index, block) in blocks.iter().enumerate() {
        let found = special(block);
        if found != 0 {
            return index * LANES + lowest(found);
        }
    }
    text.len() - rest.len() + unescaped_rest(rest)
}

/// The same for less than a block.
fn unescaped_rest(text: &[u8]) -> usize {
    let mut block = [b'"'; LANES];
    for (place, byte) in block.iter_mut().zip(text) {
        *place = *byte;
    }
    lowest(special(&block))
}

/// A bit for each byte that cannot stand in a string as it is, the first byte lowest.
#[inline]
pub(super) fn special(block: &[u8; LANES]) -> u32 {
    let bytes = u8x16::new(*block);
    let quotes = bytes.simd_eq(u8x16::splat(b'"'));
    let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
    (quotes | backslashes | bytes.simd_eq(bytes.min(u8x16::splat(0x1F)))).to_bitmask()
}

/// The index of the first byte that is marked.
#[inline]
pub(super) fn lowest(mask: u32) -> usize {
    usize::try_from(mask.trailing_zeros()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// *Scenario*: texts of any length and content.
        /// *Guarantees*: the first byte that needs an escape is found, as a look at each byte finds it.
        #[test]
        fn as_byte_by_byte(text in "(\"|\\\\|[a-f]{0,12}|[\\x00-\\x7f]|\\PC){0,24}") {
            let first = text.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
            prop_assert_eq!(unescaped_length(text.as_bytes()), first.unwrap_or(text.len()));
        }
    }
}
