//! What the process holds while nobody takes anything, and that a small memory is enough for much work.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
    thread,
};

use flowlogd::store::sqlite::SqliteStore;

use crate::support::{
    daemon::{Daemon, peak_kibibytes},
    world::World,
};

/// Reading stands still if nothing was read between so many looks.
const STILL: u32 = 100;

/// *Scenario*: four blobs of 40 MB, and an intake that takes connections and never answers.
/// *Guarantees*: reading stops when the memory is used up: the process holds its limit and what a program needs beside
/// it, not the blobs.
#[tokio::test]
async fn a_hanging_intake_costs_no_memory() {
    // The system takes connections for a listener, and nobody answers on them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::new("memory", &[], &[]).await;
    let directory = world.path("container");
    for seed in ["1", "2", "3", "4"] {
        world.write_directory("container", "written", &["--seed", seed, "--bytes", "40MB"]);
    }
    let url = format!("http://{}/", silent.local_addr().unwrap());
    world.configure(&[
        ("sources", &format!("directory = {directory:?}")),
        (
            "intakes",
            &format!("protocol = \"http\"\nurl = {url:?}\nevent_format = \"flow\"\nmax_in_flight = 64"),
        ),
        ("limits", "memory = \"16MiB\"\nrecord = \"1MiB\"\ndrain = \"1s\""),
    ]);
    let daemon = Daemon::start(&world);
    let (last, n_same) = (Cell::new(0), Cell::new(0));
    daemon
        .until("reading to stand still", || {
            let read = daemon.bytes_read();
            n_same.set(if read == last.replace(read) { n_same.get() + 1 } else { 0 });
            read > 4_000_000 && n_same.get() == STILL
        })
        .await;
    let (read, peak) = (daemon.bytes_read(), daemon.peak_kibibytes());
    assert!(read < 60_000_000, "{read} bytes were read for nobody");
    assert!(peak <= 64 * 1024, "{peak} KiB");
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// Small enough to be used up many times over.
const SMALL: (&str, &str) = ("limits", "memory = \"4MiB\"\nrecord = \"1MiB\"");

/// A container in a directory, whose events go to standard output.
async fn directory_world(container: &str, limits: (&str, &str)) -> World {
    let world = World::new(container, &[], &[]).await;
    let source = format!("directory = {:?}", world.path("container"));
    let intake = "protocol = \"stdout\"\nevent_format = \"flow\"";
    world.configure(&[("sources", &source), ("intakes", intake), limits]);
    world
}

/// Writes the blob of one of an hour's interfaces.
fn put(world: &World, interface: usize, document: &str) {
    let folder = world.path(&format!(
        "container/flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/y=2025/m=06/d=01/h=05/m=00/\
         macAddress=00224{interface:07X}"
    ));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("PT1H.json"), document).unwrap();
}

/// A record of this version with these tuples, which are JSON.
fn record(version: u32, tuples: &str) -> String {
    format!(
        "{{\"time\":\"2025-06-01T05:07:40Z\",\"flowLogVersion\":{version},\"flowRecords\":{{\"flows\":[{{\
         \"aclID\":\"a\",\"flowGroups\":[{{\"rule\":\"r\",\"flowTuples\":[{tuples}]}}]}}]}}}}"
    )
}

fn tuple(port: usize) -> String {
    format!("\"1748768860000,1.2.3.4,192.0.2.180,{port},443,6,O,B,NX,0,0,0,0\"")
}

/// What is in the quarantine: how many entries of each reason, and the bytes of their texts.
fn quarantined(world: &World) -> (BTreeMap<&'static str, usize>, usize) {
    let (mut counts, mut n_bytes) = (BTreeMap::new(), 0);
    let store = SqliteStore::open_read_only(&world.path("state")).unwrap();
    store
        .for_each_quarantined(|entry| {
            *counts.entry(entry.rejected.reason.as_str()).or_default() += 1;
            n_bytes += entry.rejected.text.len();
        })
        .unwrap();
    (counts, n_bytes)
}

/// *Scenario*: many more blobs of one event each than the memory has units to count by.
/// *Guarantees*: what such a small run has counted too much is given back: the first poll delivers everything, once.
#[tokio::test]
async fn many_blobs_of_one_event() {
    const N_BLOBS: usize = 3_600;
    let world = directory_world("memory-tiny", SMALL).await;
    for n in 0..N_BLOBS {
        put(&world, n, &format!("{{\"records\":[{}]}}", record(4, &tuple(n))));
    }
    let daemon = Daemon::start_to_file(&world, &world.path("events"));
    daemon.until("all events", || reports(&daemon, &format!("\"events\":{N_BLOBS},"))).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let events = fs::read_to_string(world.path("events")).unwrap();
    let port =
        |event: &str| event.split("192.0.2.180,").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let mut ports: Vec<usize> = events.lines().map(|event| port(event).parse().unwrap()).collect();
    ports.sort_unstable();
    assert!(ports.into_iter().eq(0..N_BLOBS), "{log}");
}

