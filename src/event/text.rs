//! One sentence for people, as the vendor shows an event.

use std::io::Write;

use crate::flowlog::tuple::{Endpoint, FlowState, FlowTuple};

/// Appends the sentence.
pub(super) fn write(out: &mut Vec<u8>, tuple: &FlowTuple<'_>, rule: &str) {
    let (source, destination) = (Shown(&tuple.source), Shown(&tuple.destination));
    // Writing into memory cannot fail.
    let _always_ok = match tuple.state {
        FlowState::Begin => write!(out, "{source} connected to {destination}"),
        FlowState::Denied => write!(out, "Connection from {source} to {destination} was denied"),
        FlowState::End => write!(out, "End connection from {source} to {destination}"),
        FlowState::Continuing => {
            // A rule's name is foreign text: a line end in it must not end the line.
            write!(out, "Connection from {source} to {destination} with rule {}", rule.escape_debug())
        }
    };
}

/// `192.0.2.1:443`, `[2001:db8::1]:443`.
struct Shown<'a>(&'a Endpoint<'a>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Endpoint { address, ip, port } = self.0;
        if ip.is_ipv6() { write!(f, "[{address}]:{port}") } else { write!(f, "{address}:{port}") }
    }
}
