//! Reads what is new in one blob, pinned to one version of it, and hands encoded events on in runs.

use std::{ops::ControlFlow, sync::Arc};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Lane, discover::Work};
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

/// How the reading of a blob ended.
#[derive(Debug)]
pub(super) struct ReadEnd {
    /// The version that was read last.
    pub(super) version: BlobVersion,
    pub(super) calls: u64,
    pub(super) bytes: u64,
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
    /// The process is stopping, or a later stage has failed.
    Stopped,
}

/// Reads a blob from its position to the end of its version.
pub(super) async fn read_blob(
    lane: Arc<Lane>,
    work: Work,
    runs: mpsc::Sender<Run>,
    cancelled: CancellationToken,
) -> ReadEnd {
    let mut encoder = Encoder::new(lane.format, lane.storage.origin(), work.blob.name());
    let mut reader = Reader {
        chain: work.position.clone(),
        pending: Pending::at(work.position.clone()),
        lane,
        work,
        runs,
        cancelled,
        calls: 0,
        bytes: 0,
    };
    let outcome = reader.read(&mut encoder).await;
    let outcome = match reader.send(true).await {
        Ok(()) => outcome,
        Err(ended) => ended,
    };
    ReadEnd { version: reader.work.version, calls: reader.calls, bytes: reader.bytes, outcome }
}

struct Reader {
    lane: Arc<Lane>,
    work: Work,
    runs: mpsc::Sender<Run>,
    cancelled: CancellationToken,
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

/// The end of a reading, as an error so that `?` ends it.
type Ended = ReadOutcome;

impl Reader {
    async fn read(&mut self, encoder: &mut Encoder) -> ReadOutcome {
        for _attempt in 0..=CHANGES_FOLLOWED {
            match self.read_version(encoder).await {
                Err(ReadOutcome::Failed(error)) if error.kind == StorageErrorKind::Changed => {}
                Err(ended) => return ended,
                Ok(()) => return ReadOutcome::Complete,
            }
            // The blob was appended to since it was listed: go on from the same place in its new version.
            self.calls = self.calls.saturating_add(1);
            match self.lane.storage.head(self.work.blob.name()).await {
                Ok(version) => self.work.version = version,
                Err(error) => return ended_by(error),
            }
            self.work.sealing = false;
        }
        ReadOutcome::StillChanging
    }

    /// Reads from the position to the end of the version at hand.
    async fn read_version(&mut self, encoder: &mut Encoder) -> Result<(), Ended> {
        let (mut splitter, mut cursor) = self.open().await?;
        loop {
            self.take_records(&mut splitter, encoder).await?;
            let length = self.work.version.length;
            if cursor >= length {
                break;
            }
            let to = length.min(cursor.saturating_add(READ_BYTES));
            let chunk = self.fetch(cursor, to).await?;
            splitter.push(&chunk);
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
        Ok(())
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
        warn!(
            blob = %self.work.blob.name(), offset, length,
            "the blob was rewritten: it is read again from its beginning, its events keep their ids",
        );
        self.send(false).await?;
        self.pending.to = Some(Position { offset: None, seen: None });
        Ok((Splitter::new(Start::Beginning, limit), 0))
    }

    async fn take_records(&mut self, splitter: &mut Splitter, encoder: &mut Encoder) -> Result<(), Ended> {
        loop {
            match splitter.next_record() {
                Ok(Some(record)) => self.encode(encoder, record).await?,
                Ok(None) => return Ok(()),
                Err(damage) => return Err(ReadOutcome::Damaged(damage)),
            }
            let offset = splitter.offset().map(|bytes| (bytes, ContextHash::of(splitter.context())));
            self.pending.to = Some(Position { offset, seen: None });
            if self.pending.events.bytes.len() >= RUN_BYTES {
                self.send(false).await?;
            }
            if self.cancelled.is_cancelled() {
                return Err(ReadOutcome::Stopped);
            }
        }
    }

    /// Encodes one record. Where its events are many, they leave in several runs; the position stands still before
    /// the record until the last of them.
    async fn encode(&mut self, encoder: &mut Encoder, record: RawRecord<'_>) -> Result<(), Ended> {
        let mut encoding = encoder.begin(record).map_err(ReadOutcome::Damaged)?;
        loop {
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
            let encoded = encoding.advance(&mut emit);
            self.pending.rejected.extend(encoded.rejected);
            if encoded.done {
                return Ok(());
            }
            self.send(false).await?;
        }
    }

    /// Sends what is pending as a run.
    async fn send(&mut self, last: bool) -> Result<(), Ended> {
        let to = self.pending.to.clone();
        let pending = std::mem::replace(&mut self.pending, Pending::at(to.clone()));
        let from = std::mem::replace(&mut self.chain, to.clone());
        let unchanged = pending.events.is_empty() && pending.rejected.is_empty() && from == to;
        if unchanged && !last {
            return Ok(());
        }
        let blob = self.work.blob.clone();
        let run = Run { blob, events: pending.events, from, to, rejected: pending.rejected, last };
        self.runs.send(run).await.map_err(|_| ReadOutcome::Stopped)
    }

    async fn fetch(&mut self, from: u64, to: u64) -> Result<bytes::Bytes, Ended> {
        if from == to {
            return Ok(bytes::Bytes::new());
        }
        self.calls = self.calls.saturating_add(1);
        let BlobVersion { name, etag, .. } = &self.work.version;
        let read = tokio::select! {
            biased;
            () = self.cancelled.cancelled() => return Err(ReadOutcome::Stopped),
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
