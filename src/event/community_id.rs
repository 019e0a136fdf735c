//! Community ID version 1: one identifier for both directions of a flow, the same in every tool ("Community ID Flow
//! Hashing" specification, corelight/community-id-spec).

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

use crate::flowlog::tuple::{Endpoint, FlowTuple};

/// Protocols whose ports (for ICMP: whatever the log has in their place) are hashed: ICMP, TCP, UDP, ICMPv6, SCTP.
const PROTOCOLS_WITH_PORTS: [u8; 5] = [1, 6, 17, 58, 132];

/// The identifier with seed 0.
pub(super) fn community_id(tuple: &FlowTuple<'_>) -> String {
    let key = |endpoint: &Endpoint<'_>| (endpoint.ip, endpoint.port);
    let (mut first, mut second) = (key(&tuple.source), key(&tuple.destination));
    if second < first {
        (first, second) = (second, first);
    }
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    update_address(&mut hash, first.0);
    update_address(&mut hash, second.0);
    hash.update([tuple.protocol, 0]);
    if PROTOCOLS_WITH_PORTS.contains(&tuple.protocol) {
        hash.update(first.1.to_be_bytes());
        hash.update(second.1.to_be_bytes());
    }
    let mut text = String::with_capacity(30);
    text.push_str("1:");
    STANDARD.encode_string(hash.finalize(), &mut text);
    text
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

    /// Scenario: flows with identifiers from the public reference implementation, in both directions. Guarantees: the
    /// same identifiers.
    #[test]
    fn reference_vectors() {
        let cases = [
            ("1.2.3.4", 23956, "192.0.2.180", 443, 6, "1:6MSfqbSvzAUXgaOO+gLycCBzFG0="),
            ("8.7.6.5", 55188, "1.2.3.4", 22, 6, "1:HKCg6rT+pBsj8mM7z8SA+rbsMkg="),
            ("10.1.0.4", 123, "40.119.6.228", 123, 17, "1:9uLWR4OpK6BjtOIT3+L6NX7uOH8="),
            ("10.0.0.6", 23956, "52.239.184.180", 443, 6, "1:Pql0MxS+MN+QUQwyEGpPhZZgWos="),
        ];
        for (source, source_port, destination, destination_port, protocol, expected) in cases {
            let there = format!(
                "1663146003599,{source},{destination},{source_port},{destination_port},{protocol},O,B,NX"
            );
            let back = format!(
                "1663146003599,{destination},{source},{destination_port},{source_port},{protocol},I,B,NX"
            );
            for text in [there, back] {
                assert_eq!(community_id(&FlowTuple::parse(&text).unwrap()), expected, "{text}");
            }
        }
    }
}
