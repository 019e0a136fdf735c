//! Lives of the process, one after the other: the real pipeline between the simulated ends, on one thread and a paused
//! clock.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use flowlogd::{
    batch::BatchLimits,
    event::EventFormat,
    intake::{
        Intake,
        driver::{Driver, DriverConfig},
    },
    model::Scope,
    pipeline::{
        Budget, DeliveryRules, Lane, Memory, PassError, ReadLimits, SourceRules, Stopping, run_pass,
        shared::Sharing, state,
    },
    storage::StorageErrorKind,
    store::{FirstHour, StateStore, StoreError, sqlite::SqliteStore},
    telemetry::metrics::Metrics,
};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::{
    intake::SimulatedIntake,
    storage::SimulatedStorage,
    store::{SimulatedStore, intake_name},
    weather::Ending,
    world::{Shared, lock},
};
use crate::support::{
    lane::lane as plain_lane,
    memory_store::MemoryStore,
    wait::{again_and_again, time_passes},
};

/// `limits.drain`.
const DRAIN: Duration = Duration::from_secs(20);

const HOUR: Duration = Duration::from_secs(3_600);

/// Once everything is well again, all must have arrived within this time: hours that are over are looked at in turn, and a
/// container that was away is looked for once more.
const CALM: Duration = Duration::from_secs(12 * 3_600);

/// Where positions are kept between lives.
#[derive(Debug)]
pub(super) enum Disk {
    Memory(MemoryStore),
    Sqlite(tempfile::TempDir),
}

impl Disk {
    /// A real file, where files of memory are, if there are such: a sync takes no time there.
    pub(super) fn sqlite() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::Sqlite(directory.unwrap())
    }

    fn open(&self) -> Box<dyn StateStore> {
        match self {
            Self::Memory(store) => Box::new(store.clone()),
            Self::Sqlite(directory) => Box::new(SqliteStore::open(directory.path()).unwrap()),
        }
    }
}

/// The settings of a simulation.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) n_intakes: usize,
    poll_interval: Duration,
    batch: BatchLimits,
    max_in_flight: usize,
    parallel_blobs: usize,
    memory_bytes: usize,
}

impl Setup {
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
        Self {
            n_intakes: random.usize(1..3),
            poll_interval: Duration::from_secs(random.u64(30..120)),
            batch: BatchLimits {
                max_bytes: random.usize(2_000..100_000),
                max_events: random.usize(2..200),
                max_age: Duration::from_secs(random.u64(1..10)),
            },
            max_in_flight: random.usize(1..5),
            parallel_blobs: random.usize(1..5),
            memory_bytes: random.usize(4..12) << 20,
        }
    }
}

/// Lets the process live and die as the weather has it, and then live on until everything has arrived.
pub(super) fn live_through(world: &Shared, setup: &Setup, disk: &Disk, seed: u64) {
    let endings = lock(world).weather.endings.clone();
    for (number, (at, how, pause)) in endings.into_iter().enumerate() {
        let lasts = at.saturating_sub(lock(world).elapsed());
        if lasts.is_zero() {
            continue;
        }
        fastrand::seed(seed.wrapping_add(number as u64));
        live(world, disk, |state| async move {
            let lanes = run(world, setup, state, fastrand::Rng::with_seed(seed));
            end_after(world, lasts, how, lanes).await;
        });
        lock(world).pause(pause);
        if !lock(world).violations.is_empty() {
            return;
        }
    }
    let until = lock(world).is_well_at() + CALM;
    while !is_over(world, until) {
        live(world, disk, |state| async move {
            let stopping = Stopping::default();
            let lanes = run(world, setup, state, fastrand::Rng::with_seed(seed))(stopping.clone());
            let all_there = async {
                while !is_over(world, until) {
                    time_passes(HOUR / 6).await;
                }
                stopping.reading.cancel();
                pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = lanes => {}
                () = all_there => {}
            }
        });
        lock(world).pause(Duration::from_secs(5));
    }
}

/// Whether there is nothing more to wait for.
fn is_over(world: &Shared, until: Duration) -> bool {
    let world = lock(world);
    let now = world.elapsed();
    !world.violations.is_empty() || now >= until || now >= world.is_well_at() && world.missing().is_empty()
}

/// One life. What is under way at its end is gone.
fn live<L: Future<Output = ()>>(world: &Shared, disk: &Disk, life: impl FnOnce(state::StateHandle) -> L) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let store = SimulatedStore { inner: disk.open(), world: Shared::clone(world) };
    runtime.block_on(async {
        lock(world).begin_life();
        let (state, _owner) = state::start(Box::new(store), Metrics::new(SystemTime::UNIX_EPOCH).store());
        life(state).await;
        // The paused clock ends with the runtime.
        lock(world).end_life();
    });
}

