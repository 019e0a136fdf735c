//! From the schema to the configurations of the components: ranges, addresses, certificates. Pure but for reading the
//! certificates that the settings name.

use std::{path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use url::{Host, Url};

use super::{
    Limits, Settings, Source, Storage,
    check_intake::check_intake,
    error::{Report, SettingsError},
    key_path::KeyPath,
    schema::{self, Schema},
};
use crate::{
    http,
    storage::{azure, directory},
    telemetry,
};

/// A connection that takes longer is not coming: a healthy one needs two round trips, TLS included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Storage answers stream; a minute without a byte is a dead connection, however large the range.
const STORAGE_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Polls closer together than this only load the account: the vendor writes once a minute.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// More readers than this only queue for the two or three cores that such a host has.
const MOST_PARALLEL_BLOBS: u64 = 64;
/// The size of the memory budget until it can be chosen. No record and no request can be larger.
pub(super) const MEMORY: usize = 32 * 1024 * 1024;

/// Checks everything; what is wrong goes into the report, and so into the error.
pub(super) fn check(schema: Schema, mut report: Report) -> Result<Settings, SettingsError> {
    let mut sources = Vec::new();
    for (name, source) in schema.sources {
        sources.extend(check_source(name, source, &mut report));
    }
    let mut intakes = Vec::new();
    for (name, intake) in schema.intakes {
        intakes.extend(check_intake(name, intake, &mut report));
    }
    let limits = check_limits(&schema.limits, &mut report);
    let log = check_log(schema.log, &mut report);
    report.into_result()?;
    Ok(Settings { state_dir: schema.state_dir, sources, intakes, limits, log })
}

fn check_source(name: String, source: schema::Source, report: &mut Report) -> Option<Source> {
    let table = KeyPath::new(["sources", &name]);
    let poll_interval = source.poll_interval.0;
    if poll_interval < SHORTEST_POLL_INTERVAL {
        report.reject(
            &table.child("poll_interval"),
            "is too short",
            "give at least \"100ms\"; \"60s\" suits the vendor",
        );
    }
    require_positive(&table.child("seal_after"), source.seal_after.0, report);
    let container = source.container.clone();
    let (start, seal_after) = (source.start.0, source.seal_after.0);
    let storage = match source.directory {
        Some(path) => {
            let account = source.account.unwrap_or_default();
            Storage::Directory(directory::Config {
                path,
                account,
                container: source.container.unwrap_or_default(),
            })
        }
        None => Storage::Azure(check_account(&table, source, report)?),
    };
    Some(Source { name, storage, container, poll_interval, start, seal_after })
}

fn check_account(table: &KeyPath, source: schema::Source, report: &mut Report) -> Option<azure::Config> {
    let is_name_of = |name: &str, letters: fn(char) -> bool, longest: usize| {
        (3..=longest).contains(&name.len()) && name.chars().all(letters)
    };
    let is_word_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    match &source.account {
        None => report.reject(
            &table.child("account"),
            "is missing",
            "name the storage account, or a directory that holds a copy of a container",
        ),
        Some(account) if !is_name_of(account, is_word_letter, 24) => report.reject(
            &table.child("account"),
            "is not the name of a storage account",
            "give its 3 to 24 lower-case letters and digits",
        ),
        Some(_) => {}
    }
    let is_container_letter =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if let Some(container) = &source.container
        && !is_name_of(container, is_container_letter, 63)
    {
        let message = format!("\"{container}\" is not the name of a container");
        report.reject(
            &table.child("container"),
            message,
            "give its 3 to 63 lower-case letters, digits and hyphens",
        );
    }
    match &source.account_key {
        None => report.reject(
            &table.child("account_key"),
            "is missing",
            format!(
                "give account_key_file, {} or the credential {}.account_key",
                table.child("account_key").variable(),
                table.last()
            ),
        ),
        Some(key) if BASE64.decode(key.reveal()).map_or(true, |bytes| bytes.is_empty()) => report.reject(
            &table.child("account_key"),
            "is not base64",
            "copy key1 of the storage account's access keys, whole and without quotes or spaces",
        ),
        Some(_) => {}
    }
    let endpoint = source.endpoint.as_deref().and_then(|text| {
        let key = table.child("endpoint");
        let endpoint = check_url(&key, text, false, false, report)?;
        Some(without_trailing_slash(endpoint))
    });
    let extra_roots_pem = source.ca_file.and_then(|path| check_roots(&table.child("ca_file"), path, report));
    Some(azure::Config {
        account: source.account?,
        account_key: source.account_key?,
        endpoint: endpoint?,
        http: http::Config {
            extra_roots_pem,
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: STORAGE_READ_TIMEOUT,
            total_timeout: None,
        },
    })
}

/// An absolute URL: https, or plain http to this host or where it is allowed. The text is never repeated, for a URL
/// may hold a token.
pub(super) fn check_url(
    key: &KeyPath,
    text: &str,
    may_have_query: bool,
    is_http_allowed: bool,
    report: &mut Report,
) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) if url.has_host() && matches!(url.scheme(), "https" | "http") => url,
        _ => {
            report.reject(
                key,
                "is not an absolute URL",
                "write https://HOST, with a path where there is one",
            );
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        report.reject(
            key,
            "holds a user name or password",
            "take them out; credentials have keys of their own",
        );
    } else if url.fragment().is_some() || url.query().is_some() && !may_have_query {
        report.reject(key, "ends with a query or fragment", "take away what starts with ? or #");
    } else if url.scheme() == "http" && !is_loopback(&url) && !is_http_allowed {
        let remedy = if key.segments().first().is_some_and(|section| section == "intakes") {
            "write https://, or set allow_http = true if nobody can read or change what passes"
        } else {
            "write https://; plain http is for an emulator on 127.0.0.1"
        };
        report.reject(key, "is plain http to another host", remedy);
    } else {
        return Some(url);
    }
    None
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn without_trailing_slash(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    url
}

