//! One record: which of its bytes mean what. Borrowed wherever the text has no escapes.
//!
//! A record with `flowRecords` is one of virtual network flow logs, another one with `properties` is one of network
//! security groups. Both may stand in one stream.

use std::{fmt, marker::PhantomData, sync::Arc};

use memchr::memmem;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, Visitor},
};
use serde_json::value::RawValue;

use super::{
    elements::Elements,
    nsg_record::{self, NsgHead},
    piece::{PlainList, RawRecord},
    time::RecordTime,
    vnet_record::{self, VnetHead},
};
use crate::model::Span;

/// A record of either kind.
#[derive(Debug)]
pub struct Record<'a> {
    /// What it says once.
    pub head: Head<'a>,
    /// The tuples, in the order of the record.
    pub groups: Vec<TupleGroup<'a>>,
}

/// What a record says once, by its kind.
#[derive(Debug)]
pub enum Head<'a> {
    /// Of virtual network flow logs.
    Vnet(VnetHead<'a>),
    /// Of flow logs of a network security group.
    Nsg(NsgHead<'a>),
}

/// The tuples that one rule is responsible for.
#[derive(Debug)]
pub struct TupleGroup<'a> {
    /// What they have in common.
    pub head: GroupHead<'a>,
    /// The tuples.
    pub tuples: Elements<'a>,
}

/// What the tuples of a group have in common. A text that the group lacks is empty.
#[derive(Debug)]
pub struct GroupHead<'a> {
    /// GUID or resource id of who judged (a network security group, a network manager), or `unspecified`. Records of
    /// network security groups have none.
    pub acl_id: Text<'a>,
    /// Name of the rule.
    pub rule: Text<'a>,
    /// Hardware address of the network interface. Only records of network security groups have it here.
    pub mac: Text<'a>,
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
    #[error("flow log version: expected {expected}, found {found}")]
    UnknownVersion {
        /// The versions that are read.
        expected: &'static str,
        /// The version that stands there, or that none does.
        found: String,
    },
}

/// The two kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vnet,
    Nsg,
}

/// Reads one record.
///
/// # Errors
/// As [`RecordError`] says.
pub fn parse(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    parse_raw(&RawRecord::new(Span { from: 0, to: 0 }, bytes))
}

/// The same for a record out of a stream, of which more may be known than its bytes.
///
/// # Errors
/// As [`RecordError`] says.
pub fn parse_raw<'a>(raw: &RawRecord<'a>) -> Result<Record<'a>, RecordError> {
    let text = str::from_utf8(raw.bytes).map_err(|error| RecordError::NotJson(error.to_string()))?;
    // A guess, which saves looking at the record twice. Where it is wrong, reading fails and the outline decides.
    let guess = if memmem::find(raw.bytes, b"\"flowRecords\"").is_some() { Kind::Vnet } else { Kind::Nsg };
    match guess.read(text, raw.plain_lists) {
        Ok(read) => read,
        Err(error) => read_by_outline(text, guess, error),
    }
}

impl Kind {
    /// Reads a record of this kind. The outer error says that its members do not fit the kind.
    fn read<'a>(
        self,
        text: &'a str,
        plain_lists: &'a [PlainList],
    ) -> serde_json::Result<Result<Record<'a>, RecordError>> {
        match self {
            Self::Vnet => vnet_record::read(text, plain_lists),
            Self::Nsg => nsg_record::read(text),
        }
    }
}

/// The time of a record that must have one.
pub(super) fn record_time(text: Option<&Text<'_>>) -> Result<RecordTime, RecordError> {
    let Some(text) = text else {
        return Err(RecordError::BadRecord("time: expected a text, found none".to_owned()));
    };
    RecordTime::parse(text).ok_or_else(|| {
        RecordError::BadRecord(format!("time: expected an RFC 3339 date and time, found `{text}`"))
    })
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

/// Reads a record that is not what was guessed first, or finds out why it cannot be read.
fn read_by_outline(text: &str, guess: Kind, error: serde_json::Error) -> Result<Record<'_>, RecordError> {
    if let Err(syntax_error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(RecordError::NotJson(syntax_error.to_string()));
    }
    let Ok(outline) = serde_json::from_str::<Outline<'_>>(text) else {
        return Err(RecordError::BadRecord(error.to_string()));
    };
    let (kind, list) = match (outline.flow_records, outline.properties) {
        (Some(flow_records), _) => (Kind::Vnet, flow_records),
        (None, Some(properties)) => (Kind::Nsg, properties),
        (None, None) => {
            return Err(RecordError::BadRecord("flowRecords: expected an object, found none".to_owned()));
        }
    };
    if kind == guess {
        return Err(explain(&outline, kind, list, &error));
    }
    match kind.read(text, &[]) {
        Ok(read) => read,
        Err(error) => Err(explain(&outline, kind, list, &error)),
    }
}

