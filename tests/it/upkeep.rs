//! What is kept of blobs, intakes and sources that are gone, and listings that fail: whole processes, and a storage
//! server whose clock is set.

use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use flowlogd::model::Hour;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::support::{
    azurite,
    blob_writer::BlobWriter,
    documents::{self, document, events},
    processes::Receiver,
    storage_proxy::{Fault, StorageProxy},
    world::{World, sum},
};

/// The one flow log of these tests.
const ROOT: &str = "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L";

pub(super) fn blob(hour: Hour, interface: u32) -> String {
    format!("{ROOT}/{}m=00/macAddress=0022482F8D{interface:02X}/PT1H.json", hour.prefix())
}

/// A day that is over; its hours are older than `revisit`.
pub(super) fn past_day() -> Hour {
    Hour::from_number(Hour::containing(SystemTime::now().into()).number() - 50).day()
}

/// The hour this many after another one.
pub(super) fn after(hour: Hour, hours: i64) -> Hour {
    Hour::from_number(hour.number() + hours)
}

/// A time this many hours from now, so far into its hour that it is the root's turn to be pruned.
pub(super) fn turn(hours: i64) -> DateTime<Utc> {
    let hour = after(Hour::containing(SystemTime::now().into()), hours);
    hour.start() + TimeDelta::minutes(i64::try_from(xxh3_64(ROOT.as_bytes()) % 60).unwrap())
}

/// Hours are sealed early and not looked at again; a single pass gives up early.
pub(super) async fn world(container: &str, proxy: &StorageProxy) -> World {
    let settings = format!("seal_after = \"1h\"\nrevisit = \"1h\"\n{}", proxy.setting());
    let limits = ("limits", "once_deadline = \"1s\"");
    World::new(container, &[], &[limits, ("sources", &settings)]).await
}

/// The blobs that have a position.
fn positions(world: &World) -> Vec<String> {
    let output = world.collector(&["checkpoints", "export"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut blobs: Vec<String> = lines.map(|line| line["blob"].as_str().unwrap().to_owned()).collect();
    blobs.sort_unstable();
    blobs
}

fn sorted<const N: usize>(mut names: [String; N]) -> [String; N] {
    names.sort_unstable();
    names
}

/// The first hour of the root that is not sealed.
fn open_from(world: &World) -> String {
    world.checkpoints()[0]["roots"][0]["open_from"].as_str().unwrap().to_owned()
}

/// In the request for the listing of an hour of a day.
fn hour_listing(hour: Hour) -> String {
    encoded(&hour.prefix())
}

/// In the requests for all pages of the listing of a day: not of the walk over its hours, and of no hour.
fn day_listing(day: Hour) -> String {
    format!("{}&ma", encoded(&day.day_prefix()))
}

fn encoded(prefix: &str) -> String {
    prefix.replace('=', "%3D").replace('/', "%2F")
}

/// *Scenario*: blobs of two days are delivered and their hours sealed; one blob of each day is deleted; single passes
/// follow, first out of turn, then one an hour in turn.
/// *Guarantees*: out of turn no day is listed; before long the positions of both are forgotten, and no others; nothing
/// is delivered again.
#[tokio::test]
async fn positions_of_blobs_that_are_gone() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let world = world("upkeep-gone", &proxy).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "upkeep-gone").await;
    let minutes = documents::minutes(1, 5);
    let day = past_day();
    let [a, b, c, d, e] = [(5, 1), (5, 2), (6, 1), (31, 1), (31, 2)]
        .map(|(hours, interface)| blob(after(day, hours), interface));
    for (name, minute) in [&a, &b, &c, &d, &e].into_iter().zip(&minutes) {
        writer.put(name, &[&document(&[minute])]).await;
    }
    let delivered = events(&minutes.iter().collect::<Vec<_>>());
    let out_of_turn = turn(3) + TimeDelta::minutes(1);
    proxy.stop_clock(out_of_turn.into());
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "hours_sealed")), (0, 3), "{stderr}");
    assert_eq!(positions(&world), sorted([&a, &b, &c, &d, &e].map(Clone::clone)), "{stderr}");

    writer.delete(&b).await;
    writer.delete(&d).await;
    let (code, _, stderr) = world.once();
    assert_eq!((code, positions(&world).len()), (0, 5), "{stderr}");
    let days = [day_listing(day), day_listing(after(day, 24))];
    assert_eq!(days.each_ref().map(|part| proxy.requests(part)), [0, 0]);

    let left = sorted([a, c, e]);
    let mut n_passes = 0;
    while positions(&world) != left {
        n_passes += 1;
        assert!(n_passes <= 24, "{:?}", positions(&world));
        proxy.stop_clock(turn(3 + n_passes).into());
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        let listed: usize = days.iter().map(|part| proxy.requests(part)).sum();
        assert_eq!(i64::try_from(listed).unwrap(), n_passes, "{stderr}");
    }
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "bytes")), (0, 0), "{stderr}");
    assert_eq!(positions(&world), left);
    assert_eq!(world.received(), delivered, "{stderr}");
}