/// The bytes of a PEM file that holds at least one certificate.
pub(super) fn check_roots(key: &KeyPath, path: PathBuf, report: &mut Report) -> Option<Vec<u8>> {
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            report.reject(key, message, "name a PEM file that flowlogd may read");
            return None;
        }
    };
    let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    if certificates.is_ok_and(|found| !found.is_empty()) {
        return Some(bytes);
    }
    let message = format!("{} holds no PEM certificate, or a damaged one", path.display());
    report.reject(key, message, "name a file with -----BEGIN CERTIFICATE----- blocks");
    None
}

/// Refuses a duration of zero.
pub(super) fn require_positive(key: &KeyPath, duration: Duration, report: &mut Report) {
    if duration.is_zero() {
        report.reject(key, "is zero", "give a longer time");
    }
}

/// A whole number in a range; the lowest of the range stands for a refused one.
pub(super) fn check_range(
    key: &KeyPath,
    number: u64,
    lowest: u64,
    highest: u64,
    report: &mut Report,
) -> usize {
    let checked = usize::try_from(number).ok().filter(|_| (lowest..=highest).contains(&number));
    checked.unwrap_or_else(|| {
        report.reject(
            key,
            format!("{number} is out of range"),
            format!("give a number from {lowest} to {highest}"),
        );
        usize::try_from(lowest).unwrap_or_default()
    })
}

fn check_limits(limits: &schema::Limits, report: &mut Report) -> Limits {
    let table = KeyPath::new(["limits"]);
    let record = limits.record.0;
    if record == 0 {
        report.reject(&table.child("record"), "is zero", "give a size such as \"16MiB\"");
    }
    if limits.quarantine.0 == 0 {
        report.reject(&table.child("quarantine"), "is zero", "give a size such as \"256MiB\"");
    }
    if limits.memory.0 < record.saturating_mul(2) {
        let message = format!("limits.memory ({}) is less than twice the largest record", limits.memory.0);
        report.reject(&table.child("record"), message, "give at most half of limits.memory");
    }
    if limits.memory.0 != MEMORY {
        let remedy = "remove the key; flowlogd works with 32MiB";
        report.reject(&table.child("memory"), "another size than 32MiB is not built yet", remedy);
    }
    require_positive(&table.child("drain"), limits.drain.0, report);
    require_positive(&table.child("once_deadline"), limits.once_deadline.0, report);
    let parallel_key = table.child("parallel_blobs");
    Limits {
        parallel_blobs: check_range(&parallel_key, limits.parallel_blobs, 1, MOST_PARALLEL_BLOBS, report),
        record,
        quarantine: u64::try_from(limits.quarantine.0).unwrap_or(u64::MAX),
        drain: limits.drain.0,
        once_deadline: limits.once_deadline.0,
    }
}

fn check_log(log: schema::Log, report: &mut Report) -> telemetry::LogConfig {
    let config = telemetry::LogConfig {
        filter: log.level,
        format: match log.format {
            schema::LogFormat::Auto => telemetry::LogFormat::Auto,
            schema::LogFormat::Text => telemetry::LogFormat::Text,
            schema::LogFormat::Json => telemetry::LogFormat::Json,
        },
    };
    if let Err(error) = telemetry::check_filter(&config.filter) {
        let message = format!("cannot use \"{}\": {}", config.filter, telemetry::chain(&error));
        let remedy = "write a level (error, warn, info, debug, trace) or filters such as \"info,flowlogd::intake=debug\"";
        report.reject(&KeyPath::new(["log", "level"]), message, remedy);
    }
    config
}
