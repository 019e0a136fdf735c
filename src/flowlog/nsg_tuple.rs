//! One flow tuple of a network security group: comma-separated text, as "Flow logging for network security groups"
//! describes it.

use super::{
    nsg_record::NsgVersion,
    tuple::{Direction, Endpoint, TupleError, direction, endpoints, number, required},
};

/// One observation of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NsgTuple<'a> {
    /// The tuple as it stands.
    pub text: &'a str,
    /// Milliseconds since 1970, whole seconds; the year has four digits.
    pub time_ms: i64,
    /// Who opened the flow.
    pub source: Endpoint<'a>,
    /// The other side.
    pub destination: Endpoint<'a>,
    /// TCP or UDP.
    pub protocol: NsgProtocol,
    /// As the network interface sees it.
    pub direction: Direction,
    /// What the rule says.
    pub decision: Decision,
    /// What happened. Version 1 does not say.
    pub state: Option<NsgState>,
    /// Source to destination, since the flow's previous tuple.
    pub sent: NsgTraffic,
    /// Destination to source, since the flow's previous tuple.
    pub received: NsgTraffic,
}

/// The protocols that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NsgProtocol {
    /// `T`.
    Tcp,
    /// `U`.
    Udp,
}

impl NsgProtocol {
    /// IANA's number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// `A`.
    Allowed,
    /// `D`.
    Denied,
}

/// What a tuple reports about its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NsgState {
    /// `B`.
    Begin,
    /// `C`.
    Continuing,
    /// `E`.
    End,
}

/// Counters of one way, where they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NsgTraffic {
    /// Packets.
    pub packets: Option<u64>,
    /// Bytes.
    pub bytes: Option<u64>,
}

/// 9999-12-31T23:59:59Z: later years have no RFC 3339 form.
const LAST_SECOND: i64 = 253_402_300_799;

impl<'a> NsgTuple<'a> {
    /// Parses a tuple of this version. State and counters may be missing or empty, surplus fields are ignored.
    ///
    /// # Errors
    /// The first field that is not what it should be.
    pub fn parse(text: &'a str, version: NsgVersion) -> Result<Self, TupleError> {
        let mut fields = text.split(',');
        let time_ms = required(fields.next(), "timestamp", "seconds since 1970", seconds)?;
        let (source, destination) = endpoints(&mut fields)?;
        let protocol = required(fields.next(), "protocol", "T or U", protocol)?;
        let direction = required(fields.next(), "direction", "I or O", direction)?;
        let decision = required(fields.next(), "decision", "A or D", decision)?;
        let mut optional = || match version {
            NsgVersion::One => None,
            NsgVersion::Two => fields.next().filter(|field| !field.is_empty()),
        };
        let state =
            optional().map(|value| required(Some(value), "flow state", "B, C or E", state)).transpose()?;
        let mut counter = |field| {
            let value = optional();
            value.map(|value| required(Some(value), field, "a number below 2^64", number)).transpose()
        };
        let sent = NsgTraffic { packets: counter("packets sent")?, bytes: counter("bytes sent")? };
        let received =
            NsgTraffic { packets: counter("packets received")?, bytes: counter("bytes received")? };
        Ok(Self { text, time_ms, source, destination, protocol, direction, decision, state, sent, received })
    }
}

fn seconds(value: &str) -> Option<i64> {
    number(value).filter(|second: &i64| *second <= LAST_SECOND)?.checked_mul(1_000)
}

fn protocol(value: &str) -> Option<NsgProtocol> {
    match value {
        "T" => Some(NsgProtocol::Tcp),
        "U" => Some(NsgProtocol::Udp),
        _ => None,
    }
}

fn decision(value: &str) -> Option<Decision> {
    match value {
        "A" => Some(Decision::Allowed),
        "D" => Some(Decision::Denied),
        _ => None,
    }
}

fn state(value: &str) -> Option<NsgState> {
    match value {
        "B" => Some(NsgState::Begin),
        "C" => Some(NsgState::Continuing),
        "E" => Some(NsgState::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "1542110377,10.0.0.4,192.0.2.118,44931,443,T,O,A";

    /// *Scenario*: tuples of both versions with a field that is wrong or missing.
    /// *Guarantees*: the error names the first such field and what stands there.
    #[test]
    fn errors_name_the_field() {
        let check = |text: &str, expected: &str| {
            let error = NsgTuple::parse(text, NsgVersion::Two).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        };
        check("", "timestamp: expected seconds since 1970, found ``");
        check("1542110377000,a", "timestamp: expected seconds since 1970, found `1542110377000`");
        check("-1,a", "timestamp: expected seconds since 1970, found `-1`");
        check("1,10.0.0", "source address: expected an IP address, found `10.0.0`");
        check("1,::1", "destination address: expected an IP address, found the end of the tuple");
        check("1,::1,::2,65536", "source port: expected 0 to 65535, found `65536`");
        check("1,::1,::2,1,x", "destination port: expected 0 to 65535, found `x`");
        check("1,::1,::2,1,5,6", "protocol: expected T or U, found `6`");
        check("1,::1,::2,1,5,T,X", "direction: expected I or O, found `X`");
        check("1,::1,::2,1,5,U,I", "decision: expected A or D, found the end of the tuple");
        check("1,::1,::2,1,5,U,I,B", "decision: expected A or D, found `B`");
        check(&format!("{START},D"), "flow state: expected B, C or E, found `D`");
        check(&format!("{START},B,x"), "packets sent: expected a number below 2^64, found `x`");
        check(&format!("{START},C,1,-2"), "bytes sent: expected a number below 2^64, found `-2`");
        check(&format!("{START},C,1,2,+3"), "packets received: expected a number below 2^64, found `+3`");
        check(
            &format!("{START},C,1,2,3,18446744073709551616"),
            "bytes received: expected a number below 2^64, found `18446744073709551616`",
        );
    }

    /// *Scenario*: state and counters given, in part, empty, followed by more fields, and in a tuple of version 1.
    /// *Guarantees*: what is missing is absent, what is surplus does no harm.
    #[test]
    fn what_may_be_missing() {
        let check = |version, rest: &str, state: Option<NsgState>, counters: [Option<u64>; 4]| {
            let text = format!("{START}{rest}");
            let NsgTuple { state: found, sent, received, time_ms, .. } =
                NsgTuple::parse(&text, version).unwrap();
            let found_counters = [sent.packets, sent.bytes, received.packets, received.bytes];
            assert_eq!((found, found_counters), (state, counters), "{text}");
            assert_eq!(time_ms, 1_542_110_377_000);
        };
        let (begin, end) = (Some(NsgState::Begin), Some(NsgState::End));
        let all = [Some(1), Some(2), Some(3), Some(u64::MAX)];
        check(NsgVersion::Two, "", None, [None; 4]);
        check(NsgVersion::Two, ",,,,,", None, [None; 4]);
        check(NsgVersion::Two, ",B,,,,", begin, [None; 4]);
        check(NsgVersion::Two, ",C", Some(NsgState::Continuing), [None; 4]);
        check(NsgVersion::Two, ",E,1,,3", end, [Some(1), None, Some(3), None]);
        check(NsgVersion::Two, ",E,1,2,3,18446744073709551615,new,", end, all);
        check(NsgVersion::One, ",E,1,2,3,4", None, [None; 4]);
        check(NsgVersion::One, ",what,ever", None, [None; 4]);
    }
}
