//! Sizes across batcher and protocols: what is accounted is what is sent, to the byte.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use url::Url;

use super::{
    elasticsearch::Elasticsearch,
    http_generic::HttpGeneric,
    otlp::{Otlp, OtlpEncoding},
    sekoia::Sekoia,
    splunk_hec::{self, Labels, SplunkHec},
    test_support::event,
};
use crate::{
    batch::{Batch, BatchLimits, Batcher, BodySize, EncodedEvents, EventPlace, Run},
    intake::{Framing, protocols::http_generic::HttpFraming},
    model::{BlobName, Hour, HourlyBlob, Secret, Span},
};

const MAX_AGE: Duration = Duration::from_secs(5);

/// Every layout of a body that there is. A key that needs escaping makes the surroundings longer.
fn framings(intake_key: &str) -> Vec<Box<dyn Framing>> {
    let url = Url::parse("https://intake.example").unwrap();
    let generic = |framing| HttpGeneric::new(&url, framing, &HeaderMap::new(), &[StatusCode::OK]).unwrap();
    let otlp = |encoding| Otlp::new(&url, encoding, &HeaderMap::new()).unwrap();
    vec![
        Box::new(Sekoia::new(&url, &Secret::new(intake_key.to_owned())).unwrap()),
        Box::new(Elasticsearch::new(&url, "flows").unwrap()),
        Box::new(generic(HttpFraming::Ndjson)),
        Box::new(generic(HttpFraming::JsonArray)),
        Box::new(SplunkHec::new(&url, &splunk_hec_config(intake_key), 7).unwrap()),
        Box::new(otlp(OtlpEncoding::Protobuf)),
        Box::new(otlp(OtlpEncoding::Json)),
    ]
}

fn splunk_hec_config(label: &str) -> splunk_hec::Config {
    let labels = Labels { source: Some(label.to_owned()), ..Labels::default() };
    splunk_hec::Config { token: Secret::new("token".to_owned()), labels, acknowledged_within: None }
}

/// Texts as a blob's reader hands them over.
fn run(framing: &dyn Framing, blob: u8, texts: &[String]) -> Run {
    let mut events = EncodedEvents::separated_by(framing.overhead().separator);
    for text in texts {
        framing.encode_event(&event(text.as_bytes()), &mut events.bytes);
        events.finish_event(EventPlace { record: Span { from: 0, to: 1 }, ordinal: 0 });
    }
    let name = BlobName::new(format!("root/y=2026/{blob}"));
    Run {
        blob: HourlyBlob::new(name, 4, Hour::from_number(0)).unwrap(),
        events,
        from: None,
        to: None,
        rejected: Vec::new(),
        records: 0,
        tuples: 0,
        started_over: false,
        last: false,
    }
}

/// All batches that these runs make.
fn batches(framing: &dyn Framing, limits: BatchLimits, runs: &[(u8, Vec<String>)]) -> Vec<Batch> {
    let overhead = framing.overhead();
    let size = BodySize { fixed: overhead.fixed, separator: overhead.separator };
    let mut batcher = Batcher::new(limits, size);
    let now = Instant::now();
    let mut all = Vec::new();
    for (blob, texts) in runs {
        all.extend(batcher.push(run(framing, *blob, texts), now));
    }
    all.extend(batcher.flush());
    all
}

/// Any text: control characters, quotes, backslashes and characters of several bytes among the rest.
const ANY_TEXT: &str = "(?s)([\\x00-\\x7f]|[\"\\\\\n\r]|\\PC){0,40}";

proptest! {
    /// *Scenario*: any texts as events of several blobs, any limits, every protocol and layout.
    /// *Guarantees*: the body of a batch, and of every piece into which it may be split, is as long as was accounted; it
    /// is not over the limit unless one event is by itself; and no batch leaves while its next event would have fitted.
    #[test]
    fn bodies_are_as_long_as_accounted(
        runs in prop::collection::vec((0_u8..3, prop::collection::vec(ANY_TEXT, 0..8)), 0..8),
        intake_key in "(?s).{1,8}",
        max_bytes in 1_usize..400,
        max_events in 1_usize..12,
    ) {
        for framing in framings(&intake_key) {
            let framing = &*framing;
            let limits = BatchLimits { max_bytes, max_events, max_age: MAX_AGE };
            let batches = batches(framing, limits, &runs);
            let overhead = framing.overhead();
            for batch in &batches {
                let (events, n_events) = (&batch.events, batch.events.len());
                let ranges: Vec<_> = events.ranges().collect();
                for start in 0..n_events {
                    for end in start + 1..=n_events {
                        let accounted = overhead.body_length(end - start, events.encoded_bytes(&(start..end)));
                        let body = framing.assemble(&events.bytes, &ranges[start..end]);
                        prop_assert_eq!(body.len(), accounted, "{:?}: {}..{} of {}", framing, start, end, n_events);
                        let pieces = crate::intake::Selection::of(start..end).byte_ranges(events);
                        prop_assert_eq!(framing.assemble(&events.bytes, &pieces), body, "{:?} in one piece", framing);
                    }
                }
                let whole = framing.assemble(&events.bytes, &ranges).len();
                prop_assert!(whole <= max_bytes || n_events <= 1, "{:?}: {} over {}", framing, whole, max_bytes);
                prop_assert!(n_events <= max_events);
            }
            for pair in batches.windows(2) {
                let (full, next) = (&pair[0].events, &pair[1].events);
                let longer = full.encoded_bytes(&(0..full.len())) + next.encoded_bytes(&(0..1));
                let is_full = overhead.body_length(full.len() + 1, longer) > max_bytes;
                prop_assert!(is_full || full.len() == max_events, "{:?}: {} events", framing, full.len());
            }
            let n_events: usize = batches.iter().map(|batch| batch.events.len()).sum();
            prop_assert_eq!(n_events, runs.iter().map(|(_, texts)| texts.len()).sum::<usize>());
        }
    }
}
