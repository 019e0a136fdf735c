//! One flow tuple: comma-separated text, as "Virtual network flow logs: log format" describes it.

use core::net::{IpAddr, Ipv4Addr};

use super::usual_tuple;

/// One observation of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowTuple<'a> {
    /// The tuple as it stands.
    pub text: &'a str,
    /// Whether `text` has something that must be escaped in JSON.
    pub needs_escapes: bool,
    /// Where in `text` what follows the encryption begins: the counters, if there are any.
    pub counters_at: usize,
    /// How many of the four counters stand in the text, empty ones not counted.
    pub n_counters_written: usize,
    /// Milliseconds since 1970; the year has four digits.
    pub time_ms: i64,
    /// Who opened the flow.
    pub source: Endpoint<'a>,
    /// The other side.
    pub destination: Endpoint<'a>,
    /// IANA number.
    pub protocol: u8,
    /// As the network interface sees it.
    pub direction: Direction,
    /// What happened.
    pub state: FlowState,
    /// Verbatim: `X` is encrypted, `NX` and `NX_...` are not.
    pub encryption: &'a str,
    /// Source to destination, since the flow's previous tuple.
    pub sent: Traffic,
    /// Destination to source, since the flow's previous tuple.
    pub received: Traffic,
}

/// One side of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The address as it stands. It is one.
    pub address: &'a str,
    /// The port.
    pub port: u16,
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
}

/// Counters of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
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
        match usual_tuple::read(text) {
            Some(tuple) => Ok(tuple),
            None => Self::parse_any(text),
        }
    }

    /// The same, for any tuple.
    pub(super) fn parse_any(text: &'a str) -> Result<Self, TupleError> {
        let mut fields = text.split(',');
        let time_ms = required(fields.next(), "timestamp", "milliseconds since 1970", milliseconds)?;
        let (source, destination) = endpoints(&mut fields)?;
        let protocol = required(fields.next(), "protocol", "0 to 255", number)?;
        let direction = required(fields.next(), "direction", "I or O", direction)?;
        let state = required(fields.next(), "flow state", "B, C, E or D", flow_state)?;
        let encryption = required(fields.next(), "encryption", "a text", Some)?;
        let before_counters = text.match_indices(',').nth(Self::FIELDS_BEFORE_COUNTERS.saturating_sub(1));
        let counters_at = before_counters.map_or(text.len(), |(comma, _)| comma.saturating_add(1));
        let mut n_counters_written = 0;
        let mut counter = |field| match fields.next() {
            None | Some("") => Ok(0),
            Some(value) => {
                n_counters_written += 1;
                required(Some(value), field, "a number below 2^64", number)
            }
        };
        let sent = Traffic { packets: counter("packets sent")?, bytes: counter("bytes sent")? };
        let received = Traffic { packets: counter("packets received")?, bytes: counter("bytes received")? };
        Ok(Self {
            text,
            needs_escapes: usual_tuple::needs_escapes(text),
            counters_at,
            n_counters_written,
            time_ms,
            source,
            destination,
            protocol,
            direction,
            state,
            encryption,
            sent,
            received,
        })
    }

    /// The time in a tuple, which may be in seconds, in milliseconds.
    pub(super) fn milliseconds(raw: u64) -> Option<i64> {
        let scale = if raw < FIRST_MILLISECONDS { 1_000 } else { 1 };
        i64::try_from(raw).ok()?.checked_mul(scale).filter(|time_ms| *time_ms <= LAST_MILLISECONDS)
    }

    /// Whether all four counters stand in the text.
    #[must_use]
    pub fn has_all_counters(&self) -> bool {
        self.n_counters_written == 4
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
    let source_port = required(fields.next(), "source port", "0 to 65535", number)?;
    let destination_port = required(fields.next(), "destination port", "0 to 65535", number)?;
    let endpoint = |address, port| Endpoint { address, port };
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
            let found = [tuple.sent.packets, tuple.sent.bytes, tuple.received.packets, tuple.received.bytes];
            assert_eq!((found, tuple.has_all_counters()), (expected, all), "{text}");
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
