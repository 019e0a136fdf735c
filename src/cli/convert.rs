//! `flowlogd convert`.

use super::exit::{Exit, Failure};

/// Arguments of `flowlogd convert`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// As the exit codes say.
pub fn execute(_arguments: &Arguments) -> Result<Exit, Failure> {
    Ok(Exit::Success)
}
