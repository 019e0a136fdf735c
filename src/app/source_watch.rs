//! What the listings of a source say about the source itself.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::source_health::{Aspect, SourceHealth};
use crate::{
    pipeline::{
        alarms::{Change, SilenceAlarm},
        sight::{Sight, SourceObserver},
    },
    settings,
    storage::{Account, StorageError, StorageErrorKind},
    telemetry::{chain, metrics::SourceMetrics},
};

/// Watches one container of a source, for all lanes that read it.
#[derive(Debug)]
pub(super) struct SourceWatch {
    source: String,
    container: String,
    metrics: SourceMetrics,
    account: Arc<dyn Account>,
    health: Arc<SourceHealth>,
    silence: Mutex<Silence>,
}

#[derive(Debug)]
struct Silence {
    alarm: SilenceAlarm,
    /// The newest change that a listing ever showed.
    newest_change: Option<DateTime<Utc>>,
}

impl SourceWatch {
    pub(super) fn new(
        source: &settings::Source,
        container: &str,
        metrics: SourceMetrics,
        account: Arc<dyn Account>,
        health: Arc<SourceHealth>,
    ) -> Self {
        let alarm = SilenceAlarm::new(source.poll_interval);
        Self {
            source: source.name.clone(),
            container: container.to_owned(),
            metrics,
            account,
            health,
            silence: Mutex::new(Silence { alarm, newest_change: None }),
        }
    }

    fn failed(&self, error: &StorageError) {
        self.show_skew();
        self.metrics.storage_failed(error.kind.trouble());
    }

    fn show_skew(&self) {
        // The gauge is this machine's clock minus the server's.
        let skew = self.account.clock_skew().map(|ahead| -ahead.as_seconds_f64());
        self.metrics.clock_skew.set(skew);
    }
}

impl SourceObserver for SourceWatch {
    fn listed(&self, Sight { now, roots, newest_change }: Sight) {
        self.show_skew();
        self.health.well(&self.container, Aspect::Listing);
        self.metrics.roots.set_count(roots);
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.newest_change = silence.newest_change.max(newest_change);
        let newest = silence.newest_change;
        let age = newest.map(|newest| now.signed_duration_since(newest).to_std().unwrap_or_default());
        self.metrics.last_change_age.set_seconds(age);
        let source = &self.source;
        match silence.alarm.look(newest, now) {
            Change::None => {}
            Change::Raised(text) => warn!(source, "{text}"),
            Change::Cleared(text) => info!(source, "{text}"),
        }
        self.metrics.silent.set_flag(silence.alarm.is_raised());
    }

    fn not_listed(&self, error: &StorageError) {
        self.failed(error);
        let reason = format!("{} cannot be listed: {}", self.container, chain(error));
        self.health.trouble(&self.container, Aspect::Listing, reason);
    }

    fn read(&self) {
        self.health.well(&self.container, Aspect::Reading);
    }

    fn not_read(&self, error: &StorageError) {
        self.failed(error);
        // Others are of a blob, not of the source.
        if let StorageErrorKind::Denied { .. } | StorageErrorKind::Throttled { .. } = error.kind {
            let reason = format!("{} cannot be read: {}", self.container, chain(error));
            self.health.trouble(&self.container, Aspect::Reading, reason);
        }
    }
}
