//! The subscriber that writes the log lines.

use std::{
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::{FilterExt as _, ParseError, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::{LogConfig, LogFormat, clamp};

/// Logging could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("read the log filter")]
    Filter(#[source] FilterError),
    /// Logging was started before.
    #[error("start logging")]
    Start(#[source] TryInitError),
}

/// A filter that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A word alone that is no level. Read as a target it would silence everything else.
    #[error("`{0}` is no level; a target is written TARGET=LEVEL")]
    Word(String),
    /// Not a filter.
    #[error("not a filter")]
    Syntax(#[source] ParseError),
}

/// Whether the lines are JSON; empty until logging has started.
static IS_JSON: OnceLock<bool> = OnceLock::new();

/// Checks a `RUST_LOG` style filter.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), FilterError> {
    parse_filter(filter).map(|_| ())
}

/// Starts logging to stderr, for the whole process and once.
///
/// # Errors
/// The filter is none, or logging was started before.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = parse_filter(&config.filter).map_err(TelemetryError::Filter)?;
    let is_terminal = io::stderr().is_terminal();
    let is_json = match config.format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if is_json {
        json_subscriber(filter, io::stderr).try_init().map_err(TelemetryError::Start)?;
    } else {
        text_subscriber(filter, io::stderr, is_terminal).try_init().map_err(TelemetryError::Start)?;
    }
    IS_JSON.get_or_init(|| is_json);
    Ok(())
}

/// Whether logging has started and writes JSON.
pub(super) fn is_json() -> bool {
    IS_JSON.get().is_some_and(|is_json| *is_json)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, FilterError> {
    let words = filter.split(',').map(str::trim).filter(|word| !word.is_empty());
    for word in words.filter(|word| !word.contains(['=', '[', ']', '{', '}'])) {
        if word.parse::<LevelFilter>().is_err() {
            return Err(FilterError::Word(word.to_owned()));
        }
    }
    EnvFilter::try_new(filter).map_err(FilterError::Syntax)
}

fn json_subscriber<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().json().flatten_event(true).with_writer(writer);
    Registry::default().with(lines.with_filter(filter.and(filter_fn(clamp::is_allowed))))
}

fn text_subscriber<W>(filter: EnvFilter, writer: W, is_coloured: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_ansi(is_coloured).with_writer(writer);
    Registry::default().with(lines.with_filter(filter.and(filter_fn(clamp::is_allowed))))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
        }
    }

    fn log_everything() {
        tracing::trace!(target: "azure_core::policies", "library trace");
        tracing::debug!(target: "azure_core::policies", "Authorization: SharedKey canary");
        tracing::debug!(target: "azure_storage_blobs", "library debug");
        tracing::info!(target: "azure_core", "library info");
        tracing::warn!(target: "azure_core", "library warning");
        tracing::trace!(target: "flowlogd::intake", "own trace");
        tracing::debug_span!(target: "azure_core", "request", key = "canary").in_scope(|| {
            tracing::error!(target: "flowlogd", "own error");
        });
    }

    /// *Scenario*: the operator asks for everything, of the storage library by name, in both formats. *Guarantees*:
    /// below INFO nothing of that library is written, neither events nor spans; all else is.
    #[test]
    fn the_clamp_holds() {
        let filter = || parse_filter("trace,azure_core=trace,azure_storage_blobs=debug").unwrap();
        let (text, json) = (Captured::default(), Captured::default());
        let (text_writer, json_writer) = (text.clone(), json.clone());
        tracing::subscriber::with_default(
            text_subscriber(filter(), move || text_writer.clone(), false),
            log_everything,
        );
        tracing::subscriber::with_default(
            json_subscriber(filter(), move || json_writer.clone()),
            log_everything,
        );
        for written in [text.text(), json.text()] {
            for wanted in ["library info", "library warning", "own trace", "own error"] {
                assert!(written.contains(wanted), "{wanted} in {written}");
            }
            for unwanted in ["canary", "library trace", "library debug"] {
                assert!(!written.contains(unwanted), "{unwanted} in {written}");
            }
        }
        assert!(json.text().lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }

    /// *Scenario*: filters, good and bad. *Guarantees*: levels and targets with a level are taken; a mistyped level
    /// is refused and not read as a target.
    #[test]
    fn filters() {
        for good in ["info", "WARN", "off", "info,flowlogd::intake=debug", "flowlogd=trace, warn"] {
            assert!(check_filter(good).is_ok(), "{good}");
        }
        for bad in ["debgu", "info,flowlogd", "flowlogd=loud"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
