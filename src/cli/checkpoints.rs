//! `flowlogd checkpoints`: look at the stored positions, export or reset them.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Subcommand};
use serde::Serialize;

use super::{
    exit::{Exit, Failure},
    state::{failure, open_existing, parse_origin, state_directory, write_json, written},
    table::{Table, printable},
};
use crate::{
    checkpoint::{TailState, Tally},
    model::Origin,
    store::sqlite::{ResetCounts, ResetFilter, ScopeSummary, SqliteStore, StoredPosition},
};

/// Arguments of `flowlogd checkpoints`.
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
    /// Sum up what is stored: one row for each source container and intake, then one for each of their roots.
    ///
    /// A blob is complete when a version of it was read to its end and the intake has acknowledged all of it. Every
    /// hour of a root before OPEN FROM is sealed: finished and not looked at again; SEALED LATER counts further ones
    /// after it. Works beside a running daemon.
    List {
        /// One JSON object a line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show the positions of the blobs whose name contains TEXT.
    ///
    /// The state of a blob is `complete`, `incomplete` (its last record has no end yet), `quarantined` (that record
    /// is in the quarantine) or `reading` (there is more to read). Works beside a running daemon.
    Show {
        /// Part of a blob name, such as a MAC address or `y=2026/m=11/d=24`.
        text: String,
        /// One JSON object a line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Write every position to stdout, one JSON object a line. Works beside a running daemon.
    Export,
    /// Forget positions, so that their blobs are read and sent again.
    ///
    /// Events are sent again with the same event ids. Without --yes nothing changes: the command says what it would
    /// delete. The daemon must be stopped. The first hours of what is reset are decided anew from the setting
    /// `start`, except with --blob. The quarantine stays.
    Reset(Reset),
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
struct Reset {
    /// Only what this intake has acknowledged. Combines with --source and --blob.
    #[arg(long, value_name = "NAME", group = "what")]
    intake: Option<String>,
    /// Only blobs of this container.
    #[arg(long, value_name = "ACCOUNT/CONTAINER", group = "what", value_parser = parse_origin)]
    source: Option<Origin>,
    /// Only the blob of this full name. Its hour is opened again.
    #[arg(long, value_name = "NAME", group = "what")]
    blob: Option<String>,
    /// Everything.
    #[arg(long, group = "what", conflicts_with_all = ["intake", "source", "blob"])]
    all: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// As the exit codes say.
pub fn execute(config: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let directory = state_directory(config, arguments.state_dir.as_deref())?;
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match &arguments.action {
        Action::List { json } => {
            let summaries = SqliteStore::open_read_only(&directory)
                .and_then(|store| store.summaries())
                .map_err(failure)?;
            list(&mut out, &summaries, *json)
        }
        Action::Show { text, json } => {
            let store = SqliteStore::open_read_only(&directory).map_err(failure)?;
            if *json { export(&mut out, &store, text)? } else { show(&mut out, &store, text)? }
        }
        Action::Export => {
            let store = SqliteStore::open_read_only(&directory).map_err(failure)?;
            export(&mut out, &store, "")?
        }
        Action::Reset(arguments) => {
            let counts = reset(&directory, arguments)?;
            tell_reset(&mut out, counts, arguments.yes)
        }
    };
    written(result.and_then(|()| out.flush()))
}

#[derive(Debug, Serialize)]
struct SummaryLine<'a> {
    account: &'a str,
    container: &'a str,
    intake: &'a str,
    first_hour: Option<String>,
    blobs: u64,
    complete: u64,
    bytes: u64,
    quarantined: u64,
    roots: Vec<RootLine<'a>>,
}

#[derive(Debug, Serialize)]
struct RootLine<'a> {
    root: &'a str,
    /// Every hour before this one is sealed.
    open_from: String,
    sealed_later: usize,
}

impl<'a> RootLine<'a> {
    fn of(summary: &'a ScopeSummary) -> impl Iterator<Item = Self> {
        summary.frontiers.iter().map(|(root, frontier)| Self {
            root,
            open_from: frontier.first_unsealed().to_string(),
            sealed_later: frontier.sealed_after().count(),
        })
    }
}

fn list(out: &mut impl Write, summaries: &[ScopeSummary], json: bool) -> io::Result<()> {
    let mut table = Table::new([
        ("SOURCE", false),
        ("INTAKE", false),
        ("FIRST HOUR", false),
        ("BLOBS", true),
        ("COMPLETE", true),
        ("BYTES", true),
        ("QUARANTINED", true),
    ]);
    let mut roots = Table::new([
        ("SOURCE", false),
        ("INTAKE", false),
        ("OPEN FROM", false),
        ("SEALED LATER", true),
        ("ROOT", false),
    ]);
    let mut n_roots = 0_usize;
    for summary in summaries {
        let first_hour = summary.first_hour.map(|first| first.to_string());
        if json {
            let line = SummaryLine {
                account: &summary.scope.origin.account,
                container: &summary.scope.origin.container,
                intake: &summary.scope.intake,
                first_hour,
                blobs: summary.blobs,
                complete: summary.complete,
                bytes: summary.bytes,
                quarantined: summary.quarantined,
                roots: RootLine::of(summary).collect(),
            };
            write_json(out, &line)?;
            continue;
        }
        table.push([
            summary.scope.origin.to_string(),
            summary.scope.intake.clone(),
            first_hour.unwrap_or_else(|| String::from("-")),
            summary.blobs.to_string(),
            summary.complete.to_string(),
            summary.bytes.to_string(),
            summary.quarantined.to_string(),
        ]);
        for RootLine { root, open_from, sealed_later } in RootLine::of(summary) {
            let (source, intake) = (summary.scope.origin.to_string(), summary.scope.intake.clone());
            roots.push([source, intake, open_from, sealed_later.to_string(), root.to_owned()]);
            n_roots = n_roots.saturating_add(1);
        }
    }
    if json {
        return Ok(());
    }
    table.write_to(out)?;
    if n_roots > 0 {
        writeln!(out)?;
        roots.write_to(out)?;
    }
    Ok(())
}

/// Writes as it reads, so a million blobs need no memory: the columns before the name have a fixed width.
fn show(out: &mut impl Write, store: &SqliteStore, text: &str) -> Result<io::Result<()>, Failure> {
    let mut of = None;
    store
        .for_each_position(text, |stored| {
            let StoredPosition { scope, blob, position, .. } = stored;
            if of.as_ref() != Some(&scope) {
                let source = printable(&scope.origin.to_string());
                writeln!(out, "source {source}, intake {}", printable(&scope.intake))?;
                writeln!(out, "{:>16}  {:<11}  BLOB", "OFFSET", "STATE")?;
                of = Some(scope);
            }
            let offset = position.bytes().map_or_else(|| String::from("-"), |bytes| bytes.to_string());
            let state = position.seen.map_or("reading", |seen| tail_word(seen.tail));
            writeln!(out, "{offset:>16}  {state:<11}  {}", printable(blob.name().as_str()))
        })
        .map_err(failure)
}

fn tail_word(tail: TailState) -> &'static str {
    match tail {
        TailState::Clean => "complete",
        TailState::Incomplete => "incomplete",
        TailState::Quarantined => "quarantined",
    }
}

