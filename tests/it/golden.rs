//! The golden samples: the vendor page's raw and transformed events, and the published identities.

use std::collections::BTreeMap;

use flowlogd::{
    event::EventFormat,
    flowlog::{RawRecord, RecordHasher},
    model::{EventId, Origin, Span},
};
use serde_json::Value;

use crate::support::{
    convert::convert_whole,
    golden::{assert_contains, written_down},
};

const SEED_BLOB: &[u8] = include_bytes!("../data/seed/PT1H.json");
const SEED_FLOW: &str = include_str!("../data/seed/flow.json");
const SEED_ECS: &str = include_str!("../data/seed/ecs.json");
const ODD_BLOB: &[u8] = include_bytes!("../data/odd.json");

fn events(format: EventFormat, blob: &[u8]) -> Vec<Value> {
    let converted = convert_whole(format, blob);
    assert_eq!((converted.damage, converted.incomplete), (None, None));
    converted.events.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
}

/// *Scenario*: the record behind the vendor page's six samples.
/// *Guarantees*: `flow` gives the six raw samples, byte for byte in compact form, and `ecs` without enrichment the six
/// transformed ones, equal as JSON values.
#[test]
fn the_vendors_samples() {
    let flow: Vec<Value> = serde_json::from_str(SEED_FLOW).unwrap();
    let ecs: Vec<Value> = serde_json::from_str(SEED_ECS).unwrap();
    assert_eq!((flow.len(), ecs.len()), (6, 6));
    assert_eq!(events(EventFormat::Flow { provenance: false }, SEED_BLOB), flow);
    assert_eq!(events(EventFormat::Ecs { enrich: false }, SEED_BLOB), ecs);
    let bodies = convert_whole(EventFormat::Flow { provenance: false }, SEED_BLOB).events;
    for ((_, body), sample) in bodies.iter().zip(&ecs) {
        assert_eq!(Some(body.as_str()), sample["message"].as_str());
    }
}

/// *Scenario*: the vendor page's table of extracted fields.
/// *Guarantees*: every field of it stands in every ecs event, with a value of the table's type.
#[test]
fn the_vendors_table_of_fields() {
    let table = [
        ("@timestamp", "date"),
        ("action.properties.FlowEncryption", "keyword"),
        ("action.properties.OperationName", "keyword"),
        ("action.target", "keyword"),
        ("destination.bytes", "long"),
        ("destination.ip", "ip"),
        ("destination.packets", "long"),
        ("destination.port", "long"),
        ("event.category", "keyword"),
        ("event.code", "keyword"),
        ("network.iana_number", "keyword"),
        ("observer.mac", "keyword"),
        ("rule.name", "keyword"),
        ("source.bytes", "long"),
        ("source.ip", "ip"),
        ("source.packets", "long"),
        ("source.port", "long"),
    ];
    for enrich in [false, true] {
        for event in events(EventFormat::Ecs { enrich }, SEED_BLOB) {
            for (field, kind) in table {
                let value = field.split('.').fold(&event, |value, name| &value[name]);
                let fits = match kind {
                    "date" => chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).is_ok(),
                    "long" => value.is_u64(),
                    "ip" => value.as_str().unwrap().parse::<std::net::IpAddr>().is_ok(),
                    _ => {
                        value.is_string()
                            || value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
                    }
                };
                assert!(fits, "{field} should be a {kind}: {value}");
            }
        }
    }
}

/// *Scenario*: the samples and a blob of oddities, plain and enriched.
/// *Guarantees*: enrichment adds and never changes.
#[test]
fn enriched_is_a_superset() {
    for blob in [SEED_BLOB, ODD_BLOB] {
        let enriched = events(EventFormat::Ecs { enrich: true }, blob);
        let plain = events(EventFormat::Ecs { enrich: false }, blob);
        assert_eq!(enriched.len(), plain.len());
        for (enriched, plain) in enriched.iter().zip(&plain) {
            assert_contains(enriched, plain);
            assert_ne!(enriched, plain);
        }
    }
}

/// *Scenario*: the second of the vendor's samples, enriched.
/// *Guarantees*: every added field has the documented value.
#[test]
fn an_enriched_event() {
    let event = &events(EventFormat::Ecs { enrich: true }, SEED_BLOB)[1];
    expect_test::expect_file!["../data/seed/enriched.json"]
        .assert_eq(&(serde_json::to_string_pretty(event).unwrap() + "\n"));
    assert_eq!(event["network"]["bytes"], 767 + 1580);
    assert_eq!(event["network"]["community_id"], "1:6MSfqbSvzAUXgaOO+gLycCBzFG0=");
}

/// *Scenario*: a blob of oddities: keys in another order, unknown keys, missing lists and texts, a version as text, a
/// time without zone, empty, missing and surplus counters, IPv6, seconds, elements that are no tuples, records that
/// are no records.
/// *Guarantees*: each becomes the event, or the entry for the quarantine, that is written down here.
#[test]
fn oddities() {
    let converted = convert_whole(EventFormat::Flow { provenance: true }, ODD_BLOB);
    expect_test::expect_file!["../data/odd.txt"].assert_eq(&written_down(&converted));
}

/// *Scenario*: one event of each state, IPv4 and IPv6, as sentences.
/// *Guarantees*: the vendor's wording; addresses of version 6 stand in brackets.
#[test]
fn sentences() {
    let mut shown = String::new();
    for blob in [SEED_BLOB, ODD_BLOB] {
        for (_, sentence) in convert_whole(EventFormat::Text, blob).events {
            shown += &sentence;
            shown.push('\n');
        }
    }
    expect_test::expect_file!["../data/sentences.txt"].assert_eq(&shown);
}

/// *Scenario*: record keys that an independent XXH3-128 implementation computed.
/// *Guarantees*: the same ids: they are stored in SIEMs and must never change.
#[test]
fn event_ids_never_change() {
    let vectors: Vec<BTreeMap<String, Value>> =
        serde_json::from_str(include_str!("../data/event_ids.json")).unwrap();
    assert!(vectors.len() >= 3);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let origin = Origin { account: text("account"), container: text("container") };
        let from = vector["offset"].as_u64().unwrap();
        let record = text("record");
        let span = Span { from, to: from + u64::try_from(record.len()).unwrap() };
        let raw = RawRecord::new(span, record.as_bytes());
        let key = RecordHasher::new(&origin, &text("blob")).key(&raw);
        assert_eq!(EventId { record: key, ordinal: 17 }.to_string(), text("id"));
    }
}
