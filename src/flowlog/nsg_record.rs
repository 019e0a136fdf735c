//! Records of flow logs of network security groups, versions 1 and 2 (Microsoft Learn, "Flow logging for network
//! security groups").

use serde::{
    Deserialize,
    de::{Error, IgnoredAny},
};
use serde_json::value::RawValue;

use super::{
    elements::Elements,
    record::{
        Element, GroupHead, Head, Record, RecordError, Text, TupleGroup, Version, list, record_time,
        unknown_version,
    },
    time::RecordTime,
};

/// The versions of these flow logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NsgVersion {
    /// Tuples of eight fields.
    One,
    /// With state and counters.
    Two,
}

impl NsgVersion {
    /// As the record has it.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// What a record of a network security group says once. A text that the record lacks is empty.
#[derive(Debug)]
pub struct NsgHead<'a> {
    /// When the record was made.
    pub time: RecordTime,
    /// How its tuples are written.
    pub version: NsgVersion,
    /// Resource id of the network security group.
    pub resource_id: Text<'a>,
    /// Hardware address of the network interface, as written. Where it is missing, the groups of tuples have one.
    pub mac_address: Text<'a>,
    /// `NetworkSecurityGroupFlowEvent`.
    pub category: Text<'a>,
    /// `NetworkSecurityGroupFlowEvents`.
    pub operation_name: Text<'a>,
}

/// The members of a record. Any order; unknown members are ignored; a list that is missing or null is empty.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    properties: Properties<'a>,
    /// Makes it a record of the other kind.
    #[serde(default)]
    flow_records: Option<IgnoredAny>,
    #[serde(borrow, default)]
    resource_id: Text<'a>,
    #[serde(borrow, default, rename = "resourceID")]
    resource_id_in_capitals: Text<'a>,
    #[serde(borrow, default)]
    mac_address: Text<'a>,
    #[serde(borrow, default)]
    category: Text<'a>,
    #[serde(borrow, default)]
    operation_name: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Properties<'a> {
    #[serde(borrow, default, rename = "Version")]
    version: Option<Version<'a>>,
    #[serde(borrow, default, deserialize_with = "list")]
    flows: Vec<RuleFlows<'a>>,
}

#[derive(Debug, Deserialize)]
struct RuleFlows<'a> {
    #[serde(borrow, default)]
    rule: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    flows: Vec<InterfaceFlows<'a>>,
}

impl Element for RuleFlows<'_> {
    fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceFlows<'a> {
    #[serde(borrow, default)]
    mac: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    flow_tuples: Vec<&'a RawValue>,
}

impl Element for InterfaceFlows<'_> {
    fn is_empty(&self) -> bool {
        self.flow_tuples.is_empty()
    }
}

/// Reads a record. The outer error says that its members do not fit.
pub(super) fn read(text: &str) -> serde_json::Result<Result<Record<'_>, RecordError>> {
    let members: Members<'_> = serde_json::from_str(text)?;
    if members.flow_records.is_some() {
        return Err(serde_json::Error::custom("flowRecords beside properties"));
    }
    Ok(check(members))
}

fn check(members: Members<'_>) -> Result<Record<'_>, RecordError> {
    let Members { time, properties, resource_id, resource_id_in_capitals, mac_address, .. } = members;
    let Properties { version, flows } = properties;
    let head = NsgHead {
        version: check_version(version.as_ref())?,
        time: record_time(time.as_ref())?,
        resource_id: if resource_id.is_empty() { resource_id_in_capitals } else { resource_id },
        mac_address,
        category: members.category,
        operation_name: members.operation_name,
    };
    let mut groups = Vec::new();
    for RuleFlows { rule, flows } in flows {
        groups.extend(flows.into_iter().map(|InterfaceFlows { mac, flow_tuples }| TupleGroup {
            head: GroupHead { acl_id: Text::default(), rule: rule.clone(), mac },
            tuples: Elements::any(flow_tuples),
        }));
    }
    Ok(Record { head: Head::Nsg(head), groups })
}

pub(super) fn check_version(version: Option<&Version<'_>>) -> Result<NsgVersion, RecordError> {
    match version.and_then(Version::number) {
        Some(1) => Ok(NsgVersion::One),
        Some(2) => Ok(NsgVersion::Two),
        _ => Err(unknown_version("1 or 2", version)),
    }
}

/// The version in `properties`, whatever else is in there.
pub(super) fn version_in(properties: &RawValue) -> Option<Version<'_>> {
    #[derive(Deserialize)]
    struct VersionOnly<'a> {
        #[serde(borrow, default, rename = "Version")]
        version: Option<Version<'a>>,
    }
    serde_json::from_str::<VersionOnly<'_>>(properties.get()).ok()?.version
}
