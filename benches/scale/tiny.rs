//! Many blobs that get a little each, against one that gets as much.

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use flowlogd::{
    model::{Hour, Origin, Scope},
    pipeline::{Lane, Memory, PassReport, Stopping, run_pass, state},
    store::sqlite::SqliteStore,
    telemetry::metrics::Metrics,
};
use tokio::runtime::Runtime;

use crate::{
    container::{Container, Record, Requests, Size},
    cost::timed,
    fill::{fill, seal_before},
    lane::{Sink, lane},
};

/// 2026-11-24T12:30:00Z.
const NOW: i64 = 1_795_523_400;

/// Polls of which the cheapest counts.
const POLLS: usize = 7;

/// Hours before the present one that may still be appended to.
const OPEN_HOURS: i64 = 2;

/// How far away the storage server is in the last column.
const LATENCY: Duration = Duration::from_millis(5);

/// What a poll took.
struct Poll {
    requests: Requests<u64>,
    commits: u64,
    deliveries: u64,
    report: PassReport,
    cpu: f64,
}

/// Blobs of one open hour, and the records that each gets more for a poll.
#[derive(Clone, Copy)]
struct Appends {
    n_roots: u64,
    n_blobs: u64,
    n_records: u64,
}

struct Polls<'a> {
    runtime: &'a Runtime,
    container: Arc<Container>,
    intake: Arc<Sink>,
    lane: Arc<Lane>,
    memory: Memory,
    appends: Appends,
}

impl Polls<'_> {
    fn pass(&mut self) -> PassReport {
        let report = self.runtime.block_on(run_pass(&self.lane, &mut self.memory, &Stopping::default()));
        assert!(report.errors.is_empty() && report.failed == 0, "{report:?}");
        report
    }

    fn appended(&mut self) -> PassReport {
        self.container.grow_by(self.appends.n_records);
        self.pass()
    }

    fn next(&mut self) -> Poll {
        let commits = || self.lane.metrics.progress.commits.get();
        let (own, requests) = (self.container.own.seconds(), self.container.requests());
        let (n_commits, n_deliveries) = (commits(), self.intake.n_requests());
        let (report, cpu, _) = timed(|| self.appended());
        let now = self.container.requests();
        Poll {
            requests: Requests {
                lists: now.lists - requests.lists,
                heads: now.heads - requests.heads,
                reads: now.reads - requests.reads,
            },
            commits: self.lane.metrics.progress.commits.get() - n_commits,
            deliveries: self.intake.n_requests() - n_deliveries,
            report,
            cpu: cpu - (self.container.own.seconds() - own),
        }
    }
}

/// Prints what a poll costs where so many blobs have one record more each, and where a single blob has them all.
pub(crate) fn measure(runtime: &Runtime, numbers_of_roots: &[u64]) {
    let record = Record::small();
    println!(
        "\nappends of {} bytes; requests, and for an append: processor time, requests for memory",
        record.length()
    );
    println!(
        "{:<30}{:>7}{:>7}{:>7}{:>9}{:>9}{:>10}{:>9}{:>14}",
        "a poll", "lists", "heads", "reads", "commits", "intake", "CPU us", "memory", "wall s, 5 ms"
    );
    for n in numbers_of_roots {
        let n = *n;
        let roots = Appends { n_roots: n, n_blobs: n, n_records: 1 };
        measure_one(runtime, &format!("{n} blobs of as many roots"), &record, roots);
        let blobs = Appends { n_roots: 1, n_blobs: n, n_records: 1 };
        measure_one(runtime, &format!("{n} blobs of one root"), &record, blobs);
        let records = Appends { n_roots: 1, n_blobs: 1, n_records: n };
        measure_one(runtime, &format!("1 blob, {n} records"), &record, records);
    }
}

fn measure_one(runtime: &Runtime, what: &str, record: &Record, appends: Appends) {
    let (poll, n_blocks) = with_polls(runtime, record, appends, Duration::ZERO, |polls| {
        polls.pass();
        let mut cheapest = polls.next();
        for _ in 1..POLLS {
            let poll = polls.next();
            if poll.cpu < cheapest.cpu {
                cheapest = poll;
            }
        }
        let container = Arc::clone(&polls.container);
        let (_, n_blocks) = container.own.count_blocks(|| polls.appended());
        (cheapest, n_blocks)
    });
    let wall = with_polls(runtime, record, appends, LATENCY, |polls| {
        polls.pass();
        timed(|| polls.appended()).2
    });
    assert_eq!(poll.report.blobs_read, appends.n_blobs);
    let n_appends = (appends.n_blobs * appends.n_records) as f64;
    let Requests { lists, heads, reads } = poll.requests;
    println!(
        "{what:<30}{lists:>7}{heads:>7}{reads:>7}{:>9}{:>9}{:>10.1}{:>9.1}{wall:>14.3}",
        poll.commits,
        poll.deliveries,
        poll.cpu * 1e6 / n_appends,
        n_blocks as f64 / n_appends,
    );
}

fn with_polls<T>(
    runtime: &Runtime,
    record: &Record,
    appends: Appends,
    latency: Duration,
    act: impl FnOnce(&mut Polls<'_>) -> T,
) -> T {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let scope = Scope {
        origin: Origin { account: String::from("generated"), container: String::from("logs") },
        intake: String::from("intake"),
    };
    let size = Size { n_roots: appends.n_roots, n_nics: appends.n_blobs, n_old_hours: OPEN_HOURS };
    let now = DateTime::from_timestamp(NOW, 0).unwrap_or_default();
    let container = Container::new(scope.origin.clone(), size, record.clone(), now).with_latency(latency);
    let container = Arc::new(container);
    let mut store = SqliteStore::open(directory.path()).expect("the state can be made");
    store.check_file().expect("the state is sound");
    let present = Hour::containing(now);
    let first = Hour::from_number(present.number() - OPEN_HOURS);
    for hour in (first.number()..=present.number()).map(Hour::from_number) {
        let roots: Vec<String> = size.roots().collect();
        let read = roots.iter().flat_map(|root| Container::read_through(record, size, root, hour));
        fill(&mut store, &scope, read);
    }
    seal_before(&mut store, &scope, size.roots(), first);
    let (state, owner) = {
        let _entered = runtime.enter();
        state::start(Box::new(store), Metrics::new(std::time::SystemTime::UNIX_EPOCH).store())
    };
    let intake = Arc::new(Sink::default());
    let storage = Arc::clone(&container);
    let lane = lane(storage, Arc::clone(&intake), scope, state);
    let mut polls = Polls { runtime, container, intake, lane, memory: Memory::default(), appends };
    let result = act(&mut polls);
    drop(polls);
    runtime.block_on(owner).expect("the owner of the state ends");
    result
}
