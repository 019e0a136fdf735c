//! Every metric that there is: one table of names, and handles that are bound to their labels once, where a component
//! is built. Labels take closed sets of values; no blob, address or message is ever one. Counted per batch or poll,
//! never per event. `docs/metrics.md` explains the table to operators; a test compares the two.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use prometheus_client::{
    encoding::text,
    metrics::{counter, family, gauge, histogram},
    registry::Registry,
};

use super::{
    labels::{Gate, Poll, Request, StorageTrouble},
    process,
};
use crate::model::Reason;

pub use table::{Kind, Row, TABLE};

/// The format of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the commits' histogram, seconds: a fast disk needs a millisecond, a cloud's network disk some ten,
/// and after 30 s sending pauses.
const COMMIT_BUCKETS: [f64; 11] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// A number that only grows.
pub type Counter = counter::Counter;

type Labels = Vec<(&'static str, String)>;
type Value = gauge::Gauge<f64, std::sync::atomic::AtomicU64>;
type Histograms = family::Family<Labels, histogram::Histogram, fn() -> histogram::Histogram>;

/// All metrics of the process. Cheap to clone; every clone is the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    families: Arc<Mutex<Families>>,
}

#[derive(Debug, Default)]
struct Families {
    registry: Registry,
    counters: BTreeMap<&'static str, family::Family<Labels, Counter>>,
    gauges: BTreeMap<&'static str, family::Family<Labels, Value>>,
    histograms: BTreeMap<&'static str, Histograms>,
}

