//! What comes late, vanishes or piles up: whole processes, and a storage server whose clock is set ahead.

use std::{collections::BTreeMap, fs, time::SystemTime};

use chrono::TimeDelta;
use flowlogd::model::Hour;
use serde_json::Value;

use crate::support::{
    azurite,
    blob_writer::BlobWriter,
    daemon::Daemon,
    documents::{self, HEAD, document, events},
    storage_proxy::StorageProxy,
    world::{World, sum},
};
use crate::upkeep::turn;

/// A blob of the one flow log of these tests.
fn blob(hour: Hour, interface: u32) -> String {
    format!(
        "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/{}m=00/macAddress=0022482F8D{interface:02X}/PT1H.json",
        hour.prefix()
    )
}

fn hours_ago(hours: i64) -> Hour {
    Hour::from_number(Hour::containing(SystemTime::now().into()).number() - hours)
}

/// The sum of a number over the reports of a log.
fn total(log: &str, name: &str) -> u64 {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    sum(&lines.filter(|fields| fields["list_calls"].is_u64()).collect::<Vec<_>>(), name)
}

fn count(log: &str, part: &str) -> usize {
    log.lines().filter(|line| line.contains(part)).count()
}

const REOPENED: &str = "a sealed hour has changed: it is read again where it is new";

/// *Scenario*: two sealed hours of a root, one younger than `revisit` and one older. A blob of each grows; then one of
/// the younger hour appears and one grows once more.
/// *Guarantees*: what is young enough is found by one of the next polls, delivered once, and its hour is sealed again
/// each time; what is older is left alone.
#[tokio::test]
async fn late_data_of_sealed_hours() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let settings = format!("seal_after = \"1h\"\nrevisit = \"8h\"\n{}", proxy.setting());
    let world = World::new("late-sealed", &[], &[("sources", &settings)]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "late-sealed").await;
    let minutes = [documents::minutes(1, 3), documents::minutes(2, 3), documents::minutes(3, 1)].concat();
    let [a, b, c, d, e, f, g] = [0, 1, 2, 3, 4, 5, 6].map(|n| &minutes[n]);
    let (young, old) = (hours_ago(2), hours_ago(12));
    writer.put(&blob(young, 1), &[&document(&[a])]).await;
    writer.put(&blob(old, 1), &[&document(&[b])]).await;
    // Past the last change too; the open hours are later than both. It is not the minute in which a day has its turn, when
    // what is older would be found too.
    proxy.stop_clock((turn(2) + TimeDelta::minutes(1)).into());
    let daemon = Daemon::start(&world);
    daemon.until("both hours sealed", || total(&daemon.log(), "hours_sealed") == 2).await;
    assert_eq!(world.received(), events(&[a, b]), "{}", daemon.log());

    writer.put(&blob(old, 1), &[&document(&[b, c])]).await;
    let mut expected = vec![a, b];
    for (interface, content, news) in [(1, vec![a, d], d), (2, vec![e], e), (2, vec![e, f], f)] {
        let (n_sealed, n_reopened) = (total(&daemon.log(), "hours_sealed"), count(&daemon.log(), REOPENED));
        writer.put(&blob(young, interface), &[&document(&content)]).await;
        expected.push(news);
        daemon.until("what is late", || world.received() == events(&expected)).await;
        daemon.until("the seal", || total(&daemon.log(), "hours_sealed") > n_sealed).await;
        assert_eq!(count(&daemon.log(), REOPENED), n_reopened + 1, "{}", daemon.log());
    }
    // Every hour that is young enough has its turn twice.
    daemon.says(&["poll complete"], 20).await;
    assert_eq!(world.received(), events(&expected), "{}", daemon.log());

    writer.put(&blob(old.next(), 1), &[&document(&[g])]).await;
    daemon.says(&["poll complete"], 20).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(world.received(), events(&expected), "a new blob is as old as its hour: {log}");
    assert_eq!((total(&log, "quarantined"), total(&log, "hours_sealed")), (0, 5), "{log}");
}

