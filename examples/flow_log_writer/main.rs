//! Grows flow-log blobs as Azure does, for tests, demonstrations and people. `flow_log_writer --help` tells all.

mod arguments;
mod bulk;
mod document;
mod generator;
mod ledger;
mod sink;
mod writer;

use std::{
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser as _;
use indicatif::{ProgressBar, ProgressStyle};

use arguments::Arguments;
use ledger::Ledger;
use writer::Writer;

// The second thread keeps connections alive while the first waits for stdin.
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell if stderr is closed.
            writeln!(io::stderr(), "error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { target, traffic, ledger, mode, pause } = arguments;
    let (plan, start) = (traffic.plan()?, traffic.start());
    let ledger = match &ledger {
        Some(path) => {
            Some(Ledger::create(path).with_context(|| format!("create the ledger {}", path.display()))?)
        }
        None => None,
    };
    if let Some(size) = mode.bytes {
        let path = target.document_path(plan, start)?;
        let progress = progress(size.as_u64(), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}")?;
        let totals = bulk::write(plan, start, &path, size.as_u64(), ledger, &progress)?;
        progress.finish_and_clear();
        return say("written", totals);
    }
    let mut writer =
        Writer::new(plan, traffic.nics, traffic.silent, start, target.open(plan.kind).await?, ledger);
    if mode.interactive {
        return converse(&mut writer).await;
    }
    let (steps, minutes) = match mode.rounds {
        Some(rounds) => (rounds, 1),
        // Whole hours at once: one commit for each document.
        None => (1, traffic.minutes),
    };
    let progress = progress(u64::from(steps), "{bar:40} {pos}/{len} {msg}")?;
    for step in 0..steps {
        if step > 0 {
            tokio::time::sleep(pause.into()).await;
        }
        writer.advance(minutes).await?;
        progress.set_message(writer.totals().to_string());
        progress.inc(1);
    }
    progress.finish_and_clear();
    say("written", writer.totals())
}

/// Obeys stdin until it ends.
async fn converse(writer: &mut Writer) -> anyhow::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line.context("read a command from stdin")?;
        let n_minutes = match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["minute"] => Ok(1),
            ["minutes", number] => number.parse::<u32>().map_err(|error| error.to_string()),
            ["quit"] => break,
            _ => Err("known commands: minute, minutes N, quit".to_owned()),
        };
        match n_minutes {
            Ok(n_minutes) => {
                for _ in 0..n_minutes {
                    writer.advance(1).await?;
                }
                say("done", writer.totals())?;
            }
            Err(problem) => say("error", format!("{line:?}: {problem}"))?,
        }
    }
    Ok(())
}

/// Shown on stderr, and only if that is a terminal.
fn progress(length: u64, template: &str) -> anyhow::Result<ProgressBar> {
    Ok(ProgressBar::new(length).with_style(ProgressStyle::with_template(template)?))
}

/// Prints a line at once, whatever stdout is.
fn say(word: &str, rest: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{word} {rest}")?;
    stdout.flush()?;
    Ok(())
}
