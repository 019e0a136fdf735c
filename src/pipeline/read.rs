//! Reads what is new in one blob, pinned to one version of it, and hands encoded events on in runs.

use std::{ops::Range, sync::Arc};

use tokio::sync::mpsc;
use tracing::warn;

use super::{
    Lane, Pass,
    assemble::{Handed, bytes_in_memory},
    budget::Share,
    discover::Work,
    extract::{Extracted, Parser, extract},
    fetch::{ended_by, fetch},
    gunzip::{Gunzip, STEP_BYTES, Skip, Skipped, Unzipped, is_gzip},
    read_end::{Pending, ReadCounts, ReadEnd, ReadOutcome},
};
use crate::{
    batch::Run,
    checkpoint::{ContextHash, Position, SeenThrough, TailState},
    event::Encoder,
    flowlog::{DamageKind, Damaged, Splitter, Start, Tail},
    model::{BlobVersion, Reason, Rejected, Span},
    planted::{self, Bug},
    storage::{StorageError, StorageErrorKind},
};

/// Bytes of one range read. Azure bills and answers by request, so small ranges cost; a larger one only costs memory,
/// once for each blob that is read at the same time.
const READ_BYTES: u64 = 1024 * 1024;

/// What a reader takes before it knows its blob's records: one range, and the rest of a record before it. Where less is
/// unread, twice as much as that: the range and the parser's buffer.
const READER_BYTES: usize = 2 * 1024 * 1024;

/// A reader gives its place up after so many bytes, if another blob waits for one and the position has moved meanwhile:
/// what lies behind the position is read again in the next turn.
const TURN_BYTES: u64 = 16 * 1024 * 1024;

/// A blob that changes while it is read is followed this often within one pass.
const CHANGES_FOLLOWED: u32 = 3;

/// Reads a blob from its position to the end of its version.
pub(super) async fn read_blob(
    lane: Arc<Lane>,
    work: Work,
    runs: mpsc::Sender<Handed>,
    pass: Arc<Pass>,
) -> ReadEnd {
    let mut reader = Reader {
        chain: work.position.clone(),
        pending: Pending::at(work.position.clone()),
        lane,
        work,
        runs,
        pass,
        share: Share::empty(),
        counts: ReadCounts::default(),
        counted_to: 0,
    };
    let mut outcome = reader.read().await;
    if let ReadOutcome::Gone { unread } = &mut outcome {
        let offset = reader.pending.to.as_ref().and_then(Position::bytes).unwrap_or_default();
        *unread = reader.work.version.length.saturating_sub(offset);
    }
    if reader.counts.damaged > 0 {
        warn!(
            blob = %reader.work.blob.name(), pieces = reader.counts.damaged,
            "damaged pieces of the blob were passed over; they are kept in the quarantine",
        );
    }
    let is_last = !matches!(outcome, ReadOutcome::TurnOver(_));
    let outcome = match reader.send(is_last).await {
        Ok(()) => outcome,
        Err(ended) => ended,
    };
    ReadEnd { blob: reader.work.blob, version: reader.work.version, counts: reader.counts, outcome }
}

struct Reader {
    lane: Arc<Lane>,
    work: Work,
    runs: mpsc::Sender<Handed>,
    pass: Arc<Pass>,
    /// The memory of the buffers.
    share: Share,
    /// Where the last run that was sent ended.
    chain: Option<Position>,
    pending: Pending,
    counts: ReadCounts,
    /// How far the version's bytes are counted as read.
    counted_to: u64,
}

/// A blob whose first bytes in question were looked at.
enum Opened {
    /// A parser at the position, and the offset of the next byte to read.
    Plain(Box<Parser>, u64),
    /// The blob is compressed and begins with these bytes.
    Gzip(bytes::Bytes),
    /// More is to be read than it looked like.
    NeedsMemory,
}

/// How the reading of a version ended.
enum Read {
    ToEnd,
    /// Before the position stands what did not stand there when it was stored.
    Rewritten,
    /// The next bytes need more than the reader could have.
    NeedsMemory,
}

/// The end of a reading, as an error so that `?` ends it.
type Ended = ReadOutcome;

