//! The question whether the indexers have a batch, and its answer: `{"acks":{"7":true}}`. An id answers true once and is
//! then forgotten, so an answer that is lost leads to another delivery.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;
use serde::Deserialize;

use super::reply;
use crate::intake::{Answer, Confirmed, Verdict, protocols::answers::name};

/// The body of the question.
pub(super) fn question(id: u64) -> Bytes {
    Bytes::from(format!("{{\"acks\":[{id}]}}"))
}

#[derive(Debug, Deserialize)]
struct Acknowledgements {
    acks: BTreeMap<String, bool>,
}

/// Whether the answer says that the batch is indexed. Where the collector is busy that is not known yet. It is never a
/// matter of the events.
pub(super) fn confirmed(id: u64, answer: &Answer, now: SystemTime) -> Confirmed {
    let never = |reason: String| Confirmed::Never { reason: format!("no acknowledgement: {reason}") };
    if answer.status.is_success() {
        let acknowledgements = serde_json::from_slice::<Acknowledgements>(&answer.body).ok();
        return match acknowledgements.and_then(|found| found.acks.get(&id.to_string()).copied()) {
            Some(true) => Confirmed::Yes,
            Some(false) => Confirmed::NotYet,
            None => never(format!(
                "{}, but the answer has nothing of the id {id}; check that `url` is the HTTP Event Collector{}",
                name(answer.status),
                answer.quote()
            )),
        };
    }
    match reply::refusal(answer, now) {
        Verdict::Blocked { reason }
        | Verdict::BadBatch { reason, .. }
        | Verdict::TooLarge { reason, .. }
        | Verdict::Closed { reason } => never(reason),
        Verdict::Delivered | Verdict::Doubtful { .. } | Verdict::Partial { .. } | Verdict::Retry { .. } => {
            Confirmed::NotYet
        }
    }
}
