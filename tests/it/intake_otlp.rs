//! OpenTelemetry logs: rotel as the receiver, and the public message definitions as the judge of what is sent.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use flowlogd::{
    event::EventFormat,
    intake::{
        Verdict,
        driver::{Outcome, Unaccepted},
        http_intake::{Compression, HttpIntake},
        protocols::{ProtocolConfig, otlp::OtlpEncoding},
    },
    model::Reason,
};
use serde_json::Value;
use url::Url;

use crate::support::{
    convert::convert_whole,
    delivery::{attempt, config, deliver, encode, impatient},
    programs,
    rotel::Rotel,
    scripted_server::{Recorded, ScriptedServer, Step},
    world::World,
};

fn otlp(url: &str, encoding: OtlpEncoding) -> HttpIntake {
    let protocol = ProtocolConfig::Otlp { encoding, headers: ::http::HeaderMap::new() };
    let mut settings = config(&Url::parse(url).unwrap(), None, protocol);
    settings.compression = Compression::None;
    HttpIntake::new(settings).unwrap()
}

/// As rotel shows a value.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("Str({text})"),
        Value::Number(number) => format!("Int({number})"),
        Value::Bool(truth) => format!("Bool({truth})"),
        Value::Array(items) => format!("Slice({})", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Object(_) => panic!("{value} is no value of an event"),
    }
}

/// The attributes that an event has to have become, by the names of the how-to page.
fn attributes_of(event: &Value) -> BTreeMap<String, String> {
    fn flatten(path: &str, value: &Value, attributes: &mut BTreeMap<String, String>) {
        let Some(members) = value.as_object() else {
            let name = match path {
                "message" => return,
                "azure.resource.id" => "cloud.resource_id",
                "rule.name" => "security_rule.name",
                "rule.category" => "security_rule.category",
                "rule.ruleset" => "security_rule.ruleset.name",
                other => other,
            };
            attributes.insert(name.to_owned(), shown(value));
            return;
        };
        for (name, member) in members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            flatten(&path, member, attributes);
        }
    }
    let mut attributes = BTreeMap::from([("event_id".to_owned(), shown(&event["event"]["id"]))]);
    flatten("", event, &mut attributes);
    attributes
}

