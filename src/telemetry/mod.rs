//! F1: logs, metrics and readiness. Logs go to stderr; results go to stdout and not through here. Above `model`, whose
//! closed sets label metrics.

mod chain;
pub mod clamp;
pub mod health;
pub mod labels;
mod logs;
pub mod metrics;
mod process;

pub use chain::chain;
pub use logs::{TelemetryError, check_filter, init};

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `RUST_LOG` style filter.
    pub filter: String,
    /// Format.
    pub format: LogFormat,
}

/// Format of the log lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Text.
    Text,
    /// JSON.
    Json,
}

/// Says to stderr which error ends the program, with its chain of causes, and by which code: as JSON where all other
/// lines are, else for people.
pub fn report_fatal(error: &anyhow::Error, exit: u8) {
    if logs::is_json() && tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(exit, error = %chain(error.as_ref()), "flowlogd ends");
        return;
    }
    #[expect(clippy::print_stderr, reason = "the last word of a process whose logging may not have started")]
    {
        eprintln!("flowlogd: {}", chain(error.as_ref()));
    }
}
