//! One record: which of its bytes mean what. Borrowed wherever the text has no escapes.
//!
//! Only version 4 (virtual network flow logs) is read. Records of network security groups (versions 1 and 2) become
//! another variant beside [`Record`].

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, Visitor},
};
use serde_json::value::RawValue;

use super::time::RecordTime;

/// The version of virtual network flow logs.
pub const VERSION: u32 = 4;

/// A record of virtual network flow logs. A text that the record lacks is empty.
#[derive(Debug)]
pub struct Record<'a> {
    /// When the record was made.
    pub time: RecordTime,
    /// The texts.
    pub fields: Fields<'a>,
    /// The tuples, in the order of the record.
    pub groups: Vec<TupleGroup<'a>>,
}

/// The tuples that one rule of one judge (a network security group, a network manager) is responsible for.
#[derive(Debug)]
pub struct TupleGroup<'a> {
    /// GUID or resource id of the judge, or `unspecified`.
    pub acl_id: Text<'a>,
    /// Name of the rule.
    pub rule: Text<'a>,
    /// The elements as they stand: a text with a flow tuple, if all is well.
    pub tuples: Vec<&'a RawValue>,
}

/// The members of a record. Any order; unknown members are ignored; a list that is missing or null is empty.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fields<'a> {
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlowGroup<'a> {
    #[serde(borrow, default)]
    rule: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    flow_tuples: Vec<&'a RawValue>,
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not JSON, or not UTF-8: the stream is damaged here and the blob cannot be read on.
    #[error("{0}")]
    NotJson(String),
    /// JSON that is no flow-log record, or a record whose inside has the wrong shape: only it is lost.
    #[error("{0}")]
    BadRecord(String),
    /// A flow-log record of another version: only it is lost.
    #[error("flow log version: expected 4, found {0}")]
    UnknownVersion(String),
}

/// Reads one record.
///
/// # Errors
/// As [`RecordError`] says.
pub fn parse(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    let text = str::from_utf8(bytes).map_err(|error| RecordError::NotJson(error.to_string()))?;
    let mut fields: Fields<'_> = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
    match &fields.flow_log_version {
        Some(version) if version.is_known() => {}
        _ => return Err(explain_version(fields.flow_log_version.as_ref())),
    }
    let Some(time_text) = &fields.time else {
        return Err(RecordError::BadRecord("time: expected a text, found none".to_owned()));
    };
    let time = RecordTime::parse(time_text).ok_or_else(|| {
        RecordError::BadRecord(format!("time: expected an RFC 3339 date and time, found `{time_text}`"))
    })?;
    let groups = groups(std::mem::take(&mut fields.flow_records.flows));
    Ok(Record { time, fields, groups })
}

fn groups(flows: Vec<Flow<'_>>) -> Vec<TupleGroup<'_>> {
    let mut groups = Vec::new();
    for Flow { acl_id, flow_groups } in flows {
        groups.extend(flow_groups.into_iter().map(|FlowGroup { rule, flow_tuples }| TupleGroup {
            acl_id: acl_id.clone(),
            rule,
            tuples: flow_tuples,
        }));
    }
    groups
}

/// The members of a record's top, looked at only after a failure.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline<'a> {
    #[serde(borrow, default)]
    time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    flow_log_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    flow_records: Option<&'a RawValue>,
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct GroupProperties<'a> {
    #[serde(borrow, rename = "Version")]
    version: &'a RawValue,
}

/// Why a record could not be read, from the worst to the least.
fn explain(text: &str, error: &serde_json::Error) -> RecordError {
    if let Err(syntax_error) = serde_json::from_str::<IgnoredAny>(text) {
        return RecordError::NotJson(syntax_error.to_string());
    }
    let bad_record = |detail: String| RecordError::BadRecord(detail);
    let Ok(outline) = serde_json::from_str::<Outline<'_>>(text) else {
        return bad_record(error.to_string());
    };
    let Some(flow_records) = outline.flow_records else {
        let properties = outline.properties.map(RawValue::get);
        return match properties.map(serde_json::from_str::<GroupProperties<'_>>) {
            Some(Ok(properties)) => RecordError::UnknownVersion(format!(
                "{} (of a network security group)",
                properties.version.get()
            )),
            _ => bad_record("flowRecords: expected an object, found none".to_owned()),
        };
    };
    let shape_checks =
        [("time", outline.time, '"', "a text"), ("flowRecords", Some(flow_records), '{', "an object")];
    for (name, value, first, expected) in shape_checks {
        match value.map(RawValue::get) {
            Some(value) if value.starts_with(first) => {}
            Some(value) => return bad_record(format!("{name}: expected {expected}, found {}", brief(value))),
            None => return bad_record(format!("{name}: expected {expected}, found none")),
        }
    }
    let version = outline.flow_log_version.map(|version| Version(Cow::Borrowed(version.get())));
    match &version {
        Some(version) if version.is_known() => bad_record(error.to_string()),
        _ => explain_version(version.as_ref()),
    }
}

fn explain_version(version: Option<&Version<'_>>) -> RecordError {
    RecordError::UnknownVersion(version.map_or_else(|| "none".to_owned(), |version| brief(&version.0)))
}

/// The beginning of a foreign text, for a message.
fn brief(text: &str) -> String {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A member of a record as it stands: its name and its value.
#[derive(Debug)]
pub struct Member<'a> {
    /// Name, unescaped.
    pub name: Cow<'a, str>,
    /// Value, as JSON.
    pub value: &'a RawValue,
}

/// The members of a record's top in their order, for showing where a bad tuple stood. Empty where the bytes are no
/// JSON object.
#[must_use]
pub fn members(bytes: &[u8]) -> Vec<Member<'_>> {
    struct Members<'a>(Vec<Member<'a>>);

    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct MembersVisitor;

            impl<'de> Visitor<'de> for MembersVisitor {
                type Value = Members<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::new();
                    while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                        members.push(Member { name: name.0, value });
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(MembersVisitor)
        }
    }
    serde_json::from_slice::<Members<'_>>(bytes).map(|members| members.0).unwrap_or_default()
}

/// The text of a `flowTuples` element; `None` where the element is not a text.
#[must_use]
pub fn tuple_text(element: &RawValue) -> Option<Cow<'_, str>> {
    let inner = element.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(element.get()).ok().map(Cow::Owned)
}

/// A text of a record; empty where the record has none, or null.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A version as it stands: a number, or a text with one.
#[derive(Debug)]
struct Version<'a>(Cow<'a, str>);

impl Version<'_> {
    fn is_known(&self) -> bool {
        self.0.trim_matches('"').trim().parse() == Ok(VERSION)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Version<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de RawValue>::deserialize(deserializer).map(|value| Self(Cow::Borrowed(value.get())))
    }
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}
