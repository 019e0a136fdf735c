//! `flowlogd run`.

use super::exit::{Exit, Failure};

/// Arguments of `flowlogd run`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// As the exit codes say.
pub fn execute(_config: Option<&std::path::Path>, _arguments: &Arguments) -> Result<Exit, Failure> {
    Ok(Exit::Success)
}
