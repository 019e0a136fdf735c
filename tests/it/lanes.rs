//! Several sources and intakes in one process: each intake gets everything once, and none waits for another.

use std::time::SystemTime;

use flowlogd::model::Hour;
use serde_json::Value;

use crate::support::{
    azurite,
    blob_writer::BlobWriter,
    daemon::Daemon,
    documents::{document, events, minutes},
    processes::Receiver,
    storage_proxy::StorageProxy,
    world::{World, sum},
};

const BLOB: &str =
    "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/y=2025/m=06/d=01/h=05/m=00/macAddress=0022482F8D3A/PT1H.json";

/// A second intake, of the other protocol, with the events of the ledger.
fn second_intake(receiver: &Receiver) -> String {
    format!(
        "[intakes.second]\nprotocol = \"http\"\nurl = {:?}\nevent_format = \"flow\"\n",
        receiver.url.as_str()
    )
}

/// The reports of one source.
fn of_source(reports: &[Value], source: &str) -> Vec<Value> {
    reports.iter().filter(|report| report["source"] == source).cloned().collect()
}

/// *Scenario*: a container with more blobs than are read at once and a directory, each to an intake of either protocol;
/// then the blobs grow.
/// *Guarantees*: both intakes have every tuple once; what both read is asked for once, listings too.
#[tokio::test]
async fn two_sources_to_two_intakes() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let second = Receiver::start_plain(&[]);
    let world = World::new("lanes-two", &[], &[]).await;
    let tables = format!(
        "[sources.local]\ndirectory = {:?}\npoll_interval = \"200ms\"\n{}",
        world.path("local"),
        second_intake(&second)
    );
    world.configure(&[("sources", &proxy.setting()), ("tables", &tables)]);
    let mut writer = world.writer(&["--nics", "12", "--roots", "2"]);
    world.write_directory("local", "locally-written", &["--seed", "2", "--nics", "3"]);
    for (n_minutes, n_files) in [(2, 3), (1, 0)] {
        writer.minutes(n_minutes);
        proxy.cut(0..0);
        let listings = proxy.requests("comp=list");
        let (code, reports, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        let expected = world.ledgers(&["written", "locally-written"]);
        assert_eq!(world.received(), expected, "{stderr}");
        assert_eq!(second.sorted_ledger(), expected, "{stderr}");
        let [remote, local] = ["test", "local"].map(|source| of_source(&reports, source));
        assert_eq!((remote.len(), local.len()), (2, 2), "{stderr}");
        assert_eq!((sum(&remote, "read_calls"), sum(&local, "blobs")), (24, n_files * 2), "{stderr}");
        assert_eq!(proxy.n_reads(), 12, "{stderr}");
        let listed = u64::try_from(proxy.requests("comp=list") - listings).unwrap();
        assert_eq!(listed * 2, sum(&remote, "list_calls"), "{stderr}");
    }
}

/// *Scenario*: one of two intakes answers 500 without end, and its part of the memory is less than what is written;
/// blobs grow on; then a new start, and it is well.
/// *Guarantees*: the other one has everything meanwhile and nothing twice afterwards; the sick one has everything once.
#[tokio::test]
async fn a_sick_intake_holds_nobody_back() {
    let sick = Receiver::start_plain(&["--faults", &["500"; 5_000].join(",")]);
    let world = World::new("lanes-sick", &[], &[]).await;
    let limits = ("limits", "drain = \"1s\"\nmemory = \"4MiB\"\nrecord = \"1MiB\"");
    world.configure(&[limits, ("tables", &second_intake(&sick))]);
    let mut writer = world.writer(&["--nics", "3", "--shape", "dense"]);
    writer.minutes(6);
    let daemon = Daemon::start(&world);
    for _minute in 0..3 {
        writer.minutes(1);
        daemon.until("the healthy intake", || world.received() == world.written()).await;
    }
    daemon.until("the sick intake", || daemon.log().contains("status 500")).await;
    assert!(sick.ledger().is_empty());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");

    let healed = Receiver::start_plain(&[]);
    world.configure(&[limits, ("tables", &second_intake(&healed))]);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(healed.sorted_ledger(), world.written(), "{stderr}");
    assert_eq!(world.received(), world.written(), "{stderr}");
}

