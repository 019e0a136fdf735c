//! One sentence for people, as the vendor shows an event.

use std::io::Write;

use crate::flowlog::{
    nsg_tuple::{Decision, NsgState, NsgTuple},
    tuple::{DESTINATION, Endpoint, FlowState, FlowTuple, SOURCE},
};

/// Appends the sentence for a tuple of virtual network flow logs.
pub(super) fn write(out: &mut Vec<u8>, tuple: &FlowTuple<'_>, rule: &str) {
    write_sentence(out, &tuple.endpoint(SOURCE), &tuple.endpoint(DESTINATION), tuple.state, rule);
}

/// Appends the sentence for a tuple of a network security group.
pub(super) fn write_nsg(out: &mut Vec<u8>, tuple: &NsgTuple<'_>, rule: &str) {
    let state = match (tuple.decision, tuple.state) {
        (Decision::Denied, _) => FlowState::Denied,
        (Decision::Allowed, Some(NsgState::Begin)) => FlowState::Begin,
        (Decision::Allowed, Some(NsgState::End)) => FlowState::End,
        (Decision::Allowed, Some(NsgState::Continuing) | None) => FlowState::Continuing,
    };
    write_sentence(out, &tuple.source, &tuple.destination, state, rule);
}

fn write_sentence(
    out: &mut Vec<u8>,
    source: &Endpoint<'_>,
    destination: &Endpoint<'_>,
    state: FlowState,
    rule: &str,
) {
    let (source, destination) = (Shown(source), Shown(destination));
    // Writing into memory cannot fail.
    let _always_ok = match state {
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
        let Endpoint { address, port } = self.0;
        if self.0.is_ipv6() { write!(f, "[{address}]:{port}") } else { write!(f, "{address}:{port}") }
    }
}
