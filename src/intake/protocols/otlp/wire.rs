//! The encoding of protocol buffers, as far as OTLP needs it.

/// How a field's value is laid out.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// Bytes of a padded length.
pub(super) const PADDED_LENGTH: usize = 5;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

pub(super) fn varint_length(value: u64) -> usize {
    let bits = u64::BITS.saturating_sub(value.leading_zeros()).max(1);
    usize::try_from(bits.div_ceil(7)).unwrap_or_default()
}

/// Bytes of a length and of what it announces.
pub(super) fn delimited_length(length: usize) -> usize {
    varint_length(to_u64(length)).saturating_add(length)
}

pub(super) fn write_varint(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_bits(rest));
}

/// Writes a length in as many bytes as the longest needs. Decoders take numbers that are not as short as they could be:
/// the tests of protocol buffers themselves demand it (protocolbuffers/protobuf#1530, `8C 80 80 80 00` for `0C`), and
/// others pad lengths in the same way to fill them in later (protozero in Perfetto).
pub(super) fn write_padded_length(out: &mut Vec<u8>, length: usize) {
    let mut rest = to_u64(length);
    for _continued in 1..PADDED_LENGTH {
        out.push(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_bits(rest));
}

pub(super) fn write_varint_field(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(tag(number, VARINT));
    write_varint(out, value);
}

pub(super) fn write_fixed64_field(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(tag(number, FIXED64));
    out.extend_from_slice(&value.to_le_bytes());
}

/// The beginning of a text or message of this length.
pub(super) fn begin_bytes_field(out: &mut Vec<u8>, number: u8, length: usize) {
    out.push(tag(number, BYTES));
    write_varint(out, to_u64(length));
}

pub(super) fn write_bytes_field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    begin_bytes_field(out, number, value.len());
    out.extend_from_slice(value);
}

/// The beginning of a message whose length is padded.
pub(super) fn begin_padded_field(out: &mut Vec<u8>, number: u8, length: usize) {
    out.push(tag(number, BYTES));
    write_padded_length(out, length);
}

/// Puts the beginning of a message before what was written from `start` on.
pub(super) fn enclose(out: &mut Vec<u8>, number: u8, start: usize) {
    let end = out.len();
    begin_bytes_field(out, number, end.saturating_sub(start));
    let head = out.len().saturating_sub(end);
    if let Some(message) = out.get_mut(start..) {
        message.rotate_right(head);
    }
}

/// No field of OTLP that is written here has a number that takes more than one byte.
fn tag(number: u8, layout: u8) -> u8 {
    number << 3 | layout
}

fn low_bits(value: u64) -> u8 {
    value.to_le_bytes().first().copied().unwrap_or_default() & 0x7F
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// All fields of a message, with their numbers; `None` where it is none.
pub(super) fn fields(message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut rest = message;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = read_varint(&mut rest)?;
        let field = match low_bits(tag) & 7 {
            VARINT => Field::Varint(read_varint(&mut rest)?),
            FIXED64 => Field::Fixed64(u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?)),
            BYTES => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                Field::Bytes(take(&mut rest, length)?)
            }
            FIXED32 => {
                take(&mut rest, 4)?;
                Field::Fixed32
            }
            _ => return None,
        };
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        found.push((number, field));
    }
    Some(found)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// *Scenario*: any numbers and texts as fields, lengths padded and not.
        /// *Guarantees*: they are read as they were written, and are as long as announced.
        #[test]
        fn fields_come_back(number in any::<u64>(), text in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            write_varint_field(&mut out, 1, number);
            prop_assert_eq!(out.len(), 1 + varint_length(number));
            write_fixed64_field(&mut out, 2, number);
            let before = out.len();
            write_bytes_field(&mut out, 3, &text);
            prop_assert_eq!(out.len() - before, 1 + delimited_length(text.len()));
            begin_padded_field(&mut out, 4, text.len());
            let start = out.len();
            out.extend_from_slice(&text);
            enclose(&mut out, 5, start);
            let tail = out.split_off(start);
            out.extend_from_slice(&text);
            out.extend_from_slice(&tail);
            let bytes = Field::Bytes(&text);
            let expected = [(1, Field::Varint(number)), (2, Field::Fixed64(number)), (3, bytes), (4, bytes), (5, bytes)];
            prop_assert_eq!(fields(&out).unwrap(), expected);
        }
    }

    /// *Scenario*: bytes that are no message: cut, a number of no end, groups, a field 0, text.
    /// *Guarantees*: nothing is read of them.
    #[test]
    fn no_messages() {
        for bytes in [&b"\x0a\x05ab"[..], b"\x08", &[0xFF; 12], b"\x0b\x0c", b"\x00\x00", b"<html>", b"OK"] {
            assert_eq!(fields(bytes), None, "{bytes:?}");
        }
    }
}
