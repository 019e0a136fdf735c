//! The values that users write: durations and sizes with their unit, starts, and the kinds that keys have.
//! Kinds are strict: the `config` crate by itself would take `1.9` or `true` for a number.

use std::{str::FromStr, time::Duration};

use bytesize::ByteSize;
use chrono::{DateTime, Utc};
use config::{Value, ValueKind};
use serde::{Deserialize, Deserializer, de};

use super::Start;

/// A value is not of its key's kind. Holds what was expected, never what was found: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub(super) struct Expected(pub String);

/// A length of time, written with its unit: `30s`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period(pub Duration);

/// Longer than anything that is kept or waited for, and short enough for every clock to count on from now.
const LONGEST_PERIOD: Duration = Duration::from_hours(3_650 * 24);

impl FromStr for Period {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        // The parser takes a bare "0"; a unit is required of every other number, so of this one too.
        let has_unit = text.chars().any(|letter| letter.is_ascii_alphabetic());
        match humantime::parse_duration(text) {
            Ok(duration) if has_unit && duration > LONGEST_PERIOD => {
                Err(Expected("a duration of at most \"3650d\"".to_owned()))
            }
            Ok(duration) if has_unit => Ok(Self(duration)),
            _ => Err(Expected("a duration with its unit, such as \"30s\", \"2h\" or \"7d\"".to_owned())),
        }
    }
}

/// A number of bytes, written with its unit: `64MiB`, `4MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub usize);

impl FromStr for Size {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let has_unit = text.chars().any(|letter| letter.is_ascii_alphabetic());
        let n_bytes = text.parse::<ByteSize>().ok().filter(|_| has_unit);
        n_bytes
            .and_then(|size| usize::try_from(size.as_u64()).ok())
            .map(Self)
            .ok_or_else(|| Expected("a size with its unit, such as \"64MiB\" or \"4MB\"".to_owned()))
    }
}

/// A [`Start`], as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrittenStart(pub Start);

impl FromStr for WrittenStart {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match text {
            "earliest" => return Ok(Self(Start::Earliest)),
            "now" => return Ok(Self(Start::Now)),
            _ => {}
        }
        if let Ok(Period(back)) = text.parse() {
            return Ok(Self(Start::Back(back)));
        }
        DateTime::parse_from_rfc3339(text).map(|moment| Self(Start::At(moment.with_timezone(&Utc)))).map_err(
            |_| {
                Expected(
                    "\"earliest\", \"now\", a duration back such as \"7d\", or a time such as \
                 \"2026-01-31T00:00:00Z\""
                        .to_owned(),
                )
            },
        )
    }
}

fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Expected>,
{
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for WrittenStart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text that is shown as it is.
    Text,
    /// An address to listen at; empty for none.
    Address,
    /// A path.
    Path,
    /// An absolute URL; its query is not shown.
    Url,
    /// The URL of a proxy; user and password in it are not shown.
    Proxy,
    /// A key, token or password, or a text that may hold one: never shown, taken letter for letter.
    Secret,
    /// See [`Period`].
    Period,
    /// See [`Size`].
    Size,
    /// See [`Start`].
    Start,
    /// A whole number from 0 on.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    Texts,
    /// A list of whole numbers.
    Integers,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Reads a value of this kind. `from_text` says that the value could only be written as text (a variable, a
    /// default of the table): numbers, booleans and lists are read from text then, and only then.
    pub(super) fn read(self, value: &ValueKind, from_text: bool) -> Result<ValueKind, Expected> {
        let text = if let ValueKind::String(text) = value { Some(text.as_str()) } else { None };
        let plain_text = text.filter(|_| from_text);
        match self {
            Self::Text | Self::Path | Self::Url | Self::Proxy | Self::Secret => {
                text_value(text.filter(|word| !word.is_empty()))
            }
            Self::Address => text_value(text),
            Self::Period => checked::<Period>(text),
            Self::Size => checked::<Size>(text),
            Self::Start => checked::<WrittenStart>(text),
            Self::Integer => integer(value, plain_text),
            Self::Boolean => boolean(value, plain_text),
            Self::Texts => list(value, plain_text, |element| {
                text_value(if let ValueKind::String(word) = element { Some(word) } else { None })
            }),
            Self::Integers => list(value, plain_text, |element| {
                let digits =
                    if let ValueKind::String(digits) = element { Some(digits.as_str()) } else { None };
                integer(element, digits.filter(|_| from_text))
            }),
            Self::Choice(words) => match text {
                Some(word) if words.contains(&word) => Ok(word.into()),
                _ => Err(Expected(format!("one of {}", words.join(", ")))),
            },
        }
    }

    /// Whether a message may repeat what was found.
    pub(super) fn may_be_shown(self) -> bool {
        !matches!(self, Self::Secret | Self::Url | Self::Proxy)
    }
}

fn text_value(text: Option<&str>) -> Result<ValueKind, Expected> {
    text.map(Into::into).ok_or_else(|| Expected("text in quotes, not empty".to_owned()))
}

fn checked<T: FromStr<Err = Expected>>(text: Option<&str>) -> Result<ValueKind, Expected> {
    let written = text.unwrap_or_default();
    written.parse::<T>().map(|_| written.into())
}

fn integer(value: &ValueKind, plain_text: Option<&str>) -> Result<ValueKind, Expected> {
    let number = match (value, plain_text) {
        (ValueKind::I64(number), _) => u64::try_from(*number).ok(),
        (ValueKind::U64(number), _) => Some(*number),
        (_, Some(digits)) => digits.parse().ok(),
        _ => None,
    };
    number.map(Into::into).ok_or_else(|| Expected("a whole number".to_owned()))
}

fn boolean(value: &ValueKind, plain_text: Option<&str>) -> Result<ValueKind, Expected> {
    match (value, plain_text) {
        (ValueKind::Boolean(flag), _) => Ok((*flag).into()),
        (_, Some("true")) => Ok(true.into()),
        (_, Some("false")) => Ok(false.into()),
        _ => Err(Expected("true or false".to_owned())),
    }
}

fn list(
    value: &ValueKind,
    plain_text: Option<&str>,
    read_element: impl Fn(&ValueKind) -> Result<ValueKind, Expected>,
) -> Result<ValueKind, Expected> {
    let elements: Vec<ValueKind> = match (value, plain_text) {
        (ValueKind::Array(elements), _) => elements.iter().map(|element| element.kind.clone()).collect(),
        (_, Some(text)) => elements_of_text(text)?,
        _ => return Err(Expected("a list".to_owned())),
    };
    let read_elements: Result<Vec<Value>, Expected> =
        elements.iter().map(|element| read_element(element).map(|kind| Value::new(None, kind))).collect();
    match read_elements {
        Ok(read_elements) => Ok(ValueKind::Array(read_elements)),
        Err(Expected(what)) => Err(Expected(format!("a list, each element {what}"))),
    }
}

/// A list as a variable holds it: JSON where it opens with a bracket, else words between commas.
fn elements_of_text(text: &str) -> Result<Vec<ValueKind>, Expected> {
    if !text.trim_start().starts_with('[') {
        return Ok(text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Into::into).collect());
    }
    let elements: Vec<serde_json::Value> = serde_json::from_str(text)
        .map_err(|_| Expected("a list as JSON, or words between commas".to_owned()))?;
    let element_texts = elements.into_iter().map(|element| match element {
        serde_json::Value::String(word) => ValueKind::String(word),
        other @ (serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_)) => ValueKind::String(other.to_string()),
    });
    Ok(element_texts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        text.parse::<Period>().ok().map(|period| period.0.as_secs())
    }

    fn bytes(text: &str) -> Option<usize> {
        text.parse::<Size>().ok().map(|size| size.0)
    }

    /// *Scenario*: durations and sizes are written in many ways. *Guarantees*: a unit is required, binary and decimal
    /// units differ, nonsense is refused.
    #[test]
    fn units_are_required() {
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("2h"), Some(7_200));
        assert_eq!(seconds("7d"), Some(604_800));
        assert_eq!(seconds("1h 30m"), Some(5_400));
        assert_eq!(seconds("3650d"), Some(315_360_000));
        for wrong in ["30", "0", "", "s", "-1s", "30 parsecs", "1.5", "3651d", "100000000000000d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        assert_eq!(bytes("64MiB"), Some(67_108_864));
        assert_eq!(bytes("4MB"), Some(4_000_000));
        for wrong in ["64", "0", "", "MiB", "-1MB", "4 stones", "1e3"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    /// *Scenario*: every way to write `start`. *Guarantees*: each is told apart; a time keeps its moment in UTC.
    #[test]
    fn starts() {
        assert_eq!("earliest".parse(), Ok(WrittenStart(Start::Earliest)));
        assert_eq!("now".parse(), Ok(WrittenStart(Start::Now)));
        assert_eq!("7d".parse(), Ok(WrittenStart(Start::Back(Duration::from_hours(168)))));
        let moment = DateTime::from_timestamp(1_769_814_000, 0).unwrap();
        assert_eq!("2026-01-31T00:00:00+01:00".parse(), Ok(WrittenStart(Start::At(moment))));
        assert!("yesterday".parse::<WrittenStart>().is_err());
        assert!("2026-01-31".parse::<WrittenStart>().is_err());
    }

    /// *Scenario*: texts that look like other kinds are read as secrets. *Guarantees*: not a letter changes.
    #[test]
    fn secrets_letter_for_letter() {
        for text in ["00012300", "1e5", "true", " x ", "[1]", "a,b"] {
            assert_eq!(Kind::Secret.read(&text.into(), true), Ok(text.into()));
        }
    }
}
