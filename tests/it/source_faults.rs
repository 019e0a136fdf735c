//! A source in trouble, through the whole program: what it says, how it ends, and that nothing is lost or repeated.

use std::{fs, net::TcpListener, time::SystemTime};

use flowlogd::model::Hour;

use super::room::Admin;
use crate::support::{
    azurite::{self, ACCOUNT_KEY, Azurite},
    blob_writer::BlobWriter,
    daemon::Daemon,
    documents::{self, document, events},
    storage_proxy::{Fault, StorageProxy},
    world::{World, last_line, sum},
};

const AZURES_SPELLING: &str = "insights-logs-flowlogflowevent";
const VENDORS_SPELLING: &str = "insight-logs-flowlogflowevent";

/// *Scenario*: no container is configured; none exists, then one spelling, then the other one too; then a container is
/// configured that does not exist.
/// *Guarantees*: the first pass ends with 69 and names both; whichever exists is read, once; for the configured one the
/// last line lists those that exist.
#[tokio::test]
async fn either_spelling_of_the_container() {
    for (first, second) in [(AZURES_SPELLING, VENDORS_SPELLING), (VENDORS_SPELLING, AZURES_SPELLING)] {
        let azurite = Azurite::start().await;
        let limits = ("limits", "once_deadline = \"1s\"");
        let world = World::beside(&azurite, "", &[], &[limits]);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 69, "{stderr}");
        for part in ["the source test cannot be read", AZURES_SPELLING, VENDORS_SPELLING, "exists yet"] {
            assert!(last_line(&stderr).contains(part), "{part}: {stderr}");
        }

        world.writer_into(first, "first", &["--seed", "1"]).minutes(2);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(world.received(), world.ledgers(&["first"]), "{stderr}");

        world.writer_into(second, "second", &["--seed", "2"]).minutes(2);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(world.received(), world.ledgers(&["first", "second"]), "{stderr}");

        world.configure(&[limits, ("sources", "container = \"insights-logs-mistyped\"")]);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 69, "{stderr}");
        let expected = format!(
            "container insights-logs-mistyped does not exist (the account has {VENDORS_SPELLING}, {AZURES_SPELLING})"
        );
        assert!(last_line(&stderr).contains(&expected), "{stderr}");
    }
}

/// *Scenario*: a directory that does not exist, then does, then is gone again; and a single pass over one that never
/// exists.
/// *Guarantees*: it is named as what it is, once each time it goes; what it holds is read; the single pass ends with 69 and
/// names it too.
#[tokio::test]
async fn a_directory_that_does_not_exist() {
    let limits = ("limits", "once_deadline = \"3s\"");
    let world = World::new("faults-directory", &[], &[]).await;
    let folder = world.path("container");
    let source = format!("directory = {folder:?}");
    world.configure(&[limits, ("sources", &source)]);
    let missing = format!("directory {} does not exist; waiting for it", folder.display());
    let n_said = |log: &str| log.matches(&missing).count();

    let (code, _, stderr) = world.once();
    assert_eq!(code, 69, "{stderr}");
    assert!(last_line(&stderr).contains(&missing), "{stderr}");
    assert_eq!(n_said(&stderr), 2, "while it waits, and at the end: {stderr}");

    let daemon = Daemon::start(&world);
    daemon.says(&["poll incomplete"], 4).await;
    assert_eq!(n_said(&daemon.log()), 1, "{}", daemon.log());
    world.write_directory("container", "ledger", &["--nics", "1", "--minutes", "2"]);
    daemon.until("what it holds", || world.received() == world.ledgers(&["ledger"])).await;
    fs::rename(&folder, world.path("elsewhere")).unwrap();
    daemon.until("that it is gone", || n_said(&daemon.log()) == 2).await;
    let (code, log) = daemon.stop();
    assert_eq!((code, n_said(&log)), (Some(0), 2), "{log}");
}

