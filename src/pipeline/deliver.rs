//! Sends batches to the intake, several at once, and turns the intake's answers into receipts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::{sync::mpsc, task::JoinSet};

use super::{Lane, Pass, PassError, Stopping, balance, budget::Share};
use crate::{
    batch::Batch,
    checkpoint::Delta,
    intake::driver::{Outcome, Unaccepted},
    model::Rejected,
    planted::{self, Bug},
};

/// A batch that the intake has, or that is in the quarantine.
#[derive(Debug)]
pub(super) struct Receipt {
    /// The steps that are acknowledged now.
    pub(super) deltas: Vec<Delta>,
    /// Events that the intake accepted for certain.
    pub(super) delivered: u64,
    /// Memory that is given back once the steps are stored.
    pub(super) share: Share,
}

/// What delivery came to in one pass.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// Why batches were given up, where some were.
    pub(super) abandoned: Option<String>,
    /// Why nothing can be delivered any more.
    pub(super) failed: Option<PassError>,
}

/// Ends when there are no more batches, or when nobody takes receipts any more.
pub(super) async fn run(
    lane: &Arc<Lane>,
    mut batches: mpsc::Receiver<(Batch, Share)>,
    receipts: mpsc::Sender<Receipt>,
    pass: &Pass,
) -> Delivered {
    let stopping = &pass.stopping;
    let mut paused = pass.sending_paused.subscribe();
    let mut in_flight: JoinSet<(Batch, Share, Outcome)> = JoinSet::new();
    let mut delivered = Delivered::default();
    let mut open = true;
    while open || !in_flight.is_empty() {
        // What is given up is not sent: nothing is in the way of its end, though nothing can be stored.
        let is_paused = *paused.borrow_and_update() && !stopping.delivering.is_cancelled();
        let ended = tokio::select! {
            // What has ended makes room; then what is waited for.
            biased;
            // The sender lives as long as the pass.
            Ok(()) = paused.changed() => continue,
            () = stopping.delivering.cancelled(), if is_paused => continue,
            Some(ended) = in_flight.join_next() => ended,
            batch = batches.recv(), if open && !is_paused && in_flight.len() < lane.delivery.max_in_flight => {
                match batch {
                    Some((batch, share)) => {
                        in_flight.spawn(deliver(Arc::clone(lane), batch, share, stopping.clone()));
                    }
                    None => open = false,
                }
                continue;
            }
        };
        let failure = match ended {
            Ok((batch, share, outcome)) => match receipt(lane, batch, share, outcome) {
                Ok(receipt) => receipts.send(receipt).await.is_err().then_some(Failure::Unwanted),
                Err(failure) => Some(failure),
            },
            Err(error) => Some(Failure::Error(error.into())),
        };
        match failure {
            None => {}
            Some(Failure::Abandoned(reason)) => delivered.abandoned = Some(reason),
            Some(Failure::Unwanted) => break,
            Some(Failure::Error(error)) => {
                delivered.failed.get_or_insert(error);
                stopping.stop_all();
            }
        }
    }
    delivered
}

enum Failure {
    /// The drain deadline has passed.
    Abandoned(String),
    /// The commit stage is gone; it reports the reason itself.
    Unwanted,
    /// The process must end.
    Error(PassError),
}

async fn deliver(lane: Arc<Lane>, batch: Batch, share: Share, stopping: Stopping) -> (Batch, Share, Outcome) {
    if planted::is(Bug::CommitBeforeAnswer) && !batch.events.is_empty() {
        let (lane, events) = (Arc::clone(&lane), batch.events.clone());
        tokio::spawn(async move {
            lane.driver.deliver(lane.intake.as_ref(), &events, &stopping.delivering).await
        });
        return (batch, share, Outcome::Delivered(Vec::new()));
    }
    // Steps without events (an empty hour, a record that is in the quarantine whole) need no request.
    let outcome = if batch.events.is_empty() {
        Outcome::Delivered(Vec::new())
    } else {
        lane.driver.deliver(lane.intake.as_ref(), &batch.events, &stopping.delivering).await
    };
    (batch, share, outcome)
}

fn receipt(lane: &Lane, batch: Batch, share: Share, outcome: Outcome) -> Result<Receipt, Failure> {
    match outcome {
        Outcome::Delivered(unaccepted) => {
            let delivered = batch.events.len().saturating_sub(unaccepted.len());
            let delivered = u64::try_from(delivered).unwrap_or(u64::MAX);
            Ok(Receipt { deltas: with_unaccepted(lane, batch, unaccepted), delivered, share })
        }
        Outcome::Abandoned { reason } => Err(Failure::Abandoned(reason)),
        Outcome::Closed { reason } => Err(Failure::Error(PassError::Closed(reason))),
    }
}

/// The steps of a batch, with the events that were not accepted for certain: they go into the quarantine with them.
fn with_unaccepted(lane: &Lane, mut batch: Batch, unaccepted: Vec<Unaccepted>) -> Vec<Delta> {
    let mut which = HashSet::new();
    if !unaccepted.is_empty() {
        let owners: HashMap<usize, usize> = batch.owners().collect();
        let ranges: Vec<_> = batch.events.ranges().collect();
        for Unaccepted { event, reason, detail, answer } in unaccepted {
            which.insert(event);
            let Some((place, range)) = batch.events.places.get(event).zip(ranges.get(event)) else {
                continue;
            };
            let Some(delta) = owners.get(&event).and_then(|delta| batch.deltas.get_mut(*delta)) else {
                continue;
            };
            let encoded = batch.events.bytes.get(range.clone()).unwrap_or_default();
            delta.rejected.push(Rejected {
                reason,
                detail,
                span: place.record,
                ordinal: Some(place.ordinal),
                context: None,
                text: lane.intake.framing().decode_event(encoded),
                answer: Some(answer),
            });
        }
    }
    balance::settle(&mut batch, &which);
    batch.deltas
}