/// Why the members of a record do not fit its kind, from the worst to the least.
fn explain(outline: &Outline<'_>, kind: Kind, list: &RawValue, error: &serde_json::Error) -> RecordError {
    let list_name = match kind {
        Kind::Vnet => "flowRecords",
        Kind::Nsg => "properties",
    };
    for (name, value, first, expected) in
        [("time", outline.time, '"', "a text"), (list_name, Some(list), '{', "an object")]
    {
        let found = match value.map(RawValue::get) {
            Some(value) if value.starts_with(first) => continue,
            Some(value) => brief(value),
            None => "none".to_owned(),
        };
        return RecordError::BadRecord(format!("{name}: expected {expected}, found {found}"));
    }
    let version = match kind {
        Kind::Vnet => vnet_record::check_version(outline.flow_log_version.map(Version::of).as_ref()),
        Kind::Nsg => nsg_record::check_version(nsg_record::version_in(list).as_ref()).map(drop),
    };
    version.err().unwrap_or_else(|| RecordError::BadRecord(error.to_string()))
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
    pub name: Text<'a>,
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
                        members.push(Member { name, value });
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(MembersVisitor)
        }
    }
    serde_json::from_slice::<Members<'_>>(bytes).map(|members| members.0).unwrap_or_default()
}

/// A text of a record; empty where the record has none, or null.
#[derive(Debug, Clone)]
pub struct Text<'a>(TextIn<'a>);

/// A text with escapes is no part of the record's bytes. It is shared: a text that many groups have is there once.
#[derive(Debug, Clone)]
enum TextIn<'a> {
    Record(&'a str),
    Memory(Arc<str>),
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self(TextIn::Record(""))
    }
}

impl<'a> Text<'a> {
    pub(super) fn borrowed(text: &'a str) -> Self {
        Self(TextIn::Record(text))
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            TextIn::Record(text) => text,
            TextIn::Memory(text) => text,
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
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
                Ok(Text(TextIn::Record(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(TextIn::Memory(text.into())))
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
pub(super) struct Version<'a>(&'a str);

impl<'a> Version<'a> {
    pub(super) fn of(value: &'a RawValue) -> Self {
        Self(value.get())
    }

    pub(super) fn of_text(number: &'a str) -> Self {
        Self(number)
    }

    pub(super) fn number(&self) -> Option<u32> {
        self.0.trim_matches('"').trim().parse().ok()
    }
}

/// The error for a version that is not among those `expected`.
pub(super) fn unknown_version(expected: &'static str, version: Option<&Version<'_>>) -> RecordError {
    let found = version.map_or_else(|| "none".to_owned(), |version| brief(version.0));
    RecordError::UnknownVersion { expected, found }
}

impl<'de: 'a, 'a> Deserialize<'de> for Version<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de RawValue>::deserialize(deserializer).map(Self::of)
    }
}

/// An element of a list of a record.
pub(super) trait Element {
    /// Whether there is no flow tuple in it.
    fn is_empty(&self) -> bool;
}

impl Element for &RawValue {
    fn is_empty(&self) -> bool {
        false
    }
}

/// A list that may be missing or null. Elements without a flow tuple are left out, and no room is kept: a record of many
/// tiny ones would take dozens of times its size otherwise.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de> + Element>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct ListVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + Element> Visitor<'de> for ListVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = seq.next_element::<T>()? {
                if !element.is_empty() {
                    list.push(element);
                }
            }
            list.shrink_to_fit();
            Ok(list)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
    }
    deserializer.deserialize_any(ListVisitor(PhantomData))
}
