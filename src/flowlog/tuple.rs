//! One flow tuple: comma-separated text, as "Virtual network flow logs: log format" describes it.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use super::unescaped_length;

/// Number of fields, the four counters last.
pub(super) const FIELDS: usize = 13;

/// One observation of one flow. Its texts and numbers are taken from the tuple when they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowTuple<'a> {
    /// The tuple as it stands.
    pub text: &'a str,
    /// Whether `text` has something that must be escaped in JSON.
    pub needs_escapes: bool,
    /// Whether all four counters stand in the text.
    pub has_all_counters: bool,
    /// Where each field ends in `text`; one that is missing ends where the text does.
    pub(super) ends: [usize; FIELDS],
    /// Milliseconds since 1970; the year has four digits.
    pub time_ms: i64,
    /// As the network interface sees it.
    pub direction: Direction,
    /// What happened.
    pub state: FlowState,
}

/// Where the fields of one side of a flow stand in its tuple.
#[derive(Debug, Clone, Copy)]
pub struct Side {
    address: usize,
    port: usize,
    packets: usize,
    bytes: usize,
}

/// Who opened the flow, and what it sent since the flow's previous tuple.
pub const SOURCE: Side = Side { address: 1, port: 3, packets: 9, bytes: 10 };

/// The other side, and what it sent.
pub const DESTINATION: Side = Side { address: 2, port: 4, packets: 11, bytes: 12 };

/// One side of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The address as it stands. It is one.
    pub address: &'a str,
    /// The port: 0 to 65535.
    pub port: Number<'a>,
}

impl Endpoint<'_> {
    /// The address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        // The text was found to be an address when the tuple was read.
        self.address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Whether it is an IPv6 address.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.address.contains(':')
    }

    /// The port's number.
    #[must_use]
    pub fn port_number(&self) -> u16 {
        // The text was found to be one when the tuple was read.
        u16::try_from(self.port.value()).unwrap_or_default()
    }
}

/// Counters of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic<'a> {
    /// Packets.
    pub packets: Number<'a>,
    /// Bytes.
    pub bytes: Number<'a>,
}

/// A whole number below 2^64, as decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<'a>(&'a str);

impl<'a> Number<'a> {
    /// Of digits alone; of an empty text the number is 0. Zeros before the number are left out.
    pub(super) fn of(digits: &'a str) -> Self {
        match digits.as_bytes() {
            [] => Self("0"),
            [b'0', _, ..] => match digits.trim_start_matches('0') {
                "" => Self("0"),
                digits => Self(digits),
            },
            _ => Self(digits),
        }
    }

    /// As JSON has it.
    #[must_use]
    pub fn digits(self) -> &'a str {
        self.0
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> u64 {
        // The text was found to be a number when the tuple was read.
        self.0.parse().unwrap_or_default()
    }
}

impl fmt::Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Which way a flow was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `I`.
    Inbound,
    /// `O`.
    Outbound,
}

/// What a tuple reports about its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// `B`.
    Begin,
    /// `C`.
    Continuing,
    /// `E`.
    End,
    /// `D`.
    Denied,
}

impl FlowState {
    /// The letter in the tuple.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Begin => "B",
            Self::Continuing => "C",
            Self::End => "E",
            Self::Denied => "D",
        }
    }
}

/// A field of a tuple that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct TupleError {
    /// The field's name.
    pub field: &'static str,
    /// What may stand there.
    pub expected: &'static str,
    /// What stands there, in backquotes, or that nothing does.
    pub found: String,
}

/// Smaller numbers are seconds: as milliseconds they would lie before March 1973.
const FIRST_MILLISECONDS: u64 = 100_000_000_000;
/// 9999-12-31T23:59:59.999Z: later years have no RFC 3339 form.
const LAST_MILLISECONDS: i64 = 253_402_300_799_999;

impl<'a> FlowTuple<'a> {
    /// Number of fields before the counters.
    pub const FIELDS_BEFORE_COUNTERS: usize = 9;

    /// Parses a tuple. Missing or empty counters are 0, surplus fields are ignored.
    ///
    /// # Errors
    /// The first field that is not what it should be.
    pub fn parse(text: &'a str) -> Result<Self, TupleError> {
        let mut fields = text.split(',');
        let time_ms = required(fields.next(), "timestamp", "milliseconds since 1970", milliseconds)?;
        endpoints(&mut fields)?;
        required(fields.next(), "protocol", "0 to 255", number::<u8>)?;
        let direction = required(fields.next(), "direction", "I or O", direction)?;
        let state = required(fields.next(), "flow state", "B, C, E or D", flow_state)?;
        required(fields.next(), "encryption", "a text", Some)?;
        let mut n_counters_written = 0;
        for field in ["packets sent", "bytes sent", "packets received", "bytes received"] {
            if let Some(value) = fields.next().filter(|value| !value.is_empty()) {
                required(Some(value), field, "a number below 2^64", number::<u64>)?;
                n_counters_written += 1;
            }
        }
        let mut commas = text.match_indices(',').map(|(comma, _)| comma);
        Ok(Self {
            text,
            needs_escapes: unescaped_length(text.as_bytes()) < text.len(),
            has_all_counters: n_counters_written == 4,
            ends: std::array::from_fn(|_| commas.next().unwrap_or(text.len())),
            time_ms,
            direction,
            state,
        })
    }

