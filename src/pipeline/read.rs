//! Reads what is new in one blob, pinned to one version of it, and hands encoded events on in runs.

use std::{ops::ControlFlow, sync::Arc};

use tokio::sync::mpsc;
use tracing::warn;

use super::{Lane, Pass, assemble::bytes_in_memory, budget::Share, discover::Work};
use crate::{
    batch::{EncodedEvents, EventPlace, Run},
    checkpoint::{ContextHash, Position, SeenThrough, TailState},
    event::Encoder,
    flowlog::{Damage, RawRecord, Splitter, Start, Tail},
    model::{BlobVersion, Reason, Rejected},
    storage::{StorageError, StorageErrorKind},
};

/// Bytes of one range read. Azure bills and answers by request, so small ranges cost; a larger one only costs memory,
/// once for each blob that is read at the same time.
const READ_BYTES: u64 = 1024 * 1024;

/// A run leaves when it holds this many encoded bytes: small against a batch, large against the cost of a message.
pub(super) const RUN_BYTES: usize = 256 * 1024;

/// A blob that changes while it is read is followed this often within one pass.
const CHANGES_FOLLOWED: u32 = 3;

/// What a reader takes before it knows its blob's records: one range, and the rest of a record before it.
const READER_BYTES: usize = 2 * 1024 * 1024;

/// A reader gives its place up after so many bytes, if another blob waits for one.
const TURN_BYTES: u64 = 16 * 1024 * 1024;

/// How the reading of a blob ended.
#[derive(Debug)]
pub(super) struct ReadEnd {
    /// The version that was read last.
    pub(super) version: BlobVersion,
    pub(super) calls: u64,
    pub(super) bytes: u64,
    /// Where the last record ends that was read.
    pub(super) offset: u64,
    pub(super) outcome: ReadOutcome,
}

#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// Read to its end.
    Complete,
    /// Damage at a place that cannot be passed.
    Damaged(Damage),
    /// Deleted.
    Gone,
    /// It had another version each time.
    StillChanging,
    /// It could not be read.
    Failed(StorageError),
    /// Others wait, and it has had its turn: this is left.
    TurnOver(Box<Work>),
    /// The process is stopping, or a later stage has failed.
    Stopped,
}

/// Reads a blob from its position to the end of its version.
pub(super) async fn read_blob(
    lane: Arc<Lane>,
    work: Work,
    runs: mpsc::Sender<(Run, Share)>,
    pass: Arc<Pass>,
) -> ReadEnd {
    let mut reader = Reader {
        encoder: Encoder::new(lane.delivery.format, lane.storage.origin(), work.blob.name()),
        chain: work.position.clone(),
        pending: Pending::at(work.position.clone()),
        lane,
        work,
        runs,
        pass,
        calls: 0,
        bytes: 0,
    };
    let outcome = reader.read().await;
    let is_last = !matches!(outcome, ReadOutcome::TurnOver(_));
    let outcome = match reader.send(is_last).await {
        Ok(()) => outcome,
        Err(ended) => ended,
    };
    let offset = reader.chain.as_ref().and_then(Position::bytes).unwrap_or_default();
    ReadEnd { version: reader.work.version, calls: reader.calls, bytes: reader.bytes, offset, outcome }
}

struct Reader {
    lane: Arc<Lane>,
    work: Work,
    encoder: Encoder,
    runs: mpsc::Sender<(Run, Share)>,
    pass: Arc<Pass>,
    /// Where the last run that was sent ended.
    chain: Option<Position>,
    pending: Pending,
    calls: u64,
    bytes: u64,
}

/// What will be the next run.
struct Pending {
    events: EncodedEvents,
    rejected: Vec<Rejected>,
    /// The position once all of it is acknowledged.
    to: Option<Position>,
}

impl Pending {
    fn at(position: Option<Position>) -> Self {
        Self { events: EncodedEvents::default(), rejected: Vec::new(), to: position }
    }
}

/// Why the reading of a version ended.
enum VersionEnd {
    Complete,
    /// The next record needs more than the reader could have.
    NeedsMemory,
}

/// The end of a reading, as an error so that `?` ends it.
type Ended = ReadOutcome;

