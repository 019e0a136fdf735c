//! Tuples as nearly all are, read in one go. Whatever looks different is left to [`FlowTuple::parse_any`], which decides
//! about right and wrong.

use core::net::{IpAddr, Ipv4Addr};

use super::tuple::{Direction, Endpoint, FlowState, FlowTuple, Traffic};

/// So many digits are a number below 2^64, whichever they are.
const SAFE_DIGITS: usize = 19;

/// Reads a tuple with all of its counters, or with none.
pub(super) fn read(text: &str) -> Option<FlowTuple<'_>> {
    let mut reader = Reader { text, at: 0 };
    let time = reader.number()?;
    let (source, source_ip) = reader.address()?;
    let (destination, destination_ip) = reader.address()?;
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
    let encryption = reader.field()?;
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
        counters_at,
        n_counters_written,
        time_ms: FlowTuple::milliseconds(time)?,
        source: Endpoint { address: source, ip: source_ip, port: source_port },
        destination: Endpoint { address: destination, ip: destination_ip, port: destination_port },
        protocol,
        direction,
        state,
        encryption,
        sent,
        received,
    })
}

/// Reads field by field, each through its comma.
struct Reader<'a> {
    text: &'a str,
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

    fn number(&mut self) -> Option<u64> {
        let (number, n_digits) = digits(self.rest());
        let is_usual = 0 < n_digits && n_digits <= SAFE_DIGITS && self.rest().get(n_digits) == Some(&b',');
        self.at += n_digits + 1;
        is_usual.then_some(number)
    }

    /// The number that the text ends with.
    fn last_number(&mut self) -> Option<u64> {
        let (number, n_digits) = digits(self.rest());
        let is_usual = 0 < n_digits && n_digits <= SAFE_DIGITS && self.rest().len() == n_digits;
        is_usual.then_some(number)
    }

    fn address(&mut self) -> Option<(&'a str, IpAddr)> {
        let begin = self.at;
        if let Some((ip, length)) = ipv4(self.rest()) {
            self.at = begin + length + 1;
            return Some((self.text.get(begin..begin + length)?, IpAddr::V4(ip)));
        }
        let address = self.field()?;
        Some((address, address.parse().ok()?))
    }
}

/// The number that the text begins with, and its length. Of more than [`SAFE_DIGITS`] digits the number is wrong.
fn digits(text: &[u8]) -> (u64, usize) {
    let mut number: u64 = 0;
    let mut n_digits = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        n_digits += 1;
    }
    (number, n_digits)
}

/// The IPv4 address that the text begins with, through its comma, and its length without that. `None` where the standard
/// parser has to decide.
fn ipv4(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let (mut octets, mut octet, mut n_digits, mut n_dots) = (0_u32, 0_u32, 0_u32, 0_u32);
    for (index, byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            // A zero before other digits is for the standard parser to refuse.
            if n_digits > 0 && octet == 0 || n_digits == 3 {
                return None;
            }
            octet = octet * 10 + u32::from(digit);
            n_digits += 1;
            continue;
        }
        if n_digits == 0 || octet > 255 {
            return None;
        }
        octets = octets << 8 | octet;
        match (byte, n_dots) {
            (b'.', 0..3) => n_dots += 1,
            (b',', 3) => return Some((Ipv4Addr::from_bits(octets), index)),
            _ => return None,
        }
        (octet, n_digits) = (0, 0);
    }
    None
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
