//! What a success says of the records: OTLP answers 200 for those that it rejects too.

use http::header;
use serde::Deserialize;

use super::{
    OtlpEncoding,
    wire::{Field, fields},
};
use crate::intake::Answer;

/// `ExportLogsPartialSuccess`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PartialSuccess {
    /// Records that were not taken.
    pub(super) rejected: i64,
    /// Why, or a warning.
    pub(super) message: String,
}

#[derive(Deserialize)]
struct JsonResponse {
    #[serde(default, rename = "partialSuccess", alias = "partial_success")]
    partial_success: Option<JsonPartialSuccess>,
}

#[derive(Deserialize)]
struct JsonPartialSuccess {
    #[serde(default, rename = "rejectedLogRecords", alias = "rejected_log_records")]
    rejected: Option<JsonNumber>,
    #[serde(default, rename = "errorMessage", alias = "error_message")]
    message: Option<String>,
}

/// A 64-bit number is a text in this JSON; a plain one is to be taken too.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonNumber {
    Number(i64),
    Text(String),
}

/// Reads the answer. Its Content-Type says how it is encoded; without one it is as the request was.
pub(super) fn read(answer: &Answer, sent: OtlpEncoding) -> Result<PartialSuccess, &'static str> {
    let content_type =
        answer.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let media_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    let encoding = match media_type.map(str::to_ascii_lowercase).as_deref() {
        None => sent,
        Some("application/json") => OtlpEncoding::Json,
        Some("application/x-protobuf" | "application/protobuf") => OtlpEncoding::Protobuf,
        Some(_) => return Err("the answer is neither JSON nor protobuf by its Content-Type"),
    };
    let read = match encoding {
        OtlpEncoding::Json => read_json(&answer.body),
        OtlpEncoding::Protobuf => read_protobuf(&answer.body),
    };
    read.ok_or("the answer is no ExportLogsServiceResponse")
}

fn read_json(body: &[u8]) -> Option<PartialSuccess> {
    // A list would be read as the members of the answer, in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let response: JsonResponse = serde_json::from_slice(body).ok()?;
    let Some(partial) = response.partial_success else { return Some(PartialSuccess::default()) };
    let rejected = match partial.rejected {
        None => 0,
        Some(JsonNumber::Number(number)) => number,
        Some(JsonNumber::Text(text)) => text.parse().ok()?,
    };
    Some(PartialSuccess { rejected, message: partial.message.unwrap_or_default() })
}

fn read_protobuf(body: &[u8]) -> Option<PartialSuccess> {
    let mut partial = PartialSuccess::default();
    for (number, field) in fields(body)? {
        match (number, field) {
            (1, Field::Bytes(message)) => {
                for (number, field) in fields(message)? {
                    match (number, field) {
                        (1, Field::Varint(rejected)) => partial.rejected = rejected.cast_signed(),
                        (2, Field::Bytes(text)) => {
                            partial.message = String::from_utf8_lossy(text).into_owned()
                        }
                        (1 | 2, _) => return None,
                        _ => {}
                    }
                }
            }
            (1, _) => return None,
            _ => {}
        }
    }
    Some(partial)
}
