//! Where there is no room: in the quarantine, in the memory while an intake is dead. And stopping while a
//! server says nothing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant, SystemTime},
};

use flowlogd::model::Hour;

use super::metrics::Scrape;
use crate::support::{
    azurite::{self, Azurite},
    blob_writer::BlobWriter,
    daemon::Daemon,
    documents::{self, END, HEAD, Minute, document, events},
    processes::Receiver,
    storage_proxy::{Fault, StorageProxy},
    world::{World, last_line, sum},
};

/// A blob of the one flow log of these tests.
fn blob(hour: Hour, interface: u32) -> String {
    format!(
        "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/{}m=00/macAddress=0022482F8D{interface:02X}/PT1H.json",
        hour.prefix()
    )
}

fn open_hour() -> Hour {
    Hour::containing(SystemTime::now().into())
}

/// The admin server of a daemon.
pub(super) struct Admin(SocketAddr);

impl Admin {
    /// At an address that is free now.
    pub(super) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
    }

    pub(super) fn setting(&self) -> String {
        format!("listen = \"{}\"", self.0)
    }

    /// Status and body; `None` where nobody answers yet.
    pub(super) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.0).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    pub(super) fn readiness(&self) -> (u16, String) {
        self.get("/readyz").unwrap_or_default()
    }

    /// A sample of the one lane, the one intake or the process; 0 where it is not shown.
    pub(super) fn sample(&self, name: &str) -> f64 {
        let Some((200, text)) = self.get("/metrics") else { return 0.0 };
        let scrape = Scrape::parse(&text);
        let labels = ["{intake=\"test\",source=\"test\"}", "{intake=\"test\"}", ""];
        let found = labels.iter().find_map(|labels| scrape.get(&format!("{name}{labels}")));
        found.unwrap_or_default()
    }
}

const FULL: &str = "the quarantine is full, so nothing is read";

/// *Scenario*: a record that is none fills the quarantine of a single pass; a daemon is started and blobs grow; it is
/// stopped, the quarantine is dropped, another daemon is started, which finds one more such record while it runs, and so
/// on.
/// *Guarantees*: the pass ends with 69 and says why; the daemons stay up, deliver nothing more, are not ready and say
/// why, and stop with 0; after the drop everything is delivered, once.
#[tokio::test]
async fn a_full_quarantine() {
    let admin = Admin::new();
    let tables = [("limits", "quarantine = \"100B\""), ("admin", &*admin.setting())];
    let world = World::new("room-quarantine", &[], &tables).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "room-quarantine").await;
    let minutes = documents::minutes(1, 5);
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|n| &minutes[n]);
    let open = open_hour();
    writer.put(&blob(open, 1), &[&with_a_bad_record(a)]).await;
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "quarantined")), (69, 1), "{stderr}");
    assert!(last_line(&stderr).contains(FULL), "{stderr}");
    assert_eq!(world.received(), events(&[a]), "{stderr}");

    writer.put(&blob(open, 2), &[&document(&[b])]).await;
    let (code, _, stderr) = world.once();
    assert!(code == 69 && last_line(&stderr).contains(FULL), "{stderr}");
    stays_blocked(&world, &admin, &events(&[a])).await;

    drop_everything(&world);
    let daemon = Daemon::start(&world);
    daemon.until("the rest", || world.received() == events(&[a, b])).await;
    daemon.until("readiness", || admin.readiness().0 == 200).await;
    writer.put(&blob(open, 3), &[&with_a_bad_record(c)]).await;
    daemon.until("the end of readiness", || admin.readiness().1.contains(FULL)).await;
    writer.put(&blob(open, 4), &[&document(&[d])]).await;
    writer.put(&blob(open, 2), &[&document(&[b, e])]).await;
    daemon.says(&["poll incomplete"], 5).await;
    assert_eq!(world.received(), events(&[a, b, c]), "{}", daemon.log());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");

    stays_blocked(&world, &admin, &events(&[a, b, c])).await;
    drop_everything(&world);
    let (code, _, stderr) = world.once();
    assert_eq!((code, world.received()), (0, events(&[a, b, c, d, e])), "{stderr}");
}

fn with_a_bad_record(minute: &Minute) -> Vec<u8> {
    [HEAD, minute.records.as_slice(), br#",{"time":"never"}"#, END].concat()
}

/// A daemon that starts with a full quarantine.
async fn stays_blocked(world: &World, admin: &Admin, received: &[String]) {
    let daemon = Daemon::start(world);
    daemon.until("the reason", || admin.readiness().1.contains(FULL)).await;
    assert_eq!(admin.readiness().0, 503);
    daemon.says(&["poll incomplete"], 5).await;
    assert_eq!(world.received(), received, "{}", daemon.log());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches(FULL).count(), 1, "{log}");
}

