//! The owner of the state store. One blocking thread holds it; everybody else sends it messages, so no disk write
//! ever stands on an async thread and no lock is shared.

use std::time::Instant;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    checkpoint::{Frontier, Position},
    model::{Hour, HourlyBlob, Scope},
    offload,
    store::{Commit, FirstHour, Pruned, QuarantineUsage, StateStore, StoreError},
    telemetry::metrics::StoreMetrics,
};

/// Requests wait here while the disk is busy. Each sender awaits its answer, so there is at most one for each task.
const REQUESTS_QUEUED: usize = 16;

/// The way to the state store; cheap to clone. The store is closed when the last handle is gone.
#[derive(Debug, Clone)]
pub struct StateHandle {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
enum Request {
    FirstHour(Scope, FirstHour, oneshot::Sender<Result<FirstHour, StoreError>>),
    Frontiers(Scope, oneshot::Sender<Result<Vec<(String, Frontier)>, StoreError>>),
    Positions(Scope, String, Hour, oneshot::Sender<Result<Vec<(HourlyBlob, Position)>, StoreError>>),
    QuarantineUsage(oneshot::Sender<Result<QuarantineUsage, StoreError>>),
    Scopes(oneshot::Sender<Result<Vec<Scope>, StoreError>>),
    StoredDay(Scope, String, Option<Hour>, oneshot::Sender<Result<Option<Hour>, StoreError>>),
    Prune(Scope, String, Hour, Vec<HourlyBlob>, oneshot::Sender<Result<Pruned, StoreError>>),
    Commit(Box<Commit>, oneshot::Sender<Result<(), StoreError>>),
}

/// Starts the owner of a store. The task ends, and the store is closed, once every handle is dropped.
pub fn start(store: Box<dyn StateStore>, metrics: StoreMetrics) -> (StateHandle, JoinHandle<()>) {
    let (requests, received) = mpsc::channel(REQUESTS_QUEUED);
    let owner = offload::start(own(store, metrics, received));
    (StateHandle { requests }, owner)
}

async fn own(mut store: Box<dyn StateStore>, metrics: StoreMetrics, mut requests: mpsc::Receiver<Request>) {
    show_quarantine(store.as_mut(), &metrics);
    while let Some(request) = requests.recv().await {
        // Whoever asked may be gone because the process is stopping; its answer is of no use to anybody else.
        let _unasked = match request {
            Request::FirstHour(scope, proposed, answer) => {
                answer.send(store.first_hour(&scope, proposed)).map_err(drop)
            }
            Request::Frontiers(scope, answer) => answer.send(store.frontiers(&scope)).map_err(drop),
            Request::Positions(scope, root, hour, answer) => {
                answer.send(store.positions(&scope, &root, hour)).map_err(drop)
            }
            Request::QuarantineUsage(answer) => answer.send(store.quarantine_usage()).map_err(drop),
            Request::Scopes(answer) => answer.send(store.scopes()).map_err(drop),
            Request::StoredDay(scope, root, after, answer) => {
                answer.send(store.stored_day(&scope, &root, after)).map_err(drop)
            }
            Request::Prune(scope, root, day, present, answer) => {
                answer.send(store.prune(&scope, &root, day, &present)).map_err(drop)
            }
            Request::Commit(commit, answer) => {
                let started = Instant::now();
                let committed = store.commit(&commit);
                match &committed {
                    Ok(()) => {
                        metrics.committed(started.elapsed());
                        let has_rest_read =
                            commit.positions.iter().any(|change| change.read_rest().is_some());
                        if !commit.rejected.is_empty() || has_rest_read {
                            show_quarantine(store.as_mut(), &metrics);
                        }
                    }
                    Err(_) => metrics.commit_failed(),
                }
                answer.send(committed).map_err(drop)
            }
        };
    }
}

/// Shows the size of the quarantine; where it cannot be known, shows none.
fn show_quarantine(store: &mut dyn StateStore, metrics: &StoreMetrics) {
    match store.quarantine_usage() {
        Ok(usage) => metrics.quarantine_bytes.set_count(usage.bytes),
        Err(_) => metrics.quarantine_bytes.set(None),
    }
}

impl StateHandle {
    /// See [`StateStore::first_hour`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn first_hour(&self, scope: Scope, proposed: FirstHour) -> Result<FirstHour, StoreError> {
        self.ask(|answer| Request::FirstHour(scope, proposed, answer)).await
    }

    /// See [`StateStore::frontiers`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn frontiers(&self, scope: Scope) -> Result<Vec<(String, Frontier)>, StoreError> {
        self.ask(|answer| Request::Frontiers(scope, answer)).await
    }

    /// See [`StateStore::positions`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn positions(
        &self,
        scope: Scope,
        root: String,
        hour: Hour,
    ) -> Result<Vec<(HourlyBlob, Position)>, StoreError> {
        self.ask(|answer| Request::Positions(scope, root, hour, answer)).await
    }

    /// See [`StateStore::quarantine_usage`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn quarantine_usage(&self) -> Result<QuarantineUsage, StoreError> {
        self.ask(Request::QuarantineUsage).await
    }

    /// See [`StateStore::scopes`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn scopes(&self) -> Result<Vec<Scope>, StoreError> {
        self.ask(Request::Scopes).await
    }

    /// See [`StateStore::stored_day`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn stored_day(
        &self,
        scope: Scope,
        root: String,
        after: Option<Hour>,
    ) -> Result<Option<Hour>, StoreError> {
        self.ask(|answer| Request::StoredDay(scope, root, after, answer)).await
    }

    /// See [`StateStore::prune`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn prune(
        &self,
        scope: Scope,
        root: String,
        day: Hour,
        present: Vec<HourlyBlob>,
    ) -> Result<Pruned, StoreError> {
        self.ask(|answer| Request::Prune(scope, root, day, present, answer)).await
    }

    /// See [`StateStore::commit`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.ask(|answer| Request::Commit(Box::new(commit), answer)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let owner_is_gone = || StoreError::Io {
            operation: "reach the owner of the state store".to_owned(),
            source: "its thread has ended".into(),
        };
        self.requests.send(request(answer)).await.map_err(|_| owner_is_gone())?;
        answered.await.map_err(|_| owner_is_gone())?
    }
}
