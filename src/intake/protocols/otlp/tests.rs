//! Records, sizes and answers.

use http::{HeaderValue, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{wire::Field, *};
use crate::intake::protocols::test_support::{
    Kind, answer, body, check_every_status, check_reason, decoded, event, kind,
};

const ENCODINGS: [OtlpEncoding; 2] = [OtlpEncoding::Protobuf, OtlpEncoding::Json];

fn otlp(url: &str, encoding: OtlpEncoding) -> Otlp {
    Otlp::new(&Url::parse(url).unwrap(), encoding, &HeaderMap::new()).unwrap()
}

fn both() -> [Otlp; 2] {
    ENCODINGS.map(|encoding| otlp("https://collector.example:4318", encoding))
}

/// The golden events of both kinds of records, plain and enriched.
fn golden_events() -> Vec<Value> {
    let mut events: Vec<Value> =
        serde_json::from_str(include_str!("../../../../tests/data/seed/ecs.json")).unwrap();
    events.push(serde_json::from_str(include_str!("../../../../tests/data/seed/enriched.json")).unwrap());
    let nsg = [
        include_str!("../../../../tests/data/nsg/ecs.txt"),
        include_str!("../../../../tests/data/nsg/enriched.txt"),
    ];
    for documents in nsg {
        events.extend(serde_json::Deserializer::from_str(documents).into_iter::<Value>().map(Result::unwrap));
    }
    assert!(events.len() > 10);
    events
}

fn assert_comes_back(event: &Value) {
    for protocol in both() {
        let back = decoded(&protocol, event.to_string().as_bytes());
        assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), *event, "{protocol:?}");
    }
}

/// The only record of a JSON request, and its attributes by name.
fn json_record(text: &str) -> (Value, Vec<(String, Value)>) {
    let [_, protocol] = both();
    let mut request: Value = serde_json::from_slice(&body(&protocol, &[text])).unwrap();
    let record = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0].take();
    let attributes = record["attributes"].as_array().unwrap().iter();
    let by_name = attributes.map(|pair| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone()));
    let by_name = by_name.collect();
    (record, by_name)
}

/// *Scenario*: every golden event, in both encodings.
/// *Guarantees*: it comes back as it was, every value of the same type.
#[test]
fn golden_events_come_back() {
    for event in golden_events() {
        assert_comes_back(&event);
    }
}

