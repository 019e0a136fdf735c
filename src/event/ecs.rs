//! The `ecs` shape: the normalised event in the Elastic Common Schema. Without enrichment it has exactly the vendor's
//! fields; enriched it has more, and never another value for one of these.

use std::io::Write as _;

use super::{
    RecordPlace,
    community_id::write_community_id,
    enrich::{self, ArmId, ECS_VERSION},
    flow::{FlowWriter, write_tuple},
    json::{write_escaped, write_name, write_number, write_string, write_text_member},
    timestamp::TimestampWriter,
};
use crate::{
    flowlog::{
        record::GroupHead,
        tuple::{DESTINATION, Direction, FlowState, FlowTuple, SOURCE, Side},
        vnet_record::VnetHead,
    },
    model::{EventId, Origin, RecordKey},
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
    /// From the message's end through `"category":["network"],"code":"..."`, enriched what else is the same for the record,
    /// and `,"type":["`.
    event: Vec<u8>,
    /// From behind the encryption through `"source":{"address":"`.
    action: Vec<u8>,
    /// `,"observer":{...}` of the record.
    observer: Vec<u8>,
    /// `,"observer":{...},"rule":{...}` of the group.
    rule: Vec<u8>,
    /// Enriched: `,"cloud":{...},...` of the record, through the open `"storage":{...}` object's last fixed member.
    record: Vec<u8>,
    /// Enriched: `"account":"...","container":"...","blob":"..."`.
    storage: Vec<u8>,
    /// Enriched: `,"mac":"..."`, the interface's address in ECS form, or empty.
    mac: Vec<u8>,
    /// Enriched: what the ids of this record's events begin with.
    id: Vec<u8>,
    id_of: Option<RecordKey>,
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
            action: Vec::new(),
            observer: Vec::new(),
            rule: Vec::new(),
            record: Vec::new(),
            storage: storage(origin, blob),
            mac: Vec::new(),
            id: Vec::new(),
            id_of: None,
        }
    }

    pub(super) fn begin_record(&mut self, head: &VnetHead<'_>, place: &RecordPlace<'_>) {
        self.flow.begin_record(head);
        let operation = &head.fields.operation_name;
        self.action.clear();
        self.action.extend_from_slice(b"\",\"OperationName\":");
        write_string(&mut self.action, operation);
        self.action.extend_from_slice(b"},\"target\":\"network-traffic\"},\"source\":{\"address\":\"");
        self.event.clear();
        self.event.extend_from_slice(b"\\\"}\",\"event\":{\"category\":[\"network\"],\"code\":");
        write_string(&mut self.event, operation);
        if self.enrich {
            let out = &mut self.event;
            out.extend_from_slice(
                b",\"kind\":\"event\",\"module\":\"azure\",\"dataset\":\"azure.vnet_flow\"",
            );
            out.extend_from_slice(b",\"provider\":\"Microsoft.Network\",\"created\":\"");
            self.timestamps.write(out, head.time.microseconds());
            out.extend_from_slice(b"Z\"");
            self.mac.clear();
            write_text_member(&mut self.mac, "mac", &enrich::mac(&head.fields.mac_address));
            self.prepare_record(head, place);
        }
        self.event.extend_from_slice(b",\"type\":[\"");
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
        out.extend_from_slice(&self.event);
        if self.enrich {
            out.extend_from_slice(enriched_state(tuple.state));
            self.write_id(out, id);
        } else {
            out.extend_from_slice(plain_state(tuple.state));
        }
        out.extend_from_slice(b"},\"@timestamp\":\"");
        self.timestamps.write(out, tuple.time_ms.saturating_mul(1_000));
        out.extend_from_slice(b"Z\",\"action\":{\"properties\":{\"FlowEncryption\":\"");
        if tuple.needs_escapes {
            write_escaped(out, tuple.encryption().as_bytes());
        } else {
            out.extend_from_slice(tuple.encryption().as_bytes());
        }
        out.extend_from_slice(&self.action);
        let is_outbound = tuple.direction == Direction::Outbound;
        write_side(out, tuple, SOURCE, if is_outbound { &self.mac } else { b"" });
        out.extend_from_slice(b"},\"destination\":{\"address\":\"");
        write_side(out, tuple, DESTINATION, if is_outbound { b"" } else { &self.mac });
        out.extend_from_slice(if is_outbound { OUTBOUND } else { INBOUND });
        out.extend_from_slice(tuple.protocol().digits().as_bytes());
        out.push(b'"');
        if self.enrich {
            write_network(out, tuple);
        }
        out.push(b'}');
        write_related(out, tuple.address(SOURCE), tuple.address(DESTINATION));
        out.extend_from_slice(&self.rule);
        if self.enrich {
            self.write_azure(out, tuple);
        }
        out.push(b'}');
    }

    /// Appends the id, which differs from the others of its record in the ordinal.
    fn write_id(&mut self, out: &mut Vec<u8>, id: EventId) {
        if self.id_of != Some(id.record) {
            self.id_of = Some(id.record);
            self.id.clear();
            // Writing into memory cannot fail.
            let _always_ok = write!(self.id, "{}-", id.record);
        }
        out.extend_from_slice(&self.id);
        write_number(out, id.ordinal);
        out.push(b'"');
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

/// What stands before the protocol.
const OUTBOUND: &[u8] = b"},\"network\":{\"direction\":\"outbound\",\"iana_number\":\"";
const INBOUND: &[u8] = b"},\"network\":{\"direction\":\"inbound\",\"iana_number\":\"";

/// `event.type`, behind its opening quote.
fn plain_state(state: FlowState) -> &'static [u8] {
    match state {
        FlowState::Begin => b"start\"]",
        FlowState::Continuing => b"info\"]",
        FlowState::End => b"end\"]",
        FlowState::Denied => b"denied\"]",
    }
}

