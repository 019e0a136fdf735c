//! F6: what the user writes, checked into the configurations of the components.

mod check;
mod check_account;
mod check_auth;
mod check_intake;
mod check_protocol;
mod defaults;
mod effective;
mod error;
mod key_path;
mod keys;
mod layers;
mod load;
mod preset;
mod schema;
mod secrets;
#[cfg(test)]
mod shipped;
mod stray;
mod values;
mod vet;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};

pub use error::{Origin, Problem, SettingsError};
pub use load::{DEFAULT_FILE, Loaded, load};

use crate::{
    batch::BatchLimits,
    event::EventFormat,
    intake::http_intake,
    model::may_be_secret,
    storage::{azure, directory},
    telemetry,
};

/// Checked settings: every value is in range, every secret is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the state lies.
    pub state_dir: PathBuf,
    /// The sources, by name.
    pub sources: Vec<Source>,
    /// The intakes, by name.
    pub intakes: Vec<Intake>,
    /// Limits of the process.
    pub limits: Limits,
    /// The admin server.
    pub admin: Admin,
    /// Logs.
    pub log: telemetry::LogConfig,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Table name.
    pub name: String,
    /// Where the blobs are.
    pub storage: Storage,
    /// The container, where one is configured.
    pub container: Option<String>,
    /// Time between the starts of two polls.
    pub poll_interval: Duration,
    /// From when on.
    pub start: Start,
    /// How long the account keeps blobs, where that is known.
    pub retention: Option<Duration>,
    /// See `Sealed` in the documentation of the settings.
    pub seal_after: Duration,
    /// How long sealed hours are looked at again.
    pub revisit: Duration,
    /// Which blobs are read.
    pub filter: Globs,
}

/// Globs on blob names, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Globs {
    /// A blob is read where one of these matches,
    pub include: Vec<String>,
    /// and none of these.
    pub exclude: Vec<String>,
}

/// What kind of storage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are as many as tables in the settings")]
pub enum Storage {
    /// An Azure storage account.
    Azure(azure::Config),
    /// A local copy of a container.
    Directory(directory::Config),
}

impl Storage {
    /// The account, as it enters positions.
    #[must_use]
    pub fn account(&self) -> &str {
        match self {
            Self::Azure(config) => &config.account,
            Self::Directory(config) => &config.account,
        }
    }
}

/// Where reading starts at a scope's first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// All that is there.
    Earliest,
    /// The open hour.
    Now,
    /// This long before the first start.
    Back(Duration),
    /// A moment.
    At(DateTime<Utc>),
}

/// One intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// Table name.
    pub name: String,
    /// The receiving end.
    pub sink: Sink,
    /// Shape of the events.
    pub event_format: EventFormat,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// Most requests at once.
    pub max_in_flight: usize,
    /// Most requests a second.
    pub requests_per_second: Option<u32>,
}

/// What kind of receiving end.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are as many as tables in the settings")]
pub enum Sink {
    /// HTTPS.
    Http(http_intake::Config),
    /// The standard output.
    Stdout,
}

impl fmt::Debug for Sink {
    /// Without the query of the URL, where some receivers take their token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(config) => f
                .debug_struct("Http")
                .field("protocol", &config.protocol)
                .field("url", &without_secrets(config.url.as_str()))
                .field("compression", &config.compression)
                .field("http", &config.http)
                .finish(),
            Self::Stdout => f.write_str("Stdout"),
        }
    }
}

/// An intake's URL for people: a path that may be a secret is left out as it is from quotations.
fn without_secrets(url: &str) -> String {
    let shown = without_query(url);
    with_path_hidden(&shown).unwrap_or(shown)
}

/// Where there is a path that may be a secret.
fn with_path_hidden(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let (host, path) = path.split_at(path.find('/')?);
    may_be_secret(path).then(|| format!("{scheme}://{host}/***{query}"))
}

/// A URL for people.
fn without_query(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(start, _)| format!("{start}?***"))
}

/// Limits of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes read, parsed or encoded and not acknowledged yet.
    pub memory: usize,
    /// Blobs read at once.
    pub parallel_blobs: usize,
    /// Largest record, bytes.
    pub record: usize,
    /// Most bytes that the quarantine holds, as the store counts them.
    pub quarantine: u64,
    /// Longest time for stopping.
    pub drain: Duration,
    /// How long `run --once` waits while a source or an intake is blocked.
    pub once_deadline: Duration,
}

/// The admin server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; `None`: there is none.
    pub listen: Option<SocketAddr>,
}

/// Whether a variable of the environment is a setting, or looks like one.
#[must_use]
pub fn is_setting(variable: &str) -> bool {
    key_path::KeyPath::of_variable(variable).is_some() || stray::is_stray(variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: addresses of intakes, with and without a path that may be a key. *Guarantees*: what may be a secret is
    /// not shown; host and short paths are.
    #[test]
    fn urls_are_shown_without_secrets() {
        for (url, shown) in [
            ("https://siem.example", "https://siem.example"),
            ("https://siem.example/in", "https://siem.example/in"),
            ("https://siem.example/in?token=a", "https://siem.example/in?***"),
            ("https://siem.example/services/T0/B0/x7", "https://siem.example/***"),
            ("https://siem.example:8088/0123456789?token=a", "https://siem.example:8088/***?***"),
            ("https://siem.example?path=/0123456789", "https://siem.example?***"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
