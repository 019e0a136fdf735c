//! JSON written by hand: what an event needs and nothing else. Texts come out byte for byte as `serde_json` writes
//! them.

use itoa::Buffer;

use crate::flowlog::unescaped_length;

/// How a byte below 0x80 is written: 0 as it stands, `u` as `\u00XX`, else a backslash and this letter.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks each index")]
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0A] = b'n';
    table[0x0C] = b'f';
    table[0x0D] = b'r';
    table[0x22] = b'"';
    table[0x5C] = b'\\';
    table
};

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends a text with everything escaped that must be, without quotes.
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let (clean, escaped) = rest.split_at(unescaped_length(rest));
        out.extend_from_slice(clean);
        let Some((byte, behind)) = escaped.split_first() else { return };
        match escape_of(*byte) {
            b'u' => {
                let digit = |nibble: u8| HEX_DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0x0F)]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = behind;
    }
}

/// Appends a text as a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Appends a whole number.
pub(crate) fn write_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(Buffer::new().format(number).as_bytes());
}

/// Appends `"name":"text"` behind what is there already, with a comma unless an object was just opened. Nothing is
/// appended for an empty text.
pub(crate) fn write_text_member(out: &mut Vec<u8>, name: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    write_name(out, name);
    write_string(out, text);
}

/// Appends `"name":` with a comma before it unless an object was just opened. The name needs no escapes.
pub(crate) fn write_name(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a JSON value without the white space between its tokens.
pub(crate) fn write_compact(out: &mut Vec<u8>, json: &str) {
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if !in_string && matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        }
        if byte == b'"' && !escaped {
            in_string = !in_string;
        }
        escaped = byte == b'\\' && !escaped;
        out.push(byte);
    }
}

fn escape_of(byte: u8) -> u8 {
    ESCAPES.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Scenario: any text. Guarantees: it is written as `serde_json` writes it.
        #[test]
        fn texts_as_serde_json_writes_them(text in any::<String>(), controls in "[\u{0}-\u{7f}\"\\\\]*") {
            for text in [text, controls] {
                let mut out = Vec::new();
                write_string(&mut out, &text);
                prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
            }
        }
    }
}