impl Reader {
    async fn read(&mut self) -> ReadOutcome {
        let mut wanted_bytes = READER_BYTES;
        let mut n_changes = 0;
        loop {
            let share = tokio::select! {
                biased;
                () = self.pass.stopping.reading.cancelled() => return ReadOutcome::Stopped,
                share = self.lane.budget.reading().take(wanted_bytes) => share,
            };
            match self.read_version(share).await {
                Ok(VersionEnd::Complete) => return ReadOutcome::Complete,
                Ok(VersionEnd::NeedsMemory) => {
                    wanted_bytes = wanted_bytes.saturating_mul(2);
                    continue;
                }
                Err(ReadOutcome::Failed(error)) if error.kind == StorageErrorKind::Changed => {}
                Err(ended) => return ended,
            }
            if n_changes == CHANGES_FOLLOWED {
                return ReadOutcome::StillChanging;
            }
            n_changes += 1;
            // The blob was appended to since it was listed: go on from the same place in its new version.
            self.calls = self.calls.saturating_add(1);
            match self.lane.storage.head(self.work.blob.name()).await {
                Ok(version) => self.work.version = version,
                Err(error) => return ended_by(error),
            }
            self.work.sealing = false;
        }
    }

    /// Reads from the position to the end of the version at hand. Where a record needs more memory than is free, what
    /// is held is given back first: else two such readers would wait for each other.
    async fn read_version(&mut self, mut share: Share) -> Result<VersionEnd, Ended> {
        let (mut splitter, mut cursor) = self.open().await?;
        let first = cursor;
        loop {
            self.take_records(&mut splitter).await?;
            let length = self.work.version.length;
            if cursor >= length {
                break;
            }
            if cursor.saturating_sub(first) >= TURN_BYTES && self.pass.progress.somebody_waits() {
                self.send(false).await?;
                let work = Work { position: self.chain.clone(), ..self.work.clone() };
                return Err(ReadOutcome::TurnOver(Box::new(work)));
            }
            let to = length.min(cursor.saturating_add(READ_BYTES));
            let chunk = self.fetch(cursor, to).await?;
            let needed_bytes = splitter.buffered_bytes().saturating_add(chunk.len());
            if !self.lane.budget.reading().try_grow(&mut share, needed_bytes) {
                self.send(false).await?;
                return Ok(VersionEnd::NeedsMemory);
            }
            splitter.push(&chunk);
            self.pass.progress.read(to.saturating_sub(cursor));
            cursor = to;
        }
        let tail = match splitter.finish() {
            Ok(Tail::Clean) => TailState::Clean,
            Ok(Tail::Incomplete { span, bytes }) if self.work.sealing => {
                self.pending.rejected.push(Rejected {
                    reason: Reason::IncompleteRecord,
                    detail: "the blob was sealed before the record's end was written".to_owned(),
                    span,
                    ordinal: None,
                    context: None,
                    text: bytes.to_vec(),
                    answer: None,
                });
                TailState::Quarantined
            }
            Ok(Tail::Incomplete { .. }) => TailState::Incomplete,
            Err(damage) => return Err(ReadOutcome::Damaged(damage)),
        };
        let BlobVersion { etag, length, .. } = self.work.version.clone();
        let offset = self.pending.to.as_ref().and_then(|position| position.offset);
        self.pending.to = Some(Position { offset, seen: Some(SeenThrough { etag, length, tail }) });
        Ok(VersionEnd::Complete)
    }

    /// A splitter at the position, and the offset of the next byte to read. What stands before the position must be
    /// what stood there when it was stored; else the blob was rewritten, and it is read from its beginning.
    async fn open(&mut self) -> Result<(Splitter, u64), Ended> {
        let limit = self.lane.record_limit;
        let length = self.work.version.length;
        let Some((offset, hash)) = self.pending.to.as_ref().and_then(|position| position.offset) else {
            return Ok((Splitter::new(Start::Beginning, limit), 0));
        };
        if offset <= length {
            let context_bytes = offset.min(u64::try_from(ContextHash::BYTES).unwrap_or(u64::MAX));
            let from = offset.saturating_sub(context_bytes);
            let to = length.min(from.saturating_add(READ_BYTES));
            let chunk = self.fetch(from, to).await?;
            let (context, rest) =
                chunk.split_at(usize::try_from(context_bytes).unwrap_or(0).min(chunk.len()));
            if ContextHash::of(context) == hash {
                let mut splitter = Splitter::new(Start::After { offset, context }, limit);
                splitter.push(rest);
                return Ok((splitter, to));
            }
        }
        if offset > length {
            self.confirm().await?;
        }
        warn!(
            blob = %self.work.blob.name(), offset, length,
            "the blob was rewritten: it is read again from its beginning, its events keep their ids",
        );
        self.send(false).await?;
        self.pending.to = Some(Position { offset: None, seen: None });
        Ok((Splitter::new(Start::Beginning, limit), 0))
    }