/// *Scenario*: the first page of a listing holds nothing and the second one never comes: of an hour with a new blob when
/// its time to be sealed has come, then of the day of a blob that was deleted when it is its turn to be pruned.
/// *Guarantees*: the pass is incomplete and neither seals nor forgets anything; the next one does, with everything
/// delivered once.
#[tokio::test]
async fn a_listing_that_dies_midway() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let world = world("upkeep-midway", &proxy).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "upkeep-midway").await;
    let minutes = documents::minutes(1, 3);
    let [first, second, third] = [&minutes[0], &minutes[1], &minutes[2]];
    let day = past_day();
    let hour = after(day, 5);
    let [a, b, c] = [1, 2, 3].map(|interface| blob(hour, interface));
    writer.put(&a, &[&document(&[first])]).await;
    writer.put(&b, &[&document(&[second])]).await;
    let (code, _, stderr) = world.once();
    assert_eq!((code, open_from(&world)), (0, hour.to_string()), "{stderr}");

    writer.put(&c, &[&document(&[third])]).await;
    proxy.stop_clock(turn(3).into());
    proxy.fail(&hour_listing(hour), Fault::DiesMidway);
    let (code, _, stderr) = world.once();
    assert!(stderr.contains("poll incomplete") && !stderr.contains("poll complete"), "{stderr}");
    assert_eq!((code, open_from(&world)), (69, hour.to_string()), "{stderr}");
    assert_eq!(positions(&world), sorted([&a, &b].map(Clone::clone)));
    assert_eq!(world.received(), events(&[first, second]), "{stderr}");

    proxy.heal();
    let (code, _, stderr) = world.once();
    assert_eq!((code, open_from(&world) > hour.to_string()), (0, true), "{stderr}");
    assert_eq!(world.received(), events(&[first, second, third]), "{stderr}");
    let all = sorted([&a, &b, &c].map(Clone::clone));
    assert_eq!(positions(&world), all);

    writer.delete(&b).await;
    proxy.stop_clock(turn(4).into());
    proxy.fail(&day_listing(day), Fault::DiesMidway);
    // Its turn is over with the failure: the same process does not try again at once.
    let (code, _, stderr) = world.once();
    assert_eq!((code, stderr.matches("poll incomplete").count()), (0, 1), "{stderr}");
    assert_eq!(positions(&world), all, "{stderr}");

    proxy.heal();
    let (code, _, stderr) = world.once();
    assert_eq!((code, positions(&world).as_slice()), (0, sorted([a, c]).as_slice()), "{stderr}");
    assert_eq!(world.received(), events(&[first, second, third]), "{stderr}");
}

