//! Large blobs that take turns with others: what a turn read is not read again without end.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::support::{
    documents::{END, HEAD, Minute, events, minutes},
    world::World,
};

const MEBIBYTE: usize = 1 << 20;

/// A container in a directory, read by one reader, whose events go to standard output.
async fn one_reader(name: &str) -> World {
    let world = World::new(name, &[], &[]).await;
    world.configure(&[
        ("sources", &format!("directory = {:?}", world.path("container"))),
        ("intakes", "protocol = \"stdout\"\nevent_format = \"flow\""),
        ("limits", "parallel_blobs = 1\nrecord = \"1MiB\""),
    ]);
    world
}

/// Writes the blob of one of an hour's interfaces.
fn put(world: &World, interface: usize, parts: &[&[u8]]) {
    let folder = world.path(&format!(
        "container/flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/y=2025/m=06/d=01/h=05/m=00/\
         macAddress=00224{interface:07X}"
    ));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("PT1H.json"), [&[HEAD], parts, &[END]].concat().concat()).unwrap();
}

/// One pass: the events in the order in which they came, and how many ranges were read.
fn once(world: &World) -> (Vec<String>, u64) {
    let output = world.collector(&["run", "--once"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let mut lines = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let n_reads = lines.find_map(|fields| fields["read_calls"].as_u64()).unwrap();
    (String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect(), n_reads)
}

/// Adds the events of a minute, so many times.
fn expect(expected: &mut BTreeMap<String, usize>, minute: &Minute, n_times: usize) {
    for event in events(&[minute]) {
        *expected.entry(event).or_default() += n_times;
    }
}

fn counted(events: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event.clone()).or_default() += 1;
    }
    counts
}

/// *Scenario*: a blob with 20 MiB of damage between two records, which is more than is read in a turn, and small blobs
/// that wait for the only reader.
/// *Guarantees*: a turn that comes nowhere is not given up: the damage is read once more at most, however many wait.
#[tokio::test]
async fn damage_that_is_longer_than_a_turn() {
    const N_SMALL: usize = 4;
    let world = one_reader("turns-damage").await;
    let minutes = minutes(1, 3);
    let damage = vec![b'x'; 20 * MEBIBYTE];
    put(&world, 0, &[&minutes[0].records, b",", &damage, b",", &minutes[1].records]);
    let mut expected = BTreeMap::new();
    expect(&mut expected, &minutes[0], 1);
    expect(&mut expected, &minutes[1], 1);
    for small in 1..=N_SMALL {
        put(&world, small, &[&minutes[2].records]);
    }
    expect(&mut expected, &minutes[2], N_SMALL);
    let (events, n_reads) = once(&world);
    assert_eq!(counted(&events), expected);
    assert!(n_reads <= 45, "{n_reads} ranges of 1 MiB");
}

/// *Scenario*: two blobs of 40 MiB and small ones, and one reader.
/// *Guarantees*: the large ones take turns with each other and with the small ones; every event comes once, and turns
/// cost next to no reading.
#[tokio::test]
async fn two_large_blobs_take_turns() {
    const N_RECORDS: usize = 40;
    const N_SMALL: usize = 5;
    let world = one_reader("turns-two").await;
    let minutes = minutes(1, 3);
    let space = vec![b' '; MEBIBYTE];
    let mut expected = BTreeMap::new();
    for (interface, minute) in minutes.iter().take(2).enumerate() {
        let parts = [minute.records.as_slice(), b",", &space].repeat(N_RECORDS);
        put(&world, interface, &parts);
        expect(&mut expected, minute, N_RECORDS);
    }
    for small in 0..N_SMALL {
        put(&world, 2 + small, &[&minutes[2].records]);
    }
    expect(&mut expected, &minutes[2], N_SMALL);
    let (events, n_reads) = once(&world);
    assert_eq!(counted(&events), expected);

    let first =
        |minute: usize| events.iter().position(|event| minutes[minute].events.contains(event)).unwrap();
    let last =
        |minute: usize| events.iter().rposition(|event| minutes[minute].events.contains(event)).unwrap();
    assert!(first(1) < last(0) && first(0) < last(1), "the large ones came one after the other");
    assert!(first(2) < last(1), "the small ones came behind the large ones");
    assert!(n_reads <= 2 * 45 + 5, "{n_reads} ranges of 1 MiB");
}
