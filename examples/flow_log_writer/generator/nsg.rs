//! Records of network security groups: their spelling in the blob, and the events that a collector must deliver.

use fastrand::Rng;

use super::{
    json::{Escape, push_string},
    record::{Record, Spelling},
};

const OPERATION: &str = "NetworkSecurityGroupFlowEvents";

/// The record's JSON. An odd one has what Azure or its documents show now and then.
pub(crate) fn to_json(record: &Record, rng: &mut Rng, spelling: Spelling) -> String {
    let text = |text: &str| spelling.string(text);
    let identity = &record.identity;
    let resource_key = if spelling.shuffled && rng.bool() { "resourceID" } else { "resourceId" };
    let mut members = vec![
        ("time", text(&record.time.in_blob())),
        ("systemId", text(&identity.guid)),
        ("category", text("NetworkSecurityGroupFlowEvent")),
        (resource_key, text(&identity.flow_log)),
        ("operationName", text(OPERATION)),
        ("properties", properties(record, rng, spelling)),
    ];
    // The flows name the interface too.
    if !spelling.inner_shuffled || rng.bool() {
        members.insert(2, ("macAddress", text(&identity.mac_in_records)));
    }
    spelling.object(rng, members, spelling.shuffled)
}

fn properties(record: &Record, rng: &mut Rng, spelling: Spelling) -> String {
    let version = record.kind.version();
    let quoted = spelling.inner_shuffled && rng.bool();
    let version = if quoted { format!("\"{version}\"") } else { version.to_string() };
    let mut members = vec![("Version", version)];
    if let Some(flows) = &record.flows {
        let rules = flows.iter().flat_map(|flows| flows.groups.iter().flatten());
        let mut items = Vec::new();
        for group in rules {
            let mut inner = vec![("mac", spelling.string(&record.identity.mac_in_records))];
            if let Some(tuples) = &group.tuples {
                let tuples =
                    tuples.iter().map(|tuple| format!("\"{}\"", tuple.of_nsg(record.kind))).collect();
                inner.push(("flowTuples", spelling.list(tuples)));
            }
            let inner = spelling.object(rng, inner, spelling.inner_shuffled);
            let outer = vec![("rule", spelling.string(group.rule)), ("flows", spelling.list(vec![inner]))];
            items.push(spelling.object(rng, outer, spelling.inner_shuffled));
        }
        members.push(("flows", spelling.list(items)));
    }
    spelling.object(rng, members, spelling.inner_shuffled)
}

/// The events of a record, each with its line feed.
pub(crate) fn lines(record: &Record) -> impl Iterator<Item = String> {
    let identity = &record.identity;
    let mut head = String::from(r#"{"macAddress":"#);
    push_string(&mut head, &identity.mac_in_records, Escape::Needed);
    head.push_str(&format!(",\"operationName\":\"{OPERATION}\",\"resourceId\":"));
    push_string(&mut head, &identity.flow_log, Escape::Needed);
    head.push_str(r#","time":"#);
    push_string(&mut head, &record.time.in_event(), Escape::Needed);
    head.push_str(r#","rule":"#);
    record.tuples().map(move |(_, rule, tuple)| {
        let mut line = head.clone();
        push_string(&mut line, rule, Escape::Needed);
        let (kind, version) = (record.kind, record.kind.version());
        line.push_str(&format!(",\"flow.0\":\"{}\",\"version\":{version}}}\n", tuple.of_nsg(kind)));
        line
    })
}
