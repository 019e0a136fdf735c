//! The command audit: whole processes, Azurite, and a storage server whose clock is set ahead.

use std::{collections::BTreeMap, io::Write as _, process::Output, time::SystemTime};

use flate2::{Compression, write::GzEncoder};
use flowlogd::{
    checkpoint::Tally,
    model::{Hour, Origin, Scope},
    store::{Commit, PositionChange, StateStore, sqlite::SqliteStore},
};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::support::{
    azurite,
    blob_writer::BlobWriter,
    documents::{self, HEAD, Minute, document},
    storage_proxy::StorageProxy,
    world::World,
};

const ROOT: &str = "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L";

/// A blob of the one flow log of these tests.
fn blob(hour: Hour, interface: u32) -> String {
    format!("{ROOT}/{}m=00/macAddress={}/PT1H.json", hour.prefix(), nic(interface))
}

fn nic(interface: u32) -> String {
    format!("0022482F8D{interface:02X}")
}

fn hours_ago(hours: i64) -> Hour {
    Hour::from_number(Hour::containing(SystemTime::now().into()).number() - hours)
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A container of which all was read that can be.
struct Audited {
    world: World,
    proxy: StorageProxy,
    writer: BlobWriter,
    minutes: Vec<Minute>,
    /// Older than `revisit`, younger, and open.
    hours: [Hour; 3],
    sources: String,
}

impl Audited {
    /// Five blobs of the old hour, one of the young one, one of the open one that ends within a record; of the old ones
    /// the fourth is compressed and the fifth not wanted.
    async fn new(container: &str) -> Self {
        let proxy = StorageProxy::start(azurite::shared().await);
        let sources = format!(
            "start = \"earliest\"\nseal_after = \"1h\"\nrevisit = \"8h\"\nexclude = [\"*{}*\"]\n{}",
            nic(5),
            proxy.setting()
        );
        let world = World::new(container, &[], &[("sources", &sources)]).await;
        let mut writer = BlobWriter::create(azurite::shared().await, container).await;
        let minutes = documents::minutes(1, 2);
        let hours = [hours_ago(12), hours_ago(2), hours_ago(-2)];
        let whole = document(&[&minutes[0]]);
        for interface in 1..=3 {
            writer.put(&blob(hours[0], interface), &[&whole]).await;
        }
        writer.put(&blob(hours[0], 4), &[&gzipped(&whole)]).await;
        writer.put(&blob(hours[0], 5), &[&whole]).await;
        writer.put(&blob(hours[1], 6), &[&whole]).await;
        let two = document(&[&minutes[0], &minutes[1]]);
        let torn = &two[..HEAD.len() + minutes[0].records.len() + 50];
        writer.put(&blob(hours[2], 7), &[torn]).await;
        proxy.set_hours_ahead(2);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        Self { world, proxy, writer, minutes, hours, sources }
    }

    /// Exit code, stdout and stderr.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let (from, to) = (self.hours[0].previous().to_string(), self.hours[2].next().to_string());
        let stretch = ["audit", "--from", &from, "--to", &to];
        let all: Vec<&str> = stretch.iter().chain(arguments).copied().collect();
        let Output { status, stdout, stderr } = self.world.collector(&all).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// Exit code, the verdict on each interface with the reason and the bytes of a hole, and the summary.
    fn verdicts(&self, arguments: &[&str]) -> (i32, BTreeMap<String, String>, Value) {
        let arguments: Vec<&str> = arguments.iter().chain(&["--json"]).copied().collect();
        let (code, stdout, stderr) = self.run(&arguments);
        let mut lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap_or_else(|| panic!("{code}: {stderr}"))["summary"].clone();
        let verdicts = lines.iter().map(|line| {
            let part = |name: &str| match (line[name].as_str(), line[name].as_u64()) {
                (Some(text), _) => format!(" {text}"),
                (None, Some(number)) => format!(" {number}"),
                (None, None) => String::new(),
            };
            let words = ["verdict", "reason", "from", "to"].map(part).concat();
            (line["nic"].as_str().unwrap().to_owned(), words.trim().to_owned())
        });
        (code, verdicts.collect(), summary)
    }

    fn whole_length(&self) -> usize {
        document(&[&self.minutes[0]]).len()
    }
}

fn expected(verdicts: [(u32, &str); 7]) -> BTreeMap<String, String> {
    verdicts.into_iter().map(|(interface, verdict)| (nic(interface), verdict.to_owned())).collect()
}

const ALL_WELL: [(u32, &str); 7] = [
    (1, "complete"),
    (2, "complete"),
    (3, "complete"),
    (4, "complete"),
    (5, "not_wanted filter"),
    (6, "complete"),
    (7, "pending"),
];

/// *Scenario*: after a pass over blobs of old, young and open hours, of which one is compressed, one not wanted and one
/// ends within a record, the command looks, with and without reading them again, as a table and as JSON, twice each.
/// *Guarantees*: there is no hole, what is owed is told, the sums are those of the blobs, and the result is the same each
/// time; nothing is changed.
#[tokio::test]
async fn all_is_well() {
    let audited = Audited::new("audit-well").await;
    let n_events = u64::try_from(audited.minutes[0].events.len()).unwrap();
    for arguments in [&[][..], &["--deep"]] {
        let (code, verdicts, summary) = audited.verdicts(arguments);
        assert_eq!((code, verdicts), (0, expected(ALL_WELL)), "{summary}");
        for (name, count) in [
            ("blobs", 7),
            ("complete", 5),
            ("pending", 1),
            ("not_wanted", 1),
            ("holes", 0),
            ("not_counted", 0),
            ("tuples", 6 * n_events),
            ("delivered", 6 * n_events),
            ("quarantined", 0),
        ] {
            assert_eq!(summary[name], json!(count), "{name}: {summary}");
        }
        let json: Vec<&str> = arguments.iter().chain(&["--json"]).copied().collect();
        assert_eq!(audited.run(&json), audited.run(&json));
        let (code, table, stderr) = audited.run(arguments);
        assert_eq!(code, 0, "{stderr}");
        assert!(table.contains("(devstoreaccount1/audit-well), S_RG/NETWORKWATCHER_X_L\n"), "{table}");
        assert!(table.contains("7 blobs, 5 complete, 1 pending, 1 not wanted, 0 with holes"), "{table}");
        assert_eq!(audited.run(arguments).1, table);
    }
    let (code, _, summary) = audited.verdicts(&["--intake", "test", "--source", "test"]);
    assert_eq!((code, &summary["blobs"]), (0, &json!(7)));
    assert_eq!(audited.world.once().0, 0);
}

/// *Scenario*: of a container that was read, an old blob grows, the position of another one is lost, a blob that was half
/// read is deleted, and a blob of the young hour grows too.
/// *Guarantees*: each of the first three is a hole with its bytes and the reason, in JSON and for people; the last one is
/// owed; the exit code says that there are holes.
#[tokio::test]
async fn holes_are_named() {
    let mut audited = Audited::new("audit-holes").await;
    let two = document(&[&audited.minutes[0], &audited.minutes[1]]);
    let [old, young, open] = audited.hours;
    for name in [blob(old, 1), blob(young, 6)] {
        audited.writer.put(&name, &[&two]).await;
    }
    audited.writer.delete(&blob(open, 7)).await;
    let database = Connection::open(audited.world.path("state/state.sqlite3")).unwrap();
    let forget = format!("DELETE FROM position WHERE leaf LIKE '%{}%'", nic(2));
    assert_eq!(database.execute(&forget, []).unwrap(), 1);
    drop(database);
    let read = HEAD.len() + audited.minutes[0].records.len();
    let (grown, never, gone) = (
        format!("hole grown_after_seal {read} {}", two.len()),
        format!("hole never_read 0 {}", audited.whole_length()),
        format!("hole gone_unread {read} {}", read + 50),
    );
    let found = expected([
        (1, &grown),
        (2, &never),
        (3, "complete"),
        (4, "complete"),
        (5, "not_wanted filter"),
        (6, "pending"),
        (7, &gone),
    ]);
    for arguments in [&[][..], &["--deep"]] {
        let (code, verdicts, summary) = audited.verdicts(arguments);
        assert_eq!((code, verdicts), (65, found.clone()));
        let n_bytes = two.len() - read + audited.whole_length() + 50;
        assert_eq!((&summary["holes"], &summary["hole_bytes"]), (&json!(3), &json!(n_bytes)));
        let (code, table, _) = audited.run(arguments);
        assert_eq!(code, 65);
        for (name, reason) in [
            (blob(old, 1), "it grew after its hour was sealed"),
            (blob(old, 2), "it was never read, and its hour is sealed"),
            (blob(open, 7), "it was deleted before it was read to its end"),
        ] {
            let is_told =
                |line: &str| line.contains("HOLE: bytes ") && line.contains(&format!("{name}: {reason}"));
            assert!(table.lines().any(is_told), "{name}: {table}");
        }
    }
}

/// *Scenario*: the ledger of one blob says one tuple more than the blob has; another blob, whose hour is old, was replaced
/// by one of the same length.
/// *Guarantees*: reading again finds the first, with both figures, and that the second has other content; without it only
/// the second shows, as another version.
#[tokio::test]
async fn reading_again_finds_what_a_listing_does_not_show() {
    let mut audited = Audited::new("audit-deep").await;
    let old = audited.hours[0];
    let mut other = document(&[&audited.minutes[0]]);
    let end = HEAD.len() + audited.minutes[0].records.len();
    other[end - 80..end].fill(b'x');
    audited.writer.put(&blob(old, 3), &[&other]).await;
    {
        let mut store = SqliteStore::open(&audited.world.path("state")).unwrap();
        let origin =
            Origin { account: azurite::ACCOUNT.to_owned(), container: audited.world.container.clone() };
        let scope = Scope { origin, intake: String::from("test") };
        let stored = store.stored_hour(&scope, ROOT, old).unwrap();
        let stored = stored.into_iter().find(|stored| stored.blob.name().as_str() == blob(old, 1)).unwrap();
        let change = PositionChange {
            blob: stored.blob,
            from: Some(stored.position.clone()),
            to: stored.position,
            tally: Tally { tuples: 1, delivered: 1, ..Tally::default() },
            started_over: false,
        };
        let commit = Commit { scope, positions: vec![change], rejected: Vec::new(), frontiers: Vec::new() };
        store.commit(&commit).unwrap();
    }
    let (code, verdicts, _) = audited.verdicts(&[]);
    let version = format!("hole other_version 0 {}", other.len());
    let mut listed = ALL_WELL;
    listed[2].1 = &version;
    assert_eq!((code, verdicts), (65, expected(listed)));

    let (code, verdicts, _) = audited.verdicts(&["--deep"]);
    let (differs, content) = (format!("hole ledger_differs 0 {end}"), format!("hole other_content 0 {end}"));
    let mut deep = ALL_WELL;
    (deep[0].1, deep[2].1) = (&differs, &content);
    assert_eq!((code, verdicts), (65, expected(deep)));
    let n_tuples = audited.minutes[0].events.len();
    let (_, table, _) = audited.run(&["--deep"]);
    let figures = format!("with {n_tuples} tuples there, the ledger says ");
    assert!(table.contains(&figures) && table.contains(&format!(" with {}\n", n_tuples + 1)), "{table}");
}

/// *Scenario*: the source refuses the key, has no such container, or answers to nothing; a source, an intake or a stretch is
/// named that is not there; there is no state.
/// *Guarantees*: each is an error that says so, and never "no hole"; a source that cannot be listed ends with 69.
#[tokio::test]
async fn what_cannot_be_audited_is_an_error() {
    let audited = Audited::new("audit-errors").await;
    let check = |arguments: &[&str], code: i32, text: &str| {
        let (found, stdout, stderr) = audited.run(arguments);
        assert_eq!(found, code, "{stdout}{stderr}");
        assert!(stderr.contains(text), "{stderr}");
    };
    check(&["--source", "other"], 1, "no source has the name other");
    check(&["--intake", "other"], 1, "no intake has the name other");
    let (from, to) = (audited.hours[2].to_string(), audited.hours[0].to_string());
    let reversed = ["audit", "--from", &from, "--to", &to];
    let Output { status, stderr, .. } = audited.world.collector(&reversed).output().unwrap();
    assert_eq!(status.code(), Some(1), "{}", String::from_utf8_lossy(&stderr));

    let with = |further: &str| {
        let sources = format!("{}\n{further}", audited.sources);
        audited.world.configure(&[("sources", &sources)]);
    };
    with("account_key = \"d3Jvbmc=\"");
    check(&[], 69, "access denied");
    with("container = \"audit-nowhere\"");
    check(&[], 69, "the container does not exist");
    audited.world.configure(&[("sources", "endpoint = \"http://127.0.0.1:9/devstoreaccount1\"")]);
    check(&[], 69, "audit the source test");
    with("");
    std::fs::remove_dir_all(audited.world.path("state")).unwrap();
    check(&[], 1, "has flowlogd run with this state directory?");
    drop(audited.proxy);
}
