//! Days of the whole pipeline in a simulated world, played in seconds: a container that grows, is rewritten and deleted,
//! storage servers, intakes and disks that fail, and a process that dies and starts again. Whatever happens, nothing is
//! lost, and no position ever passes what its intake has not answered for.

mod blobs;
mod intake;
mod life;
mod storage;
mod store;
mod weather;
mod world;

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{environment::variable, memory_store::MemoryStore};
use life::{Disk, Setup, live_through};
use weather::{Ending, Fault, Weather};
use world::{World, lock};

/// A run is so long: long enough for hours to be sealed and looked at again.
const DAYS_OF_A_RUN: u64 = 2;

/// What one simulation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    /// A number that stands for everything that happened in it.
    trace: u64,
    /// Events accepted.
    events: u64,
    /// Those of them that had been accepted before.
    duplicates: u64,
}

/// Plays one run. One in ten keeps its positions in a real file.
fn simulate(seed: u64, play: &Play) -> Result<Outcome, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let setup = Setup::new(&mut random);
    let weather = match play.weather {
        Sky::Clear => Weather::default(),
        Sky::Drawn => Weather::new(&mut random, play.lasts, setup.n_intakes),
        Sky::Duplicating => Weather::duplicating(&mut random, play.lasts),
        Sky::One(fault, from, to, ending) => Weather::one(fault, from, to, ending),
    };
    let disk = if seed % 10 == 3 { Disk::sqlite() } else { Disk::Memory(MemoryStore::default()) };
    let is_rewritten = play.weather == Sky::Drawn;
    let world = World::new(random, play.lasts, setup.n_intakes, weather, is_rewritten);
    let world = Arc::new(Mutex::new(world));
    live_through(&world, &setup, &disk, seed);
    let world = lock(&world);
    if let Some(violation) = world.violations.first() {
        return Err(format!("{violation}; {setup:?}"));
    }
    let missing = world.missing();
    if !missing.is_empty() {
        let first: Vec<_> = missing.iter().take(5).collect();
        return Err(format!(
            "{} things are not as they must be, such as {first:?}; {setup:?}",
            missing.len()
        ));
    }
    let (events, duplicates) = world.counts();
    assert!(events > 0);
    Ok(Outcome { trace: world.trace(), events, duplicates })
}

/// What is played.
struct Play {
    weather: Sky,
    lasts: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sky {
    Clear,
    /// All that can go wrong.
    Drawn,
    /// Processes die, and one answer of fifty is lost.
    Duplicating,
    /// One fault from a time to another, and perhaps an end of the process.
    One(Fault, Duration, Duration, Option<(Duration, Ending)>),
}

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3_600)
}

/// Plays runs of consecutive seeds, on all processors. A failure names its seed.
fn play_all(seeds: Range<u64>, play: &Play, replay: &str) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return outcomes;
            }
            let played = catch_unwind(AssertUnwindSafe(|| simulate(seed, play)));
            let reason = match played {
                Ok(Ok(outcome)) => {
                    outcomes.push(outcome);
                    continue;
                }
                Ok(Err(reason)) => reason,
                Err(_) => "it panicked, see above".to_owned(),
            };
            panic!("seed {seed}: {reason}\nplay it again with: SEED={seed} {replay}");
        }
    };
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    })
}

/// *Scenario*: `SIMULATED_DAYS` days (200) from `SEED` on: blobs grow, are written late, torn, rewritten and deleted, with
/// bad tuples, pieces that are no records and events that no intake takes; storage, intakes and disk fail in all their
/// ways for minutes or hours; processes are killed, are asked to stop and find their disk broken, six times a day.
/// *Guarantees*: every tuple that is still there is accepted by every intake or in its quarantine, for the right reason;
/// no position ever stood behind anything that was not; a duplicate is the same event with the same identity; a process
/// that is asked to stop does so in time.
#[test]
fn days_full_of_faults() {
    let n_runs = variable("SIMULATED_DAYS", 200).div_ceil(DAYS_OF_A_RUN);
    let first = variable("SEED", 1);
    let play = Play { weather: Sky::Drawn, lasts: days(DAYS_OF_A_RUN) };
    let replay = "SIMULATED_DAYS=2 cargo test --locked --test it simulation::days_full_of_faults";
    let outcomes = play_all(first..first + n_runs, &play, replay);
    let events: u64 = outcomes.iter().map(|outcome| outcome.events).sum();
    let duplicates: u64 = outcomes.iter().map(|outcome| outcome.duplicates).sum();
    println!("{} days: {events} events accepted, {duplicates} of them duplicates", n_runs * DAYS_OF_A_RUN);
}

/// *Scenario*: two runs with faults, one of them with a real file, are played twice.
/// *Guarantees*: everything happens again, to the last request.
#[test]
fn a_seed_is_played_again() {
    let play = Play { weather: Sky::Drawn, lasts: days(1) };
    for seed in [3, 6] {
        assert_eq!(simulate(seed, &play), simulate(seed, &play), "seed {seed}");
    }
}

/// *Scenario*: days on which nothing goes wrong, and nothing is rewritten.
/// *Guarantees*: every event comes once.
#[test]
fn without_faults_nothing_comes_twice() {
    let play = Play { weather: Sky::Clear, lasts: days(1) };
    let replay = "cargo test --locked --test it simulation::without_faults_nothing_comes_twice";
    let first = variable("SEED", 1);
    for outcome in play_all(first..first + 6, &play, replay) {
        assert_eq!(outcome.duplicates, 0, "{outcome:?}");
    }
}

/// *Scenario*: one answer of fifty is lost, and the process is killed every three hours.
/// *Guarantees*: of a thousand events at most 25 come twice.
#[test]
fn duplicates_are_few() {
    let play = Play { weather: Sky::Duplicating, lasts: days(2) };
    let replay = "cargo test --locked --test it simulation::duplicates_are_few";
    let outcomes = play_all(1..9, &play, replay);
    let events: u64 = outcomes.iter().map(|outcome| outcome.events).sum();
    let duplicates: u64 = outcomes.iter().map(|outcome| outcome.duplicates).sum();
    println!("{events} events, {duplicates} duplicates");
    assert!(duplicates > 0 && duplicates * 1_000 <= events * 25, "{duplicates} of {events}");
}

/// *Scenario*: the storage server, or the first intake, is out of reach for a week; then everything is well.
/// *Guarantees*: everything arrives.
#[test]
fn a_week_of_outage() {
    for fault in [Fault::StorageDown, Fault::IntakeDown] {
        let play = Play { weather: Sky::One(fault, hours(12), days(7) + hours(12), None), lasts: days(8) };
        let outcome = simulate(1, &play);
        assert!(outcome.is_ok(), "{fault:?}: {outcome:?}");
    }
}

/// *Scenario*: the disk has been full for an hour, so that nothing is sent any more, when the process is asked to stop.
/// *Guarantees*: it stops in time; later, everything arrives.
#[test]
fn asked_to_stop_while_nothing_can_be_stored() {
    let asked = Some((hours(4), Ending::Asked));
    let play = Play { weather: Sky::One(Fault::DiskFull, hours(3), hours(5), asked), lasts: hours(8) };
    for seed in 1..6 {
        let outcome = simulate(seed, &play);
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    }
}