    /// Address and port of a side.
    #[must_use]
    pub fn endpoint(&self, side: Side) -> Endpoint<'a> {
        Endpoint { address: self.address(side), port: self.number(side.port) }
    }

    /// Address of a side.
    #[must_use]
    pub fn address(&self, side: Side) -> &'a str {
        self.field(side.address)
    }

    /// What a side sent.
    #[must_use]
    pub fn traffic(&self, side: Side) -> Traffic<'a> {
        Traffic { packets: self.number(side.packets), bytes: self.number(side.bytes) }
    }

    /// Appends the address of a side.
    pub fn write_address(&self, side: Side, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes(side.address));
    }

    /// Appends the port of a side, as JSON has numbers.
    pub fn write_port(&self, side: Side, out: &mut Vec<u8>) {
        self.copy_number(side.port, out);
    }

    /// Appends how many packets a side sent, as JSON has numbers.
    pub fn write_packets(&self, side: Side, out: &mut Vec<u8>) {
        self.copy_number(side.packets, out);
    }

    /// Appends how many bytes a side sent, as JSON has numbers.
    pub fn write_bytes(&self, side: Side, out: &mut Vec<u8>) {
        self.copy_number(side.bytes, out);
    }

    /// IANA's number of the protocol: 0 to 255.
    #[must_use]
    pub fn protocol(&self) -> Number<'a> {
        self.number(5)
    }

    /// The same as a number.
    #[must_use]
    pub fn protocol_number(&self) -> u8 {
        // The text was found to be one when the tuple was read.
        u8::try_from(self.protocol().value()).unwrap_or_default()
    }

    /// Verbatim: `X` is encrypted, `NX` and `NX_...` are not.
    #[must_use]
    pub fn encryption(&self) -> &'a str {
        self.field(8)
    }

    /// The tuple through the comma before the counters, and what follows there.
    #[must_use]
    pub fn split_at_counters(&self) -> (&'a str, &'a str) {
        let before = self.end(Self::FIELDS_BEFORE_COUNTERS - 1);
        self.text.split_at_checked(before.saturating_add(1)).unwrap_or((self.text, ""))
    }

    #[inline]
    fn copy_number(&self, index: usize, out: &mut Vec<u8>) {
        match self.bytes(index) {
            [] | [b'0', _, ..] => out.extend_from_slice(self.number(index).digits().as_bytes()),
            digits => out.extend_from_slice(digits),
        }
    }

    /// A field's bytes; none where the tuple has not so many fields.
    #[inline]
    fn bytes(&self, index: usize) -> &'a [u8] {
        let (from, to) = self.range(index);
        self.text.as_bytes().get(from..to).unwrap_or_default()
    }

    fn number(&self, index: usize) -> Number<'a> {
        Number::of(self.field(index))
    }

    /// A field, by its place among all of them; empty where the tuple has not so many.
    fn field(&self, index: usize) -> &'a str {
        let (from, to) = self.range(index);
        self.text.get(from..to).unwrap_or_default()
    }

    /// Where a field begins and ends; before it begins, where the tuple has not so many.
    #[inline]
    fn range(&self, index: usize) -> (usize, usize) {
        let from = index.checked_sub(1).map_or(0, |before| self.end(before).saturating_add(1));
        (from, self.end(index))
    }

    #[inline]
    fn end(&self, index: usize) -> usize {
        self.ends.get(index).copied().unwrap_or(self.text.len())
    }

    /// The time in a tuple, which may be in seconds, in milliseconds.
    pub(super) fn milliseconds(raw: u64) -> Option<i64> {
        let scale = if raw < FIRST_MILLISECONDS { 1_000 } else { 1 };
        i64::try_from(raw).ok()?.checked_mul(scale).filter(|time_ms| *time_ms <= LAST_MILLISECONDS)
    }
}

pub(super) fn required<'a, T>(
    value: Option<&'a str>,
    field: &'static str,
    expected: &'static str,
    parse: impl FnOnce(&'a str) -> Option<T>,
) -> Result<T, TupleError> {
    let Some(value) = value else {
        return Err(TupleError { field, expected, found: "the end of the tuple".to_owned() });
    };
    parse(value).ok_or_else(|| TupleError { field, expected, found: format!("`{value}`") })
}

/// Digits only: the standard parser takes a leading plus sign too.
pub(super) fn number<T: std::str::FromStr>(value: &str) -> Option<T> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// The time of a tuple of either kind, milliseconds since 1970: its first field. Records of network security groups have
/// seconds there.
#[must_use]
pub fn time_of(tuple: &str) -> Option<i64> {
    milliseconds(tuple.split(',').next()?)
}