/// *Scenario*: past their time, the listing of the oldest of three hours is no listing; then it is one.
/// *Guarantees*: the two newer hours are delivered and sealed meanwhile, the oldest one stays unsealed, and the pass is
/// incomplete; then it is delivered too, everything once.
#[tokio::test]
async fn an_hour_that_cannot_be_listed() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let world = world("upkeep-malformed", &proxy).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "upkeep-malformed").await;
    let minutes = documents::minutes(1, 3);
    let hours = [5, 6, 7].map(|hours| after(past_day(), hours));
    for (hour, minute) in hours.iter().zip(&minutes) {
        writer.put(&blob(*hour, 1), &[&document(&[minute])]).await;
    }
    proxy.set_hours_ahead(3);
    proxy.fail(&hour_listing(hours[0]), Fault::Garbage);
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "hours_sealed")), (69, 2), "{stderr}");
    assert!(stderr.contains("poll incomplete") && !stderr.contains("poll complete"), "{stderr}");
    assert_eq!(world.received(), events(&[&minutes[1], &minutes[2]]), "{stderr}");
    assert_eq!(open_from(&world), hours[0].to_string());

    proxy.heal();
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "hours_sealed")), (0, 1), "{stderr}");
    assert_eq!(world.received(), events(&minutes.iter().collect::<Vec<_>>()), "{stderr}");
    assert!(open_from(&world) > hours[2].to_string(), "{}", open_from(&world));
}

/// The commands that lines about something that is not configured any more name as the way out, for positions.
fn ways_out(stderr: &str) -> Vec<String> {
    let lines = stderr.lines().filter(|line| line.contains("not configured any more are kept"));
    let mut ways: Vec<String> = lines.map(|line| line.split('`').nth(1).unwrap().to_owned()).collect();
    ways.dedup();
    ways
}

/// *Scenario*: an intake, a directory and another container of the same account go from the settings, one after the
/// other.
/// *Guarantees*: each start warns, naming what is kept and the command that ends it; after the command there is no
/// warning, and what is left goes on without sending anything again.
#[tokio::test]
async fn what_is_not_configured_any_more() {
    let second = Receiver::start_plain(&[]);
    let world = World::new("upkeep-removed", &[], &[]).await;
    let mut written = world.writer(&["--nics", "2"]);
    written.minutes(2);
    world.writer_into("upkeep-removed-too", "other", &["--seed", "3", "--nics", "1"]).minutes(2);
    world.write_directory("local", "locally-written", &["--seed", "2", "--nics", "1"]);
    let intake = format!(
        "[intakes.second]\nprotocol = \"http\"\nurl = {:?}\nevent_format = \"flow\"\n",
        second.url.as_str()
    );
    let local = format!("[sources.local]\ndirectory = {:?}\n", world.path("local"));
    let other = format!(
        "[sources.other]\naccount = {:?}\naccount_key = {:?}\nendpoint = {:?}\ncontainer = \"upkeep-removed-too\"\n",
        azurite::ACCOUNT,
        azurite::ACCOUNT_KEY,
        world.endpoint,
    );
    let tables = [intake, local, other];
    world.configure(&[("tables", &tables.concat())]);
    let (code, _, stderr) = world.once();
    assert_eq!((code, ways_out(&stderr)), (0, Vec::new()), "{stderr}");
    let all = world.ledgers(&["written", "other", "locally-written"]);
    assert_eq!((world.received(), second.sorted_ledger()), (all.clone(), all.clone()), "{stderr}");

    // A directory has neither account nor container, unless the settings give it some.
    for (n_gone, option) in
        [(1, "--intake second"), (2, "--source /"), (3, "--source devstoreaccount1/upkeep-removed-too")]
    {
        world.configure(&[("tables", &tables[n_gone..].concat())]);
        let way_out = format!("flowlogd checkpoints reset {option} --yes");
        for _start in 0..2 {
            let (code, _, stderr) = world.once();
            assert_eq!((code, ways_out(&stderr)), (0, vec![way_out.clone()]), "{stderr}");
        }
        let arguments: Vec<&str> = way_out.split(' ').skip(1).collect();
        let output = world.collector(&arguments).output().unwrap();
        assert!(output.status.success(), "{way_out}: {}", String::from_utf8_lossy(&output.stderr));
        let (code, reports, stderr) = world.once();
        assert_eq!((code, ways_out(&stderr)), (0, Vec::new()), "{stderr}");
        assert_eq!(sum(&reports, "events"), 0, "{stderr}");
    }
    written.minutes(1);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.received(), world.ledgers(&["written", "other", "locally-written"]), "{stderr}");
    assert_eq!(second.sorted_ledger(), all);
}