/// Ends a life in one of the ways in which lives end.
async fn end_after<F: Future<Output = ()>>(
    world: &Shared,
    lasts: Duration,
    how: Ending,
    run: impl FnOnce(Stopping) -> F,
) {
    let stopping = Stopping::default();
    let lanes = run(stopping.clone());
    tokio::pin!(lanes);
    tokio::select! {
        biased;
        () = &mut lanes => return,
        () = time_passes(lasts) => {}
    }
    match how {
        Ending::Killed => {}
        Ending::DiskBroken => {
            lock(world).disk_broken = true;
            // Until something is to be stored, if that is soon.
            let _still_alive = timeout(HOUR, lanes).await;
            lock(world).disk_broken = false;
        }
        Ending::Asked => {
            let asked = Instant::now();
            stopping.reading.cancel();
            tokio::select! {
                biased;
                () = &mut lanes => return,
                () = time_passes(DRAIN) => stopping.delivering.cancel(),
            }
            if timeout(Duration::from_secs(1), lanes).await.is_err() {
                lock(world).violations.push(format!("it did not stop in {:?}", asked.elapsed()));
            }
        }
    }
}

/// All lanes, until they are asked to stop, or one of them must end the process.
fn run<'a>(
    world: &'a Shared,
    setup: &'a Setup,
    state: state::StateHandle,
    mut random: fastrand::Rng,
) -> impl FnOnce(Stopping) -> futures_util::future::BoxFuture<'a, ()> {
    move |stopping| {
        Box::pin(async move {
            let handles = Sharing::new(setup.n_intakes, setup.memory_bytes)
                .handles(Arc::new(SimulatedStorage::new(world)));
            let mut lanes = Vec::new();
            for (place, storage) in handles.into_iter().enumerate() {
                let intake = Arc::new(SimulatedIntake { place, world: Shared::clone(world) });
                let driver = driver(setup, random.fork());
                lanes.push(poll(
                    lane(storage, intake, driver, &state, setup, place).await,
                    setup,
                    &stopping,
                    world,
                ));
            }
            // Else the store would outlive its lanes.
            drop(state);
            join_all(lanes).await;
        })
    }
}

fn driver(setup: &Setup, random: fastrand::Rng) -> Driver {
    let config = DriverConfig {
        max_in_flight: setup.max_in_flight,
        max_bytes: setup.batch.max_bytes,
        ..DriverConfig::default()
    };
    Driver::new(config, random)
}

async fn lane(
    storage: Arc<dyn flowlogd::storage::BlobStore>,
    intake: Arc<dyn Intake>,
    driver: Driver,
    state: &state::StateHandle,
    setup: &Setup,
    place: usize,
) -> Arc<Lane> {
    let scope = Scope { origin: storage.origin().clone(), intake: intake_name(place) };
    // An error shows in the first pass.
    let first_hour =
        state.first_hour(scope.clone(), FirstHour::Beginning).await.unwrap_or(FirstHour::Beginning);
    Arc::new(Lane {
        driver: Arc::new(driver),
        scope,
        first_hour,
        budget: Budget::new(setup.memory_bytes / setup.n_intakes),
        rules: SourceRules {
            seal_after: 2 * HOUR,
            revisit: 48 * HOUR,
            list_again_every: Some(setup.poll_interval),
            retention: None,
        },
        limits: ReadLimits {
            parallel_blobs: setup.parallel_blobs,
            record_bytes: 1 << 20,
            quarantine_bytes: u64::MAX,
            store_deadline: None,
        },
        delivery: DeliveryRules {
            format: EventFormat::Flow { provenance: true },
            batch: setup.batch,
            max_in_flight: setup.max_in_flight,
        },
        ..plain_lane(storage, intake, state.clone())
    })
}

fn is_of_the_disk(error: &StoreError) -> bool {
    error.is_transient() || matches!(error, StoreError::Io { .. })
}

/// A pass at each poll, as the daemon does it.
async fn poll(lane: Arc<Lane>, setup: &Setup, stopping: &Stopping, world: &Shared) {
    let mut polls = again_and_again(setup.poll_interval);
    let mut memory = Memory::default();
    loop {
        tokio::select! {
            biased;
            () = stopping.reading.cancelled() => return,
            _ = polls.tick() => {}
        }
        let report = run_pass(&lane, &mut memory, stopping).await;
        if report.unbalanced > 0 {
            lock(world).violations.push("what was read is not all accounted for".to_owned());
            stopping.reading.cancel();
        }
        for error in report.errors {
            match error {
                PassError::Storage(error) if error.kind == StorageErrorKind::ContainerNotFound => {
                    memory = Memory::default();
                }
                PassError::Storage(_) => {}
                PassError::Store(_) | PassError::Chain(_) | PassError::Closed(_) | PassError::Task(_) => {
                    // A disk may fail. That what is acknowledged does not fit together is a bug.
                    if !matches!(&error, PassError::Store(error) if is_of_the_disk(error)) {
                        lock(world).violations.push(format!("{error:?}"));
                    }
                    stopping.reading.cancel();
                    stopping.delivering.cancel();
                }
            }
        }
    }
}
