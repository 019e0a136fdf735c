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
        splunk_hec::{self, Labels},
    },
    model::Secret,
};

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
        "splunk_hec" => check_splunk(table, intake, report),
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
