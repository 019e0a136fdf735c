//! The `ecs` shape: the normalised event in the Elastic Common Schema. Without enrichment it has exactly the vendor's
//! fields; enriched it has more, and never another value for one of these.

use super::{
    RecordPlace,
    community_id::write_community_id,
    enrich::{self, ArmId, ECS_VERSION},
    flow::{FlowWriter, write_id, write_tuple},
    json::{write_escaped, write_name, write_number, write_string, write_text_member},
    timestamp::TimestampWriter,
};
use crate::{
    flowlog::{
        record::GroupHead,
        tuple::{Direction, Endpoint, FlowState, FlowTuple, Traffic},
        vnet_record::VnetHead,
    },
    model::{EventId, Origin},
};

/// Writes ecs events. What a record's or a group's events share is written once.
#[derive(Debug)]
pub(super) struct EcsWriter {
    enrich: bool,
    flow: FlowWriter,
    timestamps: TimestampWriter,
    /// `{"message":"...` through `\"flow.0\":\"`.
    message: Vec<u8>,
    /// The tuple as it stands in the flow event.
    flow_tuple: Vec<u8>,
    /// `,"category":["network"],"code":"..."` and, enriched, what else is the same for the record.
    event: Vec<u8>,
    /// `operationName`, as a JSON string.
    operation: Vec<u8>,
    /// `,"observer":{...}` of the record.
    observer: Vec<u8>,
    /// `,"observer":{...},"rule":{...}` of the group.
    rule: Vec<u8>,
    /// Enriched: `,"cloud":{...},...` of the record, through the open `"storage":{...}` object's last fixed member.
    record: Vec<u8>,
    /// Enriched: `"account":"...","container":"...","blob":"..."`.
    storage: Vec<u8>,
    /// Enriched: the interface's address in ECS form, or empty.
    mac: String,
}

impl EcsWriter {
    pub(super) fn new(enrich: bool, origin: &Origin, blob: &str) -> Self {
        Self {
            enrich,
            flow: FlowWriter::default(),
            timestamps: TimestampWriter::default(),
            message: Vec::new(),
            flow_tuple: Vec::new(),
            event: Vec::new(),
            operation: Vec::new(),
            observer: Vec::new(),
            rule: Vec::new(),
            record: Vec::new(),
            storage: storage(origin, blob),
            mac: String::new(),
        }
    }

    pub(super) fn begin_record(&mut self, head: &VnetHead<'_>, place: &RecordPlace<'_>) {
        self.flow.begin_record(head);
        self.operation.clear();
        write_string(&mut self.operation, &head.fields.operation_name);
        self.event.clear();
        self.event.extend_from_slice(b",\"event\":{\"category\":[\"network\"],\"code\":");
        self.event.extend_from_slice(&self.operation);
        if self.enrich {
            let out = &mut self.event;
            out.extend_from_slice(
                b",\"kind\":\"event\",\"module\":\"azure\",\"dataset\":\"azure.vnet_flow\"",
            );
            out.extend_from_slice(b",\"provider\":\"Microsoft.Network\",\"created\":\"");
            self.timestamps.write(out, head.time.microseconds());
            out.extend_from_slice(b"Z\"");
            self.mac = enrich::mac(&head.fields.mac_address);
            self.prepare_record(head, place);
        }
        self.observer.clear();
        self.observer.extend_from_slice(b",\"observer\":{\"mac\":");
        write_string(&mut self.observer, &head.fields.mac_address);
        self.observer.push(b'}');
    }

    pub(super) fn begin_group(&mut self, group: &GroupHead<'_>) {
        let GroupHead { acl_id, rule, .. } = group;
        self.flow.begin_group(group);
        self.message.clear();
        self.message.extend_from_slice(b"{\"message\":\"");
        write_escaped(&mut self.message, self.flow.group());
        self.rule.clear();
        self.rule.extend_from_slice(&self.observer);
        self.rule.extend_from_slice(b",\"rule\":{\"name\":");
        write_string(&mut self.rule, rule);
        if self.enrich {
            write_text_member(&mut self.rule, "id", acl_id);
            write_text_member(&mut self.rule, "ruleset", enrich::last_segment(acl_id));
            write_text_member(&mut self.rule, "category", enrich::rule_category(rule));
        }
        self.rule.push(b'}');
    }