impl Reader {
    async fn read(&mut self) -> ReadOutcome {
        let mut least_bytes = 0;
        let mut n_changes = 0;
        loop {
            let wanted_bytes = self.expected_bytes().max(least_bytes);
            // Where a record needs more memory than is free, what is held is given back first: else two such readers
            // would wait for each other.
            self.share = Share::empty();
            self.share = tokio::select! {
                biased;
                () = self.pass.stopping.reading.cancelled() => return ReadOutcome::Stopped,
                share = self.lane.budget.reading().take(wanted_bytes) => share,
            };
            match self.read_version().await {
                Ok(Read::ToEnd) => return ReadOutcome::Complete,
                Ok(Read::Rewritten) => match self.start_over().await {
                    Ok(()) => continue,
                    Err(ended) => return ended,
                },
                Ok(Read::NeedsMemory) => {
                    least_bytes = wanted_bytes.saturating_mul(2).max(READER_BYTES);
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
            self.counts.calls = self.counts.calls.saturating_add(1);
            match self.lane.storage.head(self.work.blob.name()).await {
                Ok(version) => self.work.version = version,
                Err(error) => return ended_by(error),
            }
            if planted::is(Bug::SkipOnChange) {
                let BlobVersion { etag, length, .. } = self.work.version.clone();
                let offset = self.pending.to.as_ref().and_then(|position| position.offset);
                let seen = Some(SeenThrough { etag, length, tail: TailState::Clean });
                self.pending.to = Some(Position { offset, seen });
                return ReadOutcome::Complete;
            }
            self.work.sealing = false;
        }
    }

    /// What reading takes that finds what was listed.
    fn expected_bytes(&self) -> usize {
        let offset = self.pending.to.as_ref().and_then(Position::bytes).unwrap_or_default();
        let n_unread = usize::try_from(self.work.version.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        n_unread.saturating_add(ContextHash::BYTES).saturating_mul(2).min(READER_BYTES)
    }

    /// Reads from the position to the end of the version at hand.
    async fn read_version(&mut self) -> Result<Read, Ended> {
        match self.open().await? {
            Opened::Plain(parser, cursor) => self.read_plain(parser, cursor).await,
            Opened::Gzip(first) => self.read_gzip(first).await,
            Opened::NeedsMemory => Ok(Read::NeedsMemory),
        }
    }

    /// Looks at the blob's bytes at the position. What stands before the position must be what stood there when it was
    /// stored; else the blob was rewritten, and it is read from its beginning. A compressed blob is always read from
    /// there, and shows by its first bytes.
    async fn open(&mut self) -> Result<Opened, Ended> {
        let length = self.work.version.length;
        let stored = self.pending.to.as_ref().and_then(|position| position.offset);
        if let Some((offset, hash)) = stored.filter(|(offset, _)| *offset <= length) {
            let context_bytes = offset.min(u64::try_from(ContextHash::BYTES).unwrap_or(u64::MAX));
            let from = offset.saturating_sub(context_bytes);
            let to = length.min(from.saturating_add(READ_BYTES));
            let chunk = self.fetch(from, to).await?;
            let (context, rest) =
                chunk.split_at(usize::try_from(context_bytes).unwrap_or(0).min(chunk.len()));
            if ContextHash::of(context) == hash {
                let mut parser = self.parser(Start::After { offset, context });
                parser.splitter.push(rest);
                self.count_new(offset, to);
                return Ok(Opened::Plain(parser, to));
            }
        }
        if stored.is_some_and(|(offset, _)| offset > length) {
            self.confirm().await?;
        }
        if stored.is_some() && !self.may_have(READER_BYTES) {
            return Ok(Opened::NeedsMemory);
        }
        let to = length.min(READ_BYTES);
        let first = self.fetch(0, to).await?;
        if is_gzip(&first) {
            if !self.may_have(READER_BYTES) {
                return Ok(Opened::NeedsMemory);
            }
            self.count_new(0, to);
            return Ok(Opened::Gzip(first));
        }
        if stored.is_some() {
            self.start_over().await?;
        }
        self.count_new(0, to);
        let mut parser = self.parser(Start::Beginning);
        parser.splitter.push(&first);
        Ok(Opened::Plain(parser, to))
    }

    fn parser(&self, start: Start<'_>) -> Box<Parser> {
        let Lane { delivery, storage, limits, .. } = self.lane.as_ref();
        let encoder = Encoder::new(delivery.format, storage.origin(), self.work.blob.name());
        Box::new(Parser { splitter: Splitter::new(start, limits.record_bytes), encoder })
    }

    /// A listing may be older than the position: intakes share them, and the blob may have been followed since. Whether
    /// it is shorter now, the storage says; where the listing was old, reading goes on in the version that there is.
    async fn confirm(&mut self) -> Result<(), Ended> {
        self.counts.calls = self.counts.calls.saturating_add(1);
        let name = self.work.blob.name();
        let version = self.lane.storage.head(name).await.map_err(ended_by)?;
        if version.etag == self.work.version.etag {
            return Ok(());
        }
        let operation = format!("read blob {name} as it was listed");
        Err(ReadOutcome::Failed(StorageError { operation, kind: StorageErrorKind::Changed, source: None }))
    }

    /// The blob was rewritten: nothing of it counts as read.
    async fn start_over(&mut self) -> Result<(), Ended> {
        let offset = self.pending.to.as_ref().and_then(Position::bytes);
        warn!(
            blob = %self.work.blob.name(), offset, length = self.work.version.length,
            "the blob was rewritten: it is read again from its beginning, its events keep their ids",
        );
        self.counts.rewritten = self.counts.rewritten.saturating_add(1);
        self.counted_to = 0;
        self.send(false).await?;
        self.pending.to = Some(Position { offset: None, seen: None });
        self.pending.started_over = true;
        Ok(())
    }

    async fn read_plain(&mut self, mut parser: Box<Parser>, mut cursor: u64) -> Result<Read, Ended> {
        let first = cursor;
        let begun_at = parser.splitter.offset();
        loop {
            let length = self.work.version.length;
            let to = length.min(cursor.saturating_add(READ_BYTES));
            let is_long = cursor.saturating_sub(first) >= TURN_BYTES;
            // What the end of a turn would throw away is not asked for.
            let may_go_on = !is_long || !self.pass.progress.somebody_waits();
            let ahead = if cursor < to && may_go_on && self.may_read_ahead(&parser.splitter, cursor..to) {
                let fetching = self.ask(cursor..to);
                let (ahead, parsed) = tokio::join!(fetching, self.take_pieces(parser));
                parser = parsed?;
                Some(ahead)
            } else {
                parser = self.take_pieces(parser).await?;
                None
            };
            if cursor >= length {
                break;
            }
            let has_had_turn = ahead.is_none() && is_long && parser.splitter.offset() != begun_at;
            if has_had_turn && self.pass.progress.somebody_waits() {
                self.send(false).await?;
                let work = Work { position: self.chain.clone(), ..self.work.clone() };
                return Err(ReadOutcome::TurnOver(Box::new(work)));
            }
            let chunk = match ahead {
                Some(ahead) => self.count(ahead)?,
                None => self.fetch(cursor, to).await?,
            };
            if !self.has_room(&parser.splitter, chunk.len()) {
                self.send(false).await?;
                return Ok(Read::NeedsMemory);
            }
            parser.splitter.push(&chunk);
            self.count_new(cursor, to);
            cursor = to;
        }
        self.finish(parser, None).await?;
        Ok(Read::ToEnd)
    }

    /// Decompresses the blob from its beginning; what stands before the position is only compared.
    async fn read_gzip(&mut self, first: bytes::Bytes) -> Result<Read, Ended> {
        let mut cursor = u64::try_from(first.len()).unwrap_or(u64::MAX);
        let mut gunzip = Gunzip::new(first);
        let mut parser = self.parser(Start::Beginning);
        let stored = self.pending.to.as_ref().and_then(|position| position.offset);
        let mut skip = stored.map(|(offset, hash)| Skip::new(offset, hash));
        let mut n_bytes: u64 = 0;
        let fault = loop {
            let mut chunk = match gunzip.next() {
                Unzipped::Bytes(chunk) => chunk,
                Unzipped::End => break None,
                Unzipped::Damaged(detail) => break Some(detail),
                Unzipped::Starved => {
                    let length = self.work.version.length;
                    let to = length.min(cursor.saturating_add(READ_BYTES));
                    let more = if cursor < to { Some(self.fetch(cursor, to).await?) } else { None };
                    self.count_new(cursor, to);
                    gunzip.give(more);
                    cursor = to;
                    continue;
                }
            };
            // Much can come out of few compressed bytes: others get their turn, and stopping is heard.
            tokio::task::yield_now().await;
            if self.pass.stopping.reading.is_cancelled() {
                return Err(ReadOutcome::Stopped);
            }
            n_bytes = n_bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if let Some(on_the_way) = &mut skip {
                match on_the_way.pass(chunk) {
                    Skipped::All => continue,
                    Skipped::Different => return Ok(Read::Rewritten),
                    Skipped::Rest(rest) => chunk = rest,
                }
                let start = Start::After { offset: on_the_way.offset(), context: on_the_way.context() };
                parser = self.parser(start);
                skip = None;
            }
            if !self.has_room(&parser.splitter, chunk.len().saturating_add(STEP_BYTES)) {
                self.send(false).await?;
                return Ok(Read::NeedsMemory);
            }
            parser.splitter.push(chunk);
            parser = self.take_pieces(parser).await?;
        };
        if skip.is_some() {
            return Ok(Read::Rewritten);
        }
        self.finish(parser, fault.map(|detail| (n_bytes, DamageKind::Compression(detail)))).await?;
        Ok(Read::ToEnd)
    }

    /// All bytes are read: what stands behind the last record is waited for, or kept in the quarantine if the blob's
    /// time to be sealed has come. `fault` is where and why decompression ended early.
    async fn finish(
        &mut self,
        mut parser: Box<Parser>,
        fault: Option<(u64, DamageKind)>,
    ) -> Result<(), Ended> {
        parser.splitter.end();
        let parser = self.take_pieces(parser).await?;
        let rest = match (parser.splitter.tail(), fault) {
            (Tail::Incomplete(damaged) | Tail::Damaged(damaged), Some((_, kind))) => {
                Tail::Damaged(Damaged { kind, ..damaged })
            }
            (Tail::Clean, Some((end, kind))) => {
                Tail::Damaged(Damaged { span: Span { from: end, to: end }, kind, bytes: &[] })
            }
            (tail, None) => tail,
        };
        let tail = match rest {
            Tail::Clean => TailState::Clean,
            Tail::Incomplete(record) if self.work.sealing => {
                let detail = "the blob was sealed before the record's end was written".to_owned();
                self.pending.reject([Rejected { detail, ..record.rejected(Reason::IncompleteRecord) }]);
                TailState::Quarantined
            }
            Tail::Incomplete(_) => TailState::Incomplete,
            Tail::Damaged(damaged) if self.work.sealing => {
                self.pending.reject([damaged.rejected(damaged.kind.reason())]);
                TailState::Quarantined
            }
            Tail::Damaged(damaged) => return Err(ReadOutcome::Damaged(damaged.damage())),
        };
        let BlobVersion { etag, length, .. } = self.work.version.clone();
        let mut offset = self.pending.to.as_ref().and_then(|position| position.offset);
        if planted::is(Bug::OffsetIsLength) {
            offset = offset.map(|(_, context)| (length, context));
        }
        self.pending.to = Some(Position { offset, seen: Some(SeenThrough { etag, length, tail }) });
        Ok(())
    }

    /// Whether the buffers may grow by so many bytes.
    fn has_room(&mut self, splitter: &Splitter, n_bytes: usize) -> bool {
        self.may_have(splitter.buffered_bytes().saturating_add(n_bytes))
    }

    /// Whether the buffers may be so large.
    fn may_have(&mut self, n_bytes: usize) -> bool {
        self.lane.budget.reading().try_grow(&mut self.share, n_bytes)
    }

    /// Whether there is memory for a range beside the bytes that are parsed meanwhile. Where others wait for memory, no
    /// more is taken for that. None of what is held is given up: a reader that has to take it again would wait for one
    /// that does the same.
    fn may_read_ahead(&mut self, splitter: &Splitter, range: Range<u64>) -> bool {
        let n_bytes = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        !self.lane.budget.reading().is_short() && self.has_room(splitter, n_bytes)
    }

    /// The bytes from `from` to `to` were read; what was counted before is not counted again.
    fn count_new(&mut self, from: u64, to: u64) {
        let n_bytes = to.saturating_sub(from.max(self.counted_to));
        self.counted_to = self.counted_to.max(to);
        self.pass.progress.read(n_bytes);
        self.counts.new_bytes = self.counts.new_bytes.saturating_add(n_bytes);
    }

    /// Sends the events of the parser's bytes on, in runs.
    async fn take_pieces(&mut self, parser: Box<Parser>) -> Result<Box<Parser>, Ended> {
        let mut unfinished = parser.into();
        loop {
            let stands_still = Pending::at(self.chain.clone());
            let pending = std::mem::replace(&mut self.pending, stands_still);
            let extracted = extract(unfinished, &self.lane.intake, pending, self.counts).await;
            let (extracted, pending, counts) = extracted.map_err(|_ending| ReadOutcome::Stopped)?;
            (self.pending, self.counts) = (pending, counts);
            match extracted {
                Extracted::Drained(parser) => return Ok(parser),
                Extracted::Full(rest) => unfinished = rest,
            }
            self.send(false).await?;
            if self.pass.stopping.reading.is_cancelled() {
                return Err(ReadOutcome::Stopped);
            }
        }
    }

    /// Sends what is pending as a run.
    async fn send(&mut self, last: bool) -> Result<(), Ended> {
        let needed_bytes = bytes_in_memory(&self.pending.events).saturating_add(self.pending.rejected_bytes);
        let share = tokio::select! {
            // What there is room for still leaves when the process is stopping.
            biased;
            share = self.lane.budget.encoded().take(needed_bytes) => share,
            () = self.pass.stopping.reading.cancelled() => return Err(ReadOutcome::Stopped),
        };
        let to = self.pending.to.clone();
        let pending = std::mem::replace(&mut self.pending, Pending::at(to.clone()));
        let from = std::mem::replace(&mut self.chain, to.clone());
        let started_over = pending.started_over;
        let is_empty = pending.events.is_empty() && pending.rejected.is_empty() && pending.tuples == 0;
        let unchanged = is_empty && from == to && !started_over;
        if unchanged && !last {
            return Ok(());
        }
        let blob = self.work.blob.clone();
        let Pending { events, rejected, records, tuples, .. } = pending;
        self.pass.handed_over.add(&blob, records, tuples);
        let run = Run { blob, events, from, to, rejected, records, tuples, started_over, last };
        self.runs.send(Handed::Run(Box::new(run), share)).await.map_err(|_| ReadOutcome::Stopped)
    }

    async fn fetch(&mut self, from: u64, to: u64) -> Result<bytes::Bytes, Ended> {
        if from == to {
            return Ok(bytes::Bytes::new());
        }
        let fetched = self.ask(from..to).await;
        self.count(fetched)
    }

    /// Asks for a range of the version at hand, which is not empty.
    fn ask(&mut self, range: Range<u64>) -> impl Future<Output = Result<bytes::Bytes, Ended>> + use<> {
        self.counts.calls = self.counts.calls.saturating_add(1);
        let lane = Arc::clone(&self.lane);
        let BlobVersion { name, etag, .. } = self.work.version.clone();
        fetch(lane, name, etag, range, self.pass.stopping.reading.clone())
    }

    /// Counts the bytes of an answer.
    fn count(&mut self, fetched: Result<bytes::Bytes, Ended>) -> Result<bytes::Bytes, Ended> {
        let chunk = fetched?;
        let n_bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.counts.bytes = self.counts.bytes.saturating_add(n_bytes);
        Ok(chunk)
    }
}
