//! Tuples as nearly all are, read in one go. Whatever looks different is left to [`FlowTuple::parse_any`], which decides
//! about right and wrong.

use core::net::IpAddr;

use super::{
    tuple::{Direction, Endpoint, FlowState, FlowTuple, Traffic},
    unescaped_length, usual_address,
};

/// So many digits are a number below 2^64, whichever they are.
const SAFE_DIGITS: usize = 19;

/// So many digits are read at once.
const BLOCK: usize = 8;

const COMMA: u64 = 0x2C;

/// Reads a tuple with all of its counters, or with none.
pub(super) fn read(text: &str) -> Option<FlowTuple<'_>> {
    let mut reader = Reader { text, last: u64::from_le_bytes(*text.as_bytes().last_chunk()?), at: 0 };
    let time = reader.number()?;
    let source = reader.address()?;
    let destination = reader.address()?;
    let source_port = u16::try_from(reader.number()?).ok()?;
    let destination_port = u16::try_from(reader.number()?).ok()?;
    let protocol = u8::try_from(reader.number()?).ok()?;
    let direction = match reader.letter()? {
        b'I' => Direction::Inbound,
        b'O' => Direction::Outbound,
        _ => return None,
    };
    let state = match reader.letter()? {
        b'B' => FlowState::Begin,
        b'C' => FlowState::Continuing,
        b'E' => FlowState::End,
        b'D' => FlowState::Denied,
        _ => return None,
    };
    let (encryption, needs_escapes) = reader.encryption()?;
    let counters_at = reader.at;
    let (mut sent, mut received) = (Traffic::default(), Traffic::default());
    let n_counters_written = if reader.rest() == b",,," {
        0
    } else {
        sent = Traffic { packets: reader.number()?, bytes: reader.number()? };
        received = Traffic { packets: reader.number()?, bytes: reader.last_number()? };
        4
    };
    Some(FlowTuple {
        text,
        needs_escapes,
        counters_at,
        n_counters_written,
        time_ms: FlowTuple::milliseconds(time)?,
        source: Endpoint { address: source, port: source_port },
        destination: Endpoint { address: destination, port: destination_port },
        protocol,
        direction,
        state,
        encryption,
        sent,
        received,
    })
}

/// Whether something in a text must be escaped in JSON.
pub(super) fn needs_escapes(text: &str) -> bool {
    unescaped_length(text.as_bytes()) < text.len()
}

/// Reads field by field, each through its comma.
struct Reader<'a> {
    text: &'a str,
    /// The last eight bytes.
    last: u64,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn field(&mut self) -> Option<&'a str> {
        let length = self.rest().iter().position(|byte| *byte == b',')?;
        let field = self.text.get(self.at..self.at + length);
        self.at += length + 1;
        field
    }

    fn letter(&mut self) -> Option<u8> {
        let [letter, b',', ..] = self.rest() else { return None };
        self.at += 2;
        Some(*letter)
    }

    /// The one field that can have anything in it, and whether something in it must be escaped.
    fn encryption(&mut self) -> Option<(&'a str, bool)> {
        match self.rest() {
            [b'N', b'X', b',', ..] => {
                self.at += 3;
                Some(("NX", false))
            }
            _ => self.field().map(|field| (field, needs_escapes(field))),
        }
    }

    /// The next eight bytes, the first one lowest; behind the end zeros.
    fn block(&self) -> u64 {
        let rest = self.rest();
        match rest.first_chunk() {
            Some(block) => u64::from_le_bytes(*block),
            None => self.last.checked_shr(u64::BITS - bits(rest.len())).unwrap_or(0),
        }
    }

    /// The number that comes next, without what stands behind it. `None` where there is none, or where it may be too
    /// large.
    fn digits(&mut self) -> Option<u64> {
        let (first, n_digits) = digits(self.block());
        self.at += n_digits;
        if n_digits < BLOCK {
            return (n_digits > 0).then_some(first);
        }
        let (second, n_more) = digits(self.block());
        self.at += n_more;
        let number = first.wrapping_mul(power_of_ten(n_more)).wrapping_add(second);
        if n_more < BLOCK {
            return Some(number);
        }
        let (third, n_more) = digits(self.block());
        self.at += n_more;
        (n_more <= SAFE_DIGITS - 2 * BLOCK)
            .then(|| number.wrapping_mul(power_of_ten(n_more)).wrapping_add(third))
    }

    fn number(&mut self) -> Option<u64> {
        if let Some(block) = self.rest().first_chunk() {
            let block = u64::from_le_bytes(*block);
            let (number, n_digits) = digits(block);
            // Where all of the block are digits, there is no comma in it.
            if n_digits > 0 && block.checked_shr(bits(n_digits)).is_some_and(|behind| behind & 0xFF == COMMA)
            {
                self.at += n_digits + 1;
                return Some(number);
            }
        }
        self.long_number()
    }

    /// A number that does not lie within one block together with its comma.
    fn long_number(&mut self) -> Option<u64> {
        let number = self.digits()?;
        let is_usual = self.rest().first() == Some(&b',');
        self.at += 1;
        is_usual.then_some(number)
    }

    /// The number that the text ends with.
    fn last_number(&mut self) -> Option<u64> {
        let number = self.digits()?;
        (self.at == self.text.len()).then_some(number)
    }

    fn address(&mut self) -> Option<&'a str> {
        let begin = self.at;
        if let Some(length) = usual_address::length(self.rest()) {
            self.at = begin + length + 1;
            return self.text.get(begin..begin + length);
        }
        let address = self.field()?;
        address.parse::<IpAddr>().is_ok().then_some(address)
    }
}

/// The number that a block of text begins with, and its length.
fn digits(block: u64) -> (u64, usize) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let values = block ^ (EACH * 0x30);
    // The highest bit of each byte that is no digit; behind the first of them the carry may set others.
    let others = (values.wrapping_add(EACH * 0x76) | values) & (EACH * 0x80);
    let n_digits = usize::try_from(others.trailing_zeros() / u8::BITS).unwrap_or_default();
    // Zeros come before the number, so that its last digit stands in the highest byte.
    let number = values.checked_shl(u64::BITS - bits(n_digits)).unwrap_or(0);
    let pairs = number.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    (fours.wrapping_mul(10_000 << 32 | 1) >> 32, n_digits)
}

fn bits(n_bytes: usize) -> u32 {
    u32::try_from(n_bytes * 8).unwrap_or_default()
}

/// For the digits of a block.
fn power_of_ten(n_digits: usize) -> u64 {
    const POWERS: [u64; BLOCK + 1] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
    POWERS.get(n_digits).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(usual: &'static str) -> impl Strategy<Value = String> {
        prop_oneof![8 => usual, 1 => "[0-9]{0,21}", 1 => "[0-9.:a-f,+-]{0,12}", 1 => "\\PC{0,3}"]
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
            if let Some(read) = read(&text) {
                prop_assert_eq!(FlowTuple::parse_any(&text), Ok(read), "{}", text);
            }
        }
    }

    /// *Scenario*: a tuple with counters and one without.
    /// *Guarantees*: both are read in one go.
    #[test]
    fn usual_ones() {
        for counters in [",,,", "1,2,3,18446744073709551"] {
            let text = format!("1663146003599,10.0.0.6,2001:db8::1,23956,443,6,O,B,NX,{counters}");
            assert!(read(&text).is_some(), "{text}");
        }
    }
}