fn drop_everything(world: &World) {
    let output = world.collector(&["quarantine", "drop", "--all"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// *Scenario*: an intake takes connections and never answers; blobs of more than the memory wait for it, and further ones
/// are written, one of them into an old hour, with a listing that fails between; then it is well.
/// *Guarantees*: the further ones are seen while it is dead, and no more is read than the memory holds; afterwards
/// everything arrives, once.
#[tokio::test]
async fn a_dead_intake_hides_nothing() {
    // The system takes connections for a listener, and nobody answers on them.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = dead.local_addr().unwrap();
    let admin = Admin::new();
    let proxy = StorageProxy::start(azurite::shared().await);
    let intake = format!("protocol = \"http\"\nurl = \"http://{address}/\"\nevent_format = \"flow\"");
    let world = World::new(
        "room-dead",
        &[],
        &[
            ("sources", &proxy.setting()),
            ("intakes", &intake),
            ("admin", &admin.setting()),
            ("limits", "memory = \"4MiB\"\nrecord = \"1MiB\""),
        ],
    )
    .await;
    let mut writer = BlobWriter::create(azurite::shared().await, "room-dead").await;
    let minutes = documents::minutes(1, 2);
    let [large, small] = [&minutes[0], &minutes[1]];
    let hour = open_hour();
    let copies = vec![large; 1_500_000 / large.records.len()];
    for interface in 1..=8 {
        writer.put(&blob(hour, interface), &[&document(&copies)]).await;
    }
    let daemon = Daemon::start(&world);
    daemon.until("the backlog", || admin.sample("flowlogd_backlog_blobs") >= 8.0).await;
    let mut seen = Vec::new();
    for further in 1..=3 {
        let list_calls = admin.sample("flowlogd_list_calls_total");
        writer.put(&blob(hour, 10 + further), &[&document(&[small])]).await;
        let expected = 8.0 + f64::from(further);
        daemon.until("a new blob", || admin.sample("flowlogd_backlog_blobs") >= expected).await;
        assert!(admin.sample("flowlogd_list_calls_total") > list_calls, "{}", daemon.log());
        seen.push(small);
    }
    proxy.fail("comp=list", Fault::Garbage);
    daemon.says(&["could not list again"], 1).await;
    proxy.heal();
    // In an hour that is sealed: they are looked at in turn.
    writer.put(&blob(Hour::from_number(hour.number() - 30), 1), &[&document(&[small])]).await;
    seen.push(small);
    daemon.until("a late blob", || admin.sample("flowlogd_backlog_blobs") >= 12.0).await;
    // Of sixteen: what is held is raw first and encoded then, and encoded events may be smaller.
    let n_reads = proxy.n_reads();
    assert!((1..=8).contains(&n_reads), "{n_reads}");

    drop(dead);
    let receiver = Receiver::start_plain(&["--listen", &address.to_string()]);
    let mut expected = Vec::new();
    for _blob in 0..8 {
        expected.extend(copies.iter().copied());
    }
    expected.extend(seen);
    let expected = events(&expected);
    daemon.until("everything", || receiver.ledger().len() >= expected.len()).await;
    daemon.says(&["poll complete"], 2).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(receiver.sorted_ledger() == expected, "the ledgers differ: {log}");
}

/// *Scenario*: while an intake takes nothing, a blob of one flow log is new, and the listing of the same hour of another
/// flow log is denied for a while; then the intake is well.
/// *Guarantees*: the new blob is delivered too, with everything else and once.
#[tokio::test]
async fn a_denied_listing_beside_a_dead_intake() {
    // The system takes connections for a listener, and nobody answers on them.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = dead.local_addr().unwrap();
    let proxy = StorageProxy::start(azurite::shared().await);
    let intake = format!("protocol = \"http\"\nurl = \"http://{address}/\"\nevent_format = \"flow\"");
    let settings = [("sources", &*proxy.setting()), ("intakes", &intake)];
    let world = World::new("room-denied", &[], &settings).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "room-denied").await;
    let minutes = documents::minutes(1, 3);
    let hour = open_hour();
    let names = [blob(hour, 1), blob(hour, 2).replace("_X_L", "_Y_L"), blob(hour, 3)];
    let put = async |writer: &mut BlobWriter, n: usize| {
        writer.put(&names[n], &[&document(&[&minutes[n]])]).await;
    };
    put(&mut writer, 0).await;
    put(&mut writer, 1).await;
    let daemon = Daemon::start(&world);
    daemon.says(&["listed again"], 1).await;
    let prefix = format!("_Y_L/{}", hour.prefix()).replace('=', "%3D").replace('/', "%2F");
    proxy.fail(&prefix, Fault::Denied);
    put(&mut writer, 2).await;
    daemon.says(&["could not list again"], 2).await;
    proxy.heal();
    daemon.says(&["listed again"], 1).await;

    drop(dead);
    let receiver = Receiver::start_plain(&["--listen", &address.to_string()]);
    let expected = events(&minutes.iter().collect::<Vec<_>>());
    daemon.until("everything", || receiver.sorted_ledger() == expected).await;
    daemon.says(&["poll complete"], 2).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(receiver.sorted_ledger() == expected, "{log}");
}

/// *Scenario*: the storage server takes requests and never answers: for the names of the containers where none is
/// configured, or for a range of a blob. The process is asked to stop.
/// *Guarantees*: it ends with 0, within a second after the drain deadline at the latest.
#[tokio::test]
async fn stopping_beside_a_silent_storage_server() {
    let azurite = Azurite::start().await;
    let proxy = StorageProxy::start(&azurite);
    let world = World::beside(&azurite, "", &[], &[]);
    world.writer_into("insights-logs-flowlogflowevent", "written", &["--nics", "2"]).minutes(2);
    world.configure(&[("sources", &proxy.setting()), ("limits", "drain = \"1s\"")]);
    for silent in ["comp=list", "PT1H.json"] {
        proxy.fail(silent, Fault::Silence);
        let before = proxy.requests(silent);
        let daemon = Daemon::start(&world);
        daemon.until("the request", || proxy.requests(silent) > before).await;
        let begun = Instant::now();
        let (code, log) = daemon.stop();
        assert_eq!(code, Some(0), "{silent}: {log}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{silent}: {:?}: {log}", begun.elapsed());
        assert!(world.received().is_empty());
    }
    proxy.heal();
    let (code, _, stderr) = world.once();
    assert_eq!((code, world.received()), (0, world.written()), "{stderr}");
}
