//! `flowlogd audit`: lists the sources again, whatever the daemon remembers of them, and compares them with what is
//! stored. Changes nothing, and works beside a running daemon.

mod deep;
mod judge;
mod show;
mod walk;
mod when;

use std::{
    io::{self, BufWriter, IsTerminal},
    path::Path,
    time::SystemTime,
};

use anyhow::Context;
use chrono::DateTime;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::Runtime;

use super::{
    exit::{Exit, Failure},
    load_settings,
    state::{failure, written},
};
use crate::{
    app::{build, containers},
    model::Scope,
    pipeline::filter::BlobFilter,
    settings::{Settings, Source},
    store::sqlite::SqliteStore,
    telemetry,
};

use show::Show;
use walk::{AuditError, Container, Plan};
use when::When;

/// Arguments of `flowlogd audit`.
///
/// Lists every flow-log root of the sources and every hour of the stretch again and compares each blob with the stored
/// positions, sealed hours, first hours, filters and the ledger. The verdict on each is `complete`, `pending` (the daemon
/// still owes it: its hour is not sealed, or is sealed and younger than `revisit`), `not wanted` (by `include` and
/// `exclude`, or before the first hour) or `hole`: something is missing and the daemon does not owe it. Each hole is
/// named with its blob, its bytes and the reason, and the exit code is 65. Nothing is changed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// First day (2026-11-24), hour (2026-11-24T05Z), time (RFC 3339), or how long ago (2d).
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    from: When,
    /// Last day, hour or time, likewise; it is part of the stretch [default: now].
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    to: Option<When>,
    /// Read every blob again up to its position, count its records and tuples, and compare them with the ledger.
    #[arg(long)]
    deep: bool,
    /// One JSON object a line instead of a table; the last line is the summary.
    #[arg(long)]
    json: bool,
    /// Only this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only this intake.
    #[arg(long, value_name = "NAME")]
    intake: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// 69 where a source cannot be listed or read, 78 for wrong settings or a state of a newer version, 1 where the state
/// cannot be read, nothing fits the arguments, or a component cannot be set up.
pub(super) fn execute(config: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let settings = load_settings(config)?.settings;
    let cannot_start = |error: anyhow::Error| Failure::new(Exit::CannotStart, error);
    telemetry::init(&settings.log).map_err(|error| Failure::new(Exit::CannotStart, error))?;
    let now = DateTime::from(SystemTime::now());
    let hours = when::hours(&arguments.from, arguments.to.as_ref(), now);
    if hours.is_empty() {
        let error =
            anyhow::anyhow!("--from {} comes after the end, which is {}", hours.start, hours.end.previous());
        return Err(cannot_start(error));
    }
    let (sources, intakes) = chosen(&settings, arguments).map_err(cannot_start)?;
    let mut state = SqliteStore::open_read_only(&settings.state_dir).map_err(failure)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the runtime")
        .map_err(cannot_start)?;
    let plan = Plan { hours, deep: arguments.deep.then_some(settings.limits.record) };
    let progress = progress_bar();
    let mut show = Show::new(BufWriter::new(io::stdout().lock()), arguments.json);
    for source in sources {
        let audited = audit(&runtime, source, &intakes, &mut state, &plan, &progress, &mut show);
        match audited {
            Ok(()) => {}
            Err(Stopped::Audit(AuditError::Output(error))) => return written(Err(error)),
            Err(Stopped::Audit(AuditError::State(error))) => return Err(failure(error)),
            Err(Stopped::Audit(error @ (AuditError::Unlisted(_) | AuditError::Unread { .. }))) => {
                let error = anyhow::Error::new(error).context(format!("audit the source {}", source.name));
                return Err(Failure::new(Exit::Unavailable, error));
            }
            Err(Stopped::Failed(failed)) => return Err(failed),
        }
    }
    progress.finish_and_clear();
    written(show.end(&plan.hours))?;
    Ok(if show.summary.holes == 0 { Exit::Success } else { Exit::DataError })
}

/// The sources and the names of the intakes that are meant.
fn chosen<'a>(
    settings: &'a Settings,
    arguments: &Arguments,
) -> anyhow::Result<(Vec<&'a Source>, Vec<&'a str>)> {
    let is_meant = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let sources: Vec<_> =
        settings.sources.iter().filter(|source| is_meant(&arguments.source, &source.name)).collect();
    let names = settings.intakes.iter().map(|intake| intake.name.as_str());
    let intakes: Vec<_> = names.filter(|name| is_meant(&arguments.intake, name)).collect();
    if sources.is_empty() {
        anyhow::bail!("no source has the name {}", arguments.source.as_deref().unwrap_or_default());
    }
    if intakes.is_empty() {
        anyhow::bail!("no intake has the name {}", arguments.intake.as_deref().unwrap_or_default());
    }
    Ok((sources, intakes))
}

/// Why the audit of a source ended.
enum Stopped {
    Audit(AuditError),
    Failed(Failure),
}

fn audit(
    runtime: &Runtime,
    source: &Source,
    intakes: &[&str],
    state: &mut SqliteStore,
    plan: &Plan,
    progress: &ProgressBar,
    show: &mut Show<impl io::Write>,
) -> Result<(), Stopped> {
    let failed = |exit: Exit, error: anyhow::Error| Stopped::Failed(Failure::new(exit, error));
    let account = build::account(source).map_err(|error| failed(Exit::CannotStart, error.into()))?;
    let filter = BlobFilter::new(&source.filter.include, &source.filter.exclude)
        .map_err(|error| failed(Exit::CannotStart, error.into()))?;
    let names = match containers::named(source) {
        Some(name) => vec![name.to_owned()],
        None => runtime.block_on(containers::existing(account.as_ref())).map_err(|error| {
            let error = anyhow::Error::new(error).context(format!("audit the source {}", source.name));
            failed(Exit::Unavailable, error)
        })?,
    };
    for name in names {
        let store = account.container(&name);
        let origin = store.origin().clone();
        let scope = |intake: &&str| Scope { origin: origin.clone(), intake: (*intake).to_owned() };
        let container =
            Container { source, store, filter: &filter, scopes: intakes.iter().map(scope).collect() };
        let mut each = |entry: &show::Entry<'_>| show.entry(entry);
        runtime.block_on(container.audit(state, plan, progress, &mut each)).map_err(Stopped::Audit)?;
    }
    Ok(())
}

/// A bar over the hours that are known so far. Hidden where stderr is no terminal, and where the table goes to it too.
fn progress_bar() -> ProgressBar {
    const TEMPLATE: &str = "{bar:40} {pos}/{len} hours {per_sec} {eta} left";
    let bar = ProgressBar::new(0);
    bar.set_draw_target(if io::stdout().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    });
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar
}
