//! The `flow` shape of a network security group's tuple. Compact JSON with keys in a fixed order.

use super::{
    RecordPlace,
    flow::write_provenance,
    json::{write_escaped, write_number, write_string},
    timestamp::TimestampWriter,
};
use crate::{
    flowlog::{
        nsg_record::NsgHead,
        nsg_tuple::NsgTuple,
        record::{GroupHead, Text},
    },
    model::EventId,
};

/// Writes flow events. What a record's or a group's events share is written once.
#[derive(Debug, Default)]
pub(super) struct NsgFlowWriter {
    timestamps: TimestampWriter,
    /// `macAddress` of the record.
    mac: String,
    /// From behind the hardware address through `"rule":`.
    record: Vec<u8>,
    /// From the beginning through `"flow.0":"`.
    group: Vec<u8>,
    /// `","version":2`.
    tail: Vec<u8>,
}

impl NsgFlowWriter {
    pub(super) fn begin_record(&mut self, head: &NsgHead<'_>) {
        let Self { timestamps, mac, record: out, tail, .. } = self;
        str::clone_into(&head.mac_address, mac);
        out.clear();
        out.extend_from_slice(b",\"operationName\":");
        write_string(out, &head.operation_name);
        out.extend_from_slice(b",\"resourceId\":");
        write_string(out, &head.resource_id);
        out.extend_from_slice(b",\"time\":\"");
        timestamps.write_short(out, head.time.microseconds());
        out.extend_from_slice(b"+00:00\",\"rule\":");
        tail.clear();
        tail.extend_from_slice(b"\",\"version\":");
        write_number(tail, head.version.number());
    }

    pub(super) fn begin_group(&mut self, group: &GroupHead<'_>) {
        let mac = mac_address(&self.mac, &group.mac);
        let out = &mut self.group;
        out.clear();
        out.extend_from_slice(b"{\"macAddress\":");
        write_string(out, mac);
        out.extend_from_slice(&self.record);
        write_string(out, &group.rule);
        out.extend_from_slice(b",\"flow.0\":\"");
    }

    /// What the events of the group at hand start with, through `"flow.0":"`.
    pub(super) fn group(&self) -> &[u8] {
        &self.group
    }

    /// What the events of the record at hand end with, but the closing brace.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Appends an event, behind [`Self::group`].
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        tuple: &NsgTuple<'_>,
        provenance: Option<(EventId, &RecordPlace<'_>)>,
    ) {
        write_escaped(out, tuple.text.as_bytes());
        out.extend_from_slice(&self.tail);
        write_provenance(out, provenance);
        out.push(b'}');
    }
}

/// The record's hardware address; where it has none, that of the group.
pub(super) fn mac_address<'a>(record: &'a str, group: &'a Text<'_>) -> &'a str {
    if record.is_empty() { group } else { record }
}
