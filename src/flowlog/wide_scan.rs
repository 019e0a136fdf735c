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
    // The last sixteen bytes, of which the first ones were looked at already.
    if let Some(last) = text.last_chunk() {
        let found = special(last);
        return if found == 0 { text.len() } else { text.len() - LANES + lowest(found) };
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    rest.iter().position(is_special).unwrap_or(text.len())
}

fn lowest(mask: u32) -> usize {
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