/// Objects with any values, such as no event has. Numbers with a fraction are halves: they are exact.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 2.0)),
        "\\PC{0,5}".prop_map(Value::from),
    ];
    let names = prop_oneof![
        "[a-c.\"]{0,2}",
        prop::sample::select(vec![
            "message",
            "event_id",
            "event",
            "id",
            "cloud",
            "resource_id",
            "rule",
            "name",
            "ruleset",
            "security_rule"
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// *Scenario*: any JSON, with names that are taken, dots in names, empty objects, numbers that OTLP has not.
    /// *Guarantees*: it comes back as it was.
    #[test]
    fn any_json_comes_back(event in any_json()) {
        assert_comes_back(&event);
    }

    /// *Scenario*: any texts as events.
    /// *Guarantees*: the announced length is the real one, whatever the number of events, and each comes back.
    #[test]
    fn length_is_exact(texts in prop::collection::vec("(?s)[\\x00-\\x7f\\PC]{0,300}", 0..6)) {
        for protocol in both() {
            body(&protocol, &texts);
            for text in &texts {
                prop_assert_eq!(decoded(&protocol, text.as_bytes()), text.as_bytes());
            }
        }
    }
}

/// *Scenario*: two members of one name, which JSON allows; a text that is no JSON.
/// *Guarantees*: both travel as they stand, in the body of a record that is called nothing.
#[test]
fn what_is_no_flat_object_is_the_body() {
    for text in [r#"{"a":1,"a":2}"#, "not JSON"] {
        for protocol in both() {
            assert_eq!(decoded(&protocol, text.as_bytes()), text.as_bytes());
        }
        let (record, attributes) = json_record(text);
        assert_eq!(record["body"], json!({ "stringValue": text }));
        assert_eq!(record.get("eventName"), None);
        assert_eq!(attributes.len(), 1, "{attributes:?}");
    }
}

/// *Scenario*: the enriched golden event.
/// *Guarantees*: the record is as the semantic conventions have it: time, body, name, severity; renamed attributes and
/// others with their types; the identity under `event_id`.
#[test]
fn a_record() {
    let event: Value =
        serde_json::from_str(include_str!("../../../../tests/data/seed/enriched.json")).unwrap();
    let (record, attributes) = json_record(&event.to_string());
    assert_eq!(record["timeUnixNano"], "1663146003606000000");
    assert_eq!((&record["severityNumber"], &record["severityText"]), (&json!(9), &json!("INFO")));
    assert_eq!(record["eventName"], "azure.network.flow");
    assert_eq!(record["body"], json!({ "stringValue": event["message"] }));
    let attribute = |name: &str| {
        let mut found = attributes.iter().filter(|(other, _)| other == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("no attribute {name}"));
        assert_eq!(found.next(), None, "{name}");
        value.clone()
    };
    let text = |value: &Value| json!({ "stringValue": value });
    assert_eq!(attribute("event_id"), text(&event["event"]["id"]));
    assert_eq!(attribute("event.id"), text(&event["event"]["id"]));
    assert_eq!(attribute("source.address"), text(&event["source"]["ip"]));
    assert_eq!(attribute("source.port"), json!({ "intValue": event["source"]["port"].to_string() }));
    assert_eq!(attribute("network.transport"), text(&json!("tcp")));
    assert_eq!(attribute("cloud.provider"), text(&json!("azure")));
    assert_eq!(attribute("cloud.resource_id"), text(&event["azure"]["resource"]["id"]));
    assert_eq!(attribute("security_rule.name"), text(&event["rule"]["name"]));
    assert_eq!(attribute("azure.flow.encrypted"), json!({ "boolValue": false }));
    let category = json!({ "arrayValue": { "values": [{ "stringValue": "network" }] } });
    assert_eq!(attribute("event.category"), category);
    assert!(!attributes.iter().any(|(name, _)| ["message", "rule.name"].contains(&name.as_str())));
}

/// *Scenario*: an event without identity and time inside, and a network security group's, whose time stamp is its
/// record's.
/// *Guarantees*: identity and time are those of the tuple.
#[test]
fn identity_and_time() {
    let [_, protocol] = both();
    let mut encoded = Vec::new();
    let plain = Event { time_ms: 1_500, ..event(b"{}") };
    protocol.encode_event(&plain, &mut encoded);
    let record: Value = serde_json::from_slice(&encoded).unwrap();
    assert_eq!(record["timeUnixNano"], "1500000000");
    assert_eq!(record["attributes"][0]["value"]["stringValue"], plain.id.to_string());
    let nsg = r#"{"@timestamp":"1970-01-01T00:01:00Z","azure":{"flow":{"time":"1970-01-01T00:00:02.5Z"}}}"#;
    assert_eq!(json_record(nsg).0["timeUnixNano"], "2500000000");
    assert_eq!(json_record(r#"{"@timestamp":"1970-01-01T00:01:00Z"}"#).0["timeUnixNano"], "60000000000");
}

/// *Scenario*: base URLs with and without path and slash, and the whole address.
/// *Guarantees*: logs go to `/v1/logs` below it, as their encoding; headers of the operator's do not change that.
#[test]
fn requests() {
    for (url, expected) in [
        ("https://h:4318", "https://h:4318/v1/logs"),
        ("https://h/otlp/", "https://h/otlp/v1/logs"),
        ("https://h/otlp/v1/logs", "https://h/otlp/v1/logs"),
        ("https://h/v1/logs/", "https://h/v1/logs"),
    ] {
        let request = otlp(url, OtlpEncoding::Protobuf).request().body(()).unwrap();
        assert_eq!((request.uri().to_string().as_str(), request.method().as_str()), (expected, "POST"));
        assert_eq!(request.headers()[header::CONTENT_TYPE], "application/x-protobuf");
    }
    let mut extra_headers = HeaderMap::new();
    extra_headers.insert("x-scope-orgid", HeaderValue::from_static("header-secret"));
    let url = Url::parse("https://h/path-secret").unwrap();
    let protocol = Otlp::new(&url, OtlpEncoding::Json, &extra_headers).unwrap();
    let request = protocol.request().body(()).unwrap();
    assert_eq!(request.headers()["x-scope-orgid"], "header-secret");
    assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
    let shown = format!("{:?} {protocol:?}", request.headers());
    assert!(!shown.contains("secret"), "{shown}");
    check_reason(&protocol, &answer(401, "header-secret"), "begins: ***");
}

/// *Scenario*: every status, with bodies that are a success, and none.
/// *Guarantees*: 200 is judged by its body and 204 is a success; all others, 500 too, follow the table.
#[test]
fn every_status_has_its_verdict() {
    let [protobuf, json] = both();
    let own = |ok: Kind| {
        move |status| match status {
            200 => Some(ok),
            204 => Some(Kind::Delivered),
            _ => None,
        }
    };
    check_every_status(&protobuf, "", own(Kind::Delivered));
    check_every_status(&protobuf, "<html>", own(Kind::Blocked));
    check_every_status(&json, "{}", own(Kind::Delivered));
    check_every_status(&json, "", own(Kind::Blocked));
    check_every_status(&json, r#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#, own(Kind::Doubtful(1)));
}

fn verdict(protocol: &Otlp, content_type: Option<&'static str>, text: &[u8]) -> Verdict {
    let mut success = answer(200, "");
    success.body = Bytes::copy_from_slice(text);
    if let Some(content_type) = content_type {
        success.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    protocol.classify(2, &success, SystemTime::UNIX_EPOCH)
}

/// *Scenario*: a success with every shape of body, for two events, in both encodings whatever the request's was.
/// *Guarantees*: as many are in doubt as are rejected; what proves nothing blocks.
#[test]
fn partial_success_decides() {
    let json: [(&str, Kind); 17] = [
        ("{}", Kind::Delivered),
        (" {\"more\":1}", Kind::Delivered),
        (r#"{"partialSuccess":null}"#, Kind::Delivered),
        (r#"{"partialSuccess":{}}"#, Kind::Delivered),
        (r#"{"partialSuccess":{"rejectedLogRecords":null}}"#, Kind::Delivered),
        (r#"{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"careful"}}"#, Kind::Delivered),
        (r#"{"partialSuccess":{"rejectedLogRecords":1}}"#, Kind::Doubtful(1)),
        (r#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#, Kind::Doubtful(0)),
        (r#"{"partial_success":{"rejected_log_records":"2"}}"#, Kind::Doubtful(0)),
        (r#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#, Kind::Blocked),
        (r#"{"partialSuccess":{"rejectedLogRecords":-1}}"#, Kind::Blocked),
        (r#"{"partialSuccess":{"rejectedLogRecords":"many"}}"#, Kind::Blocked),
        (r#"{"partialSuccess":1}"#, Kind::Blocked),
        ("[null]", Kind::Blocked),
        ("{", Kind::Blocked),
        ("", Kind::Blocked),
        ("OK", Kind::Blocked),
    ];
    let protobuf: [(&[u8], Kind); 9] = [
        (b"", Kind::Delivered),
        (b"\x0a\x00", Kind::Delivered),
        (b"\x0a\x06\x12\x04warn", Kind::Delivered),
        (b"\x0a\x02\x08\x01", Kind::Doubtful(1)),
        (b"\x0a\x08\x08\x02\x12\x04why?", Kind::Doubtful(0)),
        (b"\x0a\x02\x08\x03", Kind::Blocked),
        (b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Kind::Blocked),
        (b"\x0a\x05\x08", Kind::Blocked),
        (b"\x08\x01", Kind::Blocked),
    ];
    for protocol in both() {
        for (text, expected) in json {
            let said = verdict(&protocol, Some("application/json; charset=utf-8"), text.as_bytes());
            assert_eq!(kind(&said), expected, "{text}: {said:?}");
        }
        for (text, expected) in protobuf {
            let said = verdict(&protocol, Some("application/x-protobuf"), text);
            assert_eq!(kind(&said), expected, "{text:?}: {said:?}");
        }
        for content_type in ["text/html", "text/plain"] {
            assert_eq!(kind(&verdict(&protocol, Some(content_type), b"")), Kind::Blocked);
        }
    }
    let [protobuf, json] = both();
    assert_eq!(kind(&verdict(&protobuf, None, b"")), Kind::Delivered);
    assert_eq!(kind(&verdict(&json, None, b"")), Kind::Blocked);
    let said = verdict(&protobuf, None, b"\x0a\x08\x08\x01\x12\x04why?");
    assert_eq!(said, Verdict::Doubtful { accepted: 1, answer: (200, "why?".to_owned()) });
}

/// *Scenario*: requests of no, one and many events, in protobuf.
/// *Guarantees*: the nested messages are as long as their padded lengths say, and hold one record an event.
#[test]
fn nested_lengths() {
    let [protocol, _] = both();
    for n_events in [0, 1, 200] {
        let request = body(&protocol, &vec![r#"{"a":1}"#; n_events]);
        let inner = |message: Vec<u8>, wanted: u64| {
            let found: Vec<Vec<u8>> = wire::fields(&message)
                .unwrap()
                .into_iter()
                .filter_map(|(number, field)| match field {
                    Field::Bytes(bytes) if number == wanted => Some(bytes.to_vec()),
                    Field::Varint(_) | Field::Fixed64(_) | Field::Bytes(_) | Field::Fixed32 => None,
                })
                .collect();
            found
        };
        let resource_logs = inner(request, 1);
        let scope_logs = inner(resource_logs[0].clone(), 2);
        assert_eq!((resource_logs.len(), scope_logs.len()), (1, 1));
        assert_eq!(inner(scope_logs[0].clone(), 2).len(), n_events);
    }
}
