//! A lane of the real pipeline between ends that tests make themselves.

use std::{
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
        Budget, DeliveryRules, Lane, ReadLimits, SourceRules,
        filter::BlobFilter,
        state::{self, StateHandle},
    },
    storage::BlobStore,
    store::{FirstHour, StateStore},
    telemetry::{health::Health, metrics::Metrics},
};
use tokio::task::JoinHandle;

/// Starts the owner of a store.
pub(crate) fn start(store: impl StateStore + 'static) -> (StateHandle, JoinHandle<()>) {
    state::start(Box::new(store), Metrics::new(SystemTime::now()).store())
}

/// A lane whose memory, batches and rules a test may change.
pub(crate) fn lane(storage: Arc<dyn BlobStore>, intake: Arc<dyn Intake>, state: StateHandle) -> Lane {
    let scope = Scope { origin: storage.origin().clone(), intake: "test".to_owned() };
    Lane {
        storage,
        intake,
        driver: Arc::new(Driver::new(DriverConfig::default(), fastrand::Rng::with_seed(1))),
        state,
        scope,
        first_hour: FirstHour::Beginning,
        filter: BlobFilter::new(&["*".to_owned()], &[]).unwrap(),
        budget: Budget::new(8 << 20),
        rules: SourceRules {
            seal_after: Duration::from_secs(7_200),
            revisit: Duration::ZERO,
            list_again_every: None,
            retention: None,
        },
        limits: ReadLimits {
            parallel_blobs: 2,
            record_bytes: 1 << 20,
            quarantine_bytes: 1 << 20,
            store_deadline: None,
        },
        delivery: DeliveryRules {
            format: EventFormat::Text,
            batch: BatchLimits { max_bytes: 1 << 20, max_events: 1_000, max_age: Duration::from_secs(5) },
            max_in_flight: 1,
        },
        metrics: Metrics::new(SystemTime::now()).lane("test", "test"),
        store_health: Health::default().component("store"),
        ledger_health: Health::default().component("ledger"),
        observer: Arc::new(()),
    }
}
