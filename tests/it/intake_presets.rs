//! Presets of protocol `http`: whole collectors against a receiver that answers as the service of each does, and the rows
//! of Azure Monitor.

use std::collections::BTreeMap;

use flowlogd::event::EventFormat;
use serde_json::{Value, json};

use crate::support::{
    convert::convert_whole,
    scripted_server::{ScriptedServer, Step},
    world::World,
};

/// More requests than any test here makes.
const N_ANSWERS: usize = 60;

/// A receiver that answers this status to all requests, and a writer; three passes of a collector with this intake.
/// Gives what was received.
async fn passes(container: &str, status: &str, demand: &[&str], intake: &str) -> (World, Vec<Value>) {
    let answers = vec![status; N_ANSWERS].join(",");
    let mut arguments = vec!["--faults", &answers];
    arguments.extend(demand);
    let world = World::new(container, &arguments, &[]).await;
    let address = format!(
        "protocol = \"http\"\nurl = \"{}v1/in\"\nca_file = {:?}\n{intake}",
        world.receiver.url,
        world.path("ca.pem")
    );
    world.configure(&[("intakes", &address)]);
    let mut writer = world.writer(&["--nics", "2", "--shape", "hostile"]);
    for _pass in 0..3 {
        writer.minutes(2);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
    }
    let received = world.received().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    (world, received)
}

/// What the ledger of the writer has: each event holds its flow event as its message.
fn assert_all_arrived(world: &World, received: &[Value]) {
    let mut messages: Vec<_> =
        received.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect();
    messages.sort_unstable();
    assert!(messages.len() > 100, "only {} events", messages.len());
    assert_eq!(messages, world.written());
}

/// *Scenario*: three processes deliver to a receiver that answers 202 and takes JSON arrays with an API key in a header.
/// *Guarantees*: every tuple arrives once, as an enriched event.
#[tokio::test]
async fn datadog() {
    let auth = "preset = \"datadog\"\nauth = { header = { name = \"DD-API-KEY\", value = \"k-1\" } }";
    let demand = ["--require-header", "dd-api-key:k-1"];
    let (world, received) = passes("preset-datadog", "202", &demand, auth).await;
    assert_all_arrived(&world, &received);
    assert!(received.iter().all(|event| event["event"]["id"].is_string() && event["@timestamp"].is_string()));
}

/// *Scenario*: the same with a receiver that answers 204 and demands a token of the authorisation server.
/// *Guarantees*: every tuple arrives once, as a row that has a time and nothing nested.
#[tokio::test(flavor = "multi_thread")]
async fn azure_monitor() {
    let token = json!({ "access_token": "t-1", "token_type": "Bearer", "expires_in": 3599 }).to_string();
    let json = [("Content-Type", "application/json")];
    let authority = ScriptedServer::start(vec![Step::answer(200, &json, token)]).await;
    let auth = format!(
        "preset = \"azure_monitor\"\nauth = {{ oauth2_client_credentials = {{ token_url = \"{}/token\", \
         client_id = \"c\", client_secret = \"s\", scope = \"https://monitor.azure.com/.default\" }} }}",
        authority.url()
    );
    let (world, received) = passes("preset-azure", "204", &["--bearer", "t-1"], &auth).await;
    assert_all_arrived(&world, &received);
    for row in &received {
        assert!(row["TimeGenerated"].is_string() && row["event_id"].is_string(), "{row}");
        assert!(row.as_object().unwrap().values().all(|value| !value.is_object()), "{row}");
    }
    let asked = authority.requests();
    assert!(!asked.is_empty());
    let scope = "scope=https%3A%2F%2Fmonitor.azure.com%2F.default";
    assert!(asked.iter().all(|request| String::from_utf8_lossy(&request.body).contains(scope)));
}

/// *Scenario*: the same with a receiver of lines that answers 200.
/// *Guarantees*: every tuple arrives once, as an enriched event.
#[tokio::test]
async fn sumo() {
    let (world, received) = passes("preset-sumo", "200", &[], "preset = \"sumo\"").await;
    assert_all_arrived(&world, &received);
    assert!(received.iter().all(|event| event["event"]["id"].is_string()));
}

