//! One large document, written straight to a file, one minute of records in memory at a time.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use indicatif::ProgressBar;

use crate::{
    generator::{
        nic::{Nic, Plan},
        record::Record,
        whole,
    },
    ledger::Ledger,
    writer::Totals,
};

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
    let mut file = BufWriter::new(File::create(path).with_context(during)?);
    let mut nic = Nic::new(plan, 0, false);
    let mut totals = Totals { blobs: 1, ..Totals::default() };
    let mut written = |records: &[Record], bytes| {
        for record in records {
            totals.records += 1;
            totals.tuples += u64::try_from(record.tuples().count()).unwrap_or_default();
            if let Some(ledger) = &mut ledger {
                ledger.record(record)?;
            }
        }
        totals.blocks += 1;
        progress.set_position(bytes);
        Ok(())
    };
    let bytes = whole::write(&mut nic, start, target, &mut file, &mut written).with_context(during)?;
    totals.bytes = bytes;
    file.flush().with_context(during)?;
    if let Some(ledger) = &mut ledger {
        ledger.flush().context("write the ledger")?;
    }
    Ok(totals)
}
