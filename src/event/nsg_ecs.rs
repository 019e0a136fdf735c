//! The `ecs` shape of a network security group's tuple. Without enrichment it has exactly the vendor's fields; enriched it
//! has more, and never another value for one of these.

use super::{
    RecordPlace,
    community_id::write_community_id,
    ecs::{storage, write_object, write_platform, write_related, write_resource},
    enrich::{self, ArmId},
    flow::write_id,
    json::{write_escaped, write_name, write_number, write_string, write_text_member},
    nsg_flow::{NsgFlowWriter, mac_address},
    timestamp::TimestampWriter,
};
use crate::{
    flowlog::{
        nsg_record::NsgHead,
        nsg_tuple::{Decision, NsgProtocol, NsgState, NsgTraffic, NsgTuple},
        record::GroupHead,
        tuple::{Direction, Endpoint},
    },
    model::{EventId, Origin},
};

/// Writes ecs events. What a record's or a group's events share is written once.
#[derive(Debug)]
pub(super) struct NsgEcsWriter {
    enrich: bool,
    flow: NsgFlowWriter,
    timestamps: TimestampWriter,
    /// `{"message":"...` through `\"flow.0\":\"`.
    message: Vec<u8>,
    /// The tuple as it stands in the flow event.
    flow_tuple: Vec<u8>,
    /// From behind the tuple through `"outcome":"success"` of the event and, enriched, what else is the same for all
    /// events of the record.
    event: Vec<u8>,
    /// `"OperationName":...,"target":...,"type":...,"host":...` of the group.
    action: Vec<u8>,
    /// `,"rule":{...}` of the group and, enriched, `,"observer":{...}`.
    rule: Vec<u8>,
    /// Enriched: `,"cloud":{...},...` of the record, through the open `"azure":{...` object's last fixed member.
    record: Vec<u8>,
    /// Enriched: where the records are from.
    storage: Vec<u8>,
    texts: Texts,
}

/// Texts of the record and group at hand.
#[derive(Debug, Default)]
struct Texts {
    operation: String,
    resource_id: String,
    /// Of the record.
    mac: String,
    /// Of the record, or else of the group.
    group_mac: String,
}

impl NsgEcsWriter {
    pub(super) fn new(enrich: bool, origin: &Origin, blob: &str) -> Self {
        Self {
            enrich,
            flow: NsgFlowWriter::default(),
            timestamps: TimestampWriter::default(),
            message: Vec::new(),
            flow_tuple: Vec::new(),
            event: Vec::new(),
            action: Vec::new(),
            rule: Vec::new(),
            record: Vec::new(),
            storage: storage(origin, blob),
            texts: Texts::default(),
        }
    }

    pub(super) fn begin_record(&mut self, head: &NsgHead<'_>, place: &RecordPlace<'_>) {
        self.flow.begin_record(head);
        str::clone_into(&head.operation_name, &mut self.texts.operation);
        str::clone_into(&head.resource_id, &mut self.texts.resource_id);
        str::clone_into(&head.mac_address, &mut self.texts.mac);
        let mut time = Vec::new();
        self.timestamps.write(&mut time, head.time.microseconds());
        time.push(b'Z');
        let out = &mut self.event;
        out.clear();
        write_escaped(out, self.flow.tail());
        out.extend_from_slice(b"}\",\"@timestamp\":\"");
        out.extend_from_slice(&time);
        out.extend_from_slice(b"\",\"event\":{\"category\":[\"network\"],\"code\":");
        write_string(out, &head.operation_name);
        out.extend_from_slice(b",\"start\":\"");
        out.extend_from_slice(&time);
        out.extend_from_slice(b"\",\"outcome\":\"success\"");
        if self.enrich {
            out.extend_from_slice(b",\"kind\":\"event\",\"module\":\"azure\",\"dataset\":\"azure.nsg_flow\"");
            out.extend_from_slice(b",\"provider\":\"Microsoft.Network\",\"created\":\"");
            out.extend_from_slice(&time);
            out.push(b'"');
            self.prepare_record(head, place);
        }
    }

    /// Everything of the enriched shape that is the same for all events of a record, through `"azure":{...`; the
    /// object stays open for what the tuple adds.
    fn prepare_record(&mut self, head: &NsgHead<'_>, place: &RecordPlace<'_>) {
        let group = ArmId::parse(&head.resource_id);
        let out = &mut self.record;
        out.clear();
        write_platform(out, group.subscription, "");
        out.extend_from_slice(b",\"azure\":{");
        write_resource(out, &head.resource_id, &group);
        write_name(out, "flow_log");
        out.push(b'{');
        write_text_member(out, "category", &head.category);
        write_name(out, "version");
        write_number(out, head.version.number());
        out.push(b'}');
        write_name(out, "storage");
        out.extend_from_slice(&self.storage);
        write_name(out, "offset");
        write_number(out, place.span.from);
        out.push(b'}');
    }

