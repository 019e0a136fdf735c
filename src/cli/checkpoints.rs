//! `flowlogd checkpoints`: what is stored, for people and for scripts.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    exit::{Exit, Failure},
    load_settings,
    table::Table,
};
use crate::{
    checkpoint::{Position, TailState},
    model::{BlobName, HourlyBlob, Origin, Scope},
    store::{
        StoreError,
        sqlite::{ResetCounts, ScopeSummary, Selection, SqliteStore},
    },
};

/// Arguments of `flowlogd checkpoints`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with the stored positions. All but `reset` work beside a running daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One row for each container and intake: blobs, bytes, first hour, quarantine.
    List {
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// The positions of the blobs whose names contain a text.
    Show {
        /// A part of the name, for instance `macAddress=0022482F8D3A` or `y=2026/m=11/d=24`.
        text: String,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Every position, one JSON object a line.
    Export,
    /// Forget positions: what they stand for is delivered again, with the same event ids.
    ///
    /// Needs the state for itself: stop the daemon first. The quarantine is left alone.
    Reset(Reset),
}

/// What to forget; what is named is combined.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Reset {
    /// Positions of this intake.
    #[arg(long, value_name = "NAME")]
    pub intake: Option<String>,
    /// Positions in this container.
    #[arg(long, value_name = "ACCOUNT/CONTAINER")]
    pub source: Option<String>,
    /// The position of this blob, by its full name.
    #[arg(long, value_name = "BLOB")]
    pub blob: Option<String>,
    /// All positions.
    #[arg(long, conflicts_with_all = ["intake", "source", "blob"])]
    pub all: bool,
    /// Do it; without this the command only says what it would forget.
    #[arg(long)]
    pub yes: bool,
}

/// Runs the command.
///
/// # Errors
/// As the exit codes say.
pub fn execute(config: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let state_dir = load_settings(config)?.settings.state_dir;
    let done = match &arguments.command {
        Command::List { json } => open_read_only(&state_dir).and_then(|store| list(&store, *json)),
        Command::Show { text, json } => {
            open_read_only(&state_dir).and_then(|store| show(&store, text, *json))
        }
        Command::Export => open_read_only(&state_dir).and_then(|store| export(&store)),
        Command::Reset(arguments) => reset(&state_dir, arguments),
    };
    done.map(|()| Exit::Success).map_err(|error| Failure::new(exit_of(&error), error))
}

fn exit_of(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::Locked { .. }) => Exit::Locked,
        Some(StoreError::NewerSchema { .. }) => Exit::Configuration,
        _ => Exit::CannotStart,
    }
}

fn open_read_only(state_dir: &Path) -> anyhow::Result<SqliteStore> {
    Ok(SqliteStore::open_read_only(state_dir)?)
}

fn list(store: &SqliteStore, as_json: bool) -> anyhow::Result<()> {
    let summaries = store.summaries()?;
    if as_json {
        return print(&Value::from_iter(summaries.iter().map(summary_json)));
    }
    let mut table = Table::new(&[
        "ACCOUNT",
        "CONTAINER",
        "INTAKE",
        "BLOBS",
        "COMPLETE",
        "BYTES",
        "FIRST HOUR",
        "UNSEALED FROM",
        "QUARANTINE",
    ]);
    for summary in summaries {
        let ScopeSummary { scope, blobs, blobs_complete, bytes, first_hour, first_unsealed, quarantined } =
            summary;
        table.row([
            shown_or(&scope.origin.account, "-"),
            shown_or(&scope.origin.container, "-"),
            scope.intake,
            blobs.to_string(),
            blobs_complete.to_string(),
            bytes.to_string(),
            first_hour.map_or_else(|| "earliest".to_owned(), |hour| hour.to_string()),
            first_unsealed.map_or_else(|| "-".to_owned(), |hour| hour.to_string()),
            quarantined.to_string(),
        ]);
    }
    write(&table.to_string())
}

fn summary_json(summary: &ScopeSummary) -> Value {
    json!({
        "account": summary.scope.origin.account,
        "container": summary.scope.origin.container,
        "intake": summary.scope.intake,
        "blobs": summary.blobs,
        "blobs_complete": summary.blobs_complete,
        "bytes": summary.bytes,
        "first_hour": summary.first_hour.map(|hour| hour.to_string()),
        "first_unsealed": summary.first_unsealed.map(|hour| hour.to_string()),
        "quarantined": summary.quarantined,
    })
}

fn show(store: &SqliteStore, text: &str, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let mut all = Vec::new();
        store.visit_positions(text, |scope, blob, position| -> anyhow::Result<()> {
            all.push(position_json(scope, blob, position));
            Ok(())
        })?;
        return print(&Value::Array(all));
    }
    let mut table = Table::new(&["INTAKE", "OFFSET", "LENGTH", "STATE", "BLOB"]);
    store.visit_positions(text, |scope, blob, position| -> anyhow::Result<()> {
        table.row([
            scope.intake.clone(),
            position.bytes().map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
            position.seen.as_ref().map_or_else(|| "-".to_owned(), |seen| seen.length.to_string()),
            state(position).to_owned(),
            blob.name().to_string(),
        ]);
        Ok(())
    })?;
    write(&table.to_string())
}

fn export(store: &SqliteStore) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    store.visit_positions("", |scope, blob, position| -> anyhow::Result<()> {
        writeln!(out, "{}", position_json(scope, blob, position)).context("write to stdout")
    })?;
    out.flush().context("write to stdout")
}

fn position_json(scope: &Scope, blob: &HourlyBlob, position: &Position) -> Value {
    json!({
        "account": scope.origin.account,
        "container": scope.origin.container,
        "intake": scope.intake,
        "blob": blob.name().as_str(),
        "hour": blob.hour().to_string(),
        "offset": position.bytes(),
        "etag": position.seen.as_ref().map(|seen| seen.etag.as_str()),
        "length": position.seen.as_ref().map(|seen| seen.length),
        "state": state(position),
    })
}

fn state(position: &Position) -> &'static str {
    match position.seen.as_ref().map(|seen| seen.tail) {
        None => "reading",
        Some(TailState::Clean) => "complete",
        Some(TailState::Incomplete) => "incomplete_record",
        Some(TailState::Quarantined) => "quarantined_record",
    }
}

fn reset(state_dir: &Path, arguments: &Reset) -> anyhow::Result<()> {
    let origin = match &arguments.source {
        None => None,
        Some(source) => {
            let (account, container) = source
                .split_once('/')
                .context("--source: expected ACCOUNT/CONTAINER, as `checkpoints list` shows")?;
            Some(Origin { account: account.to_owned(), container: container.to_owned() })
        }
    };
    let blob = arguments.blob.as_deref().map(BlobName::new);
    let selection = Selection { intake: arguments.intake.clone(), origin, blob };
    let counts = SqliteStore::open(state_dir)?.reset(&selection, !arguments.yes)?;
    let ResetCounts { positions, roots, first_hours } = counts;
    let verb = if arguments.yes { "forgot" } else { "would forget (say --yes to do it)" };
    write(&format!(
        "{verb}: {positions} positions, sealed hours of {roots} roots, {first_hours} first hours\n"
    ))
}

fn shown_or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

fn print(value: &Value) -> anyhow::Result<()> {
    write(&format!("{value:#}\n"))
}

fn write(text: &str) -> anyhow::Result<()> {
    io::stdout().lock().write_all(text.as_bytes()).context("write to stdout")
}
