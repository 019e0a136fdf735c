//! Flow tuples: a seeded stand-in for the traffic of one network interface. Flows begin, go on for some minutes and
//! end; others are denied. Knows nothing of records and files.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use fastrand::Rng;

use super::{
    kind::Kind,
    shape::{Shape, pick},
};

/// One element of a `flowTuples` list.
#[derive(Debug, Clone)]
pub(crate) struct Tuple {
    /// Milliseconds (or seconds) since 1970.
    pub(crate) time: u64,
    flow: Flow,
    state: State,
    counters: Counters,
}

impl Tuple {
    /// The tuple as the collector must send it on: all four counters are there.
    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected(self)
    }

    /// The tuple as it stands in the blob of a network security group, and in the event.
    pub(crate) fn of_nsg(&self, kind: Kind) -> OfNsg<'_> {
        OfNsg { tuple: self, kind }
    }

    /// Which rule of the interface matched.
    pub(crate) fn verdict(&self) -> Verdict {
        self.flow.verdict
    }

    fn write_identity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flow { source, destination, source_port, destination_port, protocol, .. } = self.flow;
        let Self { time, state, .. } = self;
        let direction = if self.flow.outbound { 'O' } else { 'I' };
        let encryption = self.flow.encryption;
        let state = state.letter();
        write!(f, "{time},{source},{destination},{source_port},{destination_port},")?;
        write!(f, "{protocol},{direction},{state},{encryption}")
    }
}

/// The tuple as it stands in the blob.
impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_identity(f)?;
        match self.counters {
            Counters::Written(counters) => write_counters(f, counters),
            Counters::Empty => f.write_str(",,,,"),
            Counters::Absent => Ok(()),
        }
    }
}

/// Prints a tuple with its counters filled.
pub(crate) struct Expected<'a>(&'a Tuple);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_identity(f)?;
        match self.0.counters {
            Counters::Written(counters) => write_counters(f, counters),
            Counters::Empty | Counters::Absent => write_counters(f, [0; 4]),
        }
    }
}

/// Prints a tuple of a network security group, whose counters stay as they are.
pub(crate) struct OfNsg<'a> {
    tuple: &'a Tuple,
    kind: Kind,
}

impl fmt::Display for OfNsg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tuple { time, flow, state, counters } = self.tuple;
        let Flow { source, destination, source_port, destination_port, .. } = flow;
        let protocol = if flow.protocol == UDP { 'U' } else { 'T' };
        let direction = if flow.outbound { 'O' } else { 'I' };
        let decision = if *state == State::Denied { 'D' } else { 'A' };
        write!(f, "{time},{source},{destination},{source_port},{destination_port},")?;
        write!(f, "{protocol},{direction},{decision}")?;
        if self.kind == Kind::Nsg1 {
            return Ok(());
        }
        // A denied flow begins and never goes on.
        let state = if *state == State::Denied { State::Begin } else { *state };
        write!(f, ",{}", state.letter())?;
        match counters {
            Counters::Written(counters) => write_counters(f, *counters),
            Counters::Empty => f.write_str(",,,,"),
            Counters::Absent => Ok(()),
        }
    }
}

fn write_counters(f: &mut fmt::Formatter<'_>, counters: [u64; 4]) -> fmt::Result {
    counters.iter().try_for_each(|counter| write!(f, ",{counter}"))
}

/// Which of an interface's access lists, and which rule of it, decided. The names belong to the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Verdict {
    /// Index into the interface's access lists.
    pub(crate) acl: usize,
    /// Index into the allowing or denying rules.
    pub(crate) rule: usize,
    /// Which of the two rule lists.
    pub(crate) denied: bool,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    outbound: bool,
    encryption: &'static str,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Continue,
    End,
    Denied,
}

