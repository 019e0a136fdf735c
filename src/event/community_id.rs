//! Community ID version 1: one identifier for both directions of a flow, the same in every tool ("Community ID Flow
//! Hashing" specification, corelight/community-id-spec).

use core::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

use crate::flowlog::tuple::Endpoint;

/// Protocols whose ports are hashed: ICMP, TCP, UDP, ICMPv6, SCTP.
const PROTOCOLS_WITH_PORTS: [u8; 5] = [ICMP, 6, 17, ICMP_V6, 132];
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// ICMP message types that ask for one another.
const ICMP_PAIRS: [(u16, u16); 5] = [(8, 0), (10, 9), (13, 14), (15, 16), (17, 18)];
/// The same for ICMPv6.
const ICMP_V6_PAIRS: [(u16, u16); 6] =
    [(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)];

/// Length of base64 of a SHA-1 digest.
const ENCODED_DIGEST_BYTES: usize = 28;

/// Appends the identifier with seed 0.
pub(super) fn write_community_id(
    out: &mut Vec<u8>,
    protocol: u8,
    source: &Endpoint<'_>,
    destination: &Endpoint<'_>,
) {
    let ports = Ports::of(protocol, source.port_number(), destination.port_number());
    let (mut first, mut second) = ((source.ip(), ports.source), (destination.ip(), ports.destination));
    if second < first && !ports.is_one_way {
        (first, second) = (second, first);
    }
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    update_address(&mut hash, first.0);
    update_address(&mut hash, second.0);
    hash.update([protocol, 0]);
    if PROTOCOLS_WITH_PORTS.contains(&protocol) {
        hash.update(first.1.to_be_bytes());
        hash.update(second.1.to_be_bytes());
    }
    out.extend_from_slice(b"1:");
    let start = out.len();
    out.resize(start.saturating_add(ENCODED_DIGEST_BYTES), b'=');
    // The place is as long as the text, so this cannot fail.
    let _always_ok = STANDARD.encode_slice(hash.finalize(), out.get_mut(start..).unwrap_or_default());
}

/// What is hashed as ports.
struct Ports {
    source: u16,
    destination: u16,
    /// The two directions are different flows.
    is_one_way: bool,
}

impl Ports {
    /// For ICMP the log has message type and code in the places of the ports. The specification takes the type of the
    /// answer for the other port, so that question and answer meet; a message without an answer goes one way.
    fn of(protocol: u8, source: u16, destination: u16) -> Self {
        let pairs: &[(u16, u16)] = match protocol {
            ICMP => &ICMP_PAIRS,
            ICMP_V6 => &ICMP_V6_PAIRS,
            _ => return Self { source, destination, is_one_way: false },
        };
        let answer = pairs.iter().find_map(|(one, other)| match source {
            _ if source == *one => Some(*other),
            _ if source == *other => Some(*one),
            _ => None,
        });
        Self { source, destination: answer.unwrap_or(destination), is_one_way: answer.is_none() }
    }
}

fn update_address(hash: &mut Sha1, address: IpAddr) {
    match address {
        IpAddr::V4(address) => hash.update(address.octets()),
        IpAddr::V6(address) => hash.update(address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::tuple::{DESTINATION, FlowTuple, SOURCE};

    fn check(flow: (&str, u16, &str, u16, u8), expected: &str) {
        let (source, source_port, destination, destination_port, protocol) = flow;
        let text = format!("0,{source},{destination},{source_port},{destination_port},{protocol},O,B,NX");
        let mut out = b"kept".to_vec();
        let tuple = FlowTuple::parse(&text).unwrap();
        write_community_id(
            &mut out,
            tuple.protocol_number(),
            &tuple.endpoint(SOURCE),
            &tuple.endpoint(DESTINATION),
        );
        assert_eq!(String::from_utf8(out).unwrap(), format!("kept{expected}"), "{text}");
    }

    /// Scenario: flows with identifiers from the public reference implementation, in both directions. Guarantees: the
    /// same identifiers.
    #[test]
    fn reference_vectors() {
        for (source, source_port, destination, destination_port, protocol, expected) in [
            ("1.2.3.4", 23956, "192.0.2.180", 443, 6, "1:6MSfqbSvzAUXgaOO+gLycCBzFG0="),
            ("8.7.6.5", 55188, "1.2.3.4", 22, 6, "1:HKCg6rT+pBsj8mM7z8SA+rbsMkg="),
            ("10.1.0.4", 123, "40.119.6.228", 123, 17, "1:9uLWR4OpK6BjtOIT3+L6NX7uOH8="),
            ("10.0.0.6", 23956, "52.239.184.180", 443, 6, "1:Pql0MxS+MN+QUQwyEGpPhZZgWos="),
            ("192.168.170.8", 7, "192.168.170.56", 80, 132, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
            ("::1", 0, "::2", 0, 17, "1:D4Nc2nQxOckLMDon4QJL1pinfc8="),
            ("10.0.0.4", 0, "10.0.0.5", 0, 47, "1:OCc8JyCsxY5gFW0bYPb6D8K6964="),
        ] {
            check((source, source_port, destination, destination_port, protocol), expected);
            check((destination, destination_port, source, source_port, protocol), expected);
        }
    }

    /// Scenario: ICMP questions, answers, and messages that have none. Guarantees: the identifiers of the public
    /// reference implementation: equal for a question and its answer, different where there is no such pair.
    #[test]
    fn reference_vectors_of_icmp() {
        let (near, far) = ("192.168.0.89", "192.168.0.1");
        check((near, 8, far, 0, 1), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
        check((far, 0, near, 8, 1), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
        check((near, 20, far, 0, 1), "1:3o2RFccXzUgjl7zDpqmY7yJi8rI=");
        check((far, 20, near, 0, 1), "1:xka8imJTHE0ZCHTDqMsnK5QKoh8=");
        let (host, router) = ("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea");
        check((host, 135, router, 0, 58), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=");
        check((router, 136, host, 0, 58), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=");
        let (one, other) = ("3ffe:507:0:1:260:97ff:fe07:69ea", "3ffe:507:0:1:200:86ff:fe05:80da");
        check((one, 3, other, 0, 58), "1:NdobDX8PQNJbAyfkWxhtL2Pqp5w=");
    }
}
