//! `flowlogd quarantine replay`: sends what is in the quarantine again. A row goes, in one transaction with what is left
//! of it, once its intake has answered for all of its events.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    ops::ControlFlow,
    path::Path,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::Runtime;

use super::{
    exit::{Exit, Failure},
    quarantine_input::{Input, OwnedRecord, Sources},
    state::{failure, open_existing},
};
use crate::{
    app::build,
    batch::{EncodedEvents, EventPlace},
    event::{Encoder, Event, Recalled},
    flowlog::{RawRecord, RecordHasher},
    intake::{
        Intake,
        driver::{Driver, Outcome, Unaccepted},
    },
    model::{EventId, HourlyBlob, Reason, Rejected, Scope},
    settings::{self, Settings, Sink},
    store::{
        StoreError,
        sqlite::{QuarantineEntry, QuarantineFilter, SqliteStore},
    },
    telemetry::{self, metrics::Counter},
};

/// So many different reasons are told; where everything is damaged in another way, more would tell nobody anything.
const REASONS_TOLD: usize = 20;

/// Sends the rows that fit again.
///
/// # Errors
/// 75 where the state is held, 78 where it is of a newer version, 1 where it cannot be used or a component cannot be
/// set up.
pub(super) fn execute(
    settings: &Settings,
    directory: &Path,
    filter: &QuarantineFilter,
) -> Result<Exit, Failure> {
    let cannot_start = |error: anyhow::Error| Failure::new(Exit::CannotStart, error);
    telemetry::init(&settings.log).map_err(|error| Failure::new(Exit::CannotStart, error))?;
    let store = open_existing(directory).map_err(failure)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the runtime")
        .map_err(cannot_start)?;
    let accounts = settings.sources.iter().map(build::account).collect::<Result<Vec<_>, _>>();
    let accounts = accounts.map_err(|error| Failure::new(Exit::CannotStart, error))?;
    let n_rows = store.quarantined_ids(filter).map_err(failure)?.len();
    let mut replay = Replay {
        store,
        sources: Sources::new(&runtime, accounts, settings.limits.record),
        progress: progress_bar(settings, n_rows),
        told: Told::default(),
    };
    let mut n_configured: usize = 0;
    for intake in &settings.intakes {
        if filter.intake.as_ref().is_none_or(|name| *name == intake.name) {
            let of_intake = QuarantineFilter { intake: Some(intake.name.clone()), ..filter.clone() };
            let ids = replay.store.quarantined_ids(&of_intake).map_err(failure)?;
            n_configured = n_configured.saturating_add(ids.len());
            replay.of_intake(settings, intake, &runtime, &ids)?;
        }
    }
    let n_others = n_rows.saturating_sub(n_configured);
    replay.told.stay(n_others, String::from("their intake is not configured"));
    replay.progress.finish_and_clear();
    let n_left = replay.store.quarantined_ids(filter).map_err(failure)?.len();
    Ok(replay.told.tell(n_rows, n_left))
}

/// What people are told in the end.
#[derive(Debug, Default)]
struct Told {
    /// Events that were accepted.
    events: usize,
    /// Why rows stay.
    reasons: BTreeMap<String, usize>,
    /// Intakes that took nothing in the end.
    blocked: Vec<String>,
}

impl Told {
    fn stay(&mut self, n_rows: usize, reason: String) {
        if n_rows == 0 {
            return;
        }
        let is_known = self.reasons.contains_key(&reason) || self.reasons.len() < REASONS_TOLD;
        let entry = if is_known { reason } else { String::from("other reasons") };
        let count = self.reasons.entry(entry).or_default();
        *count = count.saturating_add(n_rows);
    }

    #[expect(clippy::print_stderr, reason = "a remark for people; the events themselves may go to stdout")]
    fn tell(&self, n_rows: usize, n_left: usize) -> Exit {
        for (reason, count) in &self.reasons {
            eprintln!("flowlogd: {count} rows stay: {reason}");
        }
        for blocked in &self.blocked {
            eprintln!("flowlogd: the rest was not sent: {blocked}");
        }
        eprintln!("flowlogd: {} events of {n_rows} rows were accepted; {n_left} rows stay", self.events);
        if n_left == 0 { Exit::Success } else { Exit::CannotStart }
    }
}

#[derive(Debug)]
struct Replay<'a> {
    store: SqliteStore,
    sources: Sources<'a>,
    progress: ProgressBar,
    told: Told,
}

