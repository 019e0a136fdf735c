//! What a record of virtual network flow logs means, written a second time and as plainly as can be: a tree of JSON values
//! in, one out for each event, chrono for the times. Tests hold the product against it, and the benches measure against it
//! what a program costs that is written so.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value, json};
use sha1::{Digest as _, Sha1};

/// Where a record stands, which enriched events tell.
#[derive(Debug, Clone)]
pub(crate) struct PlainPlace<'a> {
    pub(crate) account: &'a str,
    pub(crate) container: &'a str,
    pub(crate) blob: &'a str,
    pub(crate) offset: u64,
    /// The record's key.
    pub(crate) key: String,
}

/// A tuple with what is around it.
struct Observation<'a> {
    record: &'a Value,
    acl: &'a str,
    rule: &'a str,
    /// With four counters at least.
    fields: Vec<&'a str>,
    ordinal: usize,
}

/// The events of a record in the shape `flow`; `place` adds what `provenance` does.
pub(crate) fn flow_events(record: &Value, place: Option<&PlainPlace<'_>>) -> Vec<Value> {
    let event = |observation: &Observation<'_>| flow_event(observation, place);
    observations(record).iter().map(event).collect()
}

/// The events of a record in the shape `ecs`; `place` enriches them.
pub(crate) fn ecs_events(record: &Value, place: Option<&PlainPlace<'_>>) -> Vec<Value> {
    let event = |observation: &Observation<'_>| {
        let mut event = ecs_event(observation);
        if let Some(place) = place {
            merge(&mut event, without_empty(enrichment(observation, place)));
        }
        event
    };
    observations(record).iter().map(event).collect()
}

/// An event of the shape `ecs` as the row of a table.
pub(crate) fn columns(event: &Value) -> Value {
    fn add(row: &mut Map<String, Value>, path: &str, value: &Value) {
        let Some(members) = value.as_object() else {
            let column = if path == "@timestamp" { "TimeGenerated".to_owned() } else { path.to_owned() };
            row.insert(column, value.clone());
            return;
        };
        for (name, member) in members {
            let separator = if path.is_empty() { "" } else { "_" };
            add(row, &format!("{path}{separator}{name}"), member);
        }
    }
    let mut row = Map::new();
    add(&mut row, "", event);
    Value::Object(row)
}

fn observations(record: &Value) -> Vec<Observation<'_>> {
    let mut observations = Vec::new();
    for flow in list(&record["flowRecords"]["flows"]) {
        for group in list(&flow["flowGroups"]) {
            for tuple in list(&group["flowTuples"]) {
                let mut fields: Vec<&str> = text(tuple).split(',').collect();
                // A counter that is empty or missing is 0.
                fields.resize(fields.len().max(13), "");
                fields
                    .iter_mut()
                    .skip(9)
                    .take(4)
                    .filter(|field| field.is_empty())
                    .for_each(|field| *field = "0");
                let (acl, rule, ordinal) = (text(&flow["aclID"]), text(&group["rule"]), observations.len());
                observations.push(Observation { record, acl, rule, fields, ordinal });
            }
        }
    }
    observations
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(field: &str) -> u64 {
    field.parse().unwrap()
}

fn flow_event(observation: &Observation<'_>, place: Option<&PlainPlace<'_>>) -> Value {
    let Observation { record, acl, rule, fields, .. } = observation;
    let time = record_time(record);
    let format = if time.timestamp_subsec_micros() == 0 {
        "%Y-%m-%dT%H:%M:%S+00:00"
    } else {
        "%Y-%m-%dT%H:%M:%S%.6f+00:00"
    };
    let mut event = json!({
        "time": time.format(format).to_string(),
        "flowLogVersion": 4,
        "flowLogGUID": text(&record["flowLogGUID"]),
        "macAddress": text(&record["macAddress"]),
        "operationName": text(&record["operationName"]),
        "aclID": acl,
        "rule": rule,
        "flow.0": fields.join(","),
    });
    if let Some(place) = place {
        let provenance =
            json!({ "event.id": id(observation, place), "blob": place.blob, "offset": place.offset });
        merge(&mut event, provenance);
    }
    event
}

