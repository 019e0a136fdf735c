//! Checks what only one protocol of an intake has.

use std::collections::BTreeMap;

use ::http::{HeaderMap, StatusCode};

use super::{
    check_auth::{check_header_name, header_value},
    error::Report,
    key_path::KeyPath,
    schema::{self, HeaderText},
};
use crate::{
    intake::protocols::{ProtocolConfig, http_generic::HttpFraming, otlp::OtlpEncoding},
    model::Secret,
};

/// Checks the keys of a protocol over HTTPS.
pub(super) fn check_protocol(
    table: &KeyPath,
    intake: &schema::Intake,
    protocol: &str,
    report: &mut Report,
) -> Option<ProtocolConfig> {
    match protocol {
        "http" => Some(check_generic(table, intake, report)),
        "otlp" => Some(check_otlp(table, intake, report)),
        _ => Some(ProtocolConfig::Sekoia {
            intake_key: check_intake_key(table, intake.intake_key.as_ref(), report)?,
        }),
    }
}

fn check_generic(table: &KeyPath, intake: &schema::Intake, report: &mut Report) -> ProtocolConfig {
    ProtocolConfig::Http {
        framing: match intake.framing {
            Some(schema::Framing::JsonArray) => HttpFraming::JsonArray,
            Some(schema::Framing::Ndjson) | None => HttpFraming::Ndjson,
        },
        headers: check_headers(&table.child("headers"), &intake.headers, report),
        success_codes: check_success_codes(
            &table.child("success_codes"),
            intake.success_codes.as_deref(),
            report,
        ),
    }
}

fn check_otlp(table: &KeyPath, intake: &schema::Intake, report: &mut Report) -> ProtocolConfig {
    if intake.event_format != schema::EventFormat::Ecs {
        let message = "has to be \"ecs\": otlp makes attributes of its fields";
        report.reject(&table.child("event_format"), message, "remove it");
    }
    ProtocolConfig::Otlp {
        encoding: match intake.encoding {
            Some(schema::Encoding::Json) => OtlpEncoding::Json,
            Some(schema::Encoding::Protobuf) | None => OtlpEncoding::Protobuf,
        },
        headers: check_headers(&table.child("headers"), &intake.headers, report),
    }
}

fn check_intake_key(table: &KeyPath, secret: Option<&Secret>, report: &mut Report) -> Option<Secret> {
    if secret.is_none() {
        let key = table.child("intake_key");
        let remedy =
            format!("give intake_key_file, {} or the credential {}.intake_key", key.variable(), table.last());
        report.reject(&key, "is missing", remedy);
    }
    secret.cloned()
}

fn check_headers(table: &KeyPath, headers: &BTreeMap<String, HeaderText>, report: &mut Report) -> HeaderMap {
    let mut checked = HeaderMap::new();
    for (name, HeaderText(text)) in headers {
        let key = table.child(name);
        if let (Some(header_name), Some(value)) =
            (check_header_name(&key, name, report), header_value(&key, text, report))
        {
            checked.insert(header_name, value);
        }
    }
    checked
}

fn check_success_codes(key: &KeyPath, codes: Option<&[u64]>, report: &mut Report) -> Vec<StatusCode> {
    let written = codes.unwrap_or_default();
    let checked: Vec<StatusCode> = written
        .iter()
        .filter_map(|code| u16::try_from(*code).ok().and_then(|number| StatusCode::from_u16(number).ok()))
        .filter(StatusCode::is_success)
        .collect();
    if checked.is_empty() || checked.len() != written.len() {
        report.reject(
            key,
            "must be statuses from 200 to 299",
            "any other status says that the events were not taken",
        );
    }
    checked
}
