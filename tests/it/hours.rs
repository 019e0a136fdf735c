//! From which hour on a container is read, and when an hour is finished: whole processes, and a storage server whose
//! clock is set ahead.

use std::{fs, time::SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use flowlogd::{model::Hour, store::sqlite::SqliteStore};
use serde_json::json;

use crate::support::{
    azurite,
    blob_writer::BlobWriter,
    documents::{self, END, HEAD, document, events},
    storage_proxy::StorageProxy,
    world::{World, sum},
};

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// As the example writer takes it.
fn start_hour(hour: Hour) -> String {
    hour.start().format("%Y-%m-%dT%H").to_string()
}

/// The hour this many after another one.
fn after(hour: Hour, hours: i64) -> Hour {
    Hour::from_number(hour.number() + hours)
}

/// Writes the last minutes of the hour before `hour` with the ledger `before`, and the first ones of `hour` with the
/// ledger `from`.
fn write_around(world: &World, hour: Hour) {
    let earlier = start_hour(after(hour, -1));
    world
        .writer_into(&world.container, "before", &["--start-hour", &earlier, "--first-minute", "58"])
        .minutes(2);
    world.writer_into(&world.container, "from", &["--start-hour", &start_hour(hour)]).minutes(3);
}

/// *Scenario*: `start` is a duration back or a time within an hour; it stays, then it is changed in three ways.
/// *Guarantees*: the hour that contains that moment is read from its beginning, the hour before it is not; a change is
/// only told, with the hour that stays.
#[tokio::test]
async fn start_is_rounded_down_to_an_hour() {
    for (container, start) in
        [("hours-back", "5h".to_owned()), ("hours-at", "2025-06-01T05:59:59Z".to_owned())]
    {
        let setting = format!("start = {start:?}");
        let world = World::new(container, &[], &[("sources", &setting)]).await;
        BlobWriter::create(azurite::shared().await, container).await;
        let before = Hour::containing(now());
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        // The clock may have gone into the next hour meanwhile.
        let candidates = match start.as_str() {
            "5h" => vec![after(before, -5), after(before, -4)],
            _ => vec![Hour::from_parts(2025, 6, 1, 5).unwrap()],
        };
        let stored = world.checkpoints()[0]["first_hour"].clone();
        let first = candidates.into_iter().find(|hour| stored == hour.to_string());
        let first = first.unwrap_or_else(|| panic!("{start}: the first hour is {stored}"));

        write_around(&world, first);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(world.received(), world.ledgers(&["from"]), "{stderr}");

        for (other, is_told) in
            [(start.as_str(), false), ("earliest", true), ("2000d", true), ("2025-06-01T04:00:00Z", true)]
        {
            world.configure(&[("sources", &format!("start = {other:?}"))]);
            let (code, reports, stderr) = world.once();
            assert_eq!(code, 0, "{stderr}");
            let told = stderr.matches("`start` was decided at the first start and stays as it is").count();
            assert_eq!(told, usize::from(is_told), "{start}, then {other}: {stderr}");
            assert_eq!(stderr.contains(&format!("\"first_hour\":\"{first}\"")), is_told, "{stderr}");
            assert_eq!(sum(&reports, "events"), 0);
            assert_eq!(world.received(), world.ledgers(&["from"]));
        }
    }
}

/// *Scenario*: `start = "now"` in the middle of an hour whose blobs are there already; the next run comes after an
/// outage of 400 hours, in which blobs of many hours appeared.
/// *Guarantees*: the open hour is read from its beginning and nothing older; the outage skips nothing and repeats
/// nothing.
#[tokio::test]
async fn now_is_the_open_hour_and_an_outage_skips_nothing() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let settings = format!("start = \"now\"\n{}", proxy.setting());
    let world = World::new("hours-now", &[], &[("sources", &settings)]).await;
    BlobWriter::create(azurite::shared().await, "hours-now").await;
    let before = Hour::containing(now());
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let stored = world.checkpoints()[0]["first_hour"].clone();
    let open = [before, before.next()].into_iter().find(|hour| stored == hour.to_string());
    let open = open.unwrap_or_else(|| panic!("{before} was open, the first hour is {stored}"));
    write_around(&world, open);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.received(), world.ledgers(&["from"]), "{stderr}");

    let mut ledgers = vec!["from".to_owned()];
    for hours in [1, 2, 30, 31, 200, 399, 400] {
        let ledger = format!("after-{hours}");
        let hour = start_hour(after(open, hours));
        world.writer_into(&world.container, &ledger, &["--start-hour", &hour, "--roots", "2"]).minutes(2);
        ledgers.push(ledger);
    }
    let ledgers: Vec<&str> = ledgers.iter().map(String::as_str).collect();
    proxy.set_hours_ahead(400);
    let (code, reports, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.received(), world.ledgers(&ledgers), "{stderr}");
    assert_eq!(sum(&reports, "quarantined"), 0);
    let (code, reports, _) = world.once();
    assert_eq!((code, sum(&reports, "bytes")), (0, 0));
}