fn ecs_event(observation: &Observation<'_>) -> Value {
    let Observation { record, rule, fields, .. } = observation;
    let operation = text(&record["operationName"]);
    let side = |address: usize, port: usize, packets: usize, bytes: usize| {
        json!({
            "address": fields[address],
            "ip": fields[address],
            "port": number(fields[port]),
            "packets": number(fields[packets]),
            "bytes": number(fields[bytes]),
        })
    };
    let mut addresses = vec![fields[1], fields[2]];
    addresses.sort_unstable();
    addresses.dedup();
    let kind = match fields[7] {
        "B" => "start",
        "C" => "info",
        "E" => "end",
        _ => "denied",
    };
    json!({
        "message": flow_event(observation, None).to_string(),
        "event": { "category": ["network"], "code": operation, "type": [kind] },
        "@timestamp": milliseconds(fields[0]).format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "action": {
            "properties": { "FlowEncryption": fields[8], "OperationName": operation },
            "target": "network-traffic",
        },
        "source": side(1, 3, 9, 10),
        "destination": side(2, 4, 11, 12),
        "network": {
            "direction": if fields[6] == "O" { "outbound" } else { "inbound" },
            "iana_number": fields[5],
        },
        "related": { "ip": addresses },
        "observer": { "mac": text(&record["macAddress"]) },
        "rule": { "name": rule },
    })
}

/// What enriched events have on top.
fn enrichment(observation: &Observation<'_>, place: &PlainPlace<'_>) -> Value {
    let Observation { record, acl, rule, fields, .. } = observation;
    let protocol = number(fields[5]);
    let (action, outcome) = match fields[7] {
        "B" => ("flow-begin", "success"),
        "C" => ("flow-continue", "success"),
        "E" => ("flow-end", "success"),
        _ => ("flow-deny", "failure"),
    };
    let mac = mac(text(&record["macAddress"]));
    let ours = if fields[6] == "O" { "source" } else { "destination" };
    let transport = match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        132 => "sctp",
        _ => "",
    };
    let categories = ["default", "user", "platform", "admin"].map(|kind| (format!("{kind}rule"), kind));
    let category = categories.iter().find(|(prefix, _)| rule.to_lowercase().starts_with(prefix.as_str()));
    let category =
        if *rule == "unspecified" { "unspecified" } else { category.map_or("", |(_, kind)| *kind) };
    let target = text(&record["targetResourceID"]);
    let flow_log = text(&record["flowLogResourceID"]);
    let lower = flow_log.to_lowercase();
    let region = lower.split("/networkwatcher_").nth(1).and_then(|rest| rest.split(['/', '_']).next());
    let sum = |one: usize, other: usize| number(fields[one]).saturating_add(number(fields[other]));
    json!({
        "event": {
            "kind": "event",
            "module": "azure",
            "dataset": "azure.vnet_flow",
            "provider": "Microsoft.Network",
            "created": record_time(record).format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "action": action,
            "outcome": outcome,
            "id": id(observation, place),
        },
        ours: { "mac": mac },
        "network": {
            "transport": transport,
            "type": if fields[1].contains(':') { "ipv6" } else { "ipv4" },
            "bytes": sum(10, 12),
            "packets": sum(9, 11),
            "community_id": community_id(fields, protocol),
        },
        "rule": { "id": acl, "ruleset": acl.rsplit_once('/').map_or("", |(_, name)| name), "category": category },
        "ecs": { "version": "8.17.0" },
        "agent": { "name": "flowlogd", "version": env!("CARGO_PKG_VERSION") },
        "cloud": {
            "provider": "azure",
            "account": { "id": behind(target, "/subscriptions/") },
            "region": region.unwrap_or_default(),
        },
        "azure": {
            "resource": {
                "id": target,
                "group": behind(target, "/resourceGroups/"),
                "name": target.rsplit('/').next(),
                "provider": behind(target, "/providers/"),
            },
            "vnet": { "name": behind(target, "/virtualNetworks/") },
            "subnet": { "name": behind(target, "/subnets/") },
            "nic": { "name": behind(target, "/networkInterfaces/") },
            "flow_log": {
                "resource_id": flow_log,
                "guid": text(&record["flowLogGUID"]),
                "category": text(&record["category"]),
                "version": 4,
            },
            "storage": {
                "account": place.account,
                "container": place.container,
                "blob": place.blob,
                "offset": place.offset,
            },
            "flow": {
                "state": fields[7],
                "encryption": fields[8],
                "encrypted": match fields[8] {
                    "X" => Some(true),
                    other => (other == "NX" || other.starts_with("NX_")).then_some(false),
                },
            },
        },
    })
}

