//! Records of network security groups: what each becomes in every shape.

use flowlogd::event::EventFormat;
use serde_json::{Value, json};

use crate::support::{
    convert::{Converted, convert_whole},
    golden::{assert_contains, written_down},
};

/// A record of version 2, one of virtual network flow logs, and one of version 1.
const MIXED_BLOB: &[u8] = include_bytes!("../data/nsg/PT1H.json");
const ODD_BLOB: &[u8] = include_bytes!("../data/nsg/odd.json");

const FLOW: EventFormat = EventFormat::Flow { provenance: false };
const PLAIN: EventFormat = EventFormat::Ecs { enrich: false };
const ENRICHED: EventFormat = EventFormat::Ecs { enrich: true };

fn bodies(format: EventFormat, blob: &[u8]) -> Vec<String> {
    let Converted { events, damage, incomplete, .. } = convert_whole(format, blob);
    assert_eq!((damage, incomplete), (None, None));
    events.into_iter().map(|(_, body)| body).collect()
}

fn lines(bodies: &[String]) -> String {
    bodies.iter().map(|body| format!("{body}\n")).collect()
}

/// *Scenario*: both versions, and a record of virtual network flow logs between them, in the shape `flow`.
/// *Guarantees*: every tuple is an event with the documented keys in their order, the tuple as it stands.
#[test]
fn flow_events() {
    expect_test::expect_file!["../data/nsg/flow.txt"].assert_eq(&lines(&bodies(FLOW, MIXED_BLOB)));
}

/// *Scenario*: the same in the shape `ecs` without enrichment.
/// *Guarantees*: the third event is the vendor's, and all are as written down; the message is the flow event.
#[test]
fn plain_ecs_events() {
    let shown = bodies(PLAIN, MIXED_BLOB);
    let events: Vec<Value> = shown.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    let flow = bodies(FLOW, MIXED_BLOB);
    let rule = "UserRule_dns";
    let operation = "NetworkSecurityGroupFlowEvents";
    let time = "2026-11-24T05:01:43.625922Z";
    let host = "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000001/RESOURCEGROUPS/SAMPLE/PROVIDERS\
                /MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/NSG-1";
    let (source, destination) = ("10.0.0.4", "192.0.2.53");
    let expected = json!({
        "message": flow[2],
        "@timestamp": time,
        "event": { "action": "accept", "category": ["network"], "code": operation, "outcome": "success",
                   "start": time, "type": ["allowed"] },
        "action": { "name": "accept", "outcome": "success", "target": "network-traffic", "type": rule,
                    "properties": { "FlowState": "continue", "OperationName": operation } },
        "host": { "name": host },
        "network": { "direction": "outbound", "transport": "udp" },
        "related": { "ip": [source, destination] },
        "rule": { "name": rule },
        "source": { "address": source, "ip": source, "port": 35336, "packets": 1, "bytes": 99,
                    "mac": "000D3AF87856" },
        "destination": { "address": destination, "ip": destination, "port": 53, "packets": 1, "bytes": 167 },
    });
    assert_eq!(events[2], expected);
    for (event, flow) in events.iter().zip(&flow) {
        assert_eq!(event["message"], *flow);
    }
    expect_test::expect_file!["../data/nsg/ecs.txt"].assert_eq(&lines(&shown));
}

/// *Scenario*: the same, enriched.
/// *Guarantees*: everything of the plain event is there unchanged, and the additions are as written down.
#[test]
fn enriched_ecs_events() {
    for blob in [MIXED_BLOB, ODD_BLOB] {
        let (enriched, plain) = (bodies(ENRICHED, blob), bodies(PLAIN, blob));
        assert_eq!(enriched.len(), plain.len());
        for (enriched, plain) in enriched.iter().zip(&plain) {
            let enriched: Value = serde_json::from_str(enriched).unwrap();
            assert!(enriched["event"]["id"].is_string());
            assert_contains(&enriched, &serde_json::from_str(plain).unwrap());
        }
    }
    let shown = bodies(ENRICHED, MIXED_BLOB);
    let pretty: String = [&shown[0], &shown[2], &shown[6]]
        .map(|body| {
            serde_json::to_string_pretty(&serde_json::from_str::<Value>(body).unwrap()).unwrap() + "\n"
        })
        .concat();
    expect_test::expect_file!["../data/nsg/enriched.txt"].assert_eq(&pretty);
}

/// *Scenario*: events of each state and decision, as sentences.
/// *Guarantees*: the vendor's wording.
#[test]
fn sentences() {
    let shown = lines(&bodies(EventFormat::Text, MIXED_BLOB)) + &lines(&bodies(EventFormat::Text, ODD_BLOB));
    expect_test::expect_file!["../data/nsg/sentences.txt"].assert_eq(&shown);
}

/// *Scenario*: keys in another order, both spellings of the resource id, hardware addresses at the record or the flows
/// or nowhere, versions as text, unknown or missing, surplus and missing fields, elements that are no tuples, records
/// that are no records, names of the other kind in odd places.
/// *Guarantees*: each becomes the event, or the entry for the quarantine, that is written down here; a bad tuple has
/// its record's head, version, rule and hardware address.
#[test]
fn oddities() {
    let converted = convert_whole(EventFormat::Flow { provenance: true }, ODD_BLOB);
    expect_test::expect_file!["../data/nsg/odd.txt"].assert_eq(&written_down(&converted));
    assert_eq!((converted.damage, converted.incomplete), (None, None));
}