/// *Scenario*: a container that was read from its beginning gets a second intake and `start = "now"`; then an old blob
/// grows, and one of the open hour appears.
/// *Guarantees*: the new intake has a first hour of its own and gets the open hour alone; the old one keeps its first
/// hour and its positions.
#[tokio::test]
async fn a_new_intake_has_its_own_first_hour() {
    let second = Receiver::start_plain(&[]);
    let world = World::new("lanes-new", &[], &[]).await;
    let mut old = world.writer_into("lanes-new", "old", &["--start-hour", "2025-06-01T05"]);
    old.minutes(2);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");

    world.configure(&[("sources", "start = \"now\""), ("tables", &second_intake(&second))]);
    let before = Hour::containing(SystemTime::now().into());
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "events")), (0, 0), "{stderr}");
    let first_hour = |intake: &str| {
        let rows = world.checkpoints();
        rows.iter().find(|row| row["intake"] == intake).unwrap()["first_hour"].as_str().unwrap().to_owned()
    };
    // The clock may have gone into the next hour meanwhile.
    let open = [before, before.next()].into_iter().find(|hour| hour.to_string() == first_hour("second"));
    let open = open.unwrap_or_else(|| panic!("{before} was open: {:?}", world.checkpoints()));
    let unchanged = first_hour("test");
    assert_ne!(unchanged, open.to_string());

    old.minutes(1);
    let start_hour = open.start().format("%Y-%m-%dT%H").to_string();
    world.writer_into("lanes-new", "new", &["--start-hour", &start_hour, "--seed", "2"]).minutes(2);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(second.sorted_ledger(), world.ledgers(&["new"]), "{stderr}");
    assert_eq!(world.received(), world.ledgers(&["old", "new"]), "{stderr}");
    assert_eq!(first_hour("test"), unchanged);
}

/// Addresses of the writer's three interfaces, as blob names have them.
const ADDRESSES: [&str; 3] = ["0022482F8D3A", "0022482F8D3B", "0022482F8D3C"];

/// *Scenario*: one of three interfaces is excluded, then another one instead, then none; the blobs grow meanwhile. An
/// `include` narrows the rest.
/// *Guarantees*: an excluded blob is never asked for; what was delivered is not delivered again; what was left out comes
/// once it is wanted, once.
#[tokio::test]
async fn excluded_blobs_are_never_asked_for() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let world = World::new("lanes-exclude", &[], &[]).await;
    let mut writer = world.writer(&["--nics", "3"]);
    let [first, second, _] = ADDRESSES;
    let exclude = |address: &str| format!("exclude = [\"*macaddress={address}/*\"]");
    let include = format!("include = [\"*={first}/*\", \"*={second}/*\"]");
    // What each interface has been delivered of.
    let mut delivered: [Vec<String>; 3] = Default::default();
    for (filter, wanted) in [
        (exclude(first), [false, true, true]),
        (exclude(second), [true, false, true]),
        (format!("{include}\n{}", exclude(second)), [true, false, false]),
        (include, [true, true, false]),
        (String::new(), [true, true, true]),
    ] {
        writer.minutes(2);
        world.configure(&[("sources", &format!("{filter}\n{}", proxy.setting()))]);
        let asked = ADDRESSES.map(|address| proxy.requests(address));
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        let asked_now = ADDRESSES.map(|address| proxy.requests(address));
        let is_asked: Vec<bool> = asked.iter().zip(asked_now).map(|(before, now)| now > *before).collect();
        assert_eq!(is_asked, wanted, "{filter}");
        for ((address, delivered), wanted) in ADDRESSES.iter().zip(&mut delivered).zip(wanted) {
            if wanted {
                *delivered = of_interface(&world.written(), address);
                assert!(!delivered.is_empty());
            }
            assert_eq!(of_interface(&world.received(), address), *delivered, "{address}, {filter}: {stderr}");
        }
        assert_eq!(world.received().len(), delivered.iter().map(Vec::len).sum::<usize>());
    }
    assert_eq!(world.received(), world.written());
}

/// The events of one interface.
fn of_interface(events: &[String], address: &str) -> Vec<String> {
    let of_it = |event: &&String| event.to_uppercase().contains(&format!("\"MACADDRESS\":\"{address}\""));
    events.iter().filter(of_it).cloned().collect()
}

/// *Scenario*: the storage answers a listing as it did before the blob grew, after the blob was read to its new end: so
/// does an answer that level intakes share.
/// *Guarantees*: the blob is not taken for rewritten, and nothing is delivered again.
#[tokio::test]
async fn a_listing_that_is_older_than_the_position() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let world = World::new("lanes-old-listing", &[], &[("sources", &proxy.setting())]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "lanes-old-listing").await;
    let minutes = minutes(1, 2);
    let [first, second] = [&minutes[0], &minutes[1]];
    for (known, is_old) in [(vec![first], false), (vec![first, second], false), (vec![first, second], true)] {
        proxy.repeat_listings(is_old);
        if !is_old {
            writer.put(BLOB, &[&document(&known)]).await;
        }
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(world.received(), events(&known), "{stderr}");
    }
}

/// *Scenario*: a blob grows by a record whose events fill several batches, which go one after the other.
/// *Guarantees*: the first of them does not end the blob's reading: nothing is delivered again by the next pass.
#[tokio::test]
async fn an_append_in_several_batches() {
    let small = ("intakes", "batch = { max_events = 5 }\nmax_in_flight = 1");
    let world = World::new("lanes-batches", &[], &[small]).await;
    let mut writer = world.writer(&["--nics", "1", "--shape", "dense", "--tuples", "60"]);
    for _minute in 0..3 {
        writer.minutes(1);
        for _pass in 0..2 {
            let (code, _, stderr) = world.once();
            assert_eq!(code, 0, "{stderr}");
            assert_eq!(world.received(), world.written(), "{stderr}");
        }
    }
}
