//! Flow logs of network security groups, from the writer through real servers and processes.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{
    azurite::Azurite,
    examples::{InteractiveWriter, example},
    world::{World, last_hour, last_line, sum},
};

const CONTAINER: &str = "insights-logs-networksecuritygroupflowevent";

/// *Scenario*: both versions, two groups, hostile records and a huge one grow in Azure's container for network security
/// groups, with virtual network flow logs beside them; every pass is a new process. At first no container is
/// configured.
/// *Guarantees*: without the container's name nothing of it is read, and the last line names it; with it, every tuple
/// of the writers' ledgers arrives exactly once, byte for byte; a pass without news reads nothing.
#[tokio::test]
async fn every_tuple_of_both_versions_exactly_once() {
    let azurite = Azurite::start().await;
    let limits = ("limits", "once_deadline = \"1s\"");
    let world = World::beside(&azurite, "", &[], &[limits]);
    let ledger = world.path("two");
    let more =
        ["--kind", "nsg2", "--shape", "hostile", "--nics", "3", "--roots", "2", "--first-minute", "58"];
    // Without --container, the writer takes Azure's name for it.
    let target = ["--endpoint", &world.endpoint, "--create-container", "--ledger", ledger.to_str().unwrap()];
    let start_hour = last_hour();
    let rest = ["--huge-bytes", "1MB", "--start-hour", &start_hour];
    let mut two = InteractiveWriter::start(target.into_iter().chain(more).chain(rest));
    let mut one = world.writer_into(CONTAINER, "one", &["--kind", "nsg1", "--seed", "2"]);
    let mut vnet = world.writer_into(CONTAINER, "vnet", &["--seed", "3"]);
    two.minutes(1);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 69, "{stderr}");
    assert!(last_line(&stderr).contains(CONTAINER), "{stderr}");
    assert_eq!(world.received(), Vec::<String>::new());

    world.configure(&[("sources", &format!("container = {CONTAINER:?}"))]);
    for minutes in [1, 4, 0, 1] {
        for writer in [&mut one, &mut two, &mut vnet] {
            writer.minutes(minutes);
        }
        let (code, pass, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(world.received(), world.ledgers(&["one", "two", "vnet"]), "{stderr}");
        assert_eq!(sum(&pass, "quarantined"), 0, "{stderr}");
        assert_eq!(sum(&pass, "bytes") == 0, minutes == 0, "{stderr}");
    }
    for ledger in ["one", "two", "vnet"] {
        assert!(!world.ledgers(&[ledger]).is_empty());
    }
}

/// The `flow` events of a document, found by walking its JSON: nothing here is shared with writer and collector.
fn events(document: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(document).unwrap();
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut events = Vec::new();
    for record in list(&document, "records") {
        let resource = record.get("resourceId").or(record.get("resourceID")).unwrap();
        let version = record["properties"]["Version"].to_string();
        let (second, fraction) =
            record["time"].as_str().unwrap().trim_end_matches('Z').split_once('.').unwrap();
        let time = match &fraction[..6] {
            "000000" => format!("{second}+00:00"),
            microseconds => format!("{second}.{microseconds}+00:00"),
        };
        for rule in list(&record["properties"], "flows") {
            for flows in list(&rule, "flows") {
                let mac = record.get("macAddress").unwrap_or(&flows["mac"]);
                for tuple in list(&flows, "flowTuples") {
                    let fields = tuple.as_str().unwrap().split(',').count();
                    assert!(if version.contains('1') { fields == 8 } else { fields == 9 || fields == 13 });
                    events.push(format!(
                        "{{\"macAddress\":{mac},\"operationName\":{},\"resourceId\":{resource},\
                         \"time\":\"{time}\",\"rule\":{},\"flow.0\":{tuple},\"version\":{}}}",
                        record["operationName"],
                        rule["rule"],
                        version.trim_matches('"')
                    ));
                }
            }
        }
    }
    events
}

/// *Scenario*: documents of both versions in the usual and the hostile shape, with every spelling that the writer has.
/// *Guarantees*: they have the path of a network security group, and the ledger is what their JSON says.
#[test]
fn the_writers_documents() {
    fn walk(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                let name = path.to_str().unwrap();
                assert!(
                    name.contains("/resourceId=/SUBSCRIPTIONS/") && name.contains("/NETWORKSECURITYGROUPS/")
                );
                found.extend(events(&fs::read(&path).unwrap()));
            }
        }
    }
    for kind in ["nsg1", "nsg2"] {
        for shape in ["typical", "hostile"] {
            let place = tempfile::tempdir().unwrap();
            let (container, ledger) = (place.path().join("container"), place.path().join("ledger"));
            let output = example("flow_log_writer")
                .arg("--directory")
                .arg(&container)
                .arg("--ledger")
                .arg(&ledger)
                .args(["--kind", kind, "--shape", shape, "--nics", "3", "--roots", "2", "--minutes", "30"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let mut found = Vec::new();
            walk(&container, &mut found);
            let mut expected: Vec<String> =
                fs::read_to_string(&ledger).unwrap().lines().map(str::to_owned).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert!(expected.len() > 100);
            assert!(found == expected, "{kind} {shape}: the ledger differs from the documents");
        }
    }
}