    /// A listing may be older than the position: intakes share them, and the blob may have been followed since. Whether
    /// it is shorter now, the storage says; where the listing was old, reading goes on in the version that there is.
    async fn confirm(&mut self) -> Result<(), Ended> {
        self.calls = self.calls.saturating_add(1);
        let name = self.work.blob.name();
        let version = self.lane.storage.head(name).await.map_err(ended_by)?;
        if version.etag == self.work.version.etag {
            return Ok(());
        }
        let operation = format!("read blob {name} as it was listed");
        Err(ReadOutcome::Failed(StorageError { operation, kind: StorageErrorKind::Changed, source: None }))
    }

    async fn take_records(&mut self, splitter: &mut Splitter) -> Result<(), Ended> {
        loop {
            match splitter.next_record() {
                Ok(Some(record)) => self.encode(&record).await?,
                Ok(None) => return Ok(()),
                Err(damage) => return Err(ReadOutcome::Damaged(damage)),
            }
            let offset = splitter.offset().map(|bytes| (bytes, ContextHash::of(splitter.context())));
            self.pending.to = Some(Position { offset, seen: None });
            if self.pending.events.bytes.len() >= RUN_BYTES {
                self.send(false).await?;
            }
            if self.pass.stopping.reading.is_cancelled() {
                return Err(ReadOutcome::Stopped);
            }
        }
    }

    /// Encodes one record. Where its events are many, they leave in several runs; the position stands still before
    /// the record until the last of them.
    async fn encode(&mut self, record: &RawRecord<'_>) -> Result<(), Ended> {
        let mut next_ordinal = Some(0);
        while let Some(first) = next_ordinal {
            let framing = self.lane.intake.framing();
            let events = &mut self.pending.events;
            let mut emit = |event: crate::event::Event<'_>| {
                framing.encode_event(&event, &mut events.bytes);
                events.finish_event(EventPlace { record: event.record, ordinal: event.id.ordinal });
                if events.bytes.len() >= RUN_BYTES {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let encoded =
                self.encoder.encode_record(record, first, &mut emit).map_err(ReadOutcome::Damaged)?;
            self.pending.rejected.extend(encoded.rejected);
            next_ordinal = encoded.next_ordinal;
            if next_ordinal.is_some() {
                self.send(false).await?;
            }
        }
        Ok(())
    }

    /// Sends what is pending as a run.
    async fn send(&mut self, last: bool) -> Result<(), Ended> {
        let rejected_bytes: usize = self.pending.rejected.iter().map(|rejected| rejected.text.len()).sum();
        let needed_bytes = bytes_in_memory(&self.pending.events).saturating_add(rejected_bytes);
        let share = tokio::select! {
            // What there is room for still leaves when the process is stopping.
            biased;
            share = self.lane.budget.encoded().take(needed_bytes) => share,
            () = self.pass.stopping.reading.cancelled() => return Err(ReadOutcome::Stopped),
        };
        let to = self.pending.to.clone();
        let pending = std::mem::replace(&mut self.pending, Pending::at(to.clone()));
        let from = std::mem::replace(&mut self.chain, to.clone());
        let unchanged = pending.events.is_empty() && pending.rejected.is_empty() && from == to;
        if unchanged && !last {
            return Ok(());
        }
        let blob = self.work.blob.clone();
        let run = Run { blob, events: pending.events, from, to, rejected: pending.rejected, last };
        self.runs.send((run, share)).await.map_err(|_| ReadOutcome::Stopped)
    }

    async fn fetch(&mut self, from: u64, to: u64) -> Result<bytes::Bytes, Ended> {
        if from == to {
            return Ok(bytes::Bytes::new());
        }
        self.calls = self.calls.saturating_add(1);
        let BlobVersion { name, etag, .. } = &self.work.version;
        let read = tokio::select! {
            biased;
            () = self.pass.stopping.reading.cancelled() => return Err(ReadOutcome::Stopped),
            read = self.lane.storage.read(name, from..to, etag) => read,
        };
        let chunk = read.map_err(ended_by)?;
        self.bytes = self.bytes.saturating_add(to.saturating_sub(from));
        Ok(chunk)
    }
}

fn ended_by(error: StorageError) -> Ended {
    if matches!(error.kind, StorageErrorKind::BlobNotFound | StorageErrorKind::ContainerNotFound) {
        ReadOutcome::Gone
    } else {
        ReadOutcome::Failed(error)
    }
}
