//! `flowlogd check-config`: what the settings are once defaults, file and variables are joined.

use std::{
    io::{self, Write as _},
    path::Path,
};

use super::{
    exit::{Exit, Failure},
    load_settings,
};

/// Loads and checks the settings and prints all of them as TOML, secrets as `***`.
///
/// # Errors
/// 78 where the settings cannot be used, 74 where they cannot be printed.
pub fn execute(config: Option<&Path>) -> Result<Exit, Failure> {
    let loaded = load_settings(config)?;
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(loaded.effective.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| {
        Failure::new(Exit::InputOutput, anyhow::Error::new(error).context("write the settings to stdout"))
    })?;
    #[expect(clippy::print_stderr, reason = "a remark for people, beside the result on stdout")]
    {
        eprintln!("flowlogd: the settings are good; they come from {}", loaded.origin);
    }
    Ok(Exit::Success)
}
