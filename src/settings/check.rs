//! From the schema to the configurations of the components: ranges, addresses, certificates. Pure but for reading the
//! certificates that the settings name.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use url::{Host, Url};

use super::{
    Admin, Globs, Limits, Settings, Source, Storage,
    check_account::check_account,
    check_intake::check_intake,
    error::{Report, SettingsError},
    key_path::KeyPath,
    schema::{self, Schema},
};
use crate::{
    flowlog::FLOW_LOG_CONTAINERS, http, model::Secret, pipeline::filter::check_glob, storage::directory,
    telemetry,
};

/// A connection that takes longer is not coming: a healthy one needs two round trips, TLS included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Polls closer together than this only load the account: the vendor writes once a minute.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// More readers than this only queue for the two or three cores that such a host has.
const MOST_PARALLEL_BLOBS: u64 = 64;
/// With less, not even one range can be read and one batch be sent.
const LEAST_MEMORY: usize = 4 * 1024 * 1024;

/// Checks everything; what is wrong goes into the report, and so into the error. `files` are those that secrets came
/// from.
pub(super) fn check(
    schema: Schema,
    files: &BTreeMap<KeyPath, PathBuf>,
    mut report: Report,
) -> Result<Settings, SettingsError> {
    let mut sources = Vec::new();
    for (name, source) in schema.sources {
        sources.extend(check_source(name, source, files, &mut report));
    }
    let mut intakes = Vec::new();
    for (name, intake) in schema.intakes {
        intakes.extend(check_intake(name, intake, files, &mut report));
    }
    refuse_same_containers(&sources, &mut report);
    let limits = check_limits(&schema.limits, &mut report);
    let admin = check_admin(&schema.admin, &mut report);
    let log = check_log(schema.log, &mut report);
    report.into_result()?;
    Ok(Settings { state_dir: schema.state_dir, sources, intakes, limits, admin, log })
}

fn check_source(
    name: String,
    source: schema::Source,
    files: &BTreeMap<KeyPath, PathBuf>,
    report: &mut Report,
) -> Option<Source> {
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
    let filter = Globs { include: source.include.clone(), exclude: source.exclude.clone() };
    for (key, globs) in [("include", &filter.include), ("exclude", &filter.exclude)] {
        for error in globs.iter().filter_map(|glob| check_glob(glob).err()) {
            report.reject(
                &table.child(key),
                error.to_string(),
                "write a pattern on the blob's whole name such as \"*/NETWORKWATCHER_WESTEUROPE_*\"",
            );
        }
    }
    let retention = source.retention.map(|period| period.0);
    if let Some(retention) = retention {
        require_positive(&table.child("retention"), retention, report);
    }
    let container = source.container.clone();
    let (start, seal_after, revisit) = (source.start.0, source.seal_after.0, source.revisit.0);
    let storage = match source.directory {
        Some(path) => {
            let account = source.account.unwrap_or_default();
            Storage::Directory(directory::Config {
                path,
                account,
                container: source.container.unwrap_or_default(),
            })
        }
        None => Storage::Azure(check_account(&table, source, files, report)?),
    };
    Some(Source { name, storage, container, poll_interval, start, seal_after, revisit, retention, filter })
}

/// Positions are kept by account and container: two sources with the same ones would take each other's for theirs.
fn refuse_same_containers(sources: &[Source], report: &mut Report) {
    for (number, source) in sources.iter().enumerate() {
        let Some(twin) =
            sources.iter().take(number).find(|earlier| have_container_in_common(earlier, source))
        else {
            continue;
        };
        let key = KeyPath::new(["sources", &source.name]);
        let remedy = match &source.storage {
            Storage::Azure(_) => "keep one of the two, or give each a container of its own",
            Storage::Directory(_) => "give each directory the account and the container that it is a copy of",
        };
        report.reject(&key, format!("reads the same container as sources.{}", twin.name), remedy);
    }
}

fn have_container_in_common(left: &Source, right: &Source) -> bool {
    let account = |source: &Source| match &source.storage {
        Storage::Azure(config) => config.account.to_ascii_lowercase(),
        Storage::Directory(config) => config.account.to_ascii_lowercase(),
    };
    let containers = |source: &Source| match (&source.storage, &source.container) {
        (Storage::Directory(config), _) => vec![config.container.clone()],
        (Storage::Azure(_), Some(name)) => vec![name.clone()],
        (Storage::Azure(_), None) => FLOW_LOG_CONTAINERS.map(str::to_owned).to_vec(),
    };
    let right_containers = containers(right);
    account(left) == account(right) && containers(left).iter().any(|name| right_containers.contains(name))
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

/// A proxy. The text is never repeated, for it may hold a password.
pub(super) fn check_proxy(key: &KeyPath, text: &Secret, report: &mut Report) -> Option<http::Proxy> {
    match http::Proxy::parse(text.reveal()) {
        Ok(proxy) => Some(proxy),
        Err(error) => {
            report.reject(
                key,
                error.to_string(),
                "write http://HOST:PORT, with USER:PASSWORD@ before the host where the proxy asks for it",
            );
            None
        }
    }
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
    if limits.memory.0 < LEAST_MEMORY {
        report.reject(&table.child("memory"), "is too small", "give at least \"4MiB\"");
    }
    require_positive(&table.child("drain"), limits.drain.0, report);
    require_positive(&table.child("once_deadline"), limits.once_deadline.0, report);
    let parallel_key = table.child("parallel_blobs");
    Limits {
        memory: limits.memory.0,
        parallel_blobs: check_range(&parallel_key, limits.parallel_blobs, 1, MOST_PARALLEL_BLOBS, report),
        record,
        quarantine: u64::try_from(limits.quarantine.0).unwrap_or(u64::MAX),
        drain: limits.drain.0,
        once_deadline: limits.once_deadline.0,
    }
}

fn check_admin(admin: &schema::Admin, report: &mut Report) -> Admin {
    if admin.listen.is_empty() {
        return Admin { listen: None };
    }
    let listen = admin.listen.parse().ok();
    if listen.is_none() {
        let message = format!("\"{}\" is not an address with a port", admin.listen);
        let remedy = "write \"127.0.0.1:9464\", \"0.0.0.0:9464\" or \"[::]:9464\" for all of the host's addresses, or \"\" for no admin server";
        report.reject(&KeyPath::new(["admin", "listen"]), message, remedy);
    }
    Admin { listen }
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
