//! Memory that is too small for the open batches of many lanes: batches leave then, instead of waiting for their age.

use std::{collections::BTreeMap, fs};

use crate::support::{
    daemon::Daemon,
    documents::{document, minutes},
    world::World,
};

/// More than have a reader at once.
const N_SOURCES: usize = 6;

/// Bytes of the events of each source: less than half of what the memory has for events, which is the most that a batch
/// may have, and more than a quarter, which is what is there for each of four that read at once.
const EVENT_BYTES: usize = 3_500_000;

/// *Scenario*: six sources, each with less than a batch and together more than the memory holds, go to one intake; a
/// batch waits an hour for more events.
/// *Guarantees*: everything is delivered, once, long before.
#[tokio::test]
async fn half_full_batches_of_many_lanes() {
    let world = World::new("scarce", &[], &[]).await;
    let minute = &minutes(1, 1)[0];
    let n_times = EVENT_BYTES / minute.events.iter().map(String::len).sum::<usize>();
    let blob = document(&vec![minute; n_times]);
    let mut sources = String::new();
    for n in 0..N_SOURCES {
        let container = world.path(&format!("container-{n}"));
        let folder = container.join(
            "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/y=2025/m=06/d=01/h=05/m=00/macAddress=0022482F8D3A",
        );
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("PT1H.json"), &blob).unwrap();
        if n > 0 {
            sources.push_str(&format!(
                "[sources.source_{n}]\ndirectory = {container:?}\ncontainer = \"container-{n}\"\n"
            ));
        }
    }
    world.configure(&[
        ("sources", &format!("directory = {:?}", world.path("container-0"))),
        (
            "intakes",
            "protocol = \"stdout\"\nevent_format = \"flow\"\n\
             batch = { max_bytes = \"10MB\", max_events = 100000, max_age = \"1h\" }",
        ),
        ("limits", "memory = \"16MiB\"\nrecord = \"1MiB\""),
        ("tables", &sources),
    ]);
    let path = world.path("events");
    let n_events = minute.events.len() * n_times * N_SOURCES;
    let daemon = Daemon::start_to_file(&world, &path);
    let n_delivered = || fs::read(&path).unwrap().iter().filter(|byte| **byte == b'\n').count();
    daemon.until("all events", || n_delivered() >= n_events).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for event in fs::read_to_string(&path).unwrap().lines() {
        *counts.entry(event.to_owned()).or_default() += 1;
    }
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for event in &minute.events {
        *expected.entry(event.clone()).or_default() += n_times * N_SOURCES;
    }
    assert_eq!(counts, expected, "{log}");
}
