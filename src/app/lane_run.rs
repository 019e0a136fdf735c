//! One lane's life: a pass at each poll, or passes until one is complete.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use super::{AppError, Mode, Obstacle};
use crate::{
    pipeline::{self, Lane, Memory, PassError, PassReport, Rejections, Stopping},
    storage::StorageErrorKind,
    telemetry::chain,
};

/// `run --once` looks again this soon after a pass that did not reach its end.
pub(super) const ONCE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What to do about a full quarantine.
const QUARANTINE_FULL: &str = "the quarantine is full, so nothing is read: stop flowlogd, look with `flowlogd quarantine \
                               list`, then replay or drop, or raise limits.quarantine";

/// How a lane ended.
#[derive(Debug)]
pub(super) enum LaneEnd {
    /// Asked to stop, or the one pass is complete.
    Done,
    /// The one pass was still blocked at its deadline.
    Blocked(Obstacle),
    /// The container does not exist.
    ContainerMissing {
        /// Whether it could be listed before.
        was_there: bool,
    },
}

/// Why a container was not listed.
enum Unlisted {
    /// It does not exist.
    Missing,
    /// The storage server said no, or nothing.
    Failed(String),
}

/// How a lane runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) mode: Mode,
    /// Polls of all lanes of a source start together, so that intakes that stand level ask for the same.
    pub(super) started: Instant,
    pub(super) poll_interval: Duration,
    /// For a single pass: how long it may be blocked.
    pub(super) deadline: Duration,
}

/// A lane with the source's name.
#[derive(Debug)]
pub(super) struct LaneRun {
    pub(super) source: String,
    pub(super) lane: Arc<Lane>,
    pub(super) memory: Memory,
    /// Whether the container could be listed.
    pub(super) was_there: bool,
}

impl LaneRun {
    /// Runs until it is asked to stop, or for one complete pass.
    pub(super) async fn run(self, schedule: Schedule, stopping: &Stopping) -> Result<LaneEnd, AppError> {
        match schedule.mode {
            Mode::Forever => self.poll_forever(schedule, stopping).await,
            Mode::Once => self.poll_once(schedule.deadline, &stopping.child()).await,
        }
    }

