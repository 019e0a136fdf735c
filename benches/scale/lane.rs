//! A lane as the daemon has it, between a container that holds nothing and an intake that takes everything at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use flowlogd::{
    batch::{BatchLimits, EncodedEvents},
    event::EventFormat,
    intake::{
        Framing, Intake, Selection, Verdict,
        driver::{Driver, DriverConfig},
        stdout::StdoutIntake,
    },
    model::Scope,
    pipeline::{
        Budget, DeliveryRules, Lane, ReadLimits, SourceRules, filter::BlobFilter, state::StateHandle,
    },
    storage::BlobStore,
    store::FirstHour,
    telemetry::{health::Health, metrics::Metrics},
};

const HOUR: Duration = Duration::from_secs(3_600);

const BATCH: BatchLimits =
    BatchLimits { max_bytes: 1_000_000, max_events: 10_000, max_age: Duration::from_secs(5) };

const MAX_IN_FLIGHT: usize = 4;

/// `limits.memory`.
const MEMORY_BYTES: usize = 32 << 20;

/// Takes everything at once, and counts the requests.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    n_requests: AtomicU64,
}

impl Sink {
    pub(crate) fn n_requests(&self) -> u64 {
        self.n_requests.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Intake for Sink {
    fn framing(&self) -> &dyn Framing {
        &StdoutIntake
    }

    async fn attempt(&self, _events: &EncodedEvents, _selection: &Selection) -> Verdict {
        self.n_requests.fetch_add(1, Ordering::Relaxed);
        Verdict::Delivered
    }
}

/// A lane with the settings that the daemon has where nothing is set.
pub(crate) fn lane(
    storage: Arc<dyn BlobStore>,
    intake: Arc<Sink>,
    scope: Scope,
    state: StateHandle,
) -> Arc<Lane> {
    let config =
        DriverConfig { max_in_flight: MAX_IN_FLIGHT, max_bytes: BATCH.max_bytes, ..DriverConfig::default() };
    Arc::new(Lane {
        storage,
        intake,
        driver: Arc::new(Driver::new(config, fastrand::Rng::with_seed(1))),
        state,
        scope,
        first_hour: FirstHour::Beginning,
        filter: BlobFilter::new(&[String::from("*")], &[]).expect("the pattern is one"),
        budget: Budget::new(MEMORY_BYTES),
        rules: SourceRules {
            seal_after: 2 * HOUR,
            revisit: 48 * HOUR,
            list_again_every: Some(HOUR / 60),
            retention: None,
        },
        limits: ReadLimits {
            parallel_blobs: 8,
            record_bytes: 16 << 20,
            quarantine_bytes: 1 << 30,
            store_deadline: None,
        },
        delivery: DeliveryRules {
            format: EventFormat::Flow { provenance: true },
            batch: BATCH,
            max_in_flight: MAX_IN_FLIGHT,
        },
        metrics: Metrics::new(SystemTime::UNIX_EPOCH).lane("source", "intake"),
        store_health: Health::default().component("store"),
        ledger_health: Health::default().component("ledger"),
        observer: Arc::new(()),
    })
}