impl Metrics {
    /// Metrics of a process that `started` then.
    #[must_use]
    pub fn new(started: SystemTime) -> Self {
        let metrics = Self { families: Arc::default() };
        metrics.gauge(&table::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        let since_epoch = started.duration_since(SystemTime::UNIX_EPOCH).ok();
        metrics.gauge(&table::START_TIME, &[]).set_seconds(since_epoch);
        metrics
    }

    /// Of a source, by its name in the settings.
    #[must_use]
    pub fn source(&self, source: &str) -> SourceMetrics {
        let labels = [("source", source)];
        let metrics = SourceMetrics {
            last_change_age: self.gauge(&table::SOURCE_LAST_CHANGE_AGE, &labels),
            silent: self.gauge(&table::SOURCE_SILENT, &labels),
            clock_skew: self.gauge(&table::SOURCE_CLOCK_SKEW, &labels),
            roots: self.gauge(&table::SOURCE_ROOTS, &labels),
            storage_errors: self.counters(
                &table::SOURCE_STORAGE_ERRORS,
                &labels,
                StorageTrouble::ALL.map(StorageTrouble::as_str),
            ),
        };
        metrics.silent.set_flag(false);
        metrics
    }

    /// Of a source's way to an intake, by their names in the settings.
    #[must_use]
    pub fn lane(&self, source: &str, intake: &str) -> LaneMetrics {
        let labels = [("source", source), ("intake", intake)];
        let counter = |row| self.counter(row, &labels);
        let gauge = |row| self.gauge(row, &labels);
        LaneMetrics {
            reading: ReadingMetrics {
                blobs_read: counter(&table::BLOBS_READ),
                bytes_read: counter(&table::BYTES_READ),
                bytes_appended: counter(&table::BYTES_APPENDED),
                records_read: counter(&table::RECORDS_READ),
                read_calls: counter(&table::READ_CALLS),
                list_calls: counter(&table::LIST_CALLS),
                blobs_gone: counter(&table::BLOBS_GONE),
                bytes_lost_unread: counter(&table::BYTES_LOST_UNREAD),
                blobs_rewritten: counter(&table::BLOBS_REWRITTEN),
                blobs_failed: counter(&table::BLOBS_FAILED),
            },
            progress: ProgressMetrics {
                events_delivered: counter(&table::EVENTS_DELIVERED),
                commits: counter(&table::COMMITS),
                hours_sealed: counter(&table::HOURS_SEALED),
                ledger_mismatches: counter(&table::LEDGER_MISMATCHES),
                positions_pruned: counter(&table::POSITIONS_PRUNED),
                quarantined: self.counters(&table::QUARANTINED, &labels, Reason::ALL.map(Reason::as_str)),
                polls: self.counters(&table::POLLS, &labels, Poll::ALL.map(Poll::as_str)),
            },
            standing: StandingMetrics {
                blobs_held: gauge(&table::BLOBS_HELD),
                backlog_bytes: gauge(&table::BACKLOG_BYTES),
                backlog_blobs: gauge(&table::BACKLOG_BLOBS),
                lag: gauge(&table::LAG),
                oldest_undelivered: gauge(&table::OLDEST_UNDELIVERED),
                retention_left: gauge(&table::RETENTION_LEFT),
            },
        }
    }

    /// Of an intake, by its name in the settings.
    #[must_use]
    pub fn intake(&self, intake: &str) -> IntakeMetrics {
        let labels = [("intake", intake)];
        let metrics = IntakeMetrics {
            gate: self.gauge(&table::INTAKE_GATE_STATE, &labels),
            bytes_sent: self.counter(&table::INTAKE_BYTES_SENT, &labels),
            retries: self.counter(&table::INTAKE_RETRIES, &labels),
            memory_used_bytes: self.gauge(&table::INTAKE_MEMORY_USED_BYTES, &labels),
            requests: self.counters(&table::INTAKE_REQUESTS, &labels, Request::ALL.map(Request::as_str)),
        };
        metrics.gate(Gate::Open);
        metrics
    }

    /// Of the state store.
    #[must_use]
    pub fn store(&self) -> StoreMetrics {
        StoreMetrics {
            commits: self.counter(&table::STORE_COMMITS, &[]),
            commit_failures: self.counter(&table::STORE_COMMIT_FAILURES, &[]),
            quarantine_bytes: self.gauge(&table::STORE_QUARANTINE_BYTES, &[]),
            quarantine_limit_bytes: self.gauge(&table::STORE_QUARANTINE_LIMIT_BYTES, &[]),
            commit_seconds: self.histogram(&table::STORE_COMMIT_SECONDS),
        }
    }

    /// Everything as text of the format [`CONTENT_TYPE`], the process's memory of this moment included.
    #[must_use]
    pub fn encode(&self) -> String {
        let resident = self.gauge(&table::RESIDENT_MEMORY, &[]);
        match process::resident_bytes() {
            Some(n_bytes) => resident.set_count(n_bytes),
            None => resident.set(None),
        }
        let mut encoded = String::new();
        // Writing to a String cannot fail.
        _ = text::encode(&mut encoded, &self.lock().registry);
        encoded
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Families> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, row: &Row, labels: &[(&'static str, &str)]) -> Counter {
        let Families { registry, counters, .. } = &mut *self.lock();
        let family = counters.entry(row.name).or_insert_with(|| {
            let family = family::Family::default();
            // The encoder adds the suffix that every counter has.
            registry.register(row.name.trim_end_matches("_total"), row.help, family.clone());
            family
        });
        family.get_or_create_owned(&owned(labels))
    }

    fn counters<const N: usize>(
        &self,
        row: &Row,
        labels: &[(&'static str, &str)],
        values: [&'static str; N],
    ) -> Counters {
        let label = row.labels.last().copied().unwrap_or_default();
        let bind = |value| {
            let labels: Vec<_> = labels.iter().copied().chain([(label, value)]).collect();
            (value, self.counter(row, &labels))
        };
        Counters { by_value: values.into_iter().map(bind).collect() }
    }

    fn gauge(&self, row: &Row, labels: &[(&'static str, &str)]) -> Gauge {
        let Families { registry, gauges, .. } = &mut *self.lock();
        let family = gauges.entry(row.name).or_insert_with(|| {
            let family = family::Family::default();
            registry.register(row.name, row.help, family.clone());
            family
        });
        Gauge { family: family.clone(), labels: owned(labels) }
    }

    fn histogram(&self, row: &Row) -> histogram::Histogram {
        let Families { registry, histograms, .. } = &mut *self.lock();
        let family = histograms.entry(row.name).or_insert_with(|| {
            let family = Histograms::new_with_constructor(|| histogram::Histogram::new(COMMIT_BUCKETS));
            registry.register(row.name, row.help, family.clone());
            family
        });
        family.get_or_create_owned(&Labels::new())
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A number that goes up and down. While it is not known it is not shown: 0 would be a claim.
#[derive(Clone)]
pub struct Gauge {
    family: family::Family<Labels, Value>,
    labels: Labels,
}

impl Gauge {
    /// Shows a number; `None`: not known (any more).
    pub fn set(&self, number: impl Into<Option<f64>>) {
        match number.into() {
            Some(number) => _ = self.family.get_or_create(&self.labels).set(number),
            None => _ = self.family.remove(&self.labels),
        }
    }

    /// Shows a number of things or bytes.
    pub fn set_count(&self, count: u64) {
        // Exact up to 2^53.
        self.set(count as f64);
    }

    /// Shows a length of time.
    pub fn set_seconds(&self, duration: Option<Duration>) {
        self.set(duration.map(|duration| duration.as_secs_f64()));
    }

    /// Shows 1 for yes, 0 for no.
    pub fn set_flag(&self, flag: bool) {
        self.set(f64::from(u8::from(flag)));
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// One counter for each value of a closed set; all are shown from the start.
#[derive(Debug, Clone)]
struct Counters {
    by_value: BTreeMap<&'static str, Counter>,
}

impl Counters {
    fn inc_by(&self, value: &'static str, count: u64) {
        if let Some(counter) = self.by_value.get(value) {
            counter.inc_by(count);
        }
    }
}

/// See [`Metrics::lane`].
#[derive(Debug, Clone)]
pub struct LaneMetrics {
    /// What was read.
    pub reading: ReadingMetrics,
    /// What became of it.
    pub progress: ProgressMetrics,
    /// How things stand.
    pub standing: StandingMetrics,
}

/// What was read. The documentation of each field is its help in [`TABLE`].
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table says what each means")]
pub struct ReadingMetrics {
    pub blobs_read: Counter,
    pub bytes_read: Counter,
    pub bytes_appended: Counter,
    pub records_read: Counter,
    pub read_calls: Counter,
    pub list_calls: Counter,
    pub blobs_gone: Counter,
    pub bytes_lost_unread: Counter,
    pub blobs_rewritten: Counter,
    pub blobs_failed: Counter,
}

/// What became of what was read. The documentation of each field is its help in [`TABLE`].
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table says what each means")]
pub struct ProgressMetrics {
    pub events_delivered: Counter,
    pub commits: Counter,
    pub hours_sealed: Counter,
    pub ledger_mismatches: Counter,
    pub positions_pruned: Counter,
    quarantined: Counters,
    polls: Counters,
}

impl ProgressMetrics {
    /// So many entries are new in the quarantine.
    pub fn quarantined(&self, reason: Reason, count: u64) {
        self.quarantined.inc_by(reason.as_str(), count);
    }

    /// A poll has ended.
    pub fn polled(&self, poll: Poll) {
        self.polls.inc_by(poll.as_str(), 1);
    }
}

/// How things stand. The documentation of each field is its help in [`TABLE`].
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table says what each means")]
pub struct StandingMetrics {
    pub blobs_held: Gauge,
    pub backlog_bytes: Gauge,
    pub backlog_blobs: Gauge,
    pub lag: Gauge,
    pub oldest_undelivered: Gauge,
    pub retention_left: Gauge,
}

/// See [`Metrics::source`]. The documentation of each field is its help in [`TABLE`].
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table says what each means")]
pub struct SourceMetrics {
    pub last_change_age: Gauge,
    pub silent: Gauge,
    pub clock_skew: Gauge,
    pub roots: Gauge,
    storage_errors: Counters,
}

impl SourceMetrics {
    /// An operation of the storage has failed.
    pub fn storage_failed(&self, trouble: StorageTrouble) {
        self.storage_errors.inc_by(trouble.as_str(), 1);
    }
}

/// See [`Metrics::intake`]. The documentation of each field is its help in [`TABLE`].
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table says what each means")]
pub struct IntakeMetrics {
    pub bytes_sent: Counter,
    pub retries: Counter,
    pub memory_used_bytes: Gauge,
    gate: Gauge,
    requests: Counters,
}

impl IntakeMetrics {
    /// The gate stands so from now on.
    pub fn gate(&self, gate: Gate) {
        self.gate.set(gate.number());
    }

    /// A request was answered, or given up.
    pub fn requested(&self, request: Request) {
        self.requests.inc_by(request.as_str(), 1);
    }
}

/// See [`Metrics::store`].
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// See [`TABLE`].
    pub quarantine_bytes: Gauge,
    /// See [`TABLE`].
    pub quarantine_limit_bytes: Gauge,
    commits: Counter,
    commit_failures: Counter,
    commit_seconds: histogram::Histogram,
}

impl StoreMetrics {
    /// A commit is on stable storage, after this long.
    pub fn committed(&self, took: Duration) {
        self.commits.inc();
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// A commit has failed.
    pub fn commit_failed(&self) {
        self.commit_failures.inc();
    }
}

mod table {
    //! The names.

    /// One metric.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Row {
        /// Name, as it is shown.
        pub name: &'static str,
        /// Kind.
        pub kind: Kind,
        /// Names of its labels; one with a closed set of values of its own comes last.
        pub labels: &'static [&'static str],
        /// What it means, without a full stop: the encoder adds one.
        pub help: &'static str,
    }

    /// How a metric behaves.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Kind {
        /// Only grows.
        Counter,
        /// Goes up and down.
        Gauge,
        /// Spread over buckets.
        Histogram,
    }

    impl Kind {
        /// The name in the text format.
        #[must_use]
        pub fn as_str(self) -> &'static str {
            match self {
                Self::Counter => "counter",
                Self::Gauge => "gauge",
                Self::Histogram => "histogram",
            }
        }
    }

    const PROCESS: &[&str] = &[];
    const SOURCE: &[&str] = &["source"];
    const LANE: &[&str] = &["source", "intake"];
    const INTAKE: &[&str] = &["intake"];

    macro_rules! table {
        ($($row:ident = $kind:ident $name:literal $labels:expr, $help:literal;)+) => {
            $(pub(super) const $row: Row =
                Row { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)+

            /// Every metric.
            pub const TABLE: &[Row] = &[$($row),+];
        };
    }

    table! {
        BLOBS_READ = Counter "flowlogd_blobs_read_total" LANE, "Blobs read up to the end that they had";
        BYTES_READ = Counter "flowlogd_bytes_read_total" LANE, "Bytes read from the storage";
        BYTES_APPENDED = Counter "flowlogd_bytes_appended_total" LANE, "Bytes read that were new, not read before";
        RECORDS_READ = Counter "flowlogd_records_read_total" LANE, "Flow-log records read";
        READ_CALLS = Counter "flowlogd_read_calls_total" LANE, "Calls of the storage that read or looked at a blob";
        LIST_CALLS = Counter "flowlogd_list_calls_total" LANE, "Calls of the storage that listed blobs";
        BLOBS_GONE = Counter "flowlogd_blobs_gone_total" LANE, "Blobs deleted before they were read to their end";
        BYTES_LOST_UNREAD = Counter "flowlogd_bytes_lost_unread_total" LANE, "Bytes known to be deleted before they were read";
        BLOBS_REWRITTEN = Counter "flowlogd_blobs_rewritten_total" LANE, "Blobs whose read part was replaced; they are read again from the beginning";
        BLOBS_FAILED = Counter "flowlogd_blobs_failed_total" LANE, "Attempts to read a blob that failed; the next poll tries again";
        EVENTS_DELIVERED = Counter "flowlogd_events_delivered_total" LANE, "Events that the intake accepted";
        QUARANTINED = Counter "flowlogd_quarantined_total" &["source", "intake", "reason"], "Entries new in the quarantine";
        COMMITS = Counter "flowlogd_commits_total" LANE, "Commits that moved positions";
        HOURS_SEALED = Counter "flowlogd_hours_sealed_total" LANE, "Hours of a root that are complete and delivered";
        LEDGER_MISMATCHES = Counter "flowlogd_ledger_mismatches_total" LANE, "Blobs whose position waits because what was read is not all accounted for";
        POSITIONS_PRUNED = Counter "flowlogd_positions_pruned_total" LANE, "Positions dropped because their blobs are gone";
        POLLS = Counter "flowlogd_polls_total" &["source", "intake", "outcome"], "Polls ended; a complete one delivered all that was new";
        BLOBS_HELD = Gauge "flowlogd_blobs_held" LANE, "Blobs that wait at damaged bytes or for a ledger that does not balance";
        BACKLOG_BYTES = Gauge "flowlogd_backlog_bytes" LANE, "Bytes listed and not read yet";
        BACKLOG_BLOBS = Gauge "flowlogd_backlog_blobs" LANE, "Blobs listed and not read to their end yet";
        LAG = Gauge "flowlogd_lag_seconds" LANE, "Time from the oldest change that the last poll delivered to its delivery";
        OLDEST_UNDELIVERED = Gauge "flowlogd_oldest_undelivered_seconds" LANE, "Age of the oldest change that is not delivered yet; 0 without one";
        RETENTION_LEFT = Gauge "flowlogd_retention_left_seconds" LANE, "Time until the oldest undelivered change is deleted by the account";
        SOURCE_LAST_CHANGE_AGE = Gauge "flowlogd_source_last_change_age_seconds" SOURCE, "Age of the newest change of any blob";
        SOURCE_SILENT = Gauge "flowlogd_source_silent" SOURCE, "1 while nothing has changed for too long, else 0";
        SOURCE_CLOCK_SKEW = Gauge "flowlogd_source_clock_skew_seconds" SOURCE, "Local clock minus the clock of the storage";
        SOURCE_ROOTS = Gauge "flowlogd_source_roots" SOURCE, "Flow logs and network interfaces that write";
        SOURCE_STORAGE_ERRORS = Counter "flowlogd_source_storage_errors_total" &["source", "kind"], "Operations of the storage that failed after their retries";
        INTAKE_GATE_STATE = Gauge "flowlogd_intake_gate_state" INTAKE, "0 open, 1 half open (one request tries), 2 blocked";
        INTAKE_REQUESTS = Counter "flowlogd_intake_requests_total" &["intake", "outcome"], "Requests, by what the answer meant";
        INTAKE_RETRIES = Counter "flowlogd_intake_retries_total" INTAKE, "Requests that repeated an earlier one";
        INTAKE_BYTES_SENT = Counter "flowlogd_intake_bytes_sent_total" INTAKE, "Bytes of request bodies, as sent";
        INTAKE_MEMORY_USED_BYTES = Gauge "flowlogd_intake_memory_used_bytes" INTAKE, "Bytes held that are not acknowledged yet";
        STORE_COMMITS = Counter "flowlogd_store_commits_total" PROCESS, "Transactions on stable storage";
        STORE_COMMIT_FAILURES = Counter "flowlogd_store_commit_failures_total" PROCESS, "Transactions that failed";
        STORE_QUARANTINE_BYTES = Gauge "flowlogd_store_quarantine_bytes" PROCESS, "Bytes in the quarantine, of all intakes";
        STORE_QUARANTINE_LIMIT_BYTES = Gauge "flowlogd_store_quarantine_limit_bytes" PROCESS, "Bytes that the quarantine may hold";
        STORE_COMMIT_SECONDS = Histogram "flowlogd_store_commit_seconds" PROCESS, "Time that a transaction took";
        BUILD_INFO = Gauge "flowlogd_build_info" &["version"], "Always 1; the label says which version runs";
        START_TIME = Gauge "process_start_time_seconds" PROCESS, "When the process started, in seconds since 1970";
        RESIDENT_MEMORY = Gauge "process_resident_memory_bytes" PROCESS, "Memory of the process that is resident";
    }
}
