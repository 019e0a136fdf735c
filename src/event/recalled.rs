//! What an event that was written before tells of itself.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{flowlog, model::EventId};

/// Identity and time, where the event has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recalled {
    /// `event.id`: of enriched ecs, and of flow with provenance.
    pub id: Option<EventId>,
    /// The tuple's time, milliseconds since 1970.
    pub time_ms: Option<i64>,
}

/// What either shape has of it.
#[derive(Debug, Deserialize)]
struct Written<'a> {
    #[serde(borrow, rename = "event.id")]
    flat_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Named<'a>>,
    #[serde(borrow, rename = "flow.0")]
    tuple: Option<Cow<'a, str>>,
    /// The same in the shape flow, as a text.
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

impl Recalled {
    /// Of an event's own bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let Ok(Written { flat_id, event, tuple, message }) = serde_json::from_slice(body) else {
            return Self::default();
        };
        let id = flat_id.or_else(|| event.and_then(|event| event.id));
        let time_of_message = || {
            let inner: Written<'_> = serde_json::from_str(message.as_deref()?).ok()?;
            flowlog::tuple::time_of(inner.tuple.as_deref()?)
        };
        Self {
            id: id.and_then(|text| EventId::parse(&text)),
            time_ms: tuple.and_then(|tuple| flowlog::tuple::time_of(&tuple)).or_else(time_of_message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Encoder, EventFormat},
        flowlog::RawRecord,
        model::{BlobName, Origin, Span},
    };

    const RECORD: &[u8] = br#"{"time":"2022-09-14T09:00:52.5625085Z","flowLogVersion":4,"flowLogGUID":"guid","macAddress":"112233445566","category":"FlowLogFlowEvent","flowLogResourceID":"/id","targetResourceID":"/target","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[{"aclID":"acl","flowGroups":[{"rule":"Rule","flowTuples":["1663146003599,10.0.0.6,192.0.2.180,23956,443,6,O,B,NX,0,0,0,0","1663146003606,10.0.0.6,192.0.2.180,23956,443,6,O,E,NX,3,767,2,1580"]}]}]}}"#;

    /// *Scenario*: the events of a record in each format, and bytes that are no event.
    /// *Guarantees*: identity and time are those that the encoder gave; where a format has none, there is none.
    #[test]
    fn events_are_recalled() {
        for (format, has_id) in [
            (EventFormat::Ecs { enrich: true }, true),
            (EventFormat::Ecs { enrich: false }, false),
            (EventFormat::Flow { provenance: true }, true),
            (EventFormat::Flow { provenance: false }, false),
        ] {
            let origin = Origin { account: "acct".to_owned(), container: "logs".to_owned() };
            let mut encoder = Encoder::new(format, &origin, &BlobName::new("PT1H.json".to_owned()));
            let record = RawRecord::new(Span { from: 0, to: 1 }, RECORD);
            let mut n_events = 0;
            let mut encoding = encoder.begin(record).unwrap();
            let done = encoding.advance(&mut |event| {
                n_events += 1;
                let expected = Recalled { id: has_id.then_some(event.id), time_ms: Some(event.time_ms) };
                assert_eq!(Recalled::of(event.body), expected, "{format:?}");
                std::ops::ControlFlow::Continue(())
            });
            assert!(done.done);
            assert_eq!(n_events, 2, "{format:?}");
        }
        for body in ["", "text", "[]", "{}", r#"{"event":{"id":"x"},"flow.0":"x"}"#, r#"{"message":"{}"}"#] {
            assert_eq!(Recalled::of(body.as_bytes()), Recalled::default(), "{body}");
        }
    }
}
