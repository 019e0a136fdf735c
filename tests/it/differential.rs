//! The product against the plain reading of the same documents: the writer's, in every shape.

use std::{fs, ops::ControlFlow};

use flowlogd::{
    event::{Encoder, EventFormat},
    flowlog::{Piece, RawRecord, RecordHasher, Splitter, Start},
    intake::{Framing as _, Memory, protocols::sekoia::Sekoia},
    model::{BlobName, Origin, Secret, Span},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use url::Url;

use crate::support::{
    convert::convert,
    documents::only_file,
    examples::example,
    plain::{self, PlainPlace},
};

/// Where [`convert`] says that its bytes are from.
const ACCOUNT: &str = "account";
const CONTAINER: &str = "container";
const BLOB: &str = "blob";

/// Does not divide anything that a record has.
const CHUNK_BYTES: usize = 4_999;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}

/// A document of the example writer.
fn written(shape: &str, n_minutes: u32, seed: u32) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (seed, n_minutes) = (seed.to_string(), n_minutes.to_string());
    let written = example("flow_log_writer")
        .arg("--directory")
        .arg(directory.path())
        .args(["--nics", "1", "--minutes", &n_minutes, "--shape", shape, "--seed", &seed])
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    fs::read(only_file(directory.path())).unwrap()
}

/// Every record of a document with its place, as plainly as can be.
fn records(document: &[u8]) -> Vec<(Value, PlainPlace<'static>)> {
    let text = std::str::from_utf8(document).unwrap();
    let hasher =
        RecordHasher::new(&Origin { account: ACCOUNT.to_owned(), container: CONTAINER.to_owned() }, BLOB);
    let records = serde_json::from_str::<Document<'_>>(text).unwrap().records.into_iter();
    let placed = records.map(|raw| {
        let from = raw.get().as_ptr().addr() - text.as_ptr().addr();
        let span = Span { from: from.try_into().unwrap(), to: (from + raw.get().len()).try_into().unwrap() };
        let key = hasher.key(&RawRecord::new(span, raw.get().as_bytes())).to_string();
        let place = PlainPlace { account: ACCOUNT, container: CONTAINER, blob: BLOB, offset: span.from, key };
        (serde_json::from_str(raw.get()).unwrap(), place)
    });
    placed.collect()
}

/// An event as a value. The event within it is one too: the order of its members is not the plain reading's to say.
fn value(body: &str) -> Value {
    let mut value: Value = serde_json::from_str(body).unwrap();
    if let Some(message) = value["message"].as_str() {
        value["message"] = serde_json::from_str(message).unwrap();
    }
    value
}

fn check(shape: &str, n_minutes: u32) {
    for seed in [1, 2] {
        let document = written(shape, n_minutes, seed);
        let records = records(&document);
        for (format, expected) in [
            (
                EventFormat::Flow { provenance: false },
                all(&records, |record, _| plain::flow_events(record, None)),
            ),
            (
                EventFormat::Flow { provenance: true },
                all(&records, |record, place| plain::flow_events(record, Some(place))),
            ),
            (EventFormat::Ecs { enrich: false }, all(&records, |record, _| plain::ecs_events(record, None))),
            (
                EventFormat::Ecs { enrich: true },
                all(&records, |record, place| plain::ecs_events(record, Some(place))),
            ),
            (
                EventFormat::Columns { enrich: false },
                all(&records, |record, _| rows(plain::ecs_events(record, None))),
            ),
            (
                EventFormat::Columns { enrich: true },
                all(&records, |record, place| rows(plain::ecs_events(record, Some(place)))),
            ),
        ] {
            let converted = convert(format, Start::Beginning, document.chunks(CHUNK_BYTES), usize::MAX);
            assert_eq!((converted.rejected, converted.damaged), (Vec::new(), Vec::new()), "{format:?}");
            assert_eq!(converted.events.len(), expected.len(), "{format:?}");
            for ((_, body), expected) in converted.events.iter().zip(expected) {
                assert_eq!(value(body), value(&expected.to_string()), "{format:?}, {shape}, seed {seed}");
            }
        }
    }
}

/// *Scenario*: the events of records of both kinds, many groups among them, taken with pauses and framed as texts within
/// JSON, once each by itself and once with what a framing remembers.
/// *Guarantees*: the bytes are the same.
#[test]
fn shared_beginnings() {
    let url = Url::parse("https://intake.example").unwrap();
    let framing = Sekoia::new(&url, &Secret::new("key".to_owned())).unwrap();
    let documents: [&[u8]; 3] = [
        include_bytes!("../data/seed/PT1H.json"),
        include_bytes!("../data/odd.json"),
        include_bytes!("../data/nsg/PT1H.json"),
    ];
    for format in [
        EventFormat::Flow { provenance: true },
        EventFormat::Ecs { enrich: true },
        EventFormat::Columns { enrich: false },
        EventFormat::Text,
    ] {
        let origin = Origin { account: ACCOUNT.to_owned(), container: CONTAINER.to_owned() };
        let mut encoder = Encoder::new(format, &origin, &BlobName::new(BLOB));
        let mut memory = Memory::default();
        let (mut alone, mut behind) = (Vec::new(), Vec::new());
        for document in documents {
            let mut splitter = Splitter::new(Start::Beginning, 1024 * 1024);
            splitter.push(document);
            while let Some(piece) = splitter.next_piece() {
                let Piece::Record(record) = piece else { continue };
                let Ok(mut encoding) = encoder.begin(record) else { continue };
                let mut pauses = 0;
                while !encoding
                    .advance(&mut |event| {
                        framing.encode_event(&event, &mut alone);
                        framing.encode_next(&event, &mut memory, &mut behind);
                        pauses += 1;
                        if pauses % 3 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    })
                    .done
                {}
            }
        }
        assert!(alone.len() > 1_000);
        assert_eq!(String::from_utf8(behind).unwrap(), String::from_utf8(alone).unwrap(), "{format:?}");
    }
}

fn all(
    records: &[(Value, PlainPlace<'static>)],
    events: impl Fn(&Value, &PlainPlace<'static>) -> Vec<Value>,
) -> Vec<Value> {
    let all: Vec<_> = records.iter().flat_map(|(record, place)| events(record, place)).collect();
    assert!(all.len() > 30, "{}", all.len());
    all
}

fn rows(events: Vec<Value>) -> Vec<Value> {
    events.iter().map(plain::columns).collect()
}

/// *Scenario*: twenty minutes of the writer's usual traffic, in chunks, in every shape of events that is JSON.
/// *Guarantees*: each event is what the plain reading makes of the same tuple, number by number.
#[test]
fn typical() {
    check("typical", 20);
}

/// *Scenario*: an hour of a machine with nearly nothing to tell.
/// *Guarantees*: as above.
#[test]
fn sparse() {
    check("sparse", 60);
}

/// *Scenario*: a minute of a busy machine.
/// *Guarantees*: as above.
#[test]
fn dense() {
    check("dense", 1);
}

/// *Scenario*: twenty minutes of a machine that speaks IPv6.
/// *Guarantees*: as above.
#[test]
fn version_6() {
    check("v6", 20);
}

/// *Scenario*: half an hour of everything that is legal and unpleasant.
/// *Guarantees*: as above.
#[test]
fn hostile() {
    check("hostile", 30);
}