impl Replay<'_> {
    fn of_intake(
        &mut self,
        settings: &Settings,
        of: &settings::Intake,
        runtime: &Runtime,
        ids: &[i64],
    ) -> Result<(), Failure> {
        let intake = build::intake(&of.sink, Counter::default())
            .map_err(|error| Failure::new(Exit::CannotStart, error))?;
        let driver = build::driver(of);
        let mut sender = Sender {
            settings,
            of,
            runtime,
            intake: intake.as_ref(),
            driver: &driver,
            open: Open::default(),
            accepted: 0,
            unaccepted: BTreeMap::new(),
            unparsed: 0,
        };
        let ended = self.send_rows(ids, &mut sender).and_then(|()| sender.flush(&mut self.store));
        self.told.events = self.told.events.saturating_add(sender.accepted);
        for (reason, count) in sender.unaccepted {
            let why = if reason == Reason::Refused {
                "the intake refuses them"
            } else {
                "the intake accepted a part of their batch"
            };
            self.told.stay(count, why.to_owned());
        }
        self.told
            .stay(sender.unparsed, String::from("tuples that cannot be parsed, of a record that can be now"));
        match ended {
            Ok(()) => Ok(()),
            Err(Stop::Store(error)) => Err(failure(error)),
            Err(Stop::Intake(reason)) => {
                self.told.blocked.push(format!("intake {} takes nothing now: {reason}", of.name));
                Ok(())
            }
        }
    }

    fn send_rows(&mut self, ids: &[i64], sender: &mut Sender<'_>) -> Result<(), Stop> {
        for id in ids {
            self.progress.inc(1);
            let entry = match self.store.quarantined(*id) {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                Err(error @ StoreError::Corrupt { .. }) => {
                    self.told.stay(1, error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let row = Row::of(&entry);
            match self.sources.input(entry) {
                Ok(input) => sender.send(row, &input, &mut self.store)?,
                Err(reason) => self.told.stay(1, reason),
            }
        }
        Ok(())
    }
}

/// Why an intake gets no more.
enum Stop {
    Store(StoreError),
    Intake(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What the events of a row share.
#[derive(Debug, Clone)]
struct Row {
    id: i64,
    scope: Scope,
    blob: HourlyBlob,
    place: EventPlace,
}

impl Row {
    fn of(entry: &QuarantineEntry) -> Self {
        let QuarantineEntry { id, scope, blob, rejected, .. } = entry;
        let place = EventPlace { record: rejected.span, ordinal: rejected.ordinal.unwrap_or_default() };
        Self { id: *id, scope: scope.clone(), blob: blob.clone(), place }
    }

    /// What of the row is left in the quarantine.
    fn left(&self, rejected: Rejected) -> (Scope, HourlyBlob, Rejected) {
        (self.scope.clone(), self.blob.clone(), rejected)
    }
}

/// One request's events, and the rows that end with it.
#[derive(Debug, Default)]
struct Open {
    events: EncodedEvents,
    /// The rows with events in it; the last one may have more to come.
    rows: Vec<Row>,
    /// The index in `rows` of each event's row.
    owners: Vec<usize>,
    /// Numbers of the rows that end with it.
    done: Vec<i64>,
    /// What is left of them.
    left: Vec<(Scope, HourlyBlob, Rejected)>,
}

/// Sends the rows of one intake, one request at a time.
struct Sender<'a> {
    settings: &'a Settings,
    of: &'a settings::Intake,
    runtime: &'a Runtime,
    intake: &'a dyn Intake,
    driver: &'a Driver,
    open: Open,
    accepted: usize,
    unaccepted: BTreeMap<Reason, usize>,
    unparsed: usize,
}

impl Sender<'_> {
    fn send(&mut self, row: Row, input: &Input, store: &mut SqliteStore) -> Result<(), Stop> {
        match input {
            Input::Event(body) => {
                let record = RawRecord::new(row.place.record, body);
                let known = Recalled::of(body);
                // Where the format has no identity, this one tells events apart.
                let key = RecordHasher::new(&row.scope.origin, row.blob.name().as_str()).key(&record);
                let id = known.id.unwrap_or(EventId { record: key, ordinal: row.place.ordinal });
                let time_ms = known.time_ms.unwrap_or_default();
                let mut encoded = EncodedEvents::default();
                let event = Event { id, record: row.place.record, time_ms, body, shared: None };
                self.encode(&event, &mut encoded);
                self.push(&row, &encoded, store)?;
            }
            Input::Tuple { record, ordinal } => self.send_record(&row, record, Some(*ordinal), store)?,
            Input::Records(records) => {
                for record in records {
                    self.send_record(&row, record, None, store)?;
                }
            }
        }
        self.open.done.push(row.id);
        Ok(())
    }

    /// Sends the tuples of a record, or one of them. Those that cannot be parsed become rows of their own.
    fn send_record(
        &mut self,
        row: &Row,
        record: &OwnedRecord,
        only: Option<u32>,
        store: &mut SqliteStore,
    ) -> Result<(), Stop> {
        let mut encoder = Encoder::new(self.of.event_format, &row.scope.origin, row.blob.name());
        // The record was parsed before, so it is no damage.
        let mut encoding = encoder.begin(record.raw()).map_err(|damage| Stop::Intake(damage.to_string()))?;
        loop {
            let mut encoded = EncodedEvents::default();
            let mut emit = |event: Event<'_>| {
                let is_wanted = only.is_none_or(|only| event.id.ordinal == only);
                if is_wanted {
                    self.encode(&event, &mut encoded);
                }
                let is_enough = only.is_some() && is_wanted || encoded.bytes.len() >= self.of.batch.max_bytes;
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let done = encoding.advance(&mut emit);
            self.push(row, &encoded, store)?;
            if only.is_none() {
                self.unparsed = self.unparsed.saturating_add(done.rejected.len());
                self.open.left.extend(done.rejected.into_iter().map(|rejected| row.left(rejected)));
            }
            if done.done || only.is_some() && !encoded.is_empty() {
                return Ok(());
            }
        }
    }

    fn encode(&self, event: &Event<'_>, out: &mut EncodedEvents) {
        self.intake.framing().encode_event(event, &mut out.bytes);
        out.finish_event(EventPlace { record: event.record, ordinal: event.id.ordinal });
    }

    /// Adds events to the open request, which leaves whenever it is full.
    fn push(&mut self, row: &Row, encoded: &EncodedEvents, store: &mut SqliteStore) -> Result<(), Stop> {
        for (range, place) in encoded.ranges().zip(&encoded.places) {
            let overhead = self.intake.body_overhead();
            let n_events = self.open.events.len().saturating_add(1);
            let event_bytes = self.open.events.bytes.len().saturating_add(range.len());
            let is_too_large = overhead.body_length(n_events, event_bytes) > self.of.batch.max_bytes;
            if n_events > 1 && (is_too_large || n_events > self.of.batch.max_events) {
                self.flush(store)?;
            }
            if self.open.rows.last().is_none_or(|last| last.id != row.id) {
                self.open.rows.push(row.clone());
            }
            self.open.events.bytes.extend_from_slice(encoded.bytes.get(range).unwrap_or_default());
            self.open.events.finish_event(*place);
            self.open.owners.push(self.open.rows.len().saturating_sub(1));
        }
        Ok(())
    }

    /// Sends the open request and settles the rows that end with it.
    fn flush(&mut self, store: &mut SqliteStore) -> Result<(), Stop> {
        let Open { events, rows, owners, done, mut left } = std::mem::take(&mut self.open);
        let outcome = if events.is_empty() { Outcome::Delivered(Vec::new()) } else { self.deliver(&events) };
        match outcome {
            Outcome::Delivered(unaccepted) => {
                self.accepted = self.accepted.saturating_add(events.len().saturating_sub(unaccepted.len()));
                let ranges: Vec<_> = events.ranges().collect();
                for Unaccepted { event, reason, detail, answer } in unaccepted {
                    *self.unaccepted.entry(reason).or_default() += 1;
                    let Some((place, range)) = events.places.get(event).zip(ranges.get(event)) else {
                        continue;
                    };
                    let Some(row) = owners.get(event).and_then(|owner| rows.get(*owner)) else { continue };
                    let encoded = events.bytes.get(range.clone()).unwrap_or_default();
                    left.push(row.left(Rejected {
                        reason,
                        detail,
                        span: place.record,
                        ordinal: Some(place.ordinal),
                        context: None,
                        text: self.intake.framing().decode_event(encoded),
                        answer: Some(answer),
                    }));
                }
            }
            Outcome::Abandoned { reason } | Outcome::Closed { reason } => return Err(Stop::Intake(reason)),
        }
        if !done.is_empty() || !left.is_empty() {
            store.settle_quarantined(&done, &left)?;
        }
        Ok(())
    }

    /// Tries until the intake has the events, or has taken nothing for as long as `run --once` would wait.
    fn deliver(&self, events: &EncodedEvents) -> Outcome {
        let never = tokio_util::sync::CancellationToken::new();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                outcome = self.driver.deliver(self.intake, events, &never) => outcome,
                () = self.driver.failing_for(self.settings.limits.once_deadline) => Outcome::Abandoned {
                    reason: self.driver.last_failure().unwrap_or_default(),
                },
            }
        })
    }
}

/// A bar over the rows. Hidden where stderr is no terminal, and where the events go to the terminal too.
fn progress_bar(settings: &Settings, n_rows: usize) -> ProgressBar {
    const TEMPLATE: &str = "{bar:40} {pos}/{len} rows {per_sec} {eta} left";
    let bar = ProgressBar::new(u64::try_from(n_rows).unwrap_or(u64::MAX));
    let to_stdout = settings.intakes.iter().any(|intake| intake.sink == Sink::Stdout);
    bar.set_draw_target(if to_stdout && io::stdout().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    });
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar
}
