//! The same work as an ordinary program does it that keeps everything in trees of JSON values.

use serde_json::{Value, json};

use super::{plain, product::BODY_BYTES};

/// What a body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Events of the shape `flow`, a line each.
    Flow,
    /// The same as texts in one document.
    Batch,
    /// Events of the shape `ecs`, a line each.
    Ecs,
}

/// Takes a document from bytes to bodies.
pub(crate) fn run(document: &[u8], wanted: Body, body: &mut dyn FnMut(Vec<u8>)) {
    let document: Value = serde_json::from_slice(document).expect("the document is JSON");
    let (mut events, mut event_bytes) = (Vec::new(), 0);
    for record in document["records"].as_array().into_iter().flatten() {
        let made = match wanted {
            Body::Flow | Body::Batch => plain::flow_events(record, None),
            Body::Ecs => plain::ecs_events(record, None),
        };
        for event in made {
            let event = event.to_string();
            event_bytes += event.len();
            events.push(event);
            if event_bytes >= BODY_BYTES {
                body(assemble(std::mem::take(&mut events), wanted));
                event_bytes = 0;
            }
        }
    }
    body(assemble(events, wanted));
}

fn assemble(events: Vec<String>, wanted: Body) -> Vec<u8> {
    match wanted {
        Body::Flow | Body::Ecs => (events.join("\n") + "\n").into_bytes(),
        Body::Batch => {
            let key = "00000000-0000-4000-8000-000000000000";
            json!({ "intake_key": key, "jsons": events }).to_string().into_bytes()
        }
    }
}