/// The segment of a resource id behind one of its names.
fn behind<'a>(id: &'a str, name: &str) -> &'a str {
    id.split(name).nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

fn id(observation: &Observation<'_>, place: &PlainPlace<'_>) -> String {
    format!("{}-{}", place.key, observation.ordinal)
}

fn record_time(record: &Value) -> DateTime<Utc> {
    let time = text(&record["time"]);
    match DateTime::parse_from_rfc3339(time) {
        Ok(time) => time.to_utc(),
        Err(_) => NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.f").unwrap().and_utc(),
    }
}

/// Small numbers are seconds.
fn milliseconds(field: &str) -> DateTime<Utc> {
    let time: i64 = field.parse().unwrap();
    DateTime::from_timestamp_millis(if time < 100_000_000_000 { time * 1_000 } else { time }).unwrap()
}

fn mac(digits: &str) -> String {
    let upper = digits.to_uppercase();
    let pairs: Vec<_> = (0..6).filter_map(|pair| upper.get(2 * pair..2 * pair + 2)).collect();
    pairs.join("-")
}

/// Community ID version 1, seed 0.
fn community_id(fields: &[&str], protocol: u64) -> String {
    let port = |index: usize| u16::try_from(number(fields[index])).unwrap();
    let is_icmp = protocol == 1 || protocol == 58;
    // The writer's messages have type and code 0. Type 0 of version 4 is the answer to type 8.
    assert!(!is_icmp || port(3) == 0 && port(4) == 0, "type and code of the writer's messages");
    let answer = if protocol == 1 { 8 } else { port(4) };
    let mut ends = [(fields[1], port(3)), (fields[2], answer)]
        .map(|(address, port)| (address.parse::<IpAddr>().unwrap(), port));
    if protocol != 58 {
        ends.sort_unstable();
    }
    let mut hash = Sha1::new_with_prefix([0, 0]);
    for (address, _) in ends {
        match address {
            IpAddr::V4(address) => hash.update(address.octets()),
            IpAddr::V6(address) => hash.update(address.octets()),
        }
    }
    hash.update([u8::try_from(protocol).unwrap(), 0]);
    if [1, 6, 17, 58, 132].contains(&protocol) {
        ends.iter().for_each(|(_, port)| hash.update(port.to_be_bytes()));
    }
    format!("1:{}", STANDARD.encode(hash.finalize()))
}

/// Without empty texts, nulls and objects that have nothing left.
fn without_empty(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let members = members.into_iter().map(|(name, member)| (name, without_empty(member)));
    let is_empty = |member: &Value| match member {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    };
    Value::Object(members.filter(|(_, member)| !is_empty(member)).collect())
}

/// Adds what `event` lacks; both have no other member of the same name but objects.
fn merge(event: &mut Value, more: Value) {
    match (event, more) {
        (Value::Object(event), Value::Object(more)) => {
            for (name, member) in more {
                merge(event.entry(name).or_insert(Value::Null), member);
            }
        }
        (event, more) => *event = more,
    }
}
