//! The same work as good ordinary code does it: borrowed structs to read into, structs to write from, chrono for times.

use std::borrow::Cow;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use super::{naive::Body, product::BODY_BYTES};

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, rename = "flowLogGUID")]
    guid: Cow<'a, str>,
    #[serde(borrow)]
    mac_address: Cow<'a, str>,
    #[serde(borrow)]
    operation_name: Cow<'a, str>,
    #[serde(borrow)]
    flow_records: FlowRecords<'a>,
}

#[derive(Deserialize)]
struct FlowRecords<'a> {
    #[serde(borrow)]
    flows: Vec<Flow<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flow<'a> {
    #[serde(borrow, rename = "aclID")]
    acl: Cow<'a, str>,
    #[serde(borrow)]
    flow_groups: Vec<Group<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group<'a> {
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    flow_tuples: Vec<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FlowEvent<'a> {
    time: String,
    flow_log_version: u32,
    #[serde(rename = "flowLogGUID")]
    guid: &'a str,
    mac_address: &'a str,
    operation_name: &'a str,
    #[serde(rename = "aclID")]
    acl: &'a str,
    rule: &'a str,
    #[serde(rename = "flow.0")]
    tuple: String,
}

#[derive(Serialize)]
struct EcsEvent<'a> {
    message: String,
    event: EventFields<'a>,
    #[serde(rename = "@timestamp")]
    timestamp: String,
    action: Action<'a>,
    source: Side<'a>,
    destination: Side<'a>,
    network: Network<'a>,
    related: Related<'a>,
    observer: Observer<'a>,
    rule: Rule<'a>,
}

#[derive(Serialize)]
struct EventFields<'a> {
    category: [&'static str; 1],
    code: &'a str,
    r#type: [&'static str; 1],
}

#[derive(Serialize)]
struct Action<'a> {
    properties: Properties<'a>,
    target: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Properties<'a> {
    flow_encryption: &'a str,
    operation_name: &'a str,
}

#[derive(Serialize)]
struct Side<'a> {
    address: &'a str,
    ip: &'a str,
    port: u16,
    packets: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Network<'a> {
    direction: &'static str,
    iana_number: &'a str,
}

#[derive(Serialize)]
struct Related<'a> {
    ip: Vec<&'a str>,
}

#[derive(Serialize)]
struct Observer<'a> {
    mac: &'a str,
}

#[derive(Serialize)]
struct Rule<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Request<'a> {
    intake_key: &'static str,
    jsons: &'a [String],
}

/// Takes a document from bytes to bodies.
pub(crate) fn run(document: &[u8], wanted: Body, body: &mut dyn FnMut(Vec<u8>)) {
    let document: Document<'_> = serde_json::from_slice(document).expect("the document is JSON");
    let (mut lines, mut events, mut event_bytes) = (Vec::new(), Vec::new(), 0);
    for record in &document.records {
        for flow in &record.flow_records.flows {
            for group in &flow.flow_groups {
                for tuple in &group.flow_tuples {
                    let event = flow_event(record, &flow.acl, &group.rule, tuple);
                    match wanted {
                        Body::Batch => {
                            let text = serde_json::to_string(&event).expect("it has a form");
                            event_bytes += text.len();
                            events.push(text);
                        }
                        Body::Flow => write_line(&mut lines, &event),
                        Body::Ecs => write_line(&mut lines, &ecs_event(record, &event, &group.rule)),
                    }
                    if lines.len() >= BODY_BYTES {
                        body(std::mem::take(&mut lines));
                    }
                    if event_bytes >= BODY_BYTES {
                        body(assemble(&events));
                        events.clear();
                        event_bytes = 0;
                    }
                }
            }
        }
    }
    body(if wanted == Body::Batch { assemble(&events) } else { lines });
}

fn write_line(lines: &mut Vec<u8>, event: &impl Serialize) {
    serde_json::to_writer(&mut *lines, event).expect("it has a form");
    lines.push(b'\n');
}

fn assemble(events: &[String]) -> Vec<u8> {
    let request = Request { intake_key: "00000000-0000-4000-8000-000000000000", jsons: events };
    serde_json::to_vec(&request).expect("it has a form")
}

fn flow_event<'a>(record: &'a Record<'_>, acl: &'a str, rule: &'a str, tuple: &str) -> FlowEvent<'a> {
    let Record { time, guid, mac_address, operation_name, .. } = record;
    let time = DateTime::parse_from_rfc3339(time).expect("a time");
    let has_fraction = time.timestamp_subsec_micros() > 0;
    let format = if has_fraction { "%Y-%m-%dT%H:%M:%S%.6f+00:00" } else { "%Y-%m-%dT%H:%M:%S+00:00" };
    let filled = |(index, field): (usize, &str)| match field {
        "" if index >= 9 => "0".to_owned(),
        field => field.to_owned(),
    };
    let fields: Vec<_> = tuple.split(',').enumerate().map(filled).collect();
    FlowEvent {
        time: time.format(format).to_string(),
        flow_log_version: 4,
        guid,
        mac_address,
        operation_name,
        acl,
        rule,
        tuple: fields.join(","),
    }
}

fn ecs_event<'a>(record: &'a Record<'_>, flow: &'a FlowEvent<'a>, rule: &'a str) -> EcsEvent<'a> {
    let fields: Vec<&str> = flow.tuple.split(',').collect();
    let number = |index: usize| fields[index].parse().expect("a number");
    let side = |address: usize, port: usize, packets: usize| Side {
        address: fields[address],
        ip: fields[address],
        port: fields[port].parse().expect("a port"),
        packets: number(packets),
        bytes: number(packets + 1),
    };
    let mut ip = vec![fields[1], fields[2]];
    ip.sort_unstable();
    ip.dedup();
    let time =
        DateTime::from_timestamp_millis(fields[0].parse().expect("a time")).expect("a year of four digits");
    let kind = match fields[7] {
        "B" => "start",
        "C" => "info",
        "E" => "end",
        _ => "denied",
    };
    EcsEvent {
        message: serde_json::to_string(flow).expect("it has a form"),
        event: EventFields { category: ["network"], code: &record.operation_name, r#type: [kind] },
        timestamp: time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        action: Action {
            properties: Properties { flow_encryption: fields[8], operation_name: &record.operation_name },
            target: "network-traffic",
        },
        source: side(1, 3, 9),
        destination: side(2, 4, 11),
        network: Network {
            direction: if fields[6] == "O" { "outbound" } else { "inbound" },
            iana_number: fields[5],
        },
        related: Related { ip },
        observer: Observer { mac: &record.mac_address },
        rule: Rule { name: rule },
    }
}
