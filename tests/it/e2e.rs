//! The main job, end to end: growing blobs in a real storage server, a real collector process, a real TLS receiver.

use std::time::SystemTime;

use chrono::TimeDelta;
use flowlogd::model::Hour;

use crate::support::{
    azurite,
    blob_writer::BlobWriter,
    storage_proxy::StorageProxy,
    world::{World, last_line, sum},
};

/// Bytes before the offset that each resumed read checks.
const HEAD_BYTES: u64 = 64;

/// *Scenario*: several interfaces of two flow logs, hostile and IPv6 records, a huge record, empty hours, an hour
/// rollover, appends between passes; every pass is a new process.
/// *Guarantees*: every tuple of the writer's ledger arrives exactly once, byte for byte; a pass without news reads
/// nothing; all passes together read at most 1.05 bytes for each byte appended, heads of reads apart.
#[tokio::test]
async fn every_tuple_exactly_once() {
    for (shape, container) in [("hostile", "e2e-hostile"), ("v6", "e2e-v6")] {
        let world = World::new(container, &[], &[]).await;
        let mut writer = world.writer(&[
            "--nics",
            "4",
            "--silent",
            "1",
            "--roots",
            "2",
            "--first-minute",
            "57",
            "--shape",
            shape,
            "--huge-bytes",
            "2MB",
        ]);
        let mut reports = Vec::new();
        for minutes in [2, 1, 0, 3, 1, 0] {
            if minutes > 0 {
                writer.minutes(minutes);
            }
            let (code, pass, stderr) = world.once();
            assert_eq!(code, 0, "{stderr}");
            assert_eq!(world.received(), world.written(), "{stderr}");
            if minutes == 0 {
                assert_eq!((sum(&pass, "events"), sum(&pass, "bytes")), (0, 0), "{stderr}");
            }
            reports.extend(pass);
        }
        let total = writer.ask("minute");
        let (code, pass, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        reports.extend(pass);
        assert!(!world.written().is_empty());
        assert_eq!(world.received(), world.written());
        let appended: u64 =
            total.split(' ').find_map(|total| total.strip_prefix("bytes=")).unwrap().parse().unwrap();
        let read = sum(&reports, "bytes") - HEAD_BYTES * sum(&reports, "read_calls");
        assert!(read * 100 <= appended * 105, "{read} bytes read beyond heads, {appended} appended");
        assert_eq!(sum(&reports, "quarantined"), 0);
    }
}

/// *Scenario*: a container with one old day, and one with thirty, until everything old is sealed.
/// *Guarantees*: from then on a pass makes the same number of listing calls on both, and reads nothing.
#[tokio::test]
async fn listing_does_not_grow_with_the_archive() {
    let mut calls = Vec::new();
    for n_days in [1, 30] {
        let container = format!("e2e-archive-{n_days}");
        let proxy = StorageProxy::start(azurite::shared().await);
        let settings = format!("seal_after = \"1h\"\n{}", proxy.setting());
        let world = World::new(&container, &[], &[("sources", &settings)]).await;
        let mut writer = BlobWriter::create(azurite::shared().await, &container).await;
        for day in 1..=n_days {
            for hour in [3, 17] {
                let name = format!(
                    "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/y=2025/m=06/d={day:02}/h={hour:02}/m=00/\
                     macAddress=0022482F8D3A/PT1H.json"
                );
                writer.put(&name, &[br#"{"records":["#, b"]}"]).await;
            }
        }
        // At a moment at which it is not the root's turn to be pruned.
        let ahead = Hour::from_number(Hour::containing(SystemTime::now().into()).number() + 2);
        proxy.stop_clock((ahead.start() + TimeDelta::minutes(10)).into());
        let (code, reports, stderr) = world.once();
        assert_eq!((code, sum(&reports, "hours_sealed")), (0, n_days * 2), "{stderr}");
        // The walk to the root, its years and months, the two open hours; for each day its hours, and the two that exist.
        assert_eq!(sum(&reports, "list_calls"), 9 + 3 * n_days, "{stderr}");
        let (_, reports, _) = world.once();
        assert_eq!(sum(&reports, "bytes"), 0);
        calls.push(sum(&reports, "list_calls"));
    }
    // A new process walks to the root and its months, and lists the two open hours.
    assert_eq!(calls, [8, 8]);
}

/// *Scenario*: an intake that answers 500 twice and then is well; one that loses an answer.
/// *Guarantees*: each is said with its reason; everything arrives, and what arrives twice is equal to the byte.
#[tokio::test]
async fn an_intake_in_trouble() {
    for (container, faults, said, may_repeat) in [
        ("e2e-500", "500,500", "status 500 (Internal Server Error)", false),
        ("e2e-lost-answer", "accept-then-reset", "the connection was reset before there was an answer", true),
        ("e2e-truncated", "truncate", "the connection broke before the answer was complete", true),
    ] {
        let world = World::new(container, &["--faults", faults], &[]).await;
        world.writer(&[]).minutes(3);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
        let mut received = world.received();
        if may_repeat {
            received.dedup();
        }
        assert_eq!(received, world.written(), "{stderr}");
    }
}

/// *Scenario*: a wrong intake key, then the right one.
/// *Guarantees*: the pass ends with 69, its last line names the intake, the status and the key's setting; nothing is
/// lost or committed meanwhile.
#[tokio::test]
async fn a_wrong_intake_key() {
    let limits = ("limits", "once_deadline = \"2s\"");
    let world = World::new("e2e-key", &[], &[limits, ("intakes", "intake_key = \"wrong\"")]).await;
    world.writer(&[]).minutes(2);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 69, "{stderr}");
    for part in ["still blocked after 2s", "the intake test takes nothing", "401", "intake_key"] {
        assert!(last_line(&stderr).contains(part), "{part}: {stderr}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    world.configure(&[]);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.received(), world.written());
}

/// *Scenario*: a container that is not there yet.
/// *Guarantees*: the pass waits and ends with 69, its last line says for what; once the container is there, everything
/// is read.
#[tokio::test]
async fn a_container_that_appears_later() {
    let world = World::new("e2e-later", &[], &[("limits", "once_deadline = \"2s\"")]).await;
    let (code, _, stderr) = world.once();
    assert_eq!(code, 69, "{stderr}");
    for part in
        ["still blocked after 2s", "the source test cannot be read", "container e2e-later does not exist"]
    {
        assert!(last_line(&stderr).contains(part), "{part}: {stderr}");
    }
    world.writer(&[]).minutes(2);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.received(), world.written());
}