async fn everything_arrives(name: &str, encoding: &str) {
    let rotel = Rotel::start().await;
    let world = World::new(name, &[], &[]).await;
    let intake = format!(
        "protocol = \"otlp\"\nurl = {:?}\nencoding = {encoding:?}\nbatch = {{ max_events = 20 }}",
        rotel.url()
    );
    world.configure(&[("intakes", &intake), ("tables", "[intakes.copy]\nprotocol = \"stdout\"")]);
    let mut writer = world.writer(&["--nics", "3", "--roots", "2"]);
    let mut events = Vec::new();
    for _pass in 0..3 {
        writer.minutes(2);
        let output = world.collector(&["run", "--once"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        events.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        let records = rotel.records(events.len()).await;
        assert_eq!(records.len(), events.len());
        let mut bodies: Vec<_> = records.iter().map(|record| record.fields["Body"].clone()).collect();
        bodies.sort_unstable();
        let written: Vec<_> = world.written().iter().map(|line| format!("Str({line})")).collect();
        assert!(!written.is_empty());
        assert_eq!(bodies, written);
    }
    let by_id: BTreeMap<_, _> =
        events.iter().map(|event| (shown(&event["event"]["id"]), attributes_of(event))).collect();
    assert_eq!(by_id.len(), events.len());
    for record in rotel.records(events.len()).await {
        assert_eq!(record.attributes, by_id[&record.attributes["event_id"]]);
        assert_eq!(record.fields["EventName"], "azure.network.flow");
        assert_eq!(record.fields["SeverityNumber"], "SEVERITY_NUMBER_INFO(9)");
    }
    let version = env!("CARGO_PKG_VERSION");
    let origins =
        ["-> service.name: Str(flowlogd)".to_owned(), format!("InstrumentationScope flowlogd {version}")];
    assert_eq!(rotel.origins(), origins);
}

/// *Scenario*: three passes of a collector, each a process of its own, to rotel; protobuf, compressed.
/// *Guarantees*: both ledgers are equal after every pass; every attribute is decoded as the event has it.
#[tokio::test]
async fn every_event_arrives_in_protobuf() {
    everything_arrives("otlp-protobuf", "protobuf").await;
}

/// *Scenario*: the same in JSON.
/// *Guarantees*: the same.
#[tokio::test]
async fn every_event_arrives_in_json() {
    everything_arrives("otlp-json", "json").await;
}

/// The golden events, enriched.
fn golden_events() -> Vec<String> {
    let format = EventFormat::Ecs { enrich: true };
    let blobs: [&[u8]; 2] =
        [include_bytes!("../data/seed/PT1H.json"), include_bytes!("../data/nsg/PT1H.json")];
    let events = blobs.into_iter().flat_map(|blob| convert_whole(format, blob).events);
    events.map(|(_, body)| body).collect()
}

/// The message as the public definitions of it decode it.
fn decoded_by_the_definitions(request: &[u8]) -> Value {
    programs::of_package("opentelemetry/proto/collector/logs/v1/logs_service_pb2.py");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let mut decoder = Command::new(format!("{folder}target/ci-venv/bin/python"))
        .arg(format!("{folder}tests/peers/otlp_as_json.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    decoder.stdin.take().unwrap().write_all(request).unwrap();
    let output = decoder.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// *Scenario*: the golden events of both kinds of records, in both encodings.
/// *Guarantees*: the public definitions decode the protobuf, padded lengths included, and what they make of it is the
/// JSON that is sent.
#[tokio::test]
async fn protobuf_is_what_the_definitions_say() {
    let server =
        ScriptedServer::start(vec![Step::answer(200, &[("content-type", "application/json")], "{}")]).await;
    let texts = golden_events();
    for encoding in [OtlpEncoding::Protobuf, OtlpEncoding::Json] {
        let intake = otlp(&server.url(), encoding);
        assert_eq!(attempt(&intake, &encode(&intake, &texts)).await, Verdict::Delivered);
    }
    let [protobuf, json]: [Recorded; 2] = server.requests().try_into().unwrap();
    assert_eq!((protobuf.target.as_str(), json.target.as_str()), ("/v1/logs", "/v1/logs"));
    assert_eq!(protobuf.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(json.header("content-type"), Some("application/json"));
    let decoded = decoded_by_the_definitions(&protobuf.body);
    assert_eq!(decoded, serde_json::from_slice::<Value>(&json.body).unwrap());
    let records = decoded["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
    assert_eq!(records.len(), texts.len());
}

/// *Scenario*: a receiver that is out of order with 500, then takes all but one of the records and does not say which.
/// *Guarantees*: 500 is tried again; all of the batch is in doubt, with the receiver's words, and its events can be read
/// back for the quarantine.
#[tokio::test]
async fn partial_success() {
    let answer = "{\"partialSuccess\":{\"rejectedLogRecords\":\"1\",\"errorMessage\":\"one is too old\"}}";
    let json = [("content-type", "application/json")];
    for encoding in [OtlpEncoding::Protobuf, OtlpEncoding::Json] {
        let server =
            ScriptedServer::start(vec![Step::answer(500, &[], ""), Step::answer(200, &json, answer)]).await;
        let (intake, texts) = (otlp(&server.url(), encoding), golden_events());
        let outcome = deliver(&impatient(), &intake, &texts).await;
        let Outcome::Delivered(unaccepted) = outcome else { panic!("{outcome:?}") };
        assert_eq!(
            unaccepted.iter().map(|event| event.event).collect::<Vec<_>>(),
            (0..texts.len()).collect::<Vec<_>>()
        );
        let expected = format!("doubtful {} of {}", texts.len() - 1, texts.len());
        for Unaccepted { reason, detail, answer: (status, body), .. } in unaccepted {
            assert_eq!((reason, detail, status), (Reason::Doubtful, expected.clone(), 200));
            assert_eq!(body, "one is too old");
        }
        let events = encode(&intake, &texts);
        for (range, text) in events.ranges().zip(&texts) {
            let back = flowlogd::intake::Intake::framing(&intake).decode_event(&events.bytes[range]);
            let [back, event] =
                [back.as_slice(), text.as_bytes()].map(|json| serde_json::from_slice::<Value>(json).unwrap());
            assert_eq!(back, event);
        }
        assert_eq!(server.requests().len(), 2);
    }
}

/// *Scenario*: a receiver that takes all but one record of the first batch, through a whole pass; then all is taken.
/// *Guarantees*: exactly that batch is in the quarantine, in doubt, and every other event has arrived; replay sends it again
/// as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_doubt_is_kept() {
    let doubt = "{\"partialSuccess\":{\"rejectedLogRecords\":\"1\",\"errorMessage\":\"one is too old\"}}";
    let json = [("content-type", "application/json")];
    let steps = vec![Step::answer(200, &json, doubt), Step::answer(200, &json, "{\"partialSuccess\":null}")];
    let server = ScriptedServer::start(steps).await;
    let world = World::new("otlp-doubt", &[], &[]).await;
    let intake = format!(
        "protocol = \"otlp\"\nencoding = \"json\"\nurl = {:?}\ncompression = \"none\"\nmax_in_flight = 1\n\
         batch = {{ max_events = 7 }}",
        server.url()
    );
    world.configure(&[("intakes", &intake)]);
    world.writer(&["--nics", "2"]).minutes(3);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let bodies = |request: &Recorded| -> Vec<String> {
        let request: Value = serde_json::from_slice(&request.body).unwrap();
        let records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
        records.iter().map(|record| record["body"]["stringValue"].as_str().unwrap().to_owned()).collect()
    };
    let requests = server.requests();
    let mut sent: Vec<String> = requests.iter().flat_map(bodies).collect();
    sent.sort_unstable();
    assert_eq!(sent, world.written());
    assert!(requests.len() > 2, "{}", requests.len());

    let output = world.collector(&["quarantine", "show"]).output().unwrap();
    let rows: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 7);
    assert!(
        rows.iter().all(|row| row["reason"] == "doubtful" && row["detail"] == "doubtful 6 of 7"),
        "{rows:?}"
    );
    let output = world.collector(&["quarantine", "replay"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let again: Vec<String> = server.requests()[requests.len()..].iter().flat_map(bodies).collect();
    let (mut again, mut doubted) = (again, bodies(&requests[0]));
    again.sort_unstable();
    doubted.sort_unstable();
    assert_eq!(again, doubted);
}
