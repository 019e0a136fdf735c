//! Tuples as nearly all are, read in one go where they stand in a record. Whatever looks different is left to
//! [`FlowTuple::parse`], which decides about right and wrong.

use super::{
    tuple::{Direction, FIELDS, FlowState, FlowTuple},
    unescaped_length,
    usual_address::{KnownAddresses, before_comma},
};

/// So many digits are a number below 2^64, whichever they are.
const SAFE_DIGITS: usize = 19;

/// So many digits are read at once.
const BLOCK: usize = 8;

/// A byte of a block, in each of its places.
const EACH: u64 = 0x0101_0101_0101_0101;

const LARGEST_PORT: Largest = Largest { n_digits: 5, text: 0x36_3535_3335 };

const LARGEST_PROTOCOL: Largest = Largest { n_digits: 3, text: 0x32_3535 };

const COMMA: u64 = 0x2C;

/// `O,B,`: where its commas are.
const COMMAS_BETWEEN_LETTERS: u64 = 0xFF00_FF00;

/// `,,,"`, the first comma lowest.
const NO_COUNTERS: u64 = 0x222C_2C2C;

/// `NX,`, the first letter lowest.
const NOT_ENCRYPTED: u64 = COMMA << 16 | 0x584E;

/// Reads the tuple that the text begins with and a quote ends, with all of its counters or with four empty ones. More
/// text has to stand behind it, so that whole blocks can be looked at.
pub(super) fn read<'a>(text: &'a str, known: &mut KnownAddresses) -> Option<FlowTuple<'a>> {
    let bytes = text.as_bytes();
    let (time, time_end) = time(bytes)?;
    let source_end = address_end(bytes, time_end + 1, known)?;
    let destination_end = address_end(bytes, source_end + 1, known)?;
    let source_port_end = small_number_end(bytes, destination_end + 1, &LARGEST_PORT)?;
    let destination_port_end = small_number_end(bytes, source_port_end + 1, &LARGEST_PORT)?;
    let protocol_end = small_number_end(bytes, destination_port_end + 1, &LARGEST_PROTOCOL)?;
    let letters = block(bytes, protocol_end + 1)?;
    if letters & COMMAS_BETWEEN_LETTERS != COMMAS_BETWEEN_LETTERS & (EACH * COMMA) {
        return None;
    }
    let [direction, _, state, ..] = letters.to_le_bytes();
    let direction = match direction {
        b'I' => Direction::Inbound,
        b'O' => Direction::Outbound,
        _ => return None,
    };
    let state = match state {
        b'B' => FlowState::Begin,
        b'C' => FlowState::Continuing,
        b'E' => FlowState::End,
        b'D' => FlowState::Denied,
        _ => return None,
    };
    let encryption_end = encryption_end(bytes, letters, protocol_end + 5)?;
    let (counters, has_all_counters) = counters(bytes, encryption_end + 1)?;
    let [sent_packets_end, sent_bytes_end, received_packets_end, end] = counters;
    let ends: [usize; FIELDS] = [
        time_end,
        source_end,
        destination_end,
        source_port_end,
        destination_port_end,
        protocol_end,
        protocol_end + 2,
        protocol_end + 4,
        encryption_end,
        sent_packets_end,
        sent_bytes_end,
        received_packets_end,
        end,
    ];
    Some(FlowTuple {
        text: text.get(..end)?,
        needs_escapes: false,
        has_all_counters,
        ends,
        time_ms: FlowTuple::milliseconds(time)?,
        direction,
        state,
    })
}

/// The next eight bytes, the first one lowest.
#[inline]
fn block(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|block| u64::from_le_bytes(*block))
}

/// How many digits a block begins with.
#[inline]
fn n_digits(block: u64) -> usize {
    let values = block ^ (EACH * 0x30);
    // The highest bit of each byte that is no digit; behind the first of them the carry may set others.
    let others = (values.wrapping_add(EACH * 0x76) | values) & (EACH * 0x80);
    usize::try_from(others.trailing_zeros() / u8::BITS).unwrap_or_default()
}

