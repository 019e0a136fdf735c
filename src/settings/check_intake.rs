//! Checks an intake: where it is, how events are framed for it, and what authorises them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Intake, Sink,
    check::{CONNECT_TIMEOUT, check_proxy, check_range, check_roots, check_url, require_positive},
    check_auth::check_auth,
    check_protocol::check_protocol,
    error::Report,
    key_path::KeyPath,
    preset::Preset,
    schema,
};
use crate::{
    batch::BatchLimits,
    event::EventFormat,
    http,
    intake::{
        auth::Auth,
        http_intake::{self, Compression},
        rotation::{FilePlace, WatchedFile},
    },
    telemetry::chain,
};

/// An intake that has not answered for a minute is tried again: the events are still in the blob.
const INTAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// Sekoia.io refuses a larger body.
const SEKOIA_MAX_BYTES: usize = 10_485_760;
/// More requests than this at once only queue at the receiving end.
const MOST_IN_FLIGHT: u64 = 64;
/// More than this is no limit any more.
const MOST_REQUESTS_PER_SECOND: u64 = 1_000_000;
/// As many events as a batch can hold at all.
const MOST_EVENTS: u64 = 1_000_000;

/// Whether the file of a secret or of a certificate has changed is looked at this often at most.
const LOOK_AT_FILES_EVERY: Duration = Duration::from_secs(10);

/// Checks one intake; what is wrong goes into the report.
/// `files` are those that secrets came from.
pub(super) fn check_intake(
    name: String,
    intake: schema::Intake,
    files: &BTreeMap<KeyPath, PathBuf>,
    report: &mut Report,
) -> Option<Intake> {
    let table = KeyPath::new(["intakes", &name]);
    let protocol = intake.protocol.clone().unwrap_or_default();
    let event_format = check_event_format(&table, &intake, &protocol, report);
    let batch = check_batch(&table, &intake, &protocol, report);
    // A pipe takes one write at a time.
    let max_in_flight = intake
        .max_in_flight
        .map_or(1, |number| check_range(&table.child("max_in_flight"), number, 1, MOST_IN_FLIGHT, report));
    let requests_per_second = intake.requests_per_second.map(|number| {
        let key = table.child("requests_per_second");
        u32::try_from(check_range(&key, number, 1, MOST_REQUESTS_PER_SECOND, report)).unwrap_or(u32::MAX)
    });
    let sink = match protocol.as_str() {
        "stdout" => Sink::Stdout,
        _ => Sink::Http(check_http(&table, intake, &protocol, files, report)?),
    };
    Some(Intake { name, sink, event_format, batch, max_in_flight, requests_per_second })
}

fn check_event_format(
    table: &KeyPath,
    intake: &schema::Intake,
    protocol: &str,
    report: &mut Report,
) -> EventFormat {
    if intake.provenance && intake.event_format != schema::EventFormat::Flow {
        report.reject(
            &table.child("provenance"),
            "is for event_format \"flow\" only",
            "remove it; ecs always has it",
        );
    }
    if !intake.enrich && intake.event_format != schema::EventFormat::Ecs {
        report.reject(&table.child("enrich"), "is for event_format \"ecs\" only", "remove it");
    }
    let takes_columns = intake.preset.is_some_and(Preset::takes_columns);
    match intake.event_format {
        schema::EventFormat::Flow if protocol == "elasticsearch" => {
            report.reject(
                &table.child("event_format"),
                "\"flow\" has no @timestamp, which protocol \"elasticsearch\" needs",
                "remove it, or give ecs",
            );
            EventFormat::Flow { provenance: intake.provenance }
        }
        schema::EventFormat::Flow if takes_columns => {
            report.reject(
                &table.child("event_format"),
                "\"flow\" has no TimeGenerated, which preset \"azure_monitor\" needs",
                "remove it, or give ecs",
            );
            EventFormat::Columns { enrich: intake.enrich }
        }
        schema::EventFormat::Flow => EventFormat::Flow { provenance: intake.provenance },
        schema::EventFormat::Ecs if takes_columns => EventFormat::Columns { enrich: intake.enrich },
        schema::EventFormat::Ecs => EventFormat::Ecs { enrich: intake.enrich },
        schema::EventFormat::Text => {
            if protocol != "stdout" {
                report.reject(
                    &table.child("event_format"),
                    "\"text\" is for protocol \"stdout\" only",
                    "give flow or ecs",
                );
            }
            EventFormat::Text
        }
    }
}

/// No receiver is known that takes larger bodies.
const MOST_BYTES: usize = 32 * 1024 * 1024;