/// *Scenario*: an hour is sealed while the last record of a blob has no end yet; the blob grows by another part of the
/// record, and then by its end.
/// *Guarantees*: the record is in the quarantine as long as it has no end; then it is delivered, once, and nothing is
/// left in the quarantine.
#[tokio::test]
async fn a_record_whose_end_is_late() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let settings = format!("seal_after = \"1h\"\nrevisit = \"8h\"\n{}", proxy.setting());
    let world = World::new("late-end", &[], &[("sources", &settings)]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "late-end").await;
    let minutes = documents::minutes(1, 2);
    let [a, b] = [&minutes[0], &minutes[1]];
    let name = blob(hours_ago(2), 1);
    let whole = document(&[a, b]);
    let n_whole = HEAD.len() + a.records.len();
    writer.put(&name, &[&whole[..n_whole + 50]]).await;
    proxy.set_hours_ahead(2);
    let daemon = Daemon::start(&world);
    let n_sealed = || total(&daemon.log(), "hours_sealed");
    let quarantined = || {
        let output = world.collector(&["quarantine", "list"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().matches("incomplete_record").count()
    };
    daemon.until("the first seal", || n_sealed() == 1).await;
    assert_eq!((world.received(), quarantined()), (events(&[a]), 1), "{}", daemon.log());
    writer.put(&name, &[&whole[..n_whole + 60]]).await;
    daemon.until("the second seal", || n_sealed() == 2).await;
    assert_eq!((world.received(), quarantined()), (events(&[a]), 1), "{}", daemon.log());
    writer.put(&name, &[&whole]).await;
    daemon.until("its end", || world.received() == events(&[a, b])).await;
    daemon.until("the third seal", || n_sealed() == 3).await;
    assert_eq!(quarantined(), 0, "{}", daemon.log());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(world.received(), events(&[a, b]), "{log}");
}

/// *Scenario*: late data in a sealed hour, and passes that are processes of their own, as from a timer.
/// *Guarantees*: one of the next passes finds it, however many sealed hours there are in turn.
#[tokio::test]
async fn late_data_between_single_passes() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let settings = format!("seal_after = \"1h\"\nrevisit = \"6h\"\n{}", proxy.setting());
    let world = World::new("late-once", &[], &[("sources", &settings)]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "late-once").await;
    let minutes = documents::minutes(1, 2);
    let [a, b] = [&minutes[0], &minutes[1]];
    let hour = hours_ago(1);
    writer.put(&blob(hour, 1), &[&document(&[a])]).await;
    proxy.set_hours_ahead(2);
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "hours_sealed")), (0, 1), "{stderr}");
    writer.put(&blob(hour, 1), &[&document(&[a, b])]).await;
    let mut n_passes = 0;
    while world.received() != events(&[a, b]) {
        n_passes += 1;
        assert!(n_passes <= 24, "{:?}", world.checkpoints());
        proxy.set_minutes_ahead(120 + n_passes);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
    }
}

const GONE: &str = "a blob was gone before it was read to its end";

