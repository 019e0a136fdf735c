//! Puts the parts together: interfaces write minutes, documents turn them into commits, the sink takes these, and the
//! ledger learns of what was taken.

use std::fmt;

use anyhow::Context as _;
use chrono::{DateTime, Duration, DurationRound as _, Utc};
use futures_util::{StreamExt as _, stream};

use crate::{
    document::{Document, Growth},
    generator::nic::{Nic, Plan},
    ledger::Ledger,
    sink::Sink,
};

/// Commits under way at a time: hides the time that a server takes for each.
const COMMITS_IN_FLIGHT: usize = 8;

/// Documents whose growth is held in memory at a time.
const DOCUMENTS_AT_ONCE: usize = 64;

/// What has been committed so far.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    /// Documents.
    pub(crate) blobs: u64,
    /// Blocks of records, without heads and tails.
    pub(crate) blocks: u64,
    /// Records.
    pub(crate) records: u64,
    /// Flow tuples.
    pub(crate) tuples: u64,
    /// Length of all documents together.
    pub(crate) bytes: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blobs, blocks, records, tuples, bytes } = self;
        write!(f, "blobs={blobs} blocks={blocks} records={records} tuples={tuples} bytes={bytes}")
    }
}

/// The writer.
pub(crate) struct Writer {
    nics: Vec<(Nic, Document)>,
    /// The next minute to write.
    minute: DateTime<Utc>,
    sink: Box<dyn Sink>,
    ledger: Option<Ledger>,
    totals: Totals,
}

impl Writer {
    /// `nics` interfaces, the last `silent` of which write no records; the first minute is `start`.
    pub(crate) fn new(
        plan: Plan,
        nics: u64,
        silent: u64,
        start: DateTime<Utc>,
        sink: Box<dyn Sink>,
        ledger: Option<Ledger>,
    ) -> Self {
        let nics = (0..nics).map(|index| {
            let nic = Nic::new(plan, index, index >= nics.saturating_sub(silent));
            let document = Document::new(nic.identity().blob_name(start));
            (nic, document)
        });
        Self { nics: nics.collect(), minute: start, sink, ledger, totals: Totals::default() }
    }

    /// What has been committed so far.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Writes the next `minutes` minutes of every interface, in one commit for each document.
    pub(crate) async fn advance(&mut self, minutes: u32) -> anyhow::Result<()> {
        let end = self.minute + Duration::minutes(i64::from(minutes));
        while self.minute < end {
            let hour = self.minute.duration_trunc(Duration::hours(1))?;
            let stop = end.min(hour + Duration::hours(1));
            self.advance_within_hour(stop).await?;
            self.minute = stop;
        }
        Ok(())
    }

    async fn advance_within_hour(&mut self, stop: DateTime<Utc>) -> anyhow::Result<()> {
        for nics in self.nics.chunks_mut(DOCUMENTS_AT_ONCE) {
            let mut growths = Vec::with_capacity(nics.len());
            for (nic, document) in nics {
                let name = nic.identity().blob_name(self.minute);
                if name != document.name() {
                    *document = Document::new(name);
                }
                let mut moment = self.minute;
                let mut minutes = Vec::new();
                while moment < stop {
                    minutes.push(nic.minute(moment));
                    moment += Duration::minutes(1);
                }
                growths.extend(document.grow(minutes));
            }
            commit_all(self.sink.as_ref(), growths, self.ledger.as_mut(), &mut self.totals).await?;
        }
        Ok(())
    }
}

/// All commits are awaited and those that succeeded are counted even if one fails.
async fn commit_all(
    sink: &dyn Sink,
    growths: Vec<Growth>,
    mut ledger: Option<&mut Ledger>,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    let commits = growths.into_iter().map(async |growth| (sink.commit(&growth).await, growth));
    let mut commits = stream::iter(commits).buffered(COMMITS_IN_FLIGHT);
    let mut outcome = Ok(());
    while let Some((committed, growth)) = commits.next().await {
        if let Err(error) = committed {
            outcome = outcome.and(Err(error));
            continue;
        }
        totals.add(&growth);
        if let Some(ledger) = ledger.as_deref_mut() {
            for record in &growth.records {
                ledger.record(record).context("write the ledger")?;
            }
        }
    }
    if let Some(ledger) = ledger {
        ledger.flush().context("write the ledger")?;
    }
    outcome
}

impl Totals {
    fn add(&mut self, growth: &Growth) {
        let count = |length: usize| u64::try_from(length).unwrap_or_default();
        self.blobs += u64::from(growth.committed.is_none());
        self.blocks += count(growth.added.len());
        self.records += count(growth.records.len());
        self.tuples += count(growth.records.iter().map(|record| record.tuples().count()).sum());
        self.bytes += growth.new_bytes();
    }
}