/// *Scenario*: two intakes, one of which takes connections and never answers; the container goes and comes back with more
/// in it; then the process is asked to stop.
/// *Guarantees*: the intake that is well gets everything, before and after, and once; the process ends with 0.
#[tokio::test]
async fn a_container_that_goes_and_comes_back_beside_a_dead_intake() {
    // The system takes connections for a listener, and nobody answers on them.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::new("faults-returns", &[], &[]).await;
    let folder = world.path("container");
    let dead_intake = format!(
        "[intakes.a_dead_one]\nprotocol = \"http\"\nurl = \"http://{}/\"\nevent_format = \"flow\"\n",
        dead.local_addr().unwrap()
    );
    let source = format!("directory = {folder:?}");
    world.configure(&[("sources", &source), ("tables", &dead_intake), ("limits", "drain = \"1s\"")]);
    let write = |minutes: &str| {
        world.write_directory("container", "ledger", &["--nics", "1", "--minutes", minutes]);
    };
    write("2");
    let daemon = Daemon::start(&world);
    let has_all = || world.received() == world.ledgers(&["ledger"]);
    daemon.until("what it holds", has_all).await;
    for minutes in ["3", "4"] {
        fs::rename(&folder, world.path("elsewhere")).unwrap();
        let n_said = daemon.log().matches("does not exist; waiting for it").count();
        daemon
            .until("that it is gone", || {
                daemon.log().matches("does not exist; waiting for it").count() > n_said
            })
            .await;
        fs::rename(world.path("elsewhere"), &folder).unwrap();
        write(minutes);
        daemon.until("what it holds now", has_all).await;
    }
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(has_all(), "{log}");
}

/// *Scenario*: a wrong account key, with and without a configured container; then the right one.
/// *Guarantees*: the pass ends with 69 and its last line says what is refused and what to look at; no secret and no
/// signature is in the output; nothing is lost.
#[tokio::test]
async fn a_wrong_account_key() {
    const WRONG: &str = "Y2FuYXJ5IGNhbmFyeSBjYW5hcnkgY2FuYXJ5IGNhbmFyeQ==";
    let limits = ("limits", "once_deadline = \"1s\"");
    let world = World::new("faults-account-key", &[], &[limits]).await;
    world.writer(&[]).minutes(2);
    let key = format!("account_key = {WRONG:?}");
    for container in ["", "\ncontainer = \"faults-account-key\""] {
        world.configure(&[limits, ("sources", &format!("{key}{container}"))]);
        let output = world.collector(&["run", "--once"]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{stderr}");
        assert!(output.stdout.is_empty());
        for part in [
            "still blocked after 1s",
            "the source test cannot be read",
            "access denied (status 403",
            "account key",
        ] {
            assert!(last_line(&stderr).contains(part), "{part}: {stderr}");
        }
        for secret in [WRONG, ACCOUNT_KEY, "right", "SharedKey", "canary"] {
            assert!(!stderr.contains(secret), "{secret}: {stderr}");
        }
    }
    world.configure(&[]);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.received(), world.written());
}

/// *Scenario*: nobody listens where the storage server should be.
/// *Guarantees*: the pass ends with 69 and its last line says that no connection can be made.
#[tokio::test]
async fn a_source_that_cannot_be_reached() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("endpoint = \"http://{address}/{}\"", azurite::ACCOUNT);
    let limits = ("limits", "once_deadline = \"1s\"");
    let world = World::new("faults-nobody", &[], &[limits, ("sources", &endpoint)]).await;
    let (code, _, stderr) = world.once();
    assert_eq!(code, 69, "{stderr}");
    for part in ["the source test cannot be read", "list container faults-nobody", "cannot be connected to"] {
        assert!(last_line(&stderr).contains(part), "{part}: {stderr}");
    }
}