const BLOB: &str =
    "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/y=2025/m=06/d=01/h=05/m=00/macAddress=0022482F8D3A/PT1H.json";

/// Much less than a record.
const TORN_BYTES: usize = 300;

/// Two minutes and the beginning of a record, with the events of the two and the record's offset.
fn torn_document() -> (Vec<u8>, Vec<String>, usize) {
    let minutes = documents::minutes(1, 3);
    let [first, second, third] = [&minutes[0], &minutes[1], &minutes[2]];
    let whole = document(&[first, second]);
    let before = whole.strip_suffix(END).unwrap();
    let torn = [before, b",", &third.records[..TORN_BYTES]].concat();
    (torn, events(&[first, second]), before.len() + 1)
}

/// What the quarantine must hold once the torn document is sealed.
fn check_sealed(world: &World, torn: &[u8], offset: usize) {
    let mut rows = Vec::new();
    let store = SqliteStore::open_read_only(&world.path("state")).unwrap();
    store.for_each_quarantined(|entry| rows.push(entry)).unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].blob.name().as_str(), BLOB);
    let rejected = &rows[0].rejected;
    assert_eq!(rejected.text, &torn[offset..]);
    assert_eq!(rejected.span.from, u64::try_from(offset).unwrap());
    assert_eq!(world.checkpoints()[0]["quarantined"], json!(1));
}

/// Whether the blob's hour is.
fn is_sealed(world: &World) -> bool {
    world.checkpoints()[0]["roots"][0]["open_from"].as_str().unwrap() > "2025-06-01T05Z"
}

/// *Scenario*: a blob whose last record was never completed, in its open time, past it, and later.
/// *Guarantees*: first only the whole records are delivered; then the torn one gets exactly one quarantine row with its
/// place and bytes and the hour is sealed; from then on it is not listed any more.
#[tokio::test]
async fn a_torn_record_is_quarantined_once_and_its_hour_sealed() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let settings = format!("seal_after = \"1h\"\n{}", proxy.setting());
    let world = World::new("hours-torn", &[], &[("sources", &settings)]).await;
    let (torn, expected, offset) = torn_document();
    let mut writer = BlobWriter::create(azurite::shared().await, "hours-torn").await;
    writer.put(BLOB, &[&torn]).await;
    for (hours_ahead, listed, quarantined, sealed) in
        [(0, 1, 0, false), (2, 1, 1, true), (2, 0, 0, true), (99, 0, 0, true)]
    {
        proxy.set_hours_ahead(hours_ahead);
        let (code, reports, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        let counts = ["listed", "quarantined"].map(|name| sum(&reports, name));
        assert_eq!(
            (counts, is_sealed(&world)),
            ([listed, quarantined], sealed),
            "{hours_ahead} hours ahead: {stderr}"
        );
        assert_eq!(world.received(), expected, "{stderr}");
    }
    check_sealed(&world, &torn, offset);
}

/// *Scenario*: the same blob in a directory, changed just now, and later untouched for two days.
/// *Guarantees*: the same.
#[tokio::test]
async fn a_torn_record_in_a_directory() {
    let (torn, expected, offset) = torn_document();
    let world = World::new("hours-directory", &[], &[]).await;
    let directory = world.path("container");
    world.configure(&[("sources", &format!("seal_after = \"1h\"\ndirectory = {directory:?}"))]);
    let path = directory.join(BLOB);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &torn).unwrap();
    for (is_old, listed, quarantined, sealed) in
        [(false, 1, 0, false), (true, 1, 1, true), (true, 0, 0, true)]
    {
        if is_old {
            let two_days_ago = now() - TimeDelta::days(2);
            fs::File::options().write(true).open(&path).unwrap().set_modified(two_days_ago.into()).unwrap();
        }
        let (code, reports, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        let counts = ["listed", "quarantined"].map(|name| sum(&reports, name));
        assert_eq!((counts, is_sealed(&world)), ([listed, quarantined], sealed), "{stderr}");
        assert_eq!(world.received(), expected, "{stderr}");
    }
    check_sealed(&world, &torn, offset);
}

/// *Scenario*: an hour without any record, past its time.
/// *Guarantees*: it is sealed without a row in the quarantine.
#[tokio::test]
async fn an_empty_document_is_sealed() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let world = World::new("hours-empty", &[], &[("sources", &proxy.setting())]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "hours-empty").await;
    writer.put(BLOB, &[HEAD, END]).await;
    for (hours_ahead, sealed) in [(0, false), (3, true)] {
        proxy.set_hours_ahead(hours_ahead);
        let (code, _, stderr) = world.once();
        assert_eq!((code, is_sealed(&world)), (0, sealed), "{stderr}");
    }
    assert_eq!(world.checkpoints()[0]["quarantined"], json!(0));
}