/// *Scenario*: three blobs, each with more records of an unknown version than the memory can hold.
/// *Guarantees*: the first poll ends with all of them in the quarantine.
#[tokio::test]
async fn more_is_rejected_than_the_memory_holds() {
    const N_RECORDS: usize = 350;
    let world = directory_world("memory-rejected", SMALL).await;
    let rejected = record(99, &vec![tuple(0); 100].join(","));
    let list = vec![rejected.as_str(); N_RECORDS].join(",");
    assert!(list.len() > 2_097_152, "{} bytes", list.len());
    for n in 0..3 {
        put(&world, n, &format!("{{\"records\":[{list}]}}"));
    }
    let daemon = Daemon::start_to_file(&world, &world.path("events"));
    let all = format!("\"quarantined\":{},", 3 * N_RECORDS);
    daemon.until("all entries", || reports(&daemon, &all)).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let expected = (BTreeMap::from([("unknown_version", 3 * N_RECORDS)]), 3 * N_RECORDS * rejected.len());
    assert_eq!(quarantined(&world), expected);
}

/// Whether a poll was complete and came to this.
fn reports(daemon: &Daemon, what: &str) -> bool {
    daemon.log().lines().any(|line| line.contains("poll complete") && line.contains(what))
}

/// A document of one record with so many bad tuples under a rule of so long a name, and a good one behind them.
fn bad_tuples(n_bad: usize, rule_bytes: usize) -> String {
    let tuples = vec!["\"1,x\""; n_bad].join(",") + "," + &tuple(7);
    let record = record(4, &tuples).replace("\"r\"", &format!("\"{}\"", "r".repeat(rule_bytes)));
    format!("{{\"records\":[{record}]}}")
}

/// *Scenario*: one record with 40,000 bad tuples, each of which costs 2 KB on its way to the quarantine.
/// *Guarantees*: all are in the quarantine, and were not in memory at once.
#[tokio::test]
async fn a_record_of_bad_tuples() {
    const N_BAD: usize = 40_000;
    let world = directory_world("memory-bad", ("limits", "memory = \"8MiB\"\nrecord = \"4MiB\"")).await;
    put(&world, 0, &bad_tuples(N_BAD, 1_500));
    let daemon = Daemon::start_to_file(&world, &world.path("events"));
    daemon.until("all entries", || reports(&daemon, &format!("\"quarantined\":{N_BAD},"))).await;
    let peak = daemon.peak_kibibytes();
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(peak <= 64 * 1024, "{peak} KiB");
    assert_eq!(quarantined(&world).0, BTreeMap::from([("bad_tuple", N_BAD)]));
    assert_eq!(fs::read_to_string(world.path("events")).unwrap().lines().count(), 1);
}

/// *Scenario*: `convert` is given a record with 200,000 bad tuples through a pipe that stays open behind it.
/// *Guarantees*: each bad tuple is told, and they were not in memory at once.
#[test]
fn converting_a_record_of_bad_tuples() {
    const N_BAD: usize = 200_000;
    let mut convert = Command::new(env!("CARGO_BIN_EXE_flowlogd"))
        .args(["convert", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = convert.stdin.take().unwrap();
    let mut stdout = convert.stdout.take().unwrap();
    let stderr = BufReader::new(convert.stderr.take().unwrap());
    let document = bad_tuples(N_BAD, 1);
    // It takes the end of the list when it has taken all before: so it is read and told now.
    let writing = thread::spawn(move || {
        stdin.write_all(document.as_bytes()).unwrap();
        stdin
    });
    let mut told = stderr.lines().map(Result::unwrap).filter(|line| line.contains("\"bad_tuple\""));
    assert_eq!(told.by_ref().take(N_BAD).count(), N_BAD);
    let peak = peak_kibibytes(convert.id());
    drop(writing.join().unwrap());
    assert_eq!(told.count(), 0);
    let mut events = String::new();
    stdout.read_to_string(&mut events).unwrap();
    assert_eq!((events.lines().count(), convert.wait().unwrap().code()), (1, Some(65)));
    assert!(peak <= 48 * 1024, "{peak} KiB");
}