    /// What the events of the group at hand start with.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Appends an event, behind [`Self::message`].
    pub(super) fn write(&mut self, out: &mut Vec<u8>, tuple: &FlowTuple<'_>, id: EventId) {
        if tuple.needs_escapes {
            self.flow_tuple.clear();
            write_tuple(&mut self.flow_tuple, tuple);
            write_escaped(out, &self.flow_tuple);
        } else {
            write_tuple(out, tuple);
        }
        out.extend_from_slice(b"\\\"}\"");
        self.write_event(out, tuple, id);
        out.extend_from_slice(b",\"@timestamp\":\"");
        self.timestamps.write(out, tuple.time_ms.saturating_mul(1_000));
        out.extend_from_slice(b"Z\",\"action\":{\"properties\":{\"FlowEncryption\":\"");
        if tuple.needs_escapes {
            write_escaped(out, tuple.encryption().as_bytes());
        } else {
            out.extend_from_slice(tuple.encryption().as_bytes());
        }
        out.extend_from_slice(b"\",\"OperationName\":");
        out.extend_from_slice(&self.operation);
        out.extend_from_slice(b"},\"target\":\"network-traffic\"}");
        let is_outbound = tuple.direction == Direction::Outbound;
        let mac_if = |is_ours: bool| if is_ours { self.mac.as_str() } else { "" };
        let (source, destination) = (tuple.source(), tuple.destination());
        write_side(out, b",\"source\":{\"address\":\"", &source, &tuple.sent(), mac_if(is_outbound));
        write_side(
            out,
            b",\"destination\":{\"address\":\"",
            &destination,
            &tuple.received(),
            mac_if(!is_outbound),
        );
        self.write_network(out, tuple, is_outbound);
        write_related(out, source.address, destination.address);
        out.extend_from_slice(&self.rule);
        if self.enrich {
            self.write_azure(out, tuple);
        }
        out.push(b'}');
    }

    fn write_event(&self, out: &mut Vec<u8>, tuple: &FlowTuple<'_>, id: EventId) {
        out.extend_from_slice(&self.event);
        let kind = match tuple.state {
            FlowState::Begin => "start",
            FlowState::Continuing => "info",
            FlowState::End => "end",
            FlowState::Denied => "denied",
        };
        out.extend_from_slice(b",\"type\":[\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\"]");
        if self.enrich {
            let (action, outcome) = enrich::action_and_outcome(tuple.state);
            write_text_member(out, "action", action);
            write_text_member(out, "outcome", outcome);
            write_name(out, "id");
            write_id(out, id);
        }
        out.push(b'}');
    }

    fn write_network(&self, out: &mut Vec<u8>, tuple: &FlowTuple<'_>, is_outbound: bool) {
        out.extend_from_slice(b",\"network\":{\"direction\":\"");
        out.extend_from_slice(if is_outbound { b"outbound" } else { b"inbound" });
        out.extend_from_slice(b"\",\"iana_number\":\"");
        out.extend_from_slice(tuple.protocol().digits().as_bytes());
        out.push(b'"');
        if self.enrich {
            let (source, destination) = (tuple.source(), tuple.destination());
            let (sent, received) = (tuple.sent(), tuple.received());
            write_text_member(out, "transport", enrich::transport(tuple.protocol_number()));
            write_text_member(out, "type", if source.is_ipv6() { "ipv6" } else { "ipv4" });
            write_name(out, "bytes");
            write_number(out, sent.bytes.value().saturating_add(received.bytes.value()));
            write_name(out, "packets");
            write_number(out, sent.packets.value().saturating_add(received.packets.value()));
            out.extend_from_slice(b",\"community_id\":\"");
            write_community_id(out, tuple.protocol_number(), &source, &destination);
            out.push(b'"');
        }
        out.push(b'}');
    }

    /// Everything of the enriched shape that is the same for all events of a record, through `"azure":{...`; the
    /// object stays open for what the tuple adds.
    fn prepare_record(&mut self, head: &VnetHead<'_>, place: &RecordPlace<'_>) {
        let fields = &head.fields;
        let target = ArmId::parse(&fields.target_resource_id);
        let out = &mut self.record;
        out.clear();
        write_platform(out, target.subscription, &enrich::region(&fields.flow_log_resource_id));
        out.extend_from_slice(b",\"azure\":{");
        write_resource(out, &fields.target_resource_id, &target);
        write_object(out, "vnet", &[("name", target.virtual_network)]);
        write_object(out, "subnet", &[("name", target.subnet)]);
        write_object(out, "nic", &[("name", target.network_interface)]);
        write_name(out, "flow_log");
        out.push(b'{');
        write_text_member(out, "resource_id", &fields.flow_log_resource_id);
        write_text_member(out, "guid", &fields.flow_log_guid);
        write_text_member(out, "category", &fields.category);
        out.extend_from_slice(if out.last() == Some(&b'{') { b"\"version\":4}" } else { b",\"version\":4}" });
        write_name(out, "storage");
        out.extend_from_slice(&self.storage);
        write_name(out, "offset");
        write_number(out, place.span.from);
        out.push(b'}');
    }

