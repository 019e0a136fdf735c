//! A state directory on a disk that is really full: while the daemon delivers, when it starts, when it is its turn to
//! forget.

use std::time::{Duration, Instant, SystemTime};

use chrono::TimeDelta;
use flowlogd::{model::Hour, store::sqlite::SqliteStore};

use super::{room::Admin, upkeep};
use crate::support::{
    azurite,
    blob_writer::BlobWriter,
    documents::{self, document, events},
    small_disk::{self, SmallDisk},
    storage_proxy::StorageProxy,
    world::{World, last_line},
};

/// What the store says.
const NO_SPACE: &str = "no space left";

/// A blob of this hour.
fn blob(interface: u32) -> String {
    upkeep::blob(Hour::containing(SystemTime::now().into()), interface)
}

/// *Scenario*: the disk gets full while a daemon waits. Blobs are written one after the other: until the daemon cannot
/// store, while it still sends, and when it sends no more. Then there is room again.
/// *Guarantees*: the daemon warns and goes on; what is written meanwhile is seen, and sent for half a minute; then it is
/// not ready and says why; everything arrives within seconds after there is room, and nothing twice.
#[tokio::test]
async fn a_disk_that_is_full_for_a_while() {
    const WARNING: &str =
        "what is delivered cannot be stored: make room in the state directory; trying again";
    let admin = Admin::new();
    let world = World::new("full-while", &[], &[("admin", &admin.setting())]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "full-while").await;
    let minutes = documents::minutes(1, 4);
    let [a, b, c, d] = [0, 1, 2, 3].map(|n| &minutes[n]);
    writer.put(&blob(1), &[&document(&[a])]).await;
    let (daemon, disk) = SmallDisk::start(&world, None).await;
    daemon.until("what was there before", || world.received() == events(&[a])).await;
    daemon.says(&["poll complete"], 2).await;

    disk.fill();
    writer.put(&blob(2), &[&document(&[b])]).await;
    daemon.until("the warning", || daemon.log().contains(WARNING)).await;
    assert_eq!(world.received(), events(&[a, b]), "{}", daemon.log());
    writer.put(&blob(3), &[&document(&[c])]).await;
    daemon.until("what is still sent", || world.received() == events(&[a, b, c])).await;
    daemon.until("the end of readiness", || admin.readiness().1.contains(NO_SPACE)).await;
    assert_eq!(admin.readiness().0, 503, "{}", daemon.log());
    let appended = || admin.sample("flowlogd_bytes_appended_total");
    let before = appended();
    writer.put(&blob(4), &[&document(&[d])]).await;
    daemon.until("the new blob", || appended() > before).await;
    daemon.says(&[WARNING], 2).await;
    assert_eq!(world.received(), events(&[a, b, c]), "{}", daemon.log());

    disk.make_room();
    let begun = Instant::now();
    daemon.until("everything", || world.received() == events(&[a, b, c, d])).await;
    // The longest pause between two attempts is 5 seconds; the machine may be busy.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}: {}", begun.elapsed(), daemon.log());
    daemon.until("readiness", || admin.readiness().0 == 200).await;
    daemon.says(&["poll complete"], 3).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(world.received(), events(&[a, b, c, d]), "{log}");
}

/// *Scenario*: at the start there is too little room to store where a source begins. One daemon gets room, one is asked
/// to stop, a single pass gets none.
/// *Guarantees*: the daemon warns, is not ready and says why, and delivers everything once there is room; the other one
/// ends with 0; the single pass gives up at its deadline and says why.
#[tokio::test]
async fn a_start_without_room() {
    const WARNING: &str =
        "where to begin cannot be stored, so nothing is read: make room in the state directory";
    /// Enough for what SQLite needs to open the file, too little for a change.
    const KIBIBYTES_LEFT: Option<u32> = Some(44);
    let admin = Admin::new();
    let settings = [("admin", &*admin.setting()), ("limits", "once_deadline = \"1s\"")];
    let world = World::new("full-start", &[], &settings).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "full-start").await;
    let minutes = documents::minutes(1, 1);
    let [a] = [&minutes[0]];
    writer.put(&blob(1), &[&document(&[a])]).await;
    drop(SqliteStore::open(&world.path("seed")).unwrap());

    let single = small_disk::collector(&world, KIBIBYTES_LEFT, &["run", "--once"]).output().unwrap();
    let stderr = String::from_utf8(single.stderr).unwrap();
    assert!(single.status.code() == Some(1) && last_line(&stderr).contains(NO_SPACE), "{stderr}");
    assert!(stderr.contains(WARNING), "{stderr}");

    let (daemon, _disk) = SmallDisk::start(&world, KIBIBYTES_LEFT).await;
    daemon.until("the warning", || daemon.log().contains(WARNING)).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");

    let (daemon, disk) = SmallDisk::start(&world, KIBIBYTES_LEFT).await;
    daemon.until("the end of readiness", || admin.readiness().1.contains(NO_SPACE)).await;
    daemon.says(&[WARNING], 2).await;
    assert!(world.received().is_empty(), "{}", daemon.log());
    disk.make_room();
    daemon.until("everything", || world.received() == events(&[a])).await;
    daemon.until("readiness", || admin.readiness().0 == 200).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// *Scenario*: a blob of a sealed hour is deleted and the disk gets full; then it is the turn of its day; then there is
/// room again.
/// *Guarantees*: the daemon warns, and goes on.
#[tokio::test]
async fn nothing_is_forgotten_without_room() {
    let proxy = StorageProxy::start(azurite::shared().await);
    let world = upkeep::world("full-prune", &proxy).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "full-prune").await;
    let minutes = documents::minutes(1, 2);
    let [a, b] = [0, 1].map(|n| &minutes[n]);
    let hour = upkeep::after(upkeep::past_day(), 5);
    for (interface, minute) in [(1, a), (2, b)] {
        writer.put(&upkeep::blob(hour, interface), &[&document(&[minute])]).await;
    }
    // Within one hour: at the next one there would be a seal to store.
    let turn = upkeep::turn(3);
    proxy.stop_clock((turn - TimeDelta::minutes(2)).into());
    let (daemon, disk) = SmallDisk::start(&world, None).await;
    daemon.until("the seal", || daemon.log().contains("\"hours_sealed\":1")).await;
    writer.delete(&upkeep::blob(hour, 2)).await;
    disk.fill();
    proxy.stop_clock(turn.into());
    let warning =
        "positions of blobs that are gone stay until the day's next turn: make room in the state directory";
    daemon.until("the warning", || daemon.log().contains(warning)).await;
    disk.make_room();
    daemon.says(&["poll complete"], 3).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(world.received(), events(&[a, b]), "{log}");
}
