//! What the listings of a source say about the source itself.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use crate::{
    pipeline::{
        PassError, PassReport,
        alarms::{Change, SilenceAlarm},
    },
    storage::{Account, StorageErrorKind},
    telemetry::{labels::StorageTrouble, metrics::SourceMetrics},
};

/// Watches one container of a source.
#[derive(Debug)]
pub(super) struct SourceWatch {
    metrics: SourceMetrics,
    account: Arc<dyn Account>,
    silence: SilenceAlarm,
    /// The newest change that a listing ever showed.
    newest_change: Option<DateTime<Utc>>,
}

impl SourceWatch {
    /// For a source that is polled so often.
    pub(super) fn new(metrics: SourceMetrics, account: Arc<dyn Account>, poll_interval: Duration) -> Self {
        Self { metrics, account, silence: SilenceAlarm::new(poll_interval), newest_change: None }
    }

    /// Looks at what a pass showed. One that could not list says nothing about silence.
    pub(super) fn look(&mut self, source: &str, report: &PassReport) {
        // The gauge is this machine's clock minus the server's.
        let skew = self.account.clock_skew().map(|ahead| -ahead.as_seconds_f64());
        self.metrics.clock_skew.set(skew);
        for error in &report.errors {
            if let PassError::Storage(error) = error {
                self.metrics.storage_failed(trouble(&error.kind));
            }
        }
        for kind in &report.read_failures {
            self.metrics.storage_failed(trouble(kind));
        }
        self.newest_change = self.newest_change.max(report.newest_change);
        let Some(now) = report.server_now.filter(|_| report.errors.is_empty()) else { return };
        self.metrics.roots.set_count(report.roots);
        let age =
            self.newest_change.map(|newest| now.signed_duration_since(newest).to_std().unwrap_or_default());
        self.metrics.last_change_age.set_seconds(age);
        match self.silence.look(self.newest_change, now) {
            Change::None => {}
            Change::Raised(text) => warn!(source, "{text}"),
            Change::Cleared(text) => info!(source, "{text}"),
        }
        self.metrics.silent.set_flag(self.silence.is_raised());
    }
}

fn trouble(kind: &StorageErrorKind) -> StorageTrouble {
    match kind {
        StorageErrorKind::Changed => StorageTrouble::Changed,
        StorageErrorKind::Conflict { .. } => StorageTrouble::Conflict,
        StorageErrorKind::Archived => StorageTrouble::Archived,
        StorageErrorKind::BlobNotFound => StorageTrouble::BlobNotFound,
        StorageErrorKind::ContainerNotFound => StorageTrouble::ContainerNotFound,
        StorageErrorKind::Denied { .. } => StorageTrouble::Denied,
        StorageErrorKind::Throttled { .. } => StorageTrouble::Throttled,
        StorageErrorKind::PastEnd => StorageTrouble::PastEnd,
        StorageErrorKind::Truncated { .. } => StorageTrouble::Truncated,
        StorageErrorKind::Transient => StorageTrouble::Transient,
        StorageErrorKind::Other(_) => StorageTrouble::Other,
    }
}
