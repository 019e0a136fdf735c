//! The `flow` shape: the flattened tuple that the vendor's parser reads. Compact JSON with keys in a fixed order.

use super::{
    RecordPlace,
    json::{write_escaped, write_name, write_number, write_string},
    timestamp::TimestampWriter,
};
use crate::{
    flowlog::{record::GroupHead, tuple::FlowTuple, vnet_record::VnetHead},
    model::EventId,
};

/// Writes flow events. What a record's or a group's events share is written once.
#[derive(Debug, Default)]
pub(super) struct FlowWriter {
    timestamps: TimestampWriter,
    /// Through `"aclID":`.
    record: Vec<u8>,
    /// Through `"flow.0":"`.
    group: Vec<u8>,
}

impl FlowWriter {
    pub(super) fn begin_record(&mut self, head: &VnetHead<'_>) {
        let Self { timestamps, record: out, .. } = self;
        out.clear();
        out.extend_from_slice(b"{\"time\":\"");
        timestamps.write_short(out, head.time.microseconds());
        out.extend_from_slice(b"+00:00\",\"flowLogVersion\":4,\"flowLogGUID\":");
        write_string(out, &head.fields.flow_log_guid);
        out.extend_from_slice(b",\"macAddress\":");
        write_string(out, &head.fields.mac_address);
        out.extend_from_slice(b",\"operationName\":");
        write_string(out, &head.fields.operation_name);
        out.extend_from_slice(b",\"aclID\":");
    }

    pub(super) fn begin_group(&mut self, group: &GroupHead<'_>) {
        self.group.clear();
        self.group.extend_from_slice(&self.record);
        write_string(&mut self.group, &group.acl_id);
        self.group.extend_from_slice(b",\"rule\":");
        write_string(&mut self.group, &group.rule);
        self.group.extend_from_slice(b",\"flow.0\":\"");
    }

    /// What the events of the group at hand start with, through `"flow.0":"`.
    pub(super) fn group(&self) -> &[u8] {
        &self.group
    }

    /// Appends an event, behind [`Self::group`].
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        tuple: &FlowTuple<'_>,
        provenance: Option<(EventId, &RecordPlace<'_>)>,
    ) {
        write_tuple(out, tuple);
        if provenance.is_none() {
            return out.extend_from_slice(b"\"}");
        }
        out.push(b'"');
        write_provenance(out, provenance);
        out.push(b'}');
    }
}

/// Appends what comes after the vendor's keys.
pub(super) fn write_provenance(out: &mut Vec<u8>, provenance: Option<(EventId, &RecordPlace<'_>)>) {
    let Some((id, place)) = provenance else { return };
    write_name(out, "event.id");
    write_id(out, id);
    write_name(out, "blob");
    write_string(out, place.blob);
    write_name(out, "offset");
    write_number(out, place.span.from);
}

/// Appends an event id as a JSON string.
pub(super) fn write_id(out: &mut Vec<u8>, id: EventId) {
    use std::io::Write;
    // Writing into memory cannot fail.
    let _always_ok = write!(out, "\"{id}\"");
}

/// Appends the tuple, escaped, with `0` for counters that are empty or missing; the vendor's parser extracts nothing
/// from a tuple without them.
pub(super) fn write_tuple(out: &mut Vec<u8>, tuple: &FlowTuple<'_>) {
    let write_text = |out: &mut Vec<u8>, text: &str| {
        if tuple.needs_escapes {
            write_escaped(out, text.as_bytes());
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    };
    if tuple.has_all_counters {
        return write_text(out, tuple.text);
    }
    let (before, counters) = tuple.split_at_counters();
    if counters == ",,," {
        write_text(out, before);
        return out.extend_from_slice(b"0,0,0,0");
    }
    let counters = FlowTuple::FIELDS_BEFORE_COUNTERS..FlowTuple::FIELDS_BEFORE_COUNTERS.saturating_add(4);
    let mut fields = tuple.text.split(',');
    for index in 0..counters.end {
        if index > 0 {
            out.push(b',');
        }
        let field = fields.next().unwrap_or_default();
        let shown = if field.is_empty() && counters.contains(&index) { "0" } else { field };
        write_escaped(out, shown.as_bytes());
    }
    for surplus in fields {
        out.push(b',');
        write_escaped(out, surplus.as_bytes());
    }
}
