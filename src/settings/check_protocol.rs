//! Checks what only one protocol of an intake has.

use std::{collections::BTreeMap, time::Duration};

use ::http::{HeaderMap, StatusCode};

use super::{
    check_auth::{check_header_name, header_value},
    error::Report,
    key_path::KeyPath,
    schema::{self, HeaderText},
};
use crate::{
    intake::protocols::{
        ProtocolConfig,
        http_generic::HttpFraming,
        otlp::OtlpEncoding,
        splunk_hec::{self, Labels},
    },
    model::Secret,
};

/// No index has a longer name.
const MOST_INDEX_BYTES: usize = 255;
/// Splunk writes to its disks within seconds; where it takes longer than this, it is in trouble.
const LONGEST_ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(600);

/// Checks the keys of a protocol over HTTPS.
pub(super) fn check_protocol(
    table: &KeyPath,
    intake: &schema::Intake,
    protocol: &str,
    report: &mut Report,
) -> Option<ProtocolConfig> {
    match protocol {
        "http" => Some(check_generic(table, intake, report)),
        "elasticsearch" => check_elasticsearch(table, intake, report),
        "splunk_hec" => check_splunk(table, intake, report),
        "otlp" => Some(check_otlp(table, intake, report)),
        _ => Some(ProtocolConfig::Sekoia {
            intake_key: required_secret(table, "intake_key", intake.intake_key.as_ref(), report)?,
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

fn check_elasticsearch(
    table: &KeyPath,
    intake: &schema::Intake,
    report: &mut Report,
) -> Option<ProtocolConfig> {
    if intake.url.as_deref().is_some_and(|url| url.trim_end_matches('/').ends_with("/_bulk")) {
        let remedy = "give the address alone; flowlogd adds `index` and /_bulk";
        report.reject(&table.child("url"), "ends with /_bulk", remedy);
    }
    let index = intake.index.clone().unwrap_or_default();
    if let Some(fault) = fault_of_index(&index) {
        let remedy = "name an index, a data stream or an alias, as in logs-azure.flowlogs-default";
        report.reject(&table.child("index"), format!("\"{index}\" {fault}"), remedy);
        return None;
    }
    Some(ProtocolConfig::Elasticsearch { index })
}

/// Why no index can have this name. Elasticsearch would say so of every event.
fn fault_of_index(name: &str) -> Option<String> {
    let is_refused = |letter: &char| letter.is_control() || r#"\/*?"<>| ,#:"#.contains(*letter);
    if name.len() > MOST_INDEX_BYTES {
        return Some(format!("is longer than {MOST_INDEX_BYTES} bytes"));
    }
    if name.starts_with(['-', '_', '+']) || [".", ".."].contains(&name) {
        return Some("cannot begin like that".to_owned());
    }
    if name.chars().any(char::is_uppercase) {
        return Some("has capital letters".to_owned());
    }
    name.chars().find(is_refused).map(|letter| format!("holds {letter:?}"))
}

fn check_splunk(table: &KeyPath, intake: &schema::Intake, report: &mut Report) -> Option<ProtocolConfig> {
    let token = required_secret(table, "token", intake.token.as_ref(), report);
    let token = token.filter(|token| header_value(&table.child("token"), token, report).is_some());
    let within = intake.acknowledge_timeout.as_ref().map(|period| period.0).unwrap_or_default();
    if within < Duration::from_secs(1) || within > LONGEST_ACKNOWLEDGE_TIMEOUT {
        let message = format!("{} is out of range", humantime::format_duration(within));
        report.reject(&table.child("acknowledge_timeout"), message, "give 1s to 10m");
    }
    Some(ProtocolConfig::SplunkHec(splunk_hec::Config {
        token: token?,
        labels: Labels {
            host: intake.host.clone(),
            source: intake.source.clone(),
            sourcetype: intake.sourcetype.clone(),
            index: intake.index.clone(),
        },
        acknowledged_within: intake.acknowledge.unwrap_or_default().then_some(within),
    }))
}

fn required_secret(
    table: &KeyPath,
    name: &str,
    secret: Option<&Secret>,
    report: &mut Report,
) -> Option<Secret> {
    if secret.is_none() {
        let key = table.child(name);
        let remedy =
            format!("give {name}_file, {} or the credential {}.{name}", key.variable(), table.last());
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
