//! Records of virtual network flow logs, version 4.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    record::{
        Element, GroupHead, Head, Record, RecordError, Text, TupleGroup, Version, list, record_time,
        unknown_version,
    },
    time::RecordTime,
};

/// The version of virtual network flow logs.
pub const VERSION: u32 = 4;

/// What a record of virtual network flow logs says once. A text that the record lacks is empty.
#[derive(Debug)]
pub struct VnetHead<'a> {
    /// When the record was made.
    pub time: RecordTime,
    /// The texts.
    pub fields: VnetFields<'a>,
}

/// The members of a record. Any order; unknown members are ignored; a list that is missing or null is empty.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VnetFields<'a> {
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    flow_log_version: Option<Version<'a>>,
    #[serde(borrow)]
    flow_records: FlowRecords<'a>,
    /// GUID of the flow log.
    #[serde(borrow, default, rename = "flowLogGUID")]
    pub flow_log_guid: Text<'a>,
    /// Hardware address of the network interface, as written.
    #[serde(borrow, default)]
    pub mac_address: Text<'a>,
    /// `FlowLogFlowEvent`.
    #[serde(borrow, default)]
    pub category: Text<'a>,
    /// Resource id of the flow log.
    #[serde(borrow, default, rename = "flowLogResourceID")]
    pub flow_log_resource_id: Text<'a>,
    /// Resource id of the virtual network, subnet or network interface that is logged.
    #[serde(borrow, default, rename = "targetResourceID")]
    pub target_resource_id: Text<'a>,
    /// `FlowLogFlowEvent`.
    #[serde(borrow, default)]
    pub operation_name: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct FlowRecords<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    flows: Vec<Flow<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flow<'a> {
    #[serde(borrow, default, rename = "aclID")]
    acl_id: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    flow_groups: Vec<FlowGroup<'a>>,
}

impl Element for Flow<'_> {
    fn is_empty(&self) -> bool {
        self.flow_groups.is_empty()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlowGroup<'a> {
    #[serde(borrow, default)]
    rule: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    flow_tuples: Vec<&'a RawValue>,
}

impl Element for FlowGroup<'_> {
    fn is_empty(&self) -> bool {
        self.flow_tuples.is_empty()
    }
}

/// Reads a record. The outer error says that its members do not fit.
pub(super) fn read(text: &str) -> serde_json::Result<Result<Record<'_>, RecordError>> {
    serde_json::from_str(text).map(check)
}

fn check(mut fields: VnetFields<'_>) -> Result<Record<'_>, RecordError> {
    check_version(fields.flow_log_version.as_ref())?;
    let time = record_time(fields.time.as_ref())?;
    let mut groups = Vec::new();
    for Flow { acl_id, flow_groups } in std::mem::take(&mut fields.flow_records.flows) {
        groups.extend(flow_groups.into_iter().map(|FlowGroup { rule, flow_tuples }| TupleGroup {
            head: GroupHead { acl_id: acl_id.clone(), rule, mac: Text::default() },
            tuples: flow_tuples,
        }));
    }
    Ok(Record { head: Head::Vnet(VnetHead { time, fields }), groups })
}

pub(super) fn check_version(version: Option<&Version<'_>>) -> Result<(), RecordError> {
    match version.and_then(Version::number) {
        Some(VERSION) => Ok(()),
        _ => Err(unknown_version("4", version)),
    }
}
