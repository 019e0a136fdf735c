//! Odd and damaged blobs through the whole process: a directory as the source, events on stdout.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use flowlogd::store::sqlite::SqliteStore;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    processes::ChildGuard,
    scripted_server::{ScriptedServer, Step},
    wait::until_some,
};

/// Largest record in these tests.
const RECORD_LIMIT: usize = 1_024;

/// A container in a directory, and the collector that reads it.
struct Site {
    directory: TempDir,
}

/// What one pass came to.
struct Pass {
    /// The numbers of the records whose events came out.
    numbers: Vec<u32>,
    report: Value,
    stderr: String,
}

/// A row of the quarantine: offset, length, reason, text.
type Row = (u64, u64, String, String);

impl Site {
    fn new(seal_after: &str) -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        let settings = format!(
            "state_dir = {:?}\n[sources.test]\ndirectory = {:?}\npoll_interval = \"100ms\"\n\
             seal_after = {seal_after:?}\n[intakes.test]\nprotocol = \"stdout\"\nevent_format = \"flow\"\n\
             [limits]\nrecord = \"{RECORD_LIMIT}B\"\n[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\n",
            site.path("state"),
            site.path("container"),
        );
        fs::write(site.path("flowlogd.toml"), settings).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts the blob of an hour in the place of whatever is there.
    fn put(&self, hour: u32, bytes: &[u8]) -> File {
        let folder = self.path(&format!(
            "container/flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/y=2025/m=06/d=01/h={hour:02}/m=00/\
             macAddress=0022482F8D3A"
        ));
        fs::create_dir_all(&folder).unwrap();
        let mut file = File::create(folder.join("PT1H.json")).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// As [`Self::put`], with a last change so long ago that the blob's hour can be sealed.
    fn put_old(&self, hour: u32, bytes: &[u8]) {
        self.put(hour, bytes).set_modified(SystemTime::now() - Duration::from_secs(86_400)).unwrap();
    }

    fn collector(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
        command.arg("--config").arg(self.path("flowlogd.toml")).args(arguments).stdin(Stdio::null());
        command
    }

    fn once(&self) -> Pass {
        let Output { status, stdout, stderr } = self.collector(&["run", "--once"]).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(0), "{stderr}");
        let mut numbers: Vec<u32> = String::from_utf8(stdout).unwrap().lines().map(number).collect();
        numbers.sort_unstable();
        let mut lines = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let report = lines.find(|fields| fields["list_calls"].is_u64()).unwrap();
        Pass { numbers, report, stderr }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let store = SqliteStore::open_read_only(&self.path("state")).unwrap();
        store
            .for_each_quarantined(|entry| {
                let rejected = entry.rejected;
                let text = String::from_utf8_lossy(&rejected.text).into_owned();
                rows.push((rejected.span.from, rejected.span.length(), rejected.reason.to_string(), text));
            })
            .unwrap();
        rows.sort();
        rows
    }
}

fn row(blob: &[u8], text: &str, reason: &str) -> Row {
    let from = memchr::memmem::find(blob, text.as_bytes()).unwrap();
    (u64::try_from(from).unwrap(), u64::try_from(text.len()).unwrap(), reason.to_owned(), text.to_owned())
}

/// A record with one tuple, which has the number as its source port.
fn record(number: u32) -> String {
    format!(
        "{{\"time\":\"2025-06-01T09:07:40Z\",\"flowLogVersion\":4,\"flowRecords\":{{\"flows\":[{{\"aclID\":\"a\",\
         \"flowGroups\":[{{\"rule\":\"r\",\"flowTuples\":[\"1748768860000,1.2.3.4,192.0.2.180,{number},443,6,O,B,NX,\
         0,0,0,0\"]}}]}}]}}}}"
    )
}

fn number(event: &str) -> u32 {
    let event: Value = serde_json::from_str(event).unwrap();
    event["flow.0"].as_str().unwrap().split(',').nth(3).unwrap().parse().unwrap()
}

/// A document around a list of records, or of what stands for them.
fn document(list: &str) -> Vec<u8> {
    format!("{{\"records\":[{list}]}}").into_bytes()
}