/// *Scenario*: a blob is read in part and then deleted; a listing still shows it, then none does. Another blob grows all
/// the time.
/// *Guarantees*: it is warned about once, with the bytes that were read, and counted once; the other blob goes on.
#[tokio::test]
async fn a_blob_that_vanishes_half_read() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let world = World::new("late-gone", &[], &[("sources", &proxy.setting())]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "late-gone").await;
    let minutes = documents::minutes(1, 3);
    let [a, b, c] = [0, 1, 2].map(|n| &minutes[n]);
    let hour = hours_ago(0);
    let vanishing = blob(hour, 2);
    // One range of whole records; the next one never comes.
    let n_copies = 2_000_000 / a.records.len();
    writer.put(&vanishing, &[&document(&vec![a; n_copies])]).await;
    proxy.cut(1..1_000);
    let daemon = Daemon::start(&world);
    daemon.says(&["the blob could not be read"], 1).await;
    writer.delete(&vanishing).await;
    proxy.cut(0..0);
    proxy.repeat_listings(true);
    daemon.until("the loss", || count(&daemon.log(), GONE) > 0).await;
    daemon.says(&["\"list_calls\""], 3).await;
    proxy.repeat_listings(false);
    let received_of_it = world.received().len();
    assert!(received_of_it > 0);
    for known in [vec![b], vec![b, c]] {
        writer.put(&blob(hour, 1), &[&document(&known)]).await;
        let n_expected = received_of_it + events(&known).len();
        daemon.until("the other blob", || world.received().len() == n_expected).await;
        daemon.says(&["\"list_calls\""], 2).await;
    }
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let told: Vec<&str> = log.lines().filter(|line| line.contains(GONE)).collect();
    assert!(told.len() == 1 && told[0].contains(&vanishing), "{told:?}");
    assert!(!told[0].contains("\"read_bytes\":0"), "{told:?}");
    assert_eq!(total(&log, "gone"), 1, "{log}");
}

/// *Scenario*: two blobs of an old hour whose last record is incomplete, in two flow logs, and many hours since. One blob
/// is deleted, then the whole other flow log.
/// *Guarantees*: each is warned about and counted once, with the bytes that were read and those that were not; the hour
/// is sealed.
#[tokio::test]
async fn blobs_that_vanish_while_nobody_looks() {
    let world = World::new("late-vanished", &[], &[]).await;
    let container = world.path("container");
    world.configure(&[("sources", &format!("directory = {container:?}"))]);
    let minutes = documents::minutes(1, 3);
    let (gone, stays) = (blob(hours_ago(50), 1), blob(hours_ago(40), 1));
    let names = [gone, blob(hours_ago(50), 2).replacen("_L/", "_OTHER/", 1), stays];
    for (name, minute) in names.iter().zip(&minutes) {
        let path = container.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, [HEAD, &minute.records, b",{\"time\":"].concat()).unwrap();
    }
    let (code, _, stderr) = world.once();
    assert_eq!((code, count(&stderr, GONE)), (0, 0), "{stderr}");
    fs::remove_file(container.join(&names[0])).unwrap();
    fs::remove_dir_all(container.join("flowLogResourceID=/S_RG/NETWORKWATCHER_X_OTHER")).unwrap();
    let daemon = Daemon::start(&world);
    daemon.says(&["poll complete"], 3).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    for (name, minute) in names.iter().zip(&minutes).take(2) {
        let told: Vec<&str> = log.lines().filter(|line| line.contains(GONE) && line.contains(name)).collect();
        // The comma is read with the record before it.
        let read = format!("\"read_bytes\":{}", HEAD.len() + minute.records.len());
        assert!(told.len() == 1 && told[0].contains(&read), "{told:?}");
        assert!(!told[0].contains("\"unread_bytes\":0"), "{told:?}");
    }
    assert_eq!((total(&log, "gone"), total(&log, "hours_sealed")), (2, 1), "{log}");
}

/// The place of each event of `written` in the ledger of the receiver.
fn places(ledger: &[String], written: &[String]) -> Vec<usize> {
    let is_one = |event: &String| written.binary_search(event).is_ok();
    ledger.iter().enumerate().filter(|(_, event)| is_one(event)).map(|(place, _)| place).collect()
}

