//! One large document, written straight to a file, one record in memory at a time.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::Context as _;
use chrono::{DateTime, Duration, Utc};
use indicatif::ProgressBar;

use crate::{
    document::{HEAD, TAIL},
    ledger::Ledger,
    nic::{Nic, Plan},
    writer::Totals,
};

/// Minutes over which the records are spread: one hour.
const MINUTES: u64 = 60;

/// Writes the document of the first interface and of the hour that starts at `start`, of `target` bytes and at most
/// two records more.
pub(crate) fn write(
    plan: Plan,
    start: DateTime<Utc>,
    path: &Path,
    target: u64,
    mut ledger: Option<Ledger>,
    progress: &ProgressBar,
) -> anyhow::Result<Totals> {
    let during = || format!("write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(during)?;
    }
    let mut file = Counting { file: BufWriter::new(File::create(path).with_context(during)?), bytes: 0 };
    let mut nic = Nic::new(plan, 0, false);
    let mut totals = Totals { blobs: 1, ..Totals::default() };
    file.put(HEAD).with_context(during)?;
    while file.bytes < target {
        let minute = i64::try_from(file.bytes * MINUTES / target)?;
        for (record, json) in nic.minute(start + Duration::minutes(minute)) {
            if totals.records > 0 {
                file.put(",").with_context(during)?;
            }
            file.put(&json).with_context(during)?;
            totals.records += 1;
            totals.tuples += u64::try_from(record.tuples().count())?;
            if let Some(ledger) = &mut ledger {
                ledger.record(&record).context("write the ledger")?;
            }
        }
        totals.blocks += 1;
        progress.set_position(file.bytes);
    }
    file.put(TAIL).with_context(during)?;
    file.file.flush().with_context(during)?;
    if let Some(ledger) = &mut ledger {
        ledger.flush().context("write the ledger")?;
    }
    totals.bytes = file.bytes;
    Ok(totals)
}

struct Counting<W> {
    file: W,
    bytes: u64,
}

impl<W: Write> Counting<W> {
    fn put(&mut self, text: &str) -> std::io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.bytes += u64::try_from(text.len()).unwrap_or_default();
        Ok(())
    }
}