/// Without compression, so that a cut shows which bytes are left.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// *Scenario*: a blob of every sound shape: with a byte order mark, white space anywhere, a head of 21 and a tail of 9
/// bytes, one record a line with each kind of line end, compressed in one and two members; an empty one, one without
/// records. Two passes.
/// *Guarantees*: every record comes out once, the second pass reads nothing, nothing is quarantined.
#[test]
fn every_sound_shape() {
    let site = Site::new("2h");
    let records = |first: u32, between: &str| format!("{}{between}{}", record(first), record(first + 1));
    let (long_head, long_tail) = ("{\r\n  \"records\": [\r\n  ", "\r\n ]\r\n}\r\n");
    assert_eq!((long_head.len(), long_tail.len()), (21, 9));
    let blob = document(&records(12, ","));
    let (first_member, second_member) = blob.split_at(100);
    let shapes = [
        format!("\u{feff}{{\"records\":[{}]}}", records(0, ",")).into_bytes(),
        format!(" \n{{ \"records\" :\t[ {} ] }} \r\n", records(2, "\r\n , \t")).into_bytes(),
        format!("{long_head}{}{long_tail}", records(4, ",\r\n  ")).into_bytes(),
        records(6, "\n").into_bytes(),
        format!("\u{feff}{}\r\n", records(8, "\r\n")).into_bytes(),
        gzip(&document(&records(10, ","))),
        [gzip(first_member), gzip(second_member)].concat(),
        Vec::new(),
        document(""),
        gzip(&document("")),
    ];
    for (hour, shape) in (0..).zip(&shapes) {
        site.put(hour, shape);
    }
    let pass = site.once();
    assert_eq!(pass.numbers, (0..14).collect::<Vec<u32>>(), "{}", pass.stderr);
    assert_eq!(site.rows(), []);
    let pass = site.once();
    assert_eq!((pass.numbers, &pass.report["bytes"]), (vec![], &Value::from(0)), "{}", pass.stderr);
}

