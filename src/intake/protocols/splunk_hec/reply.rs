//! What an answer of the collector means: its body has a code, which says more than the status.

use std::time::SystemTime;

use http::StatusCode;
use serde::Deserialize;

use crate::intake::{
    Answer, Cause, Verdict,
    protocols::answers::{Advice, default_verdict, is_passing, name, wait},
};

const ADVICE: Advice = Advice {
    credentials: "check `token`, and that it is enabled at Splunk",
    success: "check that `url` is the HTTP Event Collector",
};

/// An answer of the collector. Other keys are normal.
#[derive(Debug, Deserialize)]
struct Reply {
    code: i64,
    #[serde(rename = "ackId")]
    acknowledgement_id: Option<u64>,
    /// The place of the event at fault, from 0.
    #[serde(rename = "invalid-event-number")]
    event_number: Option<usize>,
}

fn read(answer: &Answer) -> Option<Reply> {
    serde_json::from_slice(&answer.body).ok()
}

/// What to ask for where indexers acknowledge what they have.
pub(super) fn acknowledgement_id(answer: &Answer) -> Option<u64> {
    read(answer).filter(|reply| reply.code == 0).and_then(|reply| reply.acknowledgement_id)
}

/// Judges an answer to `n_events` events. Where the indexers are to acknowledge (`is_acknowledged`), what was taken before
/// an event at fault counts as not looked at: nobody acknowledges it, so it is sent again.
pub(super) fn verdict(is_acknowledged: bool, n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
    let reply = read(answer);
    if answer.status == StatusCode::OK {
        return judge_success(is_acknowledged, reply.as_ref(), answer);
    }
    if let Some((code, event_number)) = reply.and_then(|reply| Some((reply.code, reply.event_number?)))
        && answer.status == StatusCode::BAD_REQUEST
        && matches!(code, 6 | 12 | 13 | 15)
        && event_number < n_events
    {
        let first_untried = if is_acknowledged { 0 } else { event_number };
        let meaning = meaning_for_an_event(code);
        return Verdict::Partial {
            refused: vec![(event_number, format!("{} (code {code}): {meaning}", name(answer.status)))],
            untried: (first_untried..n_events).filter(|place| *place != event_number).collect(),
            busy: Vec::new(),
            after: None,
            reason: format!(
                "{} (code {code}): event {event_number} of {n_events} is refused: {meaning}{}",
                name(answer.status),
                answer.quote()
            ),
            answer: answer.keep(),
        };
    }
    refusal(answer, now)
}

fn judge_success(is_acknowledged: bool, reply: Option<&Reply>, answer: &Answer) -> Verdict {
    let blocked = |finding: &str, remedy: &str| Verdict::Blocked {
        reason: format!(
            "{}, but {finding}: nothing counts as delivered; {remedy}{}",
            name(answer.status),
            answer.quote()
        ),
    };
    match reply {
        Some(Reply { code: 0, acknowledgement_id: None, .. }) if is_acknowledged => blocked(
            "the answer has no `ackId`",
            "turn indexer acknowledgement on for this token at Splunk, or set `acknowledge` to false",
        ),
        Some(Reply { code: 0, .. }) => Verdict::Delivered,
        Some(Reply { code, .. }) => blocked(&format!("the answer has the code {code}"), ADVICE.success),
        None => blocked("the answer is not one of the collector", ADVICE.success),
    }
}

/// Judges an answer that is no success and names no event.
pub(super) fn refusal(answer: &Answer, now: SystemTime) -> Verdict {
    let Some(Reply { code, .. }) = read(answer).filter(|_| !is_passing(answer.status)) else {
        return default_verdict(answer, now, ADVICE);
    };
    if matches!(code, 8 | 9 | 18..=20) {
        let reason = format!("{} (code {code}): the collector is busy", name(answer.status));
        return Verdict::Retry { after: wait(answer, now), reason, cause: Cause::Busy };
    }
    match meaning_for_all(code) {
        Some(meaning) => Verdict::Blocked {
            reason: format!("{} (code {code}): {meaning}{}", name(answer.status), answer.quote()),
        },
        None => default_verdict(answer, now, ADVICE),
    }
}

fn meaning_for_an_event(code: i64) -> &'static str {
    match code {
        12 => "it has no event",
        13 => "its event is blank",
        15 => "its indexed fields are not taken",
        _ => "its format is not taken",
    }
}

/// What a code means that no other events would change, and what to do.
fn meaning_for_all(code: i64) -> Option<&'static str> {
    Some(match code {
        1 | 22 => "the token is disabled; enable it at Splunk, or give another one in `token`",
        2 | 3 => "the token did not arrive as it should; check `token`, and what stands between",
        4 | 21 => "the token is not known; check `token`",
        5 => {
            "no events arrived; something between takes them out of the request: check `url`, `proxy` and \
             `compression`"
        }
        7 => {
            "the token may not write into the index; check `index`, or allow it in the token's settings at Splunk"
        }
        10 | 11 => {
            "the header X-Splunk-Request-Channel did not arrive as it should; check `url` and what stands between"
        }
        14 => {
            "indexer acknowledgement is off for this token; turn it on at Splunk, or set `acknowledge` to false"
        }
        16 => "the collector looks for the token in the query; check `url` and what stands between",
        _ => return None,
    })
}