    async fn poll_forever(mut self, schedule: Schedule, stopping: &Stopping) -> Result<LaneEnd, AppError> {
        let mut polls = tokio::time::interval_at(schedule.started, schedule.poll_interval);
        polls.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = stopping.reading.cancelled() => return Ok(LaneEnd::Done),
                _ = polls.tick() => {}
            }
            let report = pipeline::run_pass(&self.lane, &mut self.memory, stopping).await;
            if matches!(self.say(report)?, Some(Unlisted::Missing)) {
                return Ok(LaneEnd::ContainerMissing { was_there: self.was_there });
            }
        }
    }

    /// Passes until one is complete. Gives up when the source or the intake stays blocked for `deadline`; time in which
    /// events are delivered does not count.
    async fn poll_once(mut self, deadline: Duration, stopping: &Stopping) -> Result<LaneEnd, AppError> {
        let lane = Arc::clone(&self.lane);
        let mut blocked_since = Instant::now();
        let mut n_unbalanced: u64 = 0;
        loop {
            let (report, given_up) = {
                let pass = pipeline::run_pass(&self.lane, &mut self.memory, stopping);
                tokio::pin!(pass);
                tokio::select! {
                    biased;
                    report = &mut pass => (report, None),
                    () = lane.driver.failing_for(deadline) => {
                        let reason = lane.driver.last_failure().unwrap_or_default();
                        stopping.reading.cancel();
                        stopping.delivering.cancel();
                        // What is acknowledged by now is still committed.
                        (pass.await, Some(reason))
                    }
                }
            };
            let progress = report.events > 0 || report.blobs_read > 0;
            let (abandoned, unread) = (report.abandoned.clone(), report.unread.clone());
            let quarantine_full = report.quarantine_full;
            n_unbalanced = n_unbalanced.saturating_add(report.unbalanced);
            let trouble = match self.say(report)? {
                Some(Unlisted::Missing) => {
                    return Ok(LaneEnd::ContainerMissing { was_there: self.was_there });
                }
                Some(Unlisted::Failed(reason)) => Some(reason),
                None => unread,
            };
            if let Some(reason) = given_up {
                return Ok(LaneEnd::Blocked(self.intake_obstacle(reason)));
            }
            if quarantine_full {
                // Nobody can make room while this process holds the state.
                return Ok(LaneEnd::Blocked(self.intake_obstacle(QUARANTINE_FULL.to_owned())));
            }
            let obstacle = match (abandoned, trouble) {
                (Some(reason), _) => self.intake_obstacle(reason),
                (None, Some(reason)) => Obstacle::Source { name: self.source.clone(), reason },
                (None, None) if n_unbalanced > 0 => {
                    let name = self.lane.scope.intake.clone();
                    return Ok(LaneEnd::Blocked(Obstacle::Ledger { name, n_blobs: n_unbalanced }));
                }
                (None, None) => return Ok(LaneEnd::Done),
            };
            if stopping.reading.is_cancelled() {
                return Ok(LaneEnd::Done);
            }
            if progress {
                blocked_since = Instant::now();
            }
            if blocked_since.elapsed() >= deadline {
                return Ok(LaneEnd::Blocked(obstacle));
            }
            tokio::select! {
                biased;
                () = stopping.reading.cancelled() => return Ok(LaneEnd::Done),
                () = tokio::time::sleep(ONCE_RETRY_AFTER) => {}
            }
        }
    }

    fn intake_obstacle(&self, reason: String) -> Obstacle {
        Obstacle::Intake { name: self.lane.scope.intake.clone(), reason }
    }

    /// Logs a pass.
    fn say(&mut self, report: PassReport) -> Result<Option<Unlisted>, AppError> {
        if report.errors.is_empty() {
            self.was_there = true;
        }
        if report.quarantine_full && self.lane.store_health.not_ready(QUARANTINE_FULL) {
            error!(intake = self.lane.scope.intake, "{QUARANTINE_FULL}");
        }
        let source = self.source.as_str();
        let container = self.lane.scope.origin.container.as_str();
        let intake = self.lane.scope.intake.as_str();
        let mut unlisted = None;
        let complete = report.is_complete();
        if let Some(reason) = &report.abandoned {
            warn!(source, container, intake, reason, "batches were given up; they are read again");
        }
        for (reason, rejections) in &report.rejections {
            let Rejections { count, blob, offset, detail } = rejections;
            warn!(
                source, container, intake, %reason, count, %blob, offset, detail,
                "input entered the quarantine; the first of it is named",
            );
        }
        info!(
            source,
            container,
            intake,
            blobs = report.blobs_read,
            bytes = report.bytes_read,
            events = report.events,
            lag_seconds = report.lag.map(|lag| lag.as_secs()),
            quarantined = report.quarantined,
            held = report.held,
            failed = report.failed,
            gone = report.gone,
            listed = report.blobs_listed,
            list_calls = report.list_calls,
            read_calls = report.read_calls,
            hours_sealed = report.hours_sealed,
            "{}",
            if complete { "poll complete" } else { "poll incomplete" },
        );
        for failure in report.errors {
            match failure {
                PassError::Storage(error) if error.kind == StorageErrorKind::ContainerNotFound => {
                    unlisted = Some(Unlisted::Missing);
                }
                PassError::Storage(failure) => {
                    let error = chain(&failure).to_string();
                    error!(
                        source,
                        container, error, "the source could not be listed; the next poll tries again"
                    );
                    unlisted = Some(Unlisted::Failed(error));
                }
                fatal @ (PassError::Store(_)
                | PassError::Chain(_)
                | PassError::Closed(_)
                | PassError::Task(_)) => return Err(AppError::Pipeline(fatal)),
            }
        }
        Ok(unlisted)
    }
}
