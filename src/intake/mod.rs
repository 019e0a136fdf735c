//! F4: the intake port: how events are framed for a receiving end, sent, and how its answer is judged.

mod answer;
pub mod auth;
pub mod confirmation;
pub mod driver;
pub mod http_intake;
mod memory;
pub mod oauth;
pub mod protocols;
pub mod redaction;
pub mod rotation;
pub mod selection;
pub mod stdout;

use std::{
    fmt,
    ops::Range,
    time::{Duration, SystemTime},
};

use crate::{batch::EncodedEvents, event::Event, http::HttpErrorKind, model::Secret};
use async_trait::async_trait;

pub use answer::Answer;
pub use confirmation::{Confirmation, Confirmed};
pub use memory::Memory;
pub use selection::Selection;

/// An answer is a list of ids as a rule; a larger one is no answer to us.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How events are laid out in a request body. Pure.
pub trait Framing: Send + Sync + fmt::Debug {
    /// Exact size of what surrounds the events.
    fn overhead(&self) -> Overhead;

    /// Appends one event as it will stand in the body, without separator.
    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>);

    /// The same for an event that comes behind others of its encoder, and may have its beginning in common with them.
    fn encode_next(&self, event: &Event<'_>, _memory: &mut Memory, out: &mut Vec<u8>) {
        self.encode_event(event, out);
    }

    /// The body for the events at `ranges` of `events`; a range may have several events, with separators between them. Its
    /// length is `overhead().body_length(...)` of the events. Called again with fewer ranges after a split; nothing is
    /// encoded twice.
    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8>;

    /// The event's own bytes back from what [`Self::encode_event`] made of them, for the quarantine.
    fn decode_event(&self, encoded: &[u8]) -> Vec<u8>;
}

/// The bytes of a body that are not events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    /// Bytes before the first and after the last event together.
    pub fixed: usize,
    /// The byte between two events, if there is one.
    pub separator: Option<u8>,
}

impl Overhead {
    /// Exact length of a body of `n_events` events with `event_bytes` encoded bytes together.
    #[must_use]
    pub fn body_length(self, n_events: usize, event_bytes: usize) -> usize {
        let n_separators = if self.separator.is_some() { n_events.saturating_sub(1) } else { 0 };
        self.fixed.saturating_add(n_separators).saturating_add(event_bytes)
    }
}

/// A protocol over HTTPS: framing, the request around the body, and the judgement of the answer. Pure, so that every
/// row of its table is a test.
pub trait Protocol: Framing {
    /// Method, URL and headers of a request; credentials, the body and what concerns it (length, encoding) come on top.
    fn request(&self) -> http::request::Builder;

    /// What its requests carry that must not be quoted from an answer.
    fn secrets(&self) -> Vec<Secret>;

    /// Most bytes of an answer that are read. A larger one counts as empty.
    fn answer_bytes(&self) -> usize {
        ANSWER_BYTES
    }

    /// Judges an answer to `n_events` events that came at `now`.
    fn classify(&self, n_events: usize, answer: &Answer, now: SystemTime) -> Verdict;

    /// What is asked next where an answer that is judged [`Verdict::Delivered`] is a receipt only, and the events may still
    /// be lost behind it. `None`: the answer is the proof.
    fn confirmation(&self, _answer: &Answer) -> Option<Confirmation> {
        None
    }

    /// Whether an answer to that question, which came at `now`, confirms that the receiver has the events it calls `id`.
    fn confirmed(&self, _id: u64, _answer: &Answer, _now: SystemTime) -> Confirmed {
        Confirmed::Yes
    }
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every event was accepted.
    Delivered,
    /// The intake accepted `accepted` of the events and does not say which: all go into the quarantine as doubtful.
    Doubtful {
        /// Events accepted.
        accepted: usize,
        /// The answer, for the quarantine and the log: status, and at most 2 KiB of its body.
        answer: (u16, String),
    },
    /// The intake says of each event what became of it. Events are named by their places in the request, in order; all that
    /// are not named were accepted.
    Partial {
        /// Events that it does not take, each with what it says of it.
        refused: Vec<(usize, String)>,
        /// Events that it did not look at.
        untried: Vec<usize>,
        /// Events that it cannot take now.
        busy: Vec<usize>,
        /// `Retry-After`.
        after: Option<Duration>,
        /// What happened, for people.
        reason: String,
        /// The answer, as in [`Self::Doubtful`].
        answer: (u16, String),
    },
    /// The body is larger than the intake takes: fewer events may pass.
    TooLarge {
        /// What happened, for people.
        reason: String,
        /// The answer, as in [`Self::Doubtful`].
        answer: (u16, String),
    },
    /// The intake does not take these events; one of them may be at fault, or all that is sent.
    BadBatch {
        /// What happened and what to do, for people.
        reason: String,
        /// The answer, as in [`Self::Doubtful`].
        answer: (u16, String),
    },
    /// Try again, not before `after` where the server said so.
    Retry {
        /// `Retry-After`.
        after: Option<Duration>,
        /// What happened, for people.
        reason: String,
        /// What may lie behind it.
        cause: Cause,
    },
    /// Another try will not help until somebody acts: keep everything, say so loudly, look again now and then.
    Blocked {
        /// What happened and what to do, for people.
        reason: String,
    },
    /// The receiving end is gone for good (a closed pipe): nothing can be delivered any more.
    Closed {
        /// What happened.
        reason: String,
    },
}

/// What may lie behind a failure that passes by itself as a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The intake says that it cannot now.
    Busy,
    /// There was no whole answer.
    Unanswered,
    /// The connection was reset before there was an answer: a server that finds a body too large may do that.
    Reset,
    /// The certificate is not trusted, or not for this name: again and again, it is a matter of the settings.
    Untrusted,
}

impl Cause {
    /// Of a request without a whole answer. Nobody knows whether its events were accepted: they are sent again, with the
    /// same ids.
    fn of(error: HttpErrorKind) -> Self {
        match error {
            HttpErrorKind::Reset => Self::Reset,
            HttpErrorKind::Certificate => Self::Untrusted,
            HttpErrorKind::Connect
            | HttpErrorKind::Proxy
            | HttpErrorKind::Timeout
            | HttpErrorKind::Closed
            | HttpErrorKind::TooLarge
            | HttpErrorKind::Other => Self::Unanswered,
        }
    }
}

/// A receiving end.
#[async_trait]
pub trait Intake: Send + Sync + fmt::Debug {
    /// How its events are laid out.
    fn framing(&self) -> &dyn Framing;

    /// Exact size of what surrounds the events of the next request; a secret in it may change while the process runs.
    fn body_overhead(&self) -> Overhead {
        self.framing().overhead()
    }

    /// Sends the selected events once and judges the answer. Network errors are verdicts too.
    async fn attempt(&self, events: &EncodedEvents, selection: &Selection) -> Verdict;
}
