//! `flowlogd quarantine`: look at what could not be parsed or was refused, and drop it.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{ArgGroup, Subcommand};
use serde::Serialize;

use super::{
    exit::{Exit, Failure},
    load_settings, quarantine_replay,
    state::{failure, open_existing, parse_origin, state_directory, write_json, written},
    table::Table,
};
use crate::{
    model::{Origin, Reason},
    store::{
        QuarantineUsage,
        sqlite::{QuarantineEntry, QuarantineFilter, QuarantineSummary, SqliteStore},
    },
};

/// Arguments of `flowlogd quarantine`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// State directory [default: the setting state_dir].
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Sum up what is there: one row for each source container, intake and reason. Works beside a running daemon.
    List {
        #[command(flatten)]
        filter: Filter,
        /// One JSON object a line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Write every row to stdout with all that is kept of it, one JSON object a line.
    ///
    /// A text that is not UTF-8 stands in `text_base64`. Works beside a running daemon.
    Show {
        #[command(flatten)]
        filter: Filter,
    },
    /// Send rows to their intakes again. What is accepted goes.
    ///
    /// An event that was refused or is in doubt is sent as it is kept. Anything else goes through this program's parser
    /// again, whole records with what is in the source where the quarantine has only a part of them, up to the present
    /// limits.record. Events have the ids of the first reading; only where a bad tuple's record is gone from the source
    /// it is another one, the same at each replay. What stays is counted with the reasons, and the exit code is 1. The
    /// daemon must be stopped.
    Replay {
        #[command(flatten)]
        filter: Filter,
    },
    /// Delete rows for good, and tell how many.
    ///
    /// Nothing is asked. What is dropped counts as delivered: the daemon does not read it again. The daemon must be
    /// stopped.
    #[command(group = ArgGroup::new("what").required(true).multiple(true)
        .args(["intake", "source", "blob", "reason", "since", "all"]))]
    Drop {
        #[command(flatten)]
        filter: Filter,
        /// Everything.
        #[arg(long, conflicts_with_all = ["intake", "source", "blob", "reason", "since"])]
        all: bool,
    },
}

/// Which rows are meant: those that fit everything that is given.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only rows of this intake.
    #[arg(long, value_name = "NAME")]
    intake: Option<String>,
    /// Only rows of this container.
    #[arg(long, value_name = "ACCOUNT/CONTAINER", value_parser = parse_origin)]
    source: Option<Origin>,
    /// Only rows of the blob of this full name.
    #[arg(long, value_name = "NAME")]
    blob: Option<String>,
    /// Only rows with this reason.
    #[arg(long, value_parser = parse_reason)]
    reason: Option<Reason>,
    /// Only rows written since then: a time back such as 2h or 7d, or 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<DateTime<Utc>>,
}

impl Filter {
    fn of_store(&self) -> QuarantineFilter {
        let Self { intake, source, blob, reason, since } = self;
        QuarantineFilter {
            intake: intake.clone(),
            source: source.clone(),
            blob: blob.clone(),
            reason: *reason,
            since: since.map(|since| since.timestamp()),
        }
    }
}

fn parse_reason(text: &str) -> Result<Reason, String> {
    Reason::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| {
        let known: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

fn parse_since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.with_timezone(&Utc));
    }
    let back = humantime::parse_duration(text)
        .map_err(|_| String::from("expected a time back such as 7d, or an RFC 3339 time"))?;
    let since = SystemTime::now().checked_sub(back).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(DateTime::from(since))
}

/// Runs the command.
///
/// # Errors
/// As the exit codes say.
pub fn execute(config: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let directory = state_directory(config, arguments.state_dir.as_deref())?;
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match &arguments.action {
        Action::List { filter, json } => {
            let summaries = SqliteStore::open_read_only(&directory)
                .and_then(|store| store.quarantine_summaries(&filter.of_store()))
                .map_err(failure)?;
            list(&mut out, &summaries, *json)
        }
        Action::Show { filter } => SqliteStore::open_read_only(&directory)
            .and_then(|store| store.visit_quarantine(&filter.of_store(), |entry| show(&mut out, &entry)))
            .map_err(failure)?,
        Action::Replay { filter } => {
            drop(out);
            let settings = load_settings(config)?.settings;
            return quarantine_replay::execute(&settings, &directory, &filter.of_store());
        }
        Action::Drop { filter, all: _ } => {
            let dropped = open_existing(&directory)
                .and_then(|mut store| store.drop_quarantined(&filter.of_store()))
                .map_err(failure)?;
            let QuarantineUsage { rows, bytes } = dropped;
            writeln!(out, "Dropped: {rows} rows, {bytes} bytes.")
        }
    };
    written(result.and_then(|()| out.flush()))
}

#[derive(Debug, Serialize)]
struct SummaryLine<'a> {
    account: &'a str,
    container: &'a str,
    intake: &'a str,
    reason: &'a str,
    rows: u64,
    bytes: u64,
    oldest: String,
    newest: String,
}

fn list(out: &mut impl Write, summaries: &[QuarantineSummary], json: bool) -> io::Result<()> {
    let mut table = Table::new([
        ("SOURCE", false),
        ("INTAKE", false),
        ("REASON", false),
        ("ROWS", true),
        ("BYTES", true),
        ("OLDEST", false),
        ("NEWEST", false),
    ]);
    for QuarantineSummary { scope, reason, usage, oldest, newest } in summaries {
        let (oldest, newest) = (time_text(*oldest), time_text(*newest));
        if json {
            let line = SummaryLine {
                account: &scope.origin.account,
                container: &scope.origin.container,
                intake: &scope.intake,
                reason,
                rows: usage.rows,
                bytes: usage.bytes,
                oldest,
                newest,
            };
            write_json(out, &line)?;
            continue;
        }
        table.push([
            scope.origin.to_string(),
            scope.intake.clone(),
            reason.clone(),
            usage.rows.to_string(),
            usage.bytes.to_string(),
            oldest,
            newest,
        ]);
    }
    if json { Ok(()) } else { table.write_to(out) }
}

#[derive(Debug, Serialize)]
struct EntryLine<'a> {
    id: i64,
    time: String,
    account: &'a str,
    container: &'a str,
    intake: &'a str,
    blob: &'a str,
    hour: String,
    offset: u64,
    length: u64,
    ordinal: Option<u32>,
    reason: &'a str,
    detail: &'a str,
    status: Option<u16>,
    response: Option<&'a str>,
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_base64: Option<String>,
}

fn show(out: &mut impl Write, entry: &QuarantineEntry) -> io::Result<()> {
    let QuarantineEntry { id, time, scope, blob, rejected } = entry;
    let text = str::from_utf8(&rejected.text).ok();
    let answer = rejected.answer.as_ref();
    let line = EntryLine {
        id: *id,
        time: time_text(*time),
        account: &scope.origin.account,
        container: &scope.origin.container,
        intake: &scope.intake,
        blob: blob.name().as_str(),
        hour: blob.hour().to_string(),
        offset: rejected.span.from,
        length: rejected.span.length(),
        ordinal: rejected.ordinal,
        reason: rejected.reason.as_str(),
        detail: &rejected.detail,
        status: answer.map(|(status, _)| *status),
        response: answer.map(|(_, response)| response.as_str()),
        context: rejected.context.as_deref(),
        text,
        text_base64: text.is_none().then(|| BASE64.encode(&rejected.text)),
    };
    write_json(out, &line)
}

/// Seconds since 1970 as an RFC 3339 time; the number itself where there is no such time.
fn time_text(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| seconds.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}