#[derive(Debug, Serialize)]
struct PositionLine<'a> {
    account: &'a str,
    container: &'a str,
    intake: &'a str,
    blob: &'a str,
    hour: String,
    offset: Option<u64>,
    /// 16 hexadecimal digits: JSON readers round numbers of that size.
    context: Option<String>,
    state: &'a str,
    etag: Option<&'a str>,
    length: Option<u64>,
    /// `null` where a part was read by a version that did not count.
    ledger: Option<LedgerLine>,
}

#[derive(Debug, Serialize)]
struct LedgerLine {
    records: u64,
    tuples: u64,
    delivered: u64,
    quarantined: u64,
    pieces: u64,
}

impl From<Tally> for LedgerLine {
    fn from(tally: Tally) -> Self {
        let Tally { records, tuples, delivered, quarantined, pieces } = tally;
        Self { records, tuples, delivered, quarantined, pieces }
    }
}

fn export(out: &mut impl Write, store: &SqliteStore, text: &str) -> Result<io::Result<()>, Failure> {
    store
        .for_each_position(text, |StoredPosition { scope, blob, position, ledger }| {
            let seen = position.seen.as_ref();
            let line = PositionLine {
                account: &scope.origin.account,
                container: &scope.origin.container,
                intake: &scope.intake,
                blob: blob.name().as_str(),
                hour: blob.hour().to_string(),
                offset: position.bytes(),
                context: position.offset.map(|(_, context)| format!("{:016x}", context.number())),
                state: seen.map_or("reading", |seen| tail_word(seen.tail)),
                etag: seen.map(|seen| seen.etag.as_str()),
                length: seen.map(|seen| seen.length),
                ledger: ledger.map(LedgerLine::from),
            };
            write_json(out, &line)
        })
        .map_err(failure)
}

fn reset(directory: &Path, arguments: &Reset) -> Result<ResetCounts, Failure> {
    let filter = ResetFilter {
        intake: arguments.intake.clone(),
        source: arguments.source.clone(),
        blob: arguments.blob.clone(),
    };
    let mut store = open_existing(directory).map_err(failure)?;
    let counts = if arguments.yes { store.reset(&filter) } else { store.preview_reset(&filter) };
    let counts = counts.map_err(failure)?;
    // Who names something means something: where nothing has the name, it is mistyped.
    if counts == ResetCounts::default() && !arguments.all {
        let stored = store.summaries().map_err(failure)?;
        return Err(Failure::new(Exit::CannotStart, NothingFits::new(&filter, &stored)));
    }
    Ok(counts)
}

/// A reset that names what is not stored.
#[derive(Debug, thiserror::Error)]
#[error("no checkpoint fits {asked}: stored are {stored}; `flowlogd checkpoints show TEXT` finds blob names")]
struct NothingFits {
    asked: String,
    stored: String,
}

impl NothingFits {
    fn new(filter: &ResetFilter, stored: &[ScopeSummary]) -> Self {
        let ResetFilter { intake, source, blob } = filter;
        let parts = [
            intake.as_ref().map(|name| format!("--intake {name}")),
            source.as_ref().map(|origin| format!("--source {origin}")),
            blob.as_ref().map(|name| format!("--blob {name}")),
        ];
        let asked = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let pairs = stored
            .iter()
            .map(|summary| format!("--source {} --intake {}", summary.scope.origin, summary.scope.intake));
        let pairs = pairs.collect::<Vec<_>>().join(", ");
        let stored = if pairs.is_empty() { String::from("none at all") } else { pairs };
        Self { asked: printable(&asked), stored: printable(&stored) }
    }
}

fn tell_reset(out: &mut impl Write, counts: ResetCounts, done: bool) -> io::Result<()> {
    let verb = if done { "Deleted" } else { "Would delete" };
    let ResetCounts { positions, frontiers, first_hours } = counts;
    writeln!(
        out,
        "{verb}: {positions} positions, {frontiers} frontiers (or seals), {first_hours} first hours."
    )?;
    if !done {
        writeln!(out, "Nothing was changed; add --yes to do it.")?;
    }
    Ok(())
}