    fn write_azure(&self, out: &mut Vec<u8>, tuple: &FlowTuple<'_>) {
        out.extend_from_slice(&self.record);
        out.extend_from_slice(b",\"flow\":{\"state\":\"");
        out.extend_from_slice(tuple.state.letter().as_bytes());
        out.extend_from_slice(b"\",\"encryption\":");
        write_string(out, tuple.encryption());
        if let Some(encrypted) = enrich::is_encrypted(tuple.encryption()) {
            write_name(out, "encrypted");
            out.extend_from_slice(if encrypted { b"true" } else { b"false" });
        }
        out.extend_from_slice(b"}}");
    }
}

/// `{"account":"...","container":"...","blob":"..."`: where the records are from.
pub(super) fn storage(origin: &Origin, blob: &str) -> Vec<u8> {
    let mut storage = vec![b'{'];
    write_text_member(&mut storage, "account", &origin.account);
    write_text_member(&mut storage, "container", &origin.container);
    write_text_member(&mut storage, "blob", blob);
    storage
}

/// Appends what the enriched events of all records have in common, from `,"ecs":` on.
pub(super) fn write_platform(out: &mut Vec<u8>, subscription: &str, region: &str) {
    out.extend_from_slice(b",\"ecs\":{\"version\":");
    write_string(out, ECS_VERSION);
    out.extend_from_slice(b"},\"agent\":{\"name\":\"flowlogd\",\"version\":");
    write_string(out, env!("CARGO_PKG_VERSION"));
    out.extend_from_slice(b"},\"cloud\":{\"provider\":\"azure\"");
    write_object(out, "account", &[("id", subscription)]);
    write_text_member(out, "region", region);
    out.push(b'}');
}

/// Appends what an Azure resource is called.
pub(super) fn write_resource(out: &mut Vec<u8>, id: &str, parts: &ArmId<'_>) {
    let members = [("id", id), ("group", parts.group), ("name", parts.name), ("provider", parts.provider)];
    write_object(out, "resource", &members);
}

fn write_side(out: &mut Vec<u8>, opening: &[u8], endpoint: &Endpoint<'_>, traffic: &Traffic<'_>, mac: &str) {
    begin_side(out, opening, endpoint);
    out.extend_from_slice(b",\"packets\":");
    out.extend_from_slice(traffic.packets.digits().as_bytes());
    out.extend_from_slice(b",\"bytes\":");
    out.extend_from_slice(traffic.bytes.digits().as_bytes());
    write_text_member(out, "mac", mac);
    out.push(b'}');
}

/// Appends one side of a flow, through its port. `opening` is what stands before the address.
pub(super) fn begin_side(out: &mut Vec<u8>, opening: &[u8], endpoint: &Endpoint<'_>) {
    out.extend_from_slice(opening);
    out.extend_from_slice(endpoint.address.as_bytes());
    out.extend_from_slice(b"\",\"ip\":\"");
    out.extend_from_slice(endpoint.address.as_bytes());
    out.extend_from_slice(b"\",\"port\":");
    out.extend_from_slice(endpoint.port.digits().as_bytes());
}

/// Appends both addresses, sorted, without repetition. Addresses need no escapes.
pub(super) fn write_related(out: &mut Vec<u8>, one: &str, other: &str) {
    let (first, second) = if other < one { (other, one) } else { (one, other) };
    out.extend_from_slice(b",\"related\":{\"ip\":[\"");
    out.extend_from_slice(first.as_bytes());
    if first != second {
        out.extend_from_slice(b"\",\"");
        out.extend_from_slice(second.as_bytes());
    }
    out.extend_from_slice(b"\"]}");
}

/// Appends an object of those members that have a text; nothing where none has.
pub(super) fn write_object(out: &mut Vec<u8>, name: &str, members: &[(&str, &str)]) {
    if members.iter().all(|(_, text)| text.is_empty()) {
        return;
    }
    write_name(out, name);
    out.push(b'{');
    for (member, text) in members {
        write_text_member(out, member, text);
    }
    out.push(b'}');
}