fn milliseconds(value: &str) -> Option<i64> {
    FlowTuple::milliseconds(number(value)?)
}

/// The next four fields: both addresses, then both ports.
pub(super) fn endpoints<'a>(
    fields: &mut impl Iterator<Item = &'a str>,
) -> Result<(Endpoint<'a>, Endpoint<'a>), TupleError> {
    let source = required(fields.next(), "source address", "an IP address", address)?;
    let destination = required(fields.next(), "destination address", "an IP address", address)?;
    let port = |value| number::<u16>(value).map(|_| value);
    let source_port = required(fields.next(), "source port", "0 to 65535", port)?;
    let destination_port = required(fields.next(), "destination port", "0 to 65535", port)?;
    let endpoint = |address, port| Endpoint { address, port: Number::of(port) };
    Ok((endpoint(source, source_port), endpoint(destination, destination_port)))
}

fn address(value: &str) -> Option<&str> {
    value.parse::<IpAddr>().is_ok().then_some(value)
}

pub(super) fn direction(value: &str) -> Option<Direction> {
    match value {
        "I" => Some(Direction::Inbound),
        "O" => Some(Direction::Outbound),
        _ => None,
    }
}

fn flow_state(value: &str) -> Option<FlowState> {
    match value {
        "B" => Some(FlowState::Begin),
        "C" => Some(FlowState::Continuing),
        "E" => Some(FlowState::End),
        "D" => Some(FlowState::Denied),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "1663146003599,10.0.0.6,192.0.2.180,23956,443,6,O";

    /// Scenario: tuples with a field that is wrong or missing. Guarantees: the error names the first such field and
    /// what stands there.
    #[test]
    fn errors_name_the_field() {
        let check = |text: &str, expected: &str| {
            assert_eq!(FlowTuple::parse(text).unwrap_err().to_string(), expected, "{text}");
        };
        check("", "timestamp: expected milliseconds since 1970, found ``");
        check("-1,a", "timestamp: expected milliseconds since 1970, found `-1`");
        check("253402300800000,a", "timestamp: expected milliseconds since 1970, found `253402300800000`");
        check("1663146003599,10.0.0", "source address: expected an IP address, found `10.0.0`");
        check("1663146003599,::1", "destination address: expected an IP address, found the end of the tuple");
        check("1,::1,::2,65536", "source port: expected 0 to 65535, found `65536`");
        check("1,::1,::2,1,+5", "destination port: expected 0 to 65535, found `+5`");
        check("1,::1,::2,1,5,256", "protocol: expected 0 to 255, found `256`");
        check("1,::1,::2,1,5,6,X", "direction: expected I or O, found `X`");
        check(&format!("{START},X,NX"), "flow state: expected B, C, E or D, found `X`");
        check(&format!("{START},B"), "encryption: expected a text, found the end of the tuple");
        check(&format!("{START},B,NX,x"), "packets sent: expected a number below 2^64, found `x`");
        check(
            &format!("{START},B,NX,1,18446744073709551616"),
            "bytes sent: expected a number below 2^64, found `18446744073709551616`",
        );
        check(&format!("{START},B,NX,1,2,-3"), "packets received: expected a number below 2^64, found `-3`");
        check(&format!("{START},B,NX,1,2,3, 4"), "bytes received: expected a number below 2^64, found ` 4`");
    }

    /// Scenario: counters are given in part, empty, or followed by more fields. Guarantees: what is missing is 0,
    /// what is surplus does no harm.
    #[test]
    fn counters_are_tolerant() {
        let check = |counters: &str, expected: [u64; 4], all: bool| {
            let text = format!("{START},B,NX{counters}");
            let tuple = FlowTuple::parse(&text).unwrap();
            let (sent, received) = (tuple.traffic(SOURCE), tuple.traffic(DESTINATION));
            let found = [sent.packets, sent.bytes, received.packets, received.bytes].map(Number::value);
            assert_eq!((found, tuple.has_all_counters), (expected, all), "{text}");
        };
        check("", [0; 4], false);
        check(",,,,", [0; 4], false);
        check(",1,2", [1, 2, 0, 0], false);
        check(",,2,,4", [0, 2, 0, 4], false);
        check(",1,2,3,4", [1, 2, 3, 4], true);
        check(",1,2,3,18446744073709551615,new,,", [1, 2, 3, u64::MAX], true);
    }

    /// Scenario: timestamps in seconds and in milliseconds. Guarantees: the magnitude tells them apart.
    #[test]
    fn timestamps_by_magnitude() {
        let check = |number: &str, expected: i64| {
            let text = format!("{number},::1,::2,0,0,1,I,C,X");
            assert_eq!(FlowTuple::parse(&text).unwrap().time_ms, expected, "{number}");
        };
        check("0", 0);
        check("1663146003", 1_663_146_003_000);
        check("99999999999", 99_999_999_999_000);
        check("100000000000", 100_000_000_000);
        check("1663146003599", 1_663_146_003_599);
        check("253402300799999", 253_402_300_799_999);
    }
}
