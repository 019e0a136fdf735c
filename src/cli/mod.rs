//! F7: the command line, one file for each subcommand. Logs go to stderr, results to stdout.

pub mod audit;
mod blob_text;
pub mod check_config;
pub mod checkpoints;
pub mod convert;
pub mod exit;
pub mod quarantine;
mod quarantine_input;
mod quarantine_replay;
pub mod run;
mod state;
mod table;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};

use crate::settings::{self, Loaded};
use exit::{Exit, Failure};

/// Collects Azure virtual network flow logs from blob storage and delivers each flow to a SIEM.
///
/// Settings come from one TOML file and from environment variables FLOWLOGD__SECTION__KEY, which win. Start with
/// `flowlogd check-config`, then `flowlogd run --once`, then `flowlogd run`.
#[derive(Debug, Parser)]
#[command(name = "flowlogd", version, propagate_version = true, after_long_help = EXIT_CODES)]
pub struct Arguments {
    /// Settings file. Without it: /etc/flowlogd/flowlogd.toml if it is there, else environment variables alone.
    #[arg(long, global = true, value_name = "FILE", env = "FLOWLOGD_CONFIG")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
   0  done, or asked to stop
   1  cannot start; quarantine replay: something stayed
   2  wrong usage
  65  some input was quarantined (convert); something is missing (audit)
  66  no such file (convert)
  69  run --once: a source or intake was still blocked at the deadline; audit: a source could not be listed or read
  74  storing the state or writing the results failed
  75  another flowlogd holds the state
  78  wrong settings, or state of a newer version";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect and deliver: the daemon.
    Run(run::Arguments),
    /// Convert local PT1H.json files to one event a line on stdout. Needs no settings.
    Convert(convert::Arguments),
    /// Load and check the settings and print the effective ones, secrets as ***.
    CheckConfig,
    /// Look at the stored positions, export or reset them.
    Checkpoints(checkpoints::Arguments),
    /// List the sources again and compare them with what is stored: is anything missing?
    Audit(audit::Arguments),
    /// Look at what could not be parsed or was refused, send it again or drop it.
    Quarantine(quarantine::Arguments),
}

/// Runs a command line to its end.
///
/// # Errors
/// What went wrong, with the exit code that says so.
pub fn execute(arguments: Arguments) -> Result<Exit, Failure> {
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Run(arguments) => run::execute(config, &arguments),
        Command::Convert(arguments) => convert::execute(&arguments),
        Command::CheckConfig => check_config::execute(config),
        Command::Checkpoints(arguments) => checkpoints::execute(config, &arguments),
        Command::Audit(arguments) => audit::execute(config, &arguments),
        Command::Quarantine(arguments) => quarantine::execute(config, &arguments),
    }
}

/// Loads the settings with the environment of this process, which is read here and nowhere else.
///
/// # Errors
/// 78 with everything that is wrong with the settings.
pub(crate) fn load_settings(config: Option<&Path>) -> Result<Loaded, Failure> {
    let mut environment = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(text_name), Ok(text_value)) => {
                environment.insert(text_name, text_value);
            }
            (Ok(text_name), Err(_)) if settings::is_setting(&text_name) => {
                let error = anyhow::anyhow!("settings: variable {text_name} is not UTF-8 text; set it again");
                return Err(Failure::new(Exit::Configuration, error));
            }
            _ => {}
        }
    }
    settings::load(config, &environment).map_err(|error| Failure::new(Exit::Configuration, error))
}