/// The number that the first digits of a block are.
#[inline]
fn value(block: u64, n_digits: usize) -> u64 {
    // Zeros come before the number, so that its last digit stands in the highest byte.
    let digits = (block ^ (EACH * 0x30)).checked_shl(u64::BITS - bits(n_digits)).unwrap_or(0);
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// Whether this byte of a block is this one; of the one behind the block it is never known.
#[inline]
fn is(block: u64, index: usize, byte: u8) -> bool {
    block.checked_shr(bits(index)).is_some_and(|behind| behind & 0xFF == u64::from(byte))
}

#[inline]
fn bits(n_bytes: usize) -> u32 {
    u32::try_from(n_bytes).unwrap_or(u32::MAX).wrapping_mul(u8::BITS)
}

/// The number at the beginning, through a comma, and where it ends.
#[inline]
fn time(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = block(bytes, 0)?;
    let n_first = n_digits(first);
    if n_first < BLOCK {
        return (n_first > 0 && is(first, n_first, b',')).then(|| (value(first, n_first), n_first));
    }
    let second = block(bytes, BLOCK)?;
    let n_second = n_digits(second);
    let is_usual = n_second > 0 && is(second, n_second, b',');
    let scale = POWERS_OF_TEN.get(n_second).copied()?;
    is_usual.then(|| (value(first, BLOCK) * scale + value(second, n_second), BLOCK + n_second))
}

/// For all but the last digits of a block.
const POWERS_OF_TEN: [u64; BLOCK] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

#[inline]
fn address_end(bytes: &[u8], at: usize, known: &mut KnownAddresses) -> Option<usize> {
    known.length(bytes.get(at..)?).map(|length| at + length)
}

/// The largest number of a field, as text: the first digit highest.
struct Largest {
    n_digits: usize,
    text: u64,
}

/// The end of a number that is not larger than this one, and has not more digits.
#[inline]
fn small_number_end(bytes: &[u8], at: usize, largest: &Largest) -> Option<usize> {
    let block = block(bytes, at)?;
    let n_digits = n_digits(block);
    let is_usual = n_digits > 0 && n_digits <= largest.n_digits && is(block, n_digits, b',');
    // Of numbers of as many digits, texts have the order that the numbers have.
    let text = block.swap_bytes().checked_shr(u64::BITS - bits(largest.n_digits)).unwrap_or(u64::MAX);
    (is_usual && (n_digits < largest.n_digits || text <= largest.text)).then(|| at + n_digits)
}

/// The end of the one field that can have anything in it: it must not need escapes. `letters` is the block whose fifth
/// byte it begins with.
#[inline]
fn encryption_end(bytes: &[u8], letters: u64, at: usize) -> Option<usize> {
    let first = letters >> u32::BITS;
    if first & 0xFF_FFFF == NOT_ENCRYPTED {
        return Some(at + 2);
    }
    let rest = bytes.get(at..)?;
    let length = before_comma(rest).or_else(|| memchr::memchr(b',', rest))?;
    let field = bytes.get(at..at + length)?;
    (unescaped_length(field) == length).then(|| at + length)
}

/// The ends of the counters, and whether they are there. None or all of them have to be.
#[inline]
fn counters(bytes: &[u8], at: usize) -> Option<([usize; 4], bool)> {
    if block(bytes, at)? & 0xFFFF_FFFF == NO_COUNTERS {
        return Some(([at, at + 1, at + 2, at + 3], false));
    }
    let sent_packets = counter_end(bytes, at, b',')?;
    let sent_bytes = counter_end(bytes, sent_packets + 1, b',')?;
    let received_packets = counter_end(bytes, sent_bytes + 1, b',')?;
    let received_bytes = counter_end(bytes, received_packets + 1, b'"')?;
    Some(([sent_packets, sent_bytes, received_packets, received_bytes], true))
}

#[inline]
fn counter_end(bytes: &[u8], at: usize, behind: u8) -> Option<usize> {
    let block = block(bytes, at)?;
    let n_digits = n_digits(block);
    if n_digits == BLOCK {
        return long_counter_end(bytes, at, behind);
    }
    (n_digits > 0 && is(block, n_digits, behind)).then(|| at + n_digits)
}

#[cold]
fn long_counter_end(bytes: &[u8], at: usize, behind: u8) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let n_digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    (n_digits <= SAFE_DIGITS && rest.get(n_digits) == Some(&behind)).then(|| at + n_digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(usual: &'static str) -> impl Strategy<Value = String> {
        prop_oneof![8 => usual, 1 => "[0-9]{0,21}", 1 => "[0-9.:a-f,+-]{0,12}", 1 => "\\PC{0,3}"]
    }

    /// As a tuple stands in a record that is not over yet.
    fn in_record(tuple: &str) -> String {
        format!("{tuple}\",\"1663146003600,10.0.0.7,192.0.2.180,23956,443,6,O,B,NX,0,0,0,0\"]}}]}}]}}}}")
    }

    proptest! {
        /// *Scenario*: tuples, most of whose fields are as usual, of any length.
        /// *Guarantees*: what is read in one go is what the general parser reads.
        #[test]
        fn as_the_general_parser(
            time in field("[0-9]{9,15}"),
            addresses in prop::collection::vec(field("[0-9]{1,3}(\\.[0-9]{1,3}){3}"), 2),
            ports in prop::collection::vec(field("[0-9]{1,5}"), 3),
            direction in field("[IO]"),
            state in field("[BCED]"),
            encryption in field("NX?"),
            counters in prop::collection::vec(field("[0-9]{0,20}"), 0..6),
        ) {
            let fields = [vec![time], addresses, ports, vec![direction, state, encryption], counters].concat();
            let text = fields.join(",");
            if let Some(read) = read(&in_record(&text), &mut KnownAddresses::default()) {
                prop_assert_eq!(FlowTuple::parse(read.text), Ok(read), "{}", text);
                let rest = text.strip_prefix(read.text);
                prop_assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('"')), "{}", text);
            }
        }
    }

    /// *Scenario*: tuples with counters of any length and without, with short and long fields.
    /// *Guarantees*: all are read in one go.
    #[test]
    fn usual_ones() {
        for counters in [",,,", "1,2,3,18446744073709551", "12345678,1234567,0,9"] {
            for ends in ["10.0.0.6,2001:db8::1,23956,65535,6,O,B,NX", "::1,255.0.0.1,0,1,255,I,D,NX_HW"] {
                for time in ["1663146003", "1663146003599", "99"] {
                    let text = format!("{time},{ends},{counters}");
                    assert_eq!(
                        read(&in_record(&text), &mut KnownAddresses::default()),
                        FlowTuple::parse(&text).ok(),
                        "{text}"
                    );
                    assert!(read(&in_record(&text), &mut KnownAddresses::default()).is_some(), "{text}");
                }
            }
        }
    }

    /// *Scenario*: numbers that are one too large, or too long to tell.
    /// *Guarantees*: none is read in one go.
    #[test]
    fn borders() {
        let addresses = "10.0.0.6,192.0.2.1";
        for (time, ports, counters) in [
            ("1", "65536,1,1", "1,1,1,1"),
            ("1", "1,99999,1", "1,1,1,1"),
            ("1", "1,1,256", "1,1,1,1"),
            ("1", "1,1,1", "1,1,1,18446744073709551616"),
            ("1", "1,1,1", "1,,1,1"),
            ("1", "1,1,1", "1,1,1,1,surplus"),
            ("253402300800000", "1,1,1", "1,1,1,1"),
        ] {
            let text = format!("{time},{addresses},{ports},O,B,NX,{counters}");
            assert_eq!(read(&in_record(&text), &mut KnownAddresses::default()), None, "{text}");
        }
    }
}