/// The same through the opening quote of the id.
fn enriched_state(state: FlowState) -> &'static [u8] {
    match state {
        FlowState::Begin => b"start\"],\"action\":\"flow-begin\",\"outcome\":\"success\",\"id\":\"",
        FlowState::Continuing => b"info\"],\"action\":\"flow-continue\",\"outcome\":\"success\",\"id\":\"",
        FlowState::End => b"end\"],\"action\":\"flow-end\",\"outcome\":\"success\",\"id\":\"",
        FlowState::Denied => b"denied\"],\"action\":\"flow-deny\",\"outcome\":\"failure\",\"id\":\"",
    }
}

/// Appends one side of a flow, from its address on, without the closing brace.
#[inline]
fn write_side(out: &mut Vec<u8>, tuple: &FlowTuple<'_>, side: Side, mac: &[u8]) {
    tuple.write_address(side, out);
    out.extend_from_slice(b"\",\"ip\":\"");
    tuple.write_address(side, out);
    out.extend_from_slice(b"\",\"port\":");
    tuple.write_port(side, out);
    out.extend_from_slice(b",\"packets\":");
    tuple.write_packets(side, out);
    out.extend_from_slice(b",\"bytes\":");
    tuple.write_bytes(side, out);
    if !mac.is_empty() {
        out.extend_from_slice(mac);
    }
}

/// Appends what the enriched shape has of the network.
fn write_network(out: &mut Vec<u8>, tuple: &FlowTuple<'_>) {
    let (source, destination) = (tuple.endpoint(SOURCE), tuple.endpoint(DESTINATION));
    let (sent, received) = (tuple.traffic(SOURCE), tuple.traffic(DESTINATION));
    let protocol = tuple.protocol_number();
    write_text_member(out, "transport", enrich::transport(protocol));
    let bytes: &[u8] =
        if source.is_ipv6() { b",\"type\":\"ipv6\",\"bytes\":" } else { b",\"type\":\"ipv4\",\"bytes\":" };
    out.extend_from_slice(bytes);
    write_number(out, sent.bytes.value().saturating_add(received.bytes.value()));
    out.extend_from_slice(b",\"packets\":");
    write_number(out, sent.packets.value().saturating_add(received.packets.value()));
    out.extend_from_slice(b",\"community_id\":\"");
    write_community_id(out, protocol, &source, &destination);
    out.push(b'"');
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
