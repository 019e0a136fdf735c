//! Changes a state store as a collector does, one transaction after the other, from a seed. After each one it says what the
//! store holds now: `state 0x..`. The tests cut its power: see `tests/it/power_cut.rs`.

mod changes;
mod state;

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::Parser;
use flowlogd::store::sqlite::SqliteStore;

use changes::Changes;
use state::digest;

/// Changes a state store, and says after each transaction what it holds.
#[derive(Debug, Parser)]
#[command(name = "store_workload")]
struct Arguments {
    /// The state directory.
    directory: PathBuf,

    /// Chooses the changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many.
    #[arg(long, default_value_t = 100)]
    changes: u32,

    /// Close the store and open it again after so many changes.
    #[arg(long, default_value_t = 40)]
    reopen_after: u32,
}

/// In one write, as soon as it is true.
fn say(store: &SqliteStore) -> anyhow::Result<()> {
    let line = format!("state {:#018x}\n", digest(store).context("read the state")?);
    std::io::stdout().write_all(line.as_bytes()).context("write to standard output")
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let open = || SqliteStore::open(&arguments.directory).context("open the state");
    let mut store = open()?;
    say(&store)?;
    let mut changes = Changes::new(&store, arguments.seed)?;
    for number in 1..=arguments.changes {
        changes.next(&mut store)?;
        say(&store)?;
        if number.checked_rem(arguments.reopen_after) == Some(0) {
            drop(store);
            store = open()?;
            say(&store)?;
        }
    }
    Ok(())
}
