//! JSON values as OpenTelemetry has them: borrowed from the event that they stand in.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// The members of an object.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, AnyValue<'a>)>;

/// A value, as OTLP's message of this name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AnyValue<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    List(Vec<AnyValue<'a>>),
    Map(Members<'a>),
}

impl<'a> AnyValue<'a> {
    /// The members of an object that has some.
    pub(super) fn members(&self) -> Option<&Members<'a>> {
        if let Self::Map(members) = self { Some(members).filter(|members| !members.is_empty()) } else { None }
    }
}

impl<'de> Deserialize<'de> for AnyValue<'de> {
    /// Fails for what has no equal in OTLP, and for two members of one name.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = AnyValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(AnyValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(AnyValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(AnyValue::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        let number = i64::try_from(value).map_err(|_| E::custom("OTLP has no number as large as this"))?;
        Ok(AnyValue::Int(number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(AnyValue::Double(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(AnyValue::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(AnyValue::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(AnyValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Members<'de> = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            if members.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom("two members have one name"));
            }
            members.push((name, map.next_value()?));
        }
        Ok(AnyValue::Map(members))
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