impl State {
    fn letter(self) -> char {
        match self {
            Self::Begin => 'B',
            Self::Continue => 'C',
            Self::End => 'E',
            Self::Denied => 'D',
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Counters {
    Written([u64; 4]),
    /// `,,,,`
    Empty,
    /// The tuple ends after its ninth field.
    Absent,
}

/// IANA's numbers. Network security groups log nothing else.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The most flows that stay open on one interface: keeps memory level however long the writer runs.
const OPEN_FLOWS: usize = 512;

/// The traffic of one interface.
#[derive(Debug)]
pub(crate) struct Traffic {
    kind: Kind,
    shape: Shape,
    address: Ipv4Addr,
    address_v6: Ipv6Addr,
    acls: usize,
    open: Vec<Flow>,
}

impl Traffic {
    /// An interface with random addresses and `acls` access lists.
    pub(crate) fn new(rng: &mut Rng, kind: Kind, shape: Shape, acls: usize) -> Self {
        let address = Ipv4Addr::new(10, rng.u8(..), rng.u8(..), rng.u8(4..250));
        let network = u128::from(0xfd00_0000_0000_0000_u64 | rng.u64(..1 << 40)) << 64;
        let address_v6 = Ipv6Addr::from(network | u128::from(rng.u32(4..)));
        Self { kind, shape, address, address_v6, acls, open: Vec::new() }
    }

    /// Appends one or two tuples at `time` (milliseconds since 1970).
    pub(crate) fn push_tuples(&mut self, rng: &mut Rng, time: u64, out: &mut Vec<Tuple>) {
        let dice = rng.u8(..100);
        if dice < 15 {
            let flow = self.new_flow(rng, true);
            let counters = self.idle_counters(rng);
            out.push(self.tuple(rng, time, flow, State::Denied, counters));
        } else if dice < 65 && !self.open.is_empty() {
            let index = rng.usize(..self.open.len());
            let ends = rng.u8(..100) < 35;
            let flow = if ends { Some(self.open.swap_remove(index)) } else { self.open.get(index).copied() };
            let state = if ends { State::End } else { State::Continue };
            let counters = self.counters(rng);
            out.extend(flow.map(|flow| self.tuple(rng, time, flow, state, counters)));
        } else {
            self.push_beginning(rng, time, out);
        }
    }

    /// A flow begins; some end within the same millisecond, and then the end may be written first.
    fn push_beginning(&mut self, rng: &mut Rng, time: u64, out: &mut Vec<Tuple>) {
        let flow = self.new_flow(rng, false);
        let idle = self.idle_counters(rng);
        let begin = self.tuple(rng, time, flow, State::Begin, idle);
        if rng.u8(..12) > 0 {
            if self.open.len() < OPEN_FLOWS {
                self.open.push(flow);
            }
            out.push(begin);
            return;
        }
        let end = Tuple { state: State::End, counters: self.counters(rng), ..begin.clone() };
        if rng.bool() { out.extend([end, begin]) } else { out.extend([begin, end]) }
    }

    fn tuple(&self, rng: &mut Rng, time: u64, flow: Flow, state: State, counters: Counters) -> Tuple {
        // Documentation shows tuples in seconds too; they are told apart by magnitude. Network security groups have
        // nothing else.
        let seconds = self.kind.is_nsg() || self.shape == Shape::Hostile && rng.u8(..16) == 0;
        Tuple { time: if seconds { time / 1_000 } else { time }, flow, state, counters }
    }

    fn idle_counters(&self, rng: &mut Rng) -> Counters {
        match rng.u8(..10) {
            0..5 => Counters::Empty,
            5..7 if self.shape == Shape::Hostile => Counters::Absent,
            _ => Counters::Written([0; 4]),
        }
    }

    fn counters(&self, rng: &mut Rng) -> Counters {
        let mut side = || {
            let packets = rng.u64(1..2_000);
            [packets, packets * rng.u64(40..1_460)]
        };
        let ([out_packets, out_bytes], [in_packets, in_bytes]) = (side(), side());
        match rng.u8(..100) {
            0 if self.shape == Shape::Hostile => Counters::Written([0, 0, u64::MAX, u64::MAX]),
            0..10 => Counters::Written([out_packets, out_bytes, 0, 0]),
            _ => Counters::Written([out_packets, out_bytes, in_packets, in_bytes]),
        }
    }

    fn new_flow(&self, rng: &mut Rng, denied: bool) -> Flow {
        let version_6 = match self.shape {
            Shape::V6 => rng.u8(..100) < 95,
            Shape::Typical | Shape::Sparse | Shape::Dense => rng.u8(..100) < 10,
            Shape::Hostile => rng.bool(),
        };
        let outbound = !denied && rng.u8(..100) < 60;
        let own = if version_6 { IpAddr::V6(self.address_v6) } else { IpAddr::V4(self.address) };
        let peer = if version_6 { IpAddr::V6(self.peer_v6(rng)) } else { IpAddr::V4(peer_v4(rng)) };
        let (source, destination) = if outbound { (own, peer) } else { (peer, own) };
        let protocol = match rng.u8(..100) {
            0..70 => TCP,
            70..92 => UDP,
            _ if self.kind.is_nsg() => TCP,
            92..97 => {
                if version_6 {
                    58
                } else {
                    1
                }
            }
            _ => pick(rng, [47, 50, 51, 132, 0, 255]),
        };
        let has_ports = matches!(protocol, TCP | UDP | 132);
        let known = pick(rng, [443, 443, 443, 80, 53, 123, 22, 3389, 445, 1433, 8080, 65535]);
        let rules = if denied { self.shape.denying_rules() } else { self.shape.allowing_rules() };
        Flow {
            source,
            destination,
            source_port: if has_ports { rng.u16(1024..) } else { 0 },
            destination_port: if has_ports { known } else { 0 },
            protocol,
            outbound,
            encryption: self.encryption(rng),
            verdict: Verdict { acl: rng.usize(..self.acls), rule: rng.usize(..rules.len()), denied },
        }
    }

    fn peer_v6(&self, rng: &mut Rng) -> Ipv6Addr {
        let documentation = 0x2001_0db8_u128 << 96;
        match rng.u8(..4) {
            0 => Ipv6Addr::from(documentation | u128::from(rng.u16(1..))),
            1 if self.shape == Shape::Hostile => Ipv4Addr::new(192, 0, 2, rng.u8(1..255)).to_ipv6_mapped(),
            _ => Ipv6Addr::from(documentation | (rng.u128(..) >> 32)),
        }
    }

    fn encryption(&self, rng: &mut Rng) -> &'static str {
        match rng.u8(..100) {
            0..70 => "NX",
            70..80 => "X",
            80..83 if self.shape == Shape::Hostile => "NX_NOT_YET_INVENTED",
            _ => pick(
                rng,
                [
                    "NX_HW_NOT_SUPPORTED",
                    "NX_SW_NOT_READY",
                    "NX_NOT_ACCEPTED",
                    "NX_NOT_SUPPORTED",
                    "NX_LOCAL_DST",
                    "NX_FALLBACK",
                ],
            ),
        }
    }
}

/// Addresses reserved for documentation, and private ones.
fn peer_v4(rng: &mut Rng) -> Ipv4Addr {
    let host = rng.u8(1..255);
    match rng.u8(..4) {
        0 => Ipv4Addr::new(192, 0, 2, host),
        1 => Ipv4Addr::new(198, 51, 100, host),
        2 => Ipv4Addr::new(203, 0, 113, host),
        _ => Ipv4Addr::new(10, rng.u8(..), rng.u8(..), host),
    }
}