/// *Scenario*: a flow log with one blob of 80 MB, one with a few small ones, and one reader.
/// *Guarantees*: the small ones are delivered before the large one is done; everything is delivered once.
#[tokio::test]
async fn a_huge_blob_does_not_hold_up_small_ones() {
    let world = World::new("late-fair", &[], &[]).await;
    let directory = world.path("container");
    let settings = [
        ("sources", format!("directory = {directory:?}")),
        ("intakes", "max_in_flight = 1\n".to_owned()),
        ("limits", "parallel_blobs = 1".to_owned()),
    ];
    world.configure(&settings.each_ref().map(|(table, lines)| (*table, lines.as_str())));
    let hour = ["--start-hour", "2025-06-01T05"];
    world.write_directory(
        "container",
        "huge",
        &[&hour[..], &["--bytes", "80MB", "--shape", "dense"]].concat(),
    );
    world.write_directory("container", "small", &[&hour[..], &["--seed", "2", "--nics", "2"]].concat());
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let ledger = world.receiver.ledger();
    assert!(world.received() == world.ledgers(&["huge", "small"]), "the ledgers differ: {stderr}");
    let last = |name: &str| *places(&ledger, &world.ledgers(&[name])).last().unwrap();
    let (last_small, last_huge) = (last("small"), last("huge"));
    assert!(last_small < last_huge, "{last_small}, {last_huge}");
    // Not by a hair: the last turn of the large one comes after.
    assert!(last_small < ledger.len() * 9 / 10, "{last_small} of {}", ledger.len());
}

/// *Scenario*: two hours are written and nobody reads; then a start with one reader.
/// *Guarantees*: everything is delivered once, the oldest hour first.
#[tokio::test]
async fn a_backlog_comes_oldest_hour_first() {
    let one_by_one = [("intakes", "max_in_flight = 1"), ("limits", "parallel_blobs = 1")];
    let world = World::new("late-backlog", &[], &one_by_one).await;
    let mut writer = world.writer(&["--nics", "4", "--roots", "2", "--start-hour", "2025-06-01T05"]);
    writer.minutes(120);
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "blobs")), (0, 8), "{stderr}");
    assert_eq!(world.received(), world.written(), "{stderr}");
    let ledger = world.receiver.ledger();
    let hour = |event: &String| event.split("\"time\":\"2025-06-01T").nth(1).unwrap()[..2].to_owned();
    // A record of the last minute of an hour may carry a time of the next one.
    let first_of_second = ledger.iter().position(|event| hour(event) == "06").unwrap();
    let last_of_first = ledger.iter().rposition(|event| hour(event) == "05").unwrap();
    assert!(last_of_first < first_of_second + ledger.len() / 20, "{first_of_second} {last_of_first}");
}

/// *Scenario*: ten thousand tiny blobs of fifty hours and four flow logs, to standard output.
/// *Guarantees*: every event of each of them is there, once; one pass is enough.
#[tokio::test]
async fn ten_thousand_tiny_blobs() {
    let world = World::new("late-many", &[], &[]).await;
    let container = world.path("container");
    world.configure(&[
        ("sources", &format!("directory = {container:?}")),
        ("intakes", "protocol = \"stdout\"\nevent_format = \"flow\""),
    ]);
    let minutes = documents::minutes(1, 1);
    let tiny = document(&[&minutes[0]]);
    let first = Hour::from_parts(2025, 6, 1, 5).unwrap();
    for n in 0..10_000 {
        let hour = Hour::from_number(first.number() + n / 200);
        let root = format!("flowLogResourceID=/S_RG/NETWORKWATCHER_X_{}", n % 4);
        let blob = format!("{root}/{}m=00/macAddress=002248{n:06X}", hour.prefix());
        fs::create_dir_all(container.join(&blob)).unwrap();
        fs::write(container.join(&blob).join("PT1H.json"), &tiny).unwrap();
    }
    let output = world.collector(&["run", "--once"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(total(&stderr, "blobs"), 10_000, "{stderr}");
    let mut n_times: BTreeMap<&[u8], u32> = BTreeMap::new();
    for event in output.stdout.trim_ascii_end().split(|byte| *byte == b'\n') {
        *n_times.entry(event).or_default() += 1;
    }
    let expected = events(&[&minutes[0]]);
    assert_eq!(n_times.len(), expected.len());
    assert!(expected.iter().all(|event| n_times.get(event.as_bytes()) == Some(&10_000)), "{stderr}");
}
