//! Just enough JSON writing to control every byte: the writer must produce spellings that no serialiser chooses.

/// How strings are spelled. All spellings mean the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// Only what JSON demands, as serialisers do.
    Needed,
    /// All but ASCII as `\uXXXX` (surrogate pairs beyond the first plane), and `/` as `\/`.
    Everything,
}

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn push_string(out: &mut String, text: &str, escape: Escape) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if escape == Escape::Everything => out.push_str("\\/"),
            control if u32::from(control) < 0x20 => push_unit(out, u32::from(control)),
            other if !other.is_ascii() && escape == Escape::Everything => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    push_unit(out, u32::from(*unit));
                }
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn push_unit(out: &mut String, unit: u32) {
    out.push_str(&format!("\\u{unit:04x}"));
}