fn check_batch(table: &KeyPath, intake: &schema::Intake, protocol: &str, report: &mut Report) -> BatchLimits {
    let (batch, batch_table) = (&intake.batch, table.child("batch"));
    let of_protocol = if protocol == "sekoia" { SEKOIA_MAX_BYTES } else { MOST_BYTES };
    let most_bytes = intake.preset.and_then(Preset::most_bytes).unwrap_or(of_protocol);
    let most_events = intake.preset.and_then(Preset::most_events).unwrap_or(MOST_EVENTS);
    let max_bytes = batch.max_bytes.0;
    if max_bytes == 0 || max_bytes > most_bytes {
        let message = format!("{max_bytes} bytes is out of range");
        report.reject(
            &batch_table.child("max_bytes"),
            message,
            format!("give at most {most_bytes} bytes, and more than 0"),
        );
    }
    require_positive(&batch_table.child("max_age"), batch.max_age.0, report);
    BatchLimits {
        max_bytes,
        max_events: check_range(&batch_table.child("max_events"), batch.max_events, 1, most_events, report),
        max_age: batch.max_age.0,
    }
}

fn check_http(
    table: &KeyPath,
    intake: schema::Intake,
    protocol: &str,
    files: &BTreeMap<KeyPath, PathBuf>,
    report: &mut Report,
) -> Option<http_intake::Config> {
    let url_key = table.child("url");
    let is_generic = protocol == "http";
    let url = match intake.url.as_deref() {
        Some(text) => check_url(&url_key, text, is_generic, intake.allow_http.unwrap_or_default(), report),
        None => {
            let remedy = match (intake.preset, protocol) {
                (Some(preset), _) => preset.remedy_for_url(),
                (None, "elasticsearch") => "give its address, as in https://HOST:9200",
                (None, "splunk_hec") => {
                    "give the address of the collector, as in https://splunk.example:8088"
                }
                (None, _) => "give the full URL that takes the events",
            };
            report.reject(&url_key, "is missing", remedy);
            None
        }
    };
    let protocol_config = check_protocol(table, &intake, protocol, report);
    let auth_table = table.child("auth");
    let may_use_http = intake.allow_http.unwrap_or_default();
    let auth = match intake.auth {
        Some(auth) => check_auth(&auth_table, auth, may_use_http, report),
        None => Some(Auth::None),
    };
    let mut watched = secret_files(table, files);
    let mut watch = |path: &Path, place| watched.push(WatchedFile { path: path.to_owned(), place });
    if let Some(path) = &intake.ca_file {
        watch(path, FilePlace::Roots);
    }
    let extra_roots_pem = intake.ca_file.and_then(|path| check_roots(&table.child("ca_file"), path, report));
    let identity = match (intake.client_cert_file, intake.client_key_file) {
        (Some(certificate), Some(key)) => {
            watch(&certificate, FilePlace::ClientCertificate);
            watch(&key, FilePlace::ClientKey);
            check_identity(table, &certificate, &key, report)
        }
        (None, None) => None,
        (certificate, _) => {
            let (given, missing) = match certificate {
                Some(_) => ("client_cert_file", "client_key_file"),
                None => ("client_key_file", "client_cert_file"),
            };
            report.reject(
                &table.child(missing),
                format!("is missing beside {given}"),
                "name both, or neither",
            );
            None
        }
    };
    let proxy = intake.proxy.and_then(|text| check_proxy(&table.child("proxy"), &text, report));
    Some(http_intake::Config {
        protocol: protocol_config?,
        url: url?,
        auth: auth?,
        compression: match intake.compression {
            Some(schema::Compression::None) => Compression::None,
            Some(schema::Compression::Gzip) | None => Compression::Gzip,
        },
        http: http::Config {
            extra_roots_pem,
            identity,
            proxy,
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: INTAKE_TIMEOUT,
            total_timeout: Some(INTAKE_TIMEOUT),
        },
        files: watched,
        look_every: LOOK_AT_FILES_EVERY,
    })
}

/// The files that secrets of this intake came from.
fn secret_files(table: &KeyPath, files: &BTreeMap<KeyPath, PathBuf>) -> Vec<WatchedFile> {
    let file = |place: FilePlace| {
        let key = place.key().split('.').fold(table.clone(), |path, segment| path.child(segment));
        files.get(&key).map(|path| WatchedFile { path: path.clone(), place })
    };
    FilePlace::SECRETS.into_iter().filter_map(file).collect()
}

/// A client certificate with its key.
fn check_identity(
    table: &KeyPath,
    certificate: &Path,
    key: &Path,
    report: &mut Report,
) -> Option<http::Identity> {
    let mut read = |name: &str, path: &Path| match std::fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            report.reject(&table.child(name), message, "name a PEM file that flowlogd may read");
            None
        }
    };
    let (certificate_pem, key_pem) = (read("client_cert_file", certificate), read("client_key_file", key));
    match http::Identity::from_pem(certificate_pem?, key_pem?) {
        Ok(identity) => Some(identity),
        Err(error) => {
            let (name, path) = match error {
                http::NotAnIdentity::Certificate => ("client_cert_file", certificate),
                http::NotAnIdentity::Key
                | http::NotAnIdentity::Encrypted
                | http::NotAnIdentity::Unusable(_)
                | http::NotAnIdentity::Mismatch => ("client_key_file", key),
            };
            let message = format!("{}: {}", path.display(), chain(&error));
            report.reject(
                &table.child(name),
                message,
                "name a PEM certificate chain and its PEM key, unencrypted",
            );
            None
        }
    }
}
