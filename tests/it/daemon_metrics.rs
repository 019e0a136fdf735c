//! The metrics of a real daemon against the ledgers of the writer and of the receiver.

use std::{fs, path::Path};

use super::room::Admin;
use crate::support::{daemon::Daemon, world::World};

/// Bytes of all files below a folder, and how often a record begins in them.
fn contents(folder: &Path) -> (u64, usize) {
    let mut sums = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (bytes, records) = if path.is_dir() {
            contents(&path)
        } else {
            let text = fs::read_to_string(&path).unwrap();
            (text.len().try_into().unwrap(), text.matches("\"flowLogVersion\"").count())
        };
        sums = (sums.0 + bytes, sums.1 + records);
    }
    sums
}

/// *Scenario*: blobs of two flow logs are delivered, grow, and are delivered again.
/// *Guarantees*: each time the counters are what the ledgers and the blobs have: events, records, bytes; nothing waits,
/// nothing is lost, held or in the quarantine, and the intake's requests are all successes.
#[tokio::test]
async fn the_counters_are_what_happened() {
    let admin = Admin::new();
    let world = World::new("daemon-metrics", &[], &[]).await;
    let folder = world.path("container");
    world.configure(&[("sources", &format!("directory = {folder:?}")), ("admin", &admin.setting())]);
    let write = |minutes: &str| {
        let shape = ["--roots", "2", "--nics", "2", "--minutes", minutes];
        world.write_directory("container", "written", &shape);
    };
    let number = |name: &str| admin.sample(name).to_string();
    write("3");
    let daemon = Daemon::start(&world);
    for minutes in ["3", "5"] {
        write(minutes);
        daemon.until("everything", || world.received() == world.written()).await;
        daemon.says(&["poll complete"], 2).await;
        let (bytes, records) = contents(&folder);
        assert_eq!(number("flowlogd_events_delivered_total"), world.written().len().to_string());
        assert_eq!(number("flowlogd_records_read_total"), records.to_string());
        let appended = admin.sample("flowlogd_bytes_appended_total");
        // The closing brackets of each blob are read again where it has grown.
        let brackets = bytes.to_string().parse::<f64>().unwrap() - appended;
        assert!((-16.0..=0.0).contains(&brackets), "{bytes} {appended}");
        for nothing in [
            "flowlogd_backlog_blobs",
            "flowlogd_backlog_bytes",
            "flowlogd_oldest_undelivered_seconds",
            "flowlogd_blobs_held",
            "flowlogd_blobs_failed_total",
            "flowlogd_blobs_gone_total",
            "flowlogd_intake_retries_total",
            "flowlogd_intake_memory_used_bytes",
            "flowlogd_store_quarantine_bytes",
            "flowlogd_store_commit_failures_total",
        ] {
            assert_eq!(number(nothing), "0", "{nothing}");
        }
        assert!(admin.sample("flowlogd_commits_total") > 0.0);
    }
    assert_eq!(admin.readiness(), (200, "ready\n".to_owned()));
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}
