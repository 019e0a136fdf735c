//! Polls over a large container.

use std::{path::Path, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use flowlogd::{
    model::{Hour, Origin, Scope},
    pipeline::{Memory, PassReport, Stopping, run_pass, state},
    store::sqlite::SqliteStore,
    telemetry::metrics::Metrics,
};
use tokio::runtime::Runtime;

use crate::{
    container::{Container, Record, Size},
    cost::{forget_peak, peak_mib, timed},
    fill::{fill, seal_before},
    goal::Goal,
    lane::{Sink, lane},
};

const N_NICS: u64 = 10_000;

/// 2026-11-24T12:30:00Z.
const NOW: i64 = 1_795_523_400;

/// Polls of which the cheapest counts.
const POLLS: u64 = 3;

/// Days whose blobs have positions: a day that has some has all, else its hours were new. Longer than `revisit`.
const STORED_DAYS: i64 = 3;

/// The present hour and the two that may still be appended to.
const OPEN_HOURS: u64 = 3;

/// A root has a day pruned once an hour, with so many list calls.
const LISTS_OF_A_PRUNE: u64 = 9;

/// What one poll came to.
struct Poll {
    report: PassReport,
    cpu: f64,
    wall: f64,
    peak: f64,
}

/// Polls of one container.
struct Polls<'a> {
    runtime: &'a Runtime,
    container: Arc<Container>,
    lane: Arc<flowlogd::pipeline::Lane>,
    memory: Memory,
}

impl Polls<'_> {
    fn next(&mut self) -> Poll {
        forget_peak();
        let own = self.container.own.seconds();
        let (report, cpu, wall) = timed(|| self.pass());
        Poll { report, cpu: cpu - (self.container.own.seconds() - own), wall, peak: peak_mib() }
    }

    fn pass(&mut self) -> PassReport {
        self.container.pass(60);
        let report = self.runtime.block_on(run_pass(&self.lane, &mut self.memory, &Stopping::default()));
        assert!(report.errors.is_empty() && report.failed == 0, "{report:?}");
        report
    }

    /// The cheapest of some polls, each after `prepare`.
    fn cheapest(&mut self, prepare: impl Fn(&Container)) -> Poll {
        let mut polls = Vec::new();
        for _ in 0..POLLS {
            prepare(&self.container);
            polls.push(self.next());
        }
        polls.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
        polls.swap_remove(0)
    }

    /// Requests for memory of a poll, for a listed blob.
    fn blocks(&mut self, prepare: impl Fn(&Container)) -> f64 {
        prepare(&self.container);
        let container = Arc::clone(&self.container);
        let (report, n_blocks) = container.own.count_blocks(|| self.pass());
        n_blocks as f64 / report.blobs_listed as f64
    }
}

/// Prints what polls of 10,000 network interfaces cost in this many roots, and returns the goals.
pub(crate) fn measure(runtime: &Runtime, n_roots: u64, goals: &mut Vec<Goal>) {
    let scope = Scope {
        origin: Origin { account: String::from("generated"), container: String::from("logs") },
        intake: String::from("intake"),
    };
    let now = DateTime::from_timestamp(NOW, 0).unwrap_or_default();
    let size = |n_old_days| Size { n_roots, n_nics: N_NICS, n_old_hours: n_old_days * 24 };
    let record = Record::small();

    let of_roots = |what: &str| format!("{what}, {n_roots} roots");
    let mut steady_calls = Vec::new();
    for n_old_days in [1, 90] {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        prepare_store(directory.path(), &scope, size(STORED_DAYS), &record, now);
        let container = Container::new(scope.origin.clone(), size(n_old_days), record.clone(), now);
        println!("\n{n_roots} roots, {N_NICS} interfaces, {} blobs", container.n_blobs());
        println!(
            "{:<34}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}{:>10}",
            "a poll", "lists", "reads", "blobs", "events", "CPU s", "wall s", "peak MiB"
        );
        let store = SqliteStore::open(directory.path()).expect("the state can be opened");
        let steady = with_polls(runtime, store, &scope, container, |polls| {
            show("the first one", &polls.next());
            let steady = polls.cheapest(|_| {});
            show("nothing new", &steady);
            assert_eq!(steady.report.blobs_read, 0);
            println!("  requests for memory a blob {:>15.1}", polls.blocks(|_| {}));
            if n_old_days == 90 {
                let grown = polls.cheapest(Container::grow);
                show("a record more in each", &grown);
                assert_eq!(grown.report.blobs_read, N_NICS);
                println!("  requests for memory a blob {:>15.1}", polls.blocks(Container::grow));
                goals.push(Goal::at_most(of_roots("9  a record more, CPU s"), grown.cpu, 1.0));
            }
            steady
        });
        steady_calls.push(steady.report.list_calls);
        if n_old_days == 90 {
            goals.push(Goal::at_most(of_roots("9  nothing new, CPU s"), steady.cpu, 1.0));
            let pages = 2 * n_roots * OPEN_HOURS;
            goals.push(Goal::at_most(
                of_roots("8  list calls"),
                steady.report.list_calls as f64,
                pages as f64,
            ));
        }
    }
    let more =
        steady_calls.iter().max().zip(steady_calls.iter().min()).map_or(0, |(most, least)| most - least);
    // In each minute some roots, in one more than in another, have a day pruned.
    let pruning = LISTS_OF_A_PRUNE * 3 * n_roots.div_ceil(60);
    goals.push(Goal::at_most(of_roots("8  list calls more for 90 days"), more as f64, pruning as f64));
}

/// A state in which everything is read and all old hours are sealed.
fn prepare_store(directory: &Path, scope: &Scope, size: Size, record: &Record, now: DateTime<Utc>) {
    let mut store = SqliteStore::open(directory).expect("the state can be made");
    let last = Hour::containing(now);
    let first = Hour::containing(now - TimeDelta::days(STORED_DAYS)).day();
    for root in size.roots() {
        let hours = (first.number()..=last.number()).map(Hour::from_number);
        let positions = hours.flat_map(|hour| Container::read_through(record, size, &root, hour));
        fill(&mut store, scope, positions);
    }
    seal_before(&mut store, scope, size.roots(), Hour::containing(now - TimeDelta::hours(2)));
}

fn with_polls<T>(
    runtime: &Runtime,
    mut store: SqliteStore,
    scope: &Scope,
    container: Container,
    act: impl FnOnce(&mut Polls<'_>) -> T,
) -> T {
    store.check_file().expect("the state is sound");
    let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH).store();
    let (state, owner) = {
        let _entered = runtime.enter();
        state::start(Box::new(store), metrics)
    };
    let container = Arc::new(container);
    let storage = Arc::clone(&container);
    let lane = lane(storage, Arc::new(Sink::default()), scope.clone(), state);
    let mut polls = Polls { runtime, container, lane, memory: Memory::default() };
    let result = act(&mut polls);
    drop(polls);
    runtime.block_on(owner).expect("the owner of the state ends");
    result
}

fn show(what: &str, Poll { report, cpu, wall, peak }: &Poll) {
    println!(
        "{what:<34}{:>8}{:>8}{:>8}{:>8}{cpu:>9.3}{wall:>9.3}{peak:>10.1}",
        report.list_calls, report.read_calls, report.blobs_listed, report.events
    );
}
