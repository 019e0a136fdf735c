//! What a pass shows while it runs, however long it runs: how far it is, what waits, and whether that is in danger.

use std::{convert::Infallible, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;
use tracing::{error, info};

use super::{
    Lane, Memory,
    alarms::{Change, RetentionAlarm},
    progress::{Pace, Progress},
};
use crate::model::Scope;

/// The gauges are fresh enough for any scraper.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A pass that takes longer than this says how far it is, and again each time.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The watch over one pass.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    lane: &'a Lane,
    retention: Option<RetentionAlarm>,
    /// The storage server's clock when the pass began, or this machine's before the first answer.
    began: (DateTime<Utc>, Instant),
    pace: Pace,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(lane: &'a Lane, memory: &mut Memory) -> Self {
        let retention = memory.retention.take();
        let now = memory.server_now().unwrap_or_else(|| DateTime::from(std::time::SystemTime::now()));
        Self {
            lane,
            retention: retention.or_else(|| lane.rules.retention.map(RetentionAlarm::new)),
            began: (now, Instant::now()),
            pace: Pace::default(),
        }
    }

    /// Shows and says, until it is dropped.
    pub(super) async fn go_on(&mut self, progress: &Progress) -> Infallible {
        let mut said = Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look(progress);
            let snapshot = progress.snapshot();
            let now = self.began.1.elapsed();
            self.pace.look(snapshot.bytes.0, now);
            if said.elapsed() >= SAY_EVERY && snapshot.blobs.1 > 0 {
                said = Instant::now();
                let Scope { origin, intake } = &self.lane.scope;
                let is_failing = self.lane.driver.last_failure().is_some();
                let elapsed = self.pace.elapsed(now).filter(|_| !is_failing);
                info!(%origin, intake, "{}", snapshot.line(elapsed));
            }
        }
    }

    /// Looks a last time.
    pub(super) fn end(mut self, memory: &mut Memory, progress: &Progress) {
        self.look(progress);
        memory.retention = self.retention;
    }

    fn look(&mut self, progress: &Progress) {
        let (then, at) = self.began;
        let elapsed = TimeDelta::from_std(at.elapsed()).unwrap_or_default();
        let now = then.checked_add_signed(elapsed).unwrap_or(then);
        self.lane.budget.show();
        let standing = &self.lane.metrics.standing;
        let snapshot = progress.snapshot();
        standing.backlog_bytes.set_count(snapshot.backlog_bytes());
        standing.backlog_blobs.set_count(snapshot.backlog_blobs());
        let oldest = progress.oldest_undelivered();
        let age = oldest.map(|oldest| now.signed_duration_since(oldest).to_std().unwrap_or_default());
        standing.oldest_undelivered.set_seconds(Some(age.unwrap_or_default()));
        if let Some(alarm) = &mut self.retention {
            standing.retention_left.set_seconds(alarm.left(oldest, now));
            let Scope { origin, intake } = &self.lane.scope;
            match alarm.look(oldest, now) {
                Change::None => {}
                Change::Raised(text) => error!(%origin, intake, "{text}"),
                Change::Cleared(text) => info!(%origin, intake, "{text}"),
            }
        }
    }
}