/// *Scenario*: an open hour's blob with a torn record, garbage, another object, a record over the limit and a list in
/// place of the document's head; then one record more.
/// *Guarantees*: every record comes out once; each piece of damage is one row with its place, its reason and its
/// text, of the large record its beginning; the second pass reads only what is new.
#[test]
fn reading_goes_on_in_an_open_hour() {
    let site = Site::new("2h");
    let large = record(9).replace("\"r\"", &format!("\"{}\"", "r".repeat(RECORD_LIMIT)));
    let torn = record(9)[..100].to_owned();
    let list = [&record(0), &torn, &record(1), "x", &record(2), r#"{"a":1}"#, &large, &record(3)].join(",");
    let blob = document(&list);
    site.put(4, &blob);
    let array = format!("[{}]", record(4)).into_bytes();
    site.put(5, &array);
    let pass = site.once();
    assert_eq!(pass.numbers, [0, 1, 2, 3, 4], "{}", pass.stderr);
    let mut large_row = row(&blob, &large[..RECORD_LIMIT], "record_too_large");
    large_row.1 = u64::try_from(large.len() + 1).unwrap();
    let mut expected = vec![
        row(&array, "[", "damage"),
        row(&blob, &format!("{torn},"), "damage"),
        row(&blob, "x,", "damage"),
        row(&blob, r#"{"a":1}"#, "bad_record"),
        large_row,
    ];
    expected.sort();
    assert_eq!(site.rows(), expected);
    assert!(pass.stderr.contains("passed over"), "{}", pass.stderr);

    site.put(4, &document(&format!("{list},{}", record(5))));
    let pass = site.once();
    assert_eq!(pass.numbers, [5], "{}", pass.stderr);
    assert!(pass.report["bytes"].as_u64().unwrap() < 400, "{}", pass.stderr);
    assert_eq!(site.rows(), expected);
}

/// *Scenario*: damage at the end of an open hour's blob, which later gets a record behind it.
/// *Guarantees*: the records before it come out and the rest is held, loudly, with nothing quarantined; then the
/// damage is one row and the record comes out.
#[test]
fn damage_at_the_end_is_waited_for() {
    let site = Site::new("2h");
    site.put(4, &document(&format!("{},xyz", record(0))));
    for numbers in [vec![0], vec![]] {
        let pass = site.once();
        assert_eq!((pass.numbers, &pass.report["held"]), (numbers, &Value::from(1)), "{}", pass.stderr);
        assert!(pass.stderr.contains("expected a record, found `x`"), "{}", pass.stderr);
        assert_eq!(site.rows(), []);
    }
    let blob = document(&format!("{},xyz,{}", record(0), record(1)));
    site.put(4, &blob);
    let pass = site.once();
    assert_eq!((pass.numbers, &pass.report["held"]), (vec![1], &Value::from(0)), "{}", pass.stderr);
    assert_eq!(site.rows(), [row(&blob, "xyz,", "damage")]);
}

/// *Scenario*: hours whose time to be sealed has come end with damage, with a torn record, with a torn gzip stream;
/// afterwards one of them is completed.
/// *Guarantees*: each rest is one row, the hours are sealed and not read again.
#[test]
fn what_is_left_at_sealing_is_quarantined() {
    let site = Site::new("2h");
    let damaged = document(&format!("{},xyz", record(0)));
    site.put_old(4, &damaged);
    let torn = &document(&format!("{},{}", record(1), record(2)));
    let torn = &torn[..torn.len() - 20];
    site.put_old(5, torn);
    // Blank space in front, so that each place is another one.
    let inner = [b" ".as_slice(), &document(&format!("{},{}", record(3), record(4)))].concat();
    let compressed = gzip(&inner);
    site.put_old(6, &compressed[..compressed.len() - 28]);
    let pass = site.once();
    assert_eq!(pass.numbers, [0, 1, 3], "{}", pass.stderr);
    let rest = &record(2)[..record(2).len() - 18];
    let rest_of_gzip = &record(4)[..record(4).len() - 18];
    let mut expected = vec![
        row(&damaged, "xyz]}", "damage"),
        row(torn, rest, "incomplete_record"),
        row(&inner, rest_of_gzip, "damage"),
    ];
    expected.sort();
    assert_eq!(site.rows(), expected);
    assert_eq!(pass.report["hours_sealed"], 3, "{}", pass.stderr);
    let pass = site.once();
    assert_eq!((pass.numbers, &pass.report["bytes"]), (vec![], &Value::from(0)), "{}", pass.stderr);
}

/// *Scenario*: a daemon holds a damaged blob until its hour's time to be sealed comes.
/// *Guarantees*: the rest is quarantined then, without a change of the blob.
#[tokio::test]
async fn a_held_blob_is_sealed_in_time() {
    let site = Site::new("2s");
    let blob = document(&format!("{},xyz", record(0)));
    site.put(4, &blob);
    let log = File::create(site.path("log")).unwrap();
    let daemon = ChildGuard::spawn(site.collector(&["run"]).stderr(log));
    assert_eq!(number(&daemon.line()), 0);
    let said = || fs::read_to_string(site.path("log")).unwrap();
    for what in ["\"held\":1", "\"hours_sealed\":1"] {
        let look = || said().contains(what).then_some(());
        until_some(Duration::from_secs(60), look, || format!("no {what} in {}", said())).await;
    }
    let (rest, status) = daemon.terminate();
    assert_eq!((rest, status.code()), (vec![], Some(0)));
    assert_eq!(site.rows(), [row(&blob, "xyz]}", "damage")]);
}

/// *Scenario*: a compressed blob grows, is torn, is whole again, and is replaced by a shorter and by a longer one.
/// *Guarantees*: each record comes out once, a torn rest is waited for, and a replaced blob is read from its beginning.
#[test]
fn compressed_blobs_grow() {
    let site = Site::new("2h");
    let list = |numbers: &[u32]| numbers.iter().map(|number| record(*number)).collect::<Vec<_>>().join(",");
    site.put(4, &gzip(&document(&list(&[0]))));
    assert_eq!(site.once().numbers, [0]);
    site.put(4, &gzip(&document(&list(&[0, 1, 2]))));
    assert_eq!(site.once().numbers, [1, 2]);
    let whole = gzip(&document(&list(&[0, 1, 2, 3, 4])));
    site.put(4, &whole[..whole.len() - 28]);
    let pass = site.once();
    assert_eq!((pass.numbers, &pass.report["held"]), (vec![3], &Value::from(1)), "{}", pass.stderr);
    assert!(pass.stderr.contains("gzip stream is damaged or cut"), "{}", pass.stderr);
    site.put(4, &whole);
    assert_eq!(site.once().numbers, [4]);
    let pass = site.once();
    assert_eq!((pass.numbers, &pass.report["bytes"]), (vec![], &Value::from(0)), "{}", pass.stderr);
    for numbers in [vec![7, 8], vec![60, 61, 62, 63]] {
        site.put(4, &gzip(&document(&list(&numbers))));
        let pass = site.once();
        assert_eq!(pass.numbers, numbers, "{}", pass.stderr);
        assert!(pass.stderr.contains("the blob was rewritten"), "{}", pass.stderr);
    }
    assert_eq!(site.rows(), []);
}

/// *Scenario*: two blobs with records that are none, and one with a tuple that is none; then another pass.
/// *Guarantees*: the log says of each reason once how many there are, and names one of them with its place; the next pass
/// says nothing.
#[test]
fn what_is_quarantined_is_said() {
    let site = Site::new("2h");
    let odd = document(&format!("{},{{\"odd\":1}},{{\"odd\":2}}", record(1)));
    site.put(4, &odd);
    site.put(5, &document("{\"odd\":3}"));
    let bad_tuple = record(2).replace(",443,", ",x,");
    site.put(6, &document(&bad_tuple));
    let pass = site.once();
    assert_eq!(pass.numbers, [1], "{}", pass.stderr);
    let lines = pass.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said: Vec<Value> = lines.filter(|line| line["reason"].is_string()).collect();
    let mut reasons: Vec<_> =
        said.iter().map(|line| (line["reason"].as_str().unwrap(), &line["count"])).collect();
    reasons.sort_by_key(|(reason, _)| *reason);
    assert_eq!(reasons, [("bad_record", &Value::from(3)), ("bad_tuple", &Value::from(1))], "{}", pass.stderr);
    let rows = site.rows();
    for line in said {
        assert_eq!(line["level"], "WARN");
        assert!(line["blob"].as_str().unwrap().ends_with("/PT1H.json"), "{line}");
        assert!(!line["detail"].as_str().unwrap().is_empty(), "{line}");
        let is_of = |row: &Row| line["offset"] == row.0 && line["reason"] == row.2.as_str();
        assert!(rows.iter().any(is_of), "{line}: {rows:?}");
    }
    let again = site.once();
    assert!(!again.stderr.contains("quarantine;"), "{}", again.stderr);
}

/// *Scenario*: the storage server lists a blob of 1,000 bytes and has it no more when it is read.
/// *Guarantees*: the pass goes on, counts the blob, and says how many bytes nobody will read any more.
#[tokio::test]
async fn a_blob_that_is_deleted_before_it_is_read() {
    const BLOB: &str = "flowLogResourceID=/S/y=2026/m=11/d=24/h=05/m=00/macAddress=0022482F8D3A/PT1H.json";
    let date = ("Date", "Tue, 24 Nov 2026 05:00:31 GMT");
    let page = |entries: &str| {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{entries}</Blobs><NextMarker />\
             </EnumerationResults>"
        );
        Step::answer(200, &[date, ("Content-Type", "application/xml")], body)
    };
    let prefix = |name: &str| page(&format!("<BlobPrefix><Name>{name}</Name></BlobPrefix>"));
    let server = ScriptedServer::start(vec![
        prefix("flowLogResourceID=/"),
        prefix("flowLogResourceID=/S/"),
        prefix("flowLogResourceID=/S/y=2026/"),
        prefix("flowLogResourceID=/S/y=2026/m=11/"),
        prefix("flowLogResourceID=/S/y=2026/m=11/d=24/"),
        prefix("flowLogResourceID=/S/y=2026/m=11/d=24/h=05/"),
        page(&format!(
            "<Blob><Name>{BLOB}</Name><Properties><Last-Modified>Tue, 24 Nov 2026 05:00:01 GMT</Last-Modified>\
             <Etag>0x1</Etag><Content-Length>1000</Content-Length></Properties></Blob>"
        )),
        Step::answer(404, &[date, ("x-ms-error-code", "BlobNotFound")], ""),
    ])
    .await;
    let site = Site::new("2h");
    let settings = format!(
        "state_dir = {:?}\n[sources.test]\naccount = \"testaccount\"\naccount_key = \"Y2FuYXJ5\"\nendpoint = {:?}\n\
         container = \"logs\"\nstart = \"2026-11-24T05:00:00Z\"\n[intakes.test]\nprotocol = \"stdout\"\n\
         event_format = \"flow\"\n[log]\nformat = \"json\"\n",
        site.path("state"),
        server.url(),
    );
    fs::write(site.path("flowlogd.toml"), settings).unwrap();
    let pass = tokio::task::spawn_blocking(move || site.once()).await.unwrap();
    assert_eq!(pass.report["gone"], 1, "{}", pass.stderr);
    assert!(pass.stderr.contains("\"unread_bytes\":1000"), "{}", pass.stderr);
}