/// *Scenario*: receivers that answer another success than the documented one.
/// *Guarantees*: nothing counts as delivered, and the pass ends blocked.
#[tokio::test]
async fn another_success_proves_nothing() {
    for (preset, container, status) in [
        ("datadog", "preset-d-200", "200"),
        ("azure_monitor", "preset-a-200", "200"),
        ("sumo", "preset-s-202", "202"),
    ] {
        let answers = vec![status; N_ANSWERS].join(",");
        let world = World::new(container, &["--faults", &answers], &[]).await;
        let intake = format!(
            "protocol = \"http\"\nurl = {:?}\nca_file = {:?}\npreset = \"{preset}\"",
            world.receiver.url.as_str(),
            world.path("ca.pem")
        );
        world.configure(&[("intakes", &intake), ("limits", "once_deadline = \"1s\"")]);
        world.writer(&[]).minutes(1);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 69, "{stderr}");
        assert!(stderr.contains("a success that is not expected here"), "{stderr}");
    }
}

/// The rows of a blob.
fn rows(blob: &[u8], enrich: bool) -> Vec<Value> {
    let converted = convert_whole(EventFormat::Columns { enrich }, blob);
    converted.events.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
}

const BLOBS: [&[u8]; 4] = [
    include_bytes!("../data/seed/PT1H.json"),
    include_bytes!("../data/odd.json"),
    include_bytes!("../data/nsg/PT1H.json"),
    include_bytes!("../data/nsg/odd.json"),
];

/// What a value of a row is to the service.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => "datetime",
        Value::String(_) => "string",
        Value::Number(number) if number.is_u64() => "long",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "dynamic",
        Value::Null | Value::Number(_) | Value::Object(_) => panic!("{value} is in no column"),
    }
}

/// *Scenario*: the second of the vendor's samples as a row; all golden samples of both kinds of records.
/// *Guarantees*: the row is the one written down; every column of every row has one name that Azure Monitor takes, is of one
/// kind, and stands in the list that the documentation gives for the table and the rule; the list has no other.
#[test]
fn rows_of_azure_monitor() {
    let sample = &rows(BLOBS[0], true)[1];
    expect_test::expect_file!["../data/seed/columns.json"]
        .assert_eq(&(serde_json::to_string_pretty(sample).unwrap() + "\n"));

    let mut columns = BTreeMap::new();
    for blob in BLOBS {
        for row in rows(blob, true) {
            for (name, value) in row.as_object().unwrap() {
                let kind = kind_of(value);
                assert_eq!(*columns.entry(name.clone()).or_insert(kind), kind, "{name}");
            }
        }
    }
    for name in columns.keys() {
        assert!(name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.len() <= 45, "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{name}");
        let reserved =
            ["id", "tenantid", "type", "uniqueid", "title", "billedsize", "isbillable", "timeofevent"];
        assert!(!reserved.contains(&name.to_ascii_lowercase().as_str()), "{name}");
    }
    let listed: Vec<_> = columns.iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
    let lines: Vec<_> = listed.iter().map(|column| format!("  {column}")).collect();
    expect_test::expect_file!["../../docs/azure_monitor_columns.json"]
        .assert_eq(&format!("[\n{}\n]\n", lines.join(",\n")));
}

/// *Scenario*: all golden samples of both kinds, plain and enriched, as events and as rows.
/// *Guarantees*: a row has every value of the event, no other, and no two of them share a column.
#[test]
fn rows_have_the_events_values() {
    fn count(value: &Value) -> usize {
        value.as_object().map_or(1, |members| members.values().map(count).sum())
    }
    for blob in BLOBS {
        for enrich in [false, true] {
            let events = convert_whole(EventFormat::Ecs { enrich }, blob).events;
            let rows = rows(blob, enrich);
            assert_eq!(events.len(), rows.len());
            for ((_, event), row) in events.iter().zip(&rows) {
                let event: Value = serde_json::from_str(event).unwrap();
                assert_eq!(count(row), count(&event));
                assert_eq!(row["TimeGenerated"], event["@timestamp"]);
                assert_eq!(row["source_ip"], event["source"]["ip"]);
                assert_eq!(row["message"], event["message"]);
            }
        }
    }
}
