//! A state with a million positions.

use std::path::Path;

use flowlogd::{
    model::{Hour, HourlyBlob, Origin, Scope},
    store::{Commit, PositionChange, StateStore, sqlite::SqliteStore},
};

use crate::{
    container::{Container, Record, Size},
    cost::timed,
    fill::{fill, nothing, seal_before},
    goal::Goal,
};

/// 420 interfaces of ten roots for 240 hours, a million and a bit.
const SIZE: Size = Size { n_roots: 10, n_nics: 4_200, n_old_hours: 0 };

/// 2026-11-14T00 to 2026-11-23T23.
const FIRST: Hour = Hour::from_number(498_504);
const N_HOURS: i64 = 240;

/// As many as blobs that a commit of a busy daemon moves on.
const CHANGES: usize = 100;

/// Fills a state, prints how large and how fast it is, and returns the goals.
pub(crate) fn measure(goals: &mut Vec<Goal>) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let scope = Scope {
        origin: Origin { account: String::from("generated"), container: String::from("logs") },
        intake: String::from("intake"),
    };
    let record = Record::small();
    let hours = || (0..N_HOURS).map(|hour| Hour::from_number(FIRST.number() + hour));
    let roots: Vec<String> = SIZE.roots().collect();
    let Some(root) = roots.first() else { return };
    let of_hour = |hour| Container::read_through(&record, SIZE, root, hour);

    println!("\na state of {} positions", SIZE.n_nics * N_HOURS.unsigned_abs());
    let mut store = SqliteStore::open(directory.path()).expect("the state can be made");
    // Hour by hour, as they come.
    let ((), _, wall) = timed(|| {
        for hour in hours() {
            let positions = roots.iter().flat_map(|root| Container::read_through(&record, SIZE, root, hour));
            fill(&mut store, &scope, positions);
        }
    });
    show("fill it, an hour a transaction, s", wall);
    let last = Hour::from_number(FIRST.number() + N_HOURS);
    seal_before(&mut store, &scope, roots.iter().cloned(), last);
    drop(store);

    let bytes = bytes_in(directory.path());
    goals.push(Goal::at_most("   bytes of the file, MB", bytes as f64 / 1e6, 100.0));
    let (store, _, wall) = timed(|| SqliteStore::open(directory.path()));
    goals.push(Goal::at_most("9  open it, ms", wall * 1e3, 100.0));
    let mut store = store.expect("the state can be opened");
    let (checked, cpu, wall) = timed(|| store.check_file());
    checked.expect("the state is sound");
    goals.push(Goal::at_most("   check the whole file, s", wall, 1.0));
    show("check the whole file, CPU s", cpu);

    let (stored, _, wall) = timed(|| store.positions(&scope, root, FIRST));
    let stored = stored.expect("positions can be read").len();
    show(&format!("read an hour of a root ({stored}), ms"), wall * 1e3);
    let (frontiers, _, wall) = timed(|| store.frontiers(&scope));
    show(&format!("read {} frontiers, ms", frontiers.map_or(0, |all| all.len())), wall * 1e3);
    let commit = moved_on(&scope, of_hour(last.previous()));
    let (committed, _, wall) = timed(|| store.commit(&commit));
    committed.expect("positions can be stored");
    show(&format!("commit {CHANGES} positions, ms"), wall * 1e3);

    let present: Vec<HourlyBlob> =
        FIRST.hours_of_day().flat_map(of_hour).map(|(blob, _)| blob).step_by(2).collect();
    let (pruned, _, wall) = timed(|| store.prune(&scope, root, FIRST, &present));
    let n_pruned = pruned.expect("positions can be pruned").blobs;
    show(&format!("prune a day of a root ({n_pruned} of twice as many), ms"), wall * 1e3);
}

/// The first positions, a step further.
fn moved_on(
    scope: &Scope,
    positions: impl Iterator<Item = (HourlyBlob, flowlogd::checkpoint::Position)>,
) -> Commit {
    let step = |(blob, from): (HourlyBlob, flowlogd::checkpoint::Position)| {
        let mut to = from.clone();
        to.offset = to.offset.map(|(bytes, context)| (bytes + 1, context));
        PositionChange { blob, from: Some(from), to, tally: Default::default(), started_over: false }
    };
    Commit { positions: positions.take(CHANGES).map(step).collect(), ..nothing(scope) }
}

fn bytes_in(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).expect("the directory can be read");
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

fn show(what: &str, found: f64) {
    println!("  {what:<50}{found:>10.3}");
}
