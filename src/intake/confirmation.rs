//! Waits until a receiver that takes events first and stores them later confirms that it has them. Without the
//! confirmation they are not delivered.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use tokio::time::{Instant, sleep_until};

use super::{Answer, Cause, Protocol, Verdict, redaction::Redaction};
use crate::{
    http::{Client, HttpError},
    telemetry::chain,
};

/// A confirmation takes some seconds as a rule.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A receiver that takes longer is busy enough.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The answer is a few bytes; a larger one is none.
const ANSWER_BYTES: usize = 64 * 1024;

/// What is asked until a receiver confirms that it has the events of an answer.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// The question.
    pub request: Request<Bytes>,
    /// What the receiver calls the events.
    pub id: u64,
    /// How long to ask.
    pub within: Duration,
}

/// What an answer to the question says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The receiver has the events.
    Yes,
    /// It does not say so yet.
    NotYet,
    /// Asking again does not help.
    Never {
        /// What happened and what to do, for people.
        reason: String,
    },
}

/// Asks until the receiver confirms, says why it never will, or the time is over. Then the events are sent again: the
/// confirmation may be lost.
pub(super) async fn wait(
    protocol: &dyn Protocol,
    client: &Client,
    confirmation: &Confirmation,
    redaction: &Redaction,
) -> Verdict {
    let Confirmation { request, id, within } = confirmation;
    let started = Instant::now();
    let end = started.checked_add(*within).unwrap_or(started);
    let mut pause = FIRST_PAUSE;
    loop {
        let due = Instant::now().checked_add(pause).map_or(end, |next| next.min(end));
        sleep_until(due).await;
        let answered = ask(client, request.clone(), redaction).await;
        let unanswered = match answered.map(|answer| protocol.confirmed(*id, &answer, SystemTime::now())) {
            Ok(Confirmed::Yes) => return Verdict::Delivered,
            Ok(Confirmed::Never { reason }) => return Verdict::Blocked { reason },
            Ok(Confirmed::NotYet) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= end {
            return late(*within, unanswered.as_ref());
        }
        pause = longer(pause);
    }
}

/// The next pause: half as long again.
fn longer(pause: Duration) -> Duration {
    pause.saturating_add(pause / 2).min(LONGEST_PAUSE)
}

fn late(within: Duration, unanswered: Option<&HttpError>) -> Verdict {
    let mut reason = format!(
        "the receiver took the events and has not confirmed within {} that it has them, so they are sent again, with \
         equal ids",
        humantime::format_duration(within)
    );
    if let Some(error) = unanswered {
        reason = format!("{reason}; the last question was not answered: {}", chain(error));
    }
    Verdict::Retry { after: None, reason, cause: Cause::Unanswered }
}

async fn ask(client: &Client, request: Request<Bytes>, redaction: &Redaction) -> Result<Answer, HttpError> {
    let response = client.send(request).await?;
    let (status, headers) = (response.status, response.headers.clone());
    let body = response.bytes(ANSWER_BYTES).await?;
    Ok(Answer { status, headers, body, redaction: redaction.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: the pauses between the questions of two minutes.
    /// *Guarantees*: they begin with a second, grow to ten, and are some twenty in all.
    #[test]
    fn pauses() {
        let pauses: Vec<Duration> =
            std::iter::successors(Some(FIRST_PAUSE), |pause| Some(longer(*pause))).take(17).collect();
        assert_eq!(pauses.first(), Some(&FIRST_PAUSE));
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        assert!(pauses.is_sorted());
        let seconds: u64 = pauses.iter().map(Duration::as_secs).sum();
        assert!((110..=130).contains(&seconds), "{seconds}");
    }
}
