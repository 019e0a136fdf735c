//! Scripted misbehaviour: what happens to the first requests, in order.

use std::{collections::VecDeque, str::FromStr, time::Duration};

use http::StatusCode;

/// What happens to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing bad, after a while.
    Slow(Duration),
    /// This status, with `Retry-After` (seconds) or `Location` where one is given.
    Status(StatusCode, Option<String>),
    /// The connection is dropped; nothing is recorded.
    Reset,
    /// The events are recorded and the connection is dropped.
    AcceptThenReset,
    /// The events are recorded and the answer breaks off.
    Truncate,
    /// All events but the last are recorded and acknowledged.
    Doubtful,
    /// The event at this place is refused, those before it are recorded.
    RefuseEvent(usize),
    /// Nothing is recorded, and the answer says otherwise.
    Lose,
}

/// The faults to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Script(VecDeque<Fault>);

impl Script {
    /// The fate of the next request; after the end of the script all is well.
    pub(crate) fn next(&mut self) -> Fault {
        self.0.pop_front().unwrap_or(Fault::Slow(Duration::ZERO))
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(spec: &str) -> Result<Self, String> {
        let steps = spec.split(',').map(str::trim).filter(|step| !step.is_empty());
        steps.map(parse_fault).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_fault(step: &str) -> Result<Fault, String> {
    let (name, argument) = match step.split_once(':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (step, None),
    };
    match (name, argument) {
        ("ok" | "200", None) => Ok(Fault::Slow(Duration::ZERO)),
        ("slow", Some(duration)) => {
            humantime::parse_duration(duration).map(Fault::Slow).map_err(|error| format!("`{step}`: {error}"))
        }
        ("reset", None) => Ok(Fault::Reset),
        ("accept-then-reset", None) => Ok(Fault::AcceptThenReset),
        ("truncate", None) => Ok(Fault::Truncate),
        ("doubtful", None) => Ok(Fault::Doubtful),
        ("lose", None) => Ok(Fault::Lose),
        ("refuse-event", Some(place)) => {
            place.parse().map(Fault::RefuseEvent).map_err(|error| format!("`{step}`: {error}"))
        }
        (status, detail) => match status.parse::<u16>() {
            Ok(number @ 200..=599) => StatusCode::from_u16(number)
                .map(|code| Fault::Status(code, detail.map(str::to_owned)))
                .map_err(|error| format!("`{step}`: {error}")),
            _ => {
                Err(format!("`{step}` is no fault: expected a status from 200 to 599 or a name from --help"))
            }
        },
    }
}