    pub(super) fn begin_group(&mut self, group: &GroupHead<'_>) {
        let Self { flow, message, action, rule, texts, .. } = self;
        flow.begin_group(group);
        message.clear();
        message.extend_from_slice(b"{\"message\":\"");
        write_escaped(message, flow.group());
        mac_address(&texts.mac, &group.mac).clone_into(&mut texts.group_mac);
        action.clear();
        action.extend_from_slice(b"\"OperationName\":");
        write_string(action, &texts.operation);
        action.extend_from_slice(b"},\"target\":\"network-traffic\",\"type\":");
        write_string(action, &group.rule);
        action.push(b'}');
        write_object(action, "host", &[("name", &texts.resource_id)]);
        rule.clear();
        rule.extend_from_slice(b",\"rule\":{\"name\":");
        write_string(rule, &group.rule);
        if self.enrich {
            write_text_member(rule, "ruleset", enrich::last_segment(&texts.resource_id));
            write_text_member(rule, "category", enrich::rule_category(&group.rule));
        }
        rule.push(b'}');
        if self.enrich {
            write_object(rule, "observer", &[("mac", &texts.group_mac)]);
        }
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>, tuple: &NsgTuple<'_>, id: EventId) {
        self.flow_tuple.clear();
        write_escaped(&mut self.flow_tuple, tuple.text.as_bytes());
        out.extend_from_slice(&self.message);
        write_escaped(out, &self.flow_tuple);
        out.extend_from_slice(&self.event);
        let (action, kind) = match tuple.decision {
            Decision::Allowed => ("accept", "allowed"),
            Decision::Denied => ("reject", "denied"),
        };
        write_text_member(out, "action", action);
        out.extend_from_slice(b",\"type\":[\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\"]");
        if self.enrich {
            write_name(out, "id");
            write_id(out, id);
        }
        out.extend_from_slice(b"},\"action\":{\"name\":\"");
        out.extend_from_slice(action.as_bytes());
        out.extend_from_slice(b"\",\"outcome\":\"success\",\"properties\":{");
        if let Some(state) = tuple.state {
            write_text_member(out, "FlowState", state_name(state));
            out.push(b',');
        }
        out.extend_from_slice(&self.action);
        write_side(out, b",\"source\":{\"address\":\"", &tuple.source, tuple.sent, &self.texts.group_mac);
        write_side(out, b",\"destination\":{\"address\":\"", &tuple.destination, tuple.received, "");
        self.write_network(out, tuple);
        write_related(out, tuple.source.address, tuple.destination.address);
        out.extend_from_slice(&self.rule);
        if self.enrich {
            self.write_azure(out, tuple);
        }
        out.push(b'}');
    }

    fn write_network(&self, out: &mut Vec<u8>, tuple: &NsgTuple<'_>) {
        out.extend_from_slice(b",\"network\":{\"direction\":\"");
        out.extend_from_slice(match tuple.direction {
            Direction::Inbound => b"inbound",
            Direction::Outbound => b"outbound",
        });
        out.extend_from_slice(match tuple.protocol {
            NsgProtocol::Tcp => b"\",\"transport\":\"tcp\"",
            NsgProtocol::Udp => b"\",\"transport\":\"udp\"",
        });
        if self.enrich {
            let protocol = tuple.protocol.number();
            out.extend_from_slice(b",\"iana_number\":\"");
            write_number(out, protocol);
            out.push(b'"');
            write_text_member(out, "type", if tuple.source.is_ipv6() { "ipv6" } else { "ipv4" });
            write_counter(out, "bytes", sum(tuple.sent.bytes, tuple.received.bytes));
            write_counter(out, "packets", sum(tuple.sent.packets, tuple.received.packets));
            out.extend_from_slice(b",\"community_id\":\"");
            write_community_id(out, protocol, &tuple.source, &tuple.destination);
            out.push(b'"');
        }
        out.push(b'}');
    }

    /// The vendor's time stamp is the record's; the tuple's own is here.
    fn write_azure(&mut self, out: &mut Vec<u8>, tuple: &NsgTuple<'_>) {
        out.extend_from_slice(&self.record);
        out.extend_from_slice(b",\"flow\":{\"time\":\"");
        self.timestamps.write(out, tuple.time_ms.saturating_mul(1_000));
        out.extend_from_slice(match tuple.decision {
            Decision::Allowed => b"Z\",\"decision\":\"A\"",
            Decision::Denied => b"Z\",\"decision\":\"D\"",
        });
        if let Some(state) = tuple.state {
            let letter = match state {
                NsgState::Begin => "B",
                NsgState::Continuing => "C",
                NsgState::End => "E",
            };
            write_text_member(out, "state", letter);
        }
        out.extend_from_slice(b"}}");
    }
}

fn state_name(state: NsgState) -> &'static str {
    match state {
        NsgState::Begin => "begin",
        NsgState::Continuing => "continue",
        NsgState::End => "end",
    }
}

/// The sum of what is written; `None` where nothing is.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

fn write_counter(out: &mut Vec<u8>, name: &str, counter: Option<u64>) {
    if let Some(counter) = counter {
        write_name(out, name);
        write_number(out, counter);
    }
}

fn write_side(out: &mut Vec<u8>, opening: &[u8], endpoint: &Endpoint<'_>, traffic: NsgTraffic, mac: &str) {
    begin_side(out, opening, endpoint);
    write_counter(out, "packets", traffic.packets);
    write_counter(out, "bytes", traffic.bytes);
    write_text_member(out, "mac", mac);
    out.push(b'}');
}

/// Appends one side of a flow, through its port. `opening` is what stands before the address.
fn begin_side(out: &mut Vec<u8>, opening: &[u8], endpoint: &Endpoint<'_>) {
    out.extend_from_slice(opening);
    out.extend_from_slice(endpoint.address.as_bytes());
    out.extend_from_slice(b"\",\"ip\":\"");
    out.extend_from_slice(endpoint.address.as_bytes());
    out.extend_from_slice(b"\",\"port\":");
    out.extend_from_slice(endpoint.port.digits().as_bytes());
}