/// *Scenario*: a blob of several ranges; the second range is cut short once, or so often that the pass gives the blob
/// up.
/// *Guarantees*: the first is tried again at once; the second is said with its reason and mended by the next pass; every
/// tuple arrives exactly once.
#[tokio::test]
async fn a_range_that_is_cut_short() {
    for (container, cut, n_passes) in [("faults-cut-once", 1..2, 1), ("faults-cut-thrice", 1..4, 2)] {
        let proxy = StorageProxy::start(azurite::shared().await);
        let world = World::new(container, &[], &[("sources", &proxy.setting())]).await;
        world.writer(&["--nics", "1", "--huge-bytes", "3MB"]).minutes(4);
        let n_cut = cut.end - cut.start;
        proxy.cut(cut);
        let (code, reports, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(reports.len(), n_passes, "{stderr}");
        let said =
            stderr.contains("the blob could not be read") && stderr.contains("the answer was cut short");
        assert_eq!(said, n_passes > 1, "{stderr}");
        assert_eq!(sum(&reports, "failed"), u64::from(n_passes > 1), "{stderr}");
        assert!(proxy.n_reads() >= 4 + n_cut, "{} ranges were read", proxy.n_reads());
        assert_eq!(world.received(), world.written(), "{stderr}");
    }
}

/// *Scenario*: forty blobs can be listed and not be read: the storage server is busy and wants to be asked again after a
/// minute, or a firewall does not let the client read, until it is well.
/// *Guarantees*: the process is not ready and says why; a busy server is not asked again before its time, one that
/// denies for no more blobs at each poll than are read at once; then everything arrives, once, and the process is ready.
#[tokio::test]
async fn blobs_that_can_only_be_listed() {
    const N_BLOBS: usize = 40;
    for (container, fault, reason) in
        [("fault-busy", Fault::Busy, "asks to slow down"), ("fault-denied", Fault::Denied, "firewall")]
    {
        let admin = Admin::new();
        let proxy = StorageProxy::start(azurite::shared().await);
        let settings = [("sources", &*proxy.setting()), ("admin", &*admin.setting())];
        let world = World::new(container, &[], &settings).await;
        let mut writer = BlobWriter::create(azurite::shared().await, container).await;
        let minutes = documents::minutes(1, 1);
        let hour = Hour::containing(SystemTime::now().into());
        for interface in 0..N_BLOBS {
            let name = format!(
                "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/{}m=00/macAddress=0022482F8D{interface:02X}/PT1H.json",
                hour.prefix()
            );
            writer.put(&name, &[&document(&[&minutes[0]])]).await;
        }
        proxy.fail("PT1H.json", fault);
        let daemon = Daemon::start(&world);
        daemon.until("the end of readiness", || admin.readiness().1.contains(reason)).await;
        let (status, text) = admin.readiness();
        assert!(status == 503 && text.contains("cannot be read"), "{text}");
        if fault == Fault::Busy {
            // Eight blobs at once, and no request of any kind for a minute.
            daemon.says(&["of 40 blobs"], 1).await;
            assert!(proxy.requests("PT1H.json") <= 8, "{}", daemon.log());
            let (code, log) = daemon.stop();
            assert_eq!(code, Some(0), "{log}");
            assert!(world.received().is_empty(), "{log}");
            proxy.heal();
            let (code, _, stderr) = world.once();
            assert_eq!(code, 0, "{stderr}");
        } else {
            daemon.says(&["poll incomplete"], 2).await;
            let polls = daemon.log().matches("\"poll incomplete\"").count();
            assert!(proxy.requests("PT1H.json") <= 8 * (polls + 1), "{polls}: {}", daemon.log());
            proxy.heal();
            daemon
                .until("everything", || world.received().len() == events(&vec![&minutes[0]; N_BLOBS]).len())
                .await;
            daemon.until("readiness", || admin.readiness().0 == 200).await;
            let (code, log) = daemon.stop();
            assert_eq!(code, Some(0), "{log}");
        }
        assert_eq!(world.received(), events(&vec![&minutes[0]; N_BLOBS]));
    }
}
