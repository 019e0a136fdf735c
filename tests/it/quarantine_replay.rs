//! The command quarantine replay.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use flowlogd::{
    flowlog::{Piece, Splitter, Start, path},
    model::{BlobName, HourlyBlob, Origin, Reason, Rejected, Scope, Span},
    store::{Commit, StateStore, sqlite::SqliteStore},
};
use serde_json::Value;
use tempfile::TempDir;

use super::support::processes::Receiver;

/// A directory with one blob as its source, its records, and a state.
struct Installation {
    directory: TempDir,
    blob: HourlyBlob,
    records: Vec<(Span, Vec<u8>)>,
}

impl Installation {
    fn new() -> Self {
        Self::of(|text| (text.clone(), text))
    }

    /// One whose blob has the text, and the bytes, that are made of the sample's.
    fn of(change: impl Fn(Vec<u8>) -> (Vec<u8>, Vec<u8>)) -> Self {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sample-container");
        let file = first_file(&sample);
        let name = file.strip_prefix(&sample).unwrap().to_str().unwrap().to_owned();
        let directory = tempfile::tempdir().unwrap();
        let (text, bytes) = change(fs::read(&file).unwrap());
        let copy = directory.path().join("container").join(&name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, &bytes).unwrap();
        let mut splitter = Splitter::new(Start::Beginning, text.len());
        splitter.push(&text);
        let mut records = Vec::new();
        while let Some(Piece::Record(record)) = splitter.next_piece() {
            records.push((record.span, record.bytes.to_vec()));
        }
        let blob = path::parse(&BlobName::new(name)).unwrap();
        Self { directory, blob, records }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the command with an intake of these settings and a state of this name.
    fn run(&self, intake: &str, state: &str, arguments: &[&str]) -> (i32, String, String) {
        let text = format!(
            "state_dir = {:?}\n[sources.copy]\ndirectory = {:?}\naccount = \"acct\"\ncontainer = \"logs\"\n\
             [intakes.out]\n{intake}\n[limits]\nonce_deadline = \"500ms\"\n",
            self.path(state),
            self.path("container")
        );
        fs::write(self.path("settings.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
        command.arg("--config").arg(self.path("settings.toml")).args(arguments);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// Puts rows into the quarantine.
    fn keep(&self, rows: &[Rejected]) {
        let origin = Origin { account: String::from("acct"), container: String::from("logs") };
        let commit = Commit {
            scope: Scope { origin, intake: String::from("out") },
            positions: Vec::new(),
            rejected: rows.iter().map(|row| (self.blob.clone(), row.clone())).collect(),
            frontiers: Vec::new(),
        };
        SqliteStore::open(&self.path("state")).unwrap().commit(&commit).unwrap();
    }

    /// A row about record `number`, or a tuple of it.
    fn row(&self, number: usize, ordinal: Option<u32>, reason: Reason, text: &[u8]) -> Rejected {
        Rejected {
            reason,
            detail: String::from("an older version could not read it"),
            span: self.records[number].0,
            ordinal,
            context: None,
            text: text.to_vec(),
            answer: None,
        }
    }

    fn left(&self) -> Vec<Rejected> {
        let store = SqliteStore::open_read_only(&self.path("state")).unwrap();
        let mut rows = Vec::new();
        store.for_each_quarantined(|entry| rows.push(entry.rejected)).unwrap();
        rows
    }

    /// The element of a tuple of a record, and the record's head with the tuple's place.
    fn tuple(&self, number: usize, ordinal: usize) -> (String, String) {
        let mut record: Value = serde_json::from_slice(&self.records[number].1).unwrap();
        let mut places = Vec::new();
        for flow in record["flowRecords"]["flows"].as_array().unwrap() {
            for group in flow["flowGroups"].as_array().unwrap() {
                for tuple in group["flowTuples"].as_array().unwrap() {
                    places.push((flow["aclID"].clone(), group["rule"].clone(), tuple.to_string()));
                }
            }
        }
        let (acl_id, rule, element) = places.swap_remove(ordinal);
        let head = record.as_object_mut().unwrap();
        head.remove("flowRecords");
        head.extend([(String::from("aclID"), acl_id), (String::from("rule"), rule)]);
        (element, record.to_string())
    }
}

fn first_file(folder: &Path) -> PathBuf {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let first = entries.remove(0);
    if first.is_dir() { first_file(&first) } else { first }
}

/// The lines of events.
fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn id(event: &Value) -> &str {
    event["event"]["id"].as_str().unwrap()
}

/// *Scenario*: what an older version could not read: a tuple, a whole record, a record that was kept in part, one that
/// was incomplete, and nothing but white space; beside them a tuple and a record that still cannot be read.
/// *Guarantees*: what can be read now arrives as a first reading sends it, with the same ids, and its rows go; the rest
/// stays with the reason and the exit code says so; a second replay sends nothing.
#[test]
fn what_can_be_read_now_is_sent() {
    let installation = Installation::new();
    let (code, stdout, stderr) = installation.run("protocol = \"stdout\"", "fresh", &["run", "--once"]);
    assert_eq!(code, 0, "{stderr}");
    let all = events(&stdout);
    let of_record = |number: usize| {
        let offset = installation.records[number].0.from;
        all.iter()
            .filter(move |event| event["azure"]["storage"]["offset"] == offset)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert!(installation.records.len() == 4 && of_record(0).len() > 2, "the sample has too little");

    let whole = |number: usize| installation.records[number].1.clone();
    let (element, context) = installation.tuple(0, 1);
    let bad = "\"1,not an address\"";
    let mut part = installation.row(2, None, Reason::BadRecord, &whole(2)[..10]);
    part.detail = String::from("larger than limits.record");
    installation.keep(&[
        Rejected {
            context: Some(context.clone()),
            ..installation.row(0, Some(1), Reason::BadTuple, element.as_bytes())
        },
        Rejected { context: Some(context), ..installation.row(0, Some(2), Reason::BadTuple, bad.as_bytes()) },
        installation.row(1, None, Reason::UnknownVersion, &whole(1)),
        part,
        installation.row(3, None, Reason::IncompleteRecord, &whole(3)[..20]),
        installation.row(0, None, Reason::BadRecord, &vec![b' '; whole(0).len()]),
        Rejected {
            span: Span { from: 0, to: 12 },
            ..installation.row(0, None, Reason::BadRecord, br#"{"time":"x"}"#)
        },
    ]);
    let mut expected = vec![of_record(0).remove(1)];
    expected.extend([1, 2, 3].into_iter().flat_map(of_record));
    let (code, stdout, stderr) =
        installation.run("protocol = \"stdout\"", "state", &["quarantine", "replay"]);
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(events(&stdout), expected, "{stderr}");
    assert!(stderr.contains("of 7 rows were accepted; 2 rows stay"), "{stderr}");
    assert!(stderr.contains("1 rows stay: source address: expected an IP address"), "{stderr}");
    let left: Vec<_> = installation.left().into_iter().map(|row| (row.reason, row.span.from)).collect();
    assert_eq!(left, [(Reason::BadTuple, installation.records[0].0.from), (Reason::BadRecord, 0)]);
    let (code, stdout, stderr) =
        installation.run("protocol = \"stdout\"", "state", &["quarantine", "replay"]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
}

/// *Scenario*: a compressed blob with megabytes before its first record, of which a tuple, a record that was kept in part
/// and one that was incomplete could not be read; then again with the stream cut in the last one.
/// *Guarantees*: what is whole arrives as a first reading sends it, with the same ids; what is cut off stays, with the
/// reason.
#[test]
fn records_of_a_compressed_blob() {
    for n_cut in [0, 30] {
        // Without compression, so that there is more than one range to read, and a cut shows which bytes are left.
        let installation = Installation::of(|text| {
            let text = [vec![b' '; 2_500_000], text].concat();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
            encoder.write_all(&text).unwrap();
            (text, encoder.finish().unwrap())
        });
        let (code, stdout, stderr) = installation.run("protocol = \"stdout\"", "fresh", &["run", "--once"]);
        assert_eq!(code, 0, "{stderr}");
        let all = events(&stdout);
        let of_record = |number: usize| {
            let offset = installation.records[number].0.from;
            let is_of = move |event: &&Value| event["azure"]["storage"]["offset"] == offset;
            all.iter().filter(is_of).cloned().collect::<Vec<_>>()
        };
        assert!(installation.records.len() == 4 && of_record(0).len() > 2, "the sample has too little");
        let file = first_file(&installation.path("container"));
        let stored = fs::read(&file).unwrap();
        fs::write(&file, &stored[..stored.len() - n_cut]).unwrap();

        let (element, _) = installation.tuple(0, 1);
        let mut part = installation.row(2, None, Reason::BadRecord, &installation.records[2].1[..10]);
        part.detail = String::from("larger than limits.record");
        installation.keep(&[
            installation.row(0, Some(1), Reason::BadTuple, element.as_bytes()),
            part,
            installation.row(3, None, Reason::IncompleteRecord, &installation.records[3].1[..20]),
        ]);
        let is_whole = n_cut == 0;
        let mut expected = vec![of_record(0).remove(1)];
        expected.extend(of_record(2));
        expected.extend(of_record(3).into_iter().filter(|_| is_whole));
        let (code, stdout, stderr) =
            installation.run("protocol = \"stdout\"", "state", &["quarantine", "replay"]);
        assert_eq!(events(&stdout), expected, "{stderr}");
        let n_left = usize::from(!is_whole);
        assert_eq!((code, installation.left().len()), (i32::from(!is_whole), n_left), "{stderr}");
        assert_eq!(stderr.matches("the gzip stream is damaged or cut here").count(), n_left, "{stderr}");
    }
}

/// *Scenario*: two equal tuples of a record that could not be read; their blob is deleted; then they are replayed, twice
/// from the same rows.
/// *Guarantees*: they arrive as they would have, but for their ids, which differ from each other and are the same each
/// time.
#[test]
fn a_tuple_whose_record_is_gone() {
    let installation = Installation::new();
    let (_, stdout, _) = installation.run("protocol = \"stdout\"", "fresh", &["run", "--once"]);
    fs::remove_dir_all(installation.path("container")).unwrap();
    let (element, context) = installation.tuple(0, 1);
    let rows = [1, 2].map(|ordinal| Rejected {
        context: Some(context.clone()),
        ..installation.row(0, Some(ordinal), Reason::BadTuple, element.as_bytes())
    });
    let mut replayed = Vec::new();
    for _time in 0..2 {
        installation.keep(&rows);
        let (code, stdout, stderr) =
            installation.run("protocol = \"stdout\"", "state", &["quarantine", "replay"]);
        assert_eq!((code, installation.left()), (0, Vec::new()), "{stderr}");
        replayed.push(events(&stdout));
    }
    assert_eq!(replayed[0], replayed[1]);
    let ids: Vec<_> = replayed[0].iter().map(id).collect();
    assert!(ids.len() == 2 && ids[0].ends_with("-1") && ids[1].ends_with("-2"), "{ids:?}");
    let mut expected = events(&stdout).remove(1);
    assert_ne!(id(&expected), ids[0]);
    expected["event"]["id"] = replayed[0][0]["event"]["id"].clone();
    assert_eq!(replayed[0][0], expected);
}

/// *Scenario*: events in doubt go to an intake that rejects the key, that accepts a part of the batch, and that is well;
/// before that the state is held.
/// *Guarantees*: nothing goes before the intake has it; what is in doubt again stays so; in the end every event has
/// arrived as it was kept and the quarantine is empty.
#[test]
fn events_in_doubt() {
    let installation = Installation::new();
    let receiver = Receiver::start_plain(&["--intake-key", "right", "--faults", "ok,doubtful"]);
    let intake =
        |key: &str| format!("protocol = \"sekoia\"\nurl = \"{}\"\nintake_key = \"{key}\"", receiver.url);
    let bodies = [r#"{"a":1}"#, r#"{"b":"\"2\""}"#, r#"{"c":3}"#];
    let rows: Vec<_> = (0..)
        .zip(bodies)
        .map(|(ordinal, body)| {
            let detail = String::from("doubtful 1 of 3");
            Rejected { detail, ..installation.row(0, Some(ordinal), Reason::Doubtful, body.as_bytes()) }
        })
        .collect();
    installation.keep(&rows);
    let replay = |key: &str, code: i32, expected: &str| {
        let ended =
            installation.run(&intake(key), "state", &["quarantine", "replay", "--reason", "doubtful"]);
        assert!(ended.0 == code && ended.2.contains(expected), "{ended:?}");
    };
    let owner = SqliteStore::open(&installation.path("state")).unwrap();
    replay("right", 75, "holds the state");
    drop(owner);
    replay("wrong", 1, "intake out takes nothing now");
    assert_eq!(installation.left(), rows);
    replay("right", 1, "3 rows stay: the intake accepted a part of their batch");
    let details: Vec<_> = installation.left().into_iter().map(|row| (row.detail, row.text)).collect();
    assert_eq!(details, bodies.map(|body| (String::from("doubtful 2 of 3"), body.as_bytes().to_vec())));
    replay("right", 0, "3 events of 3 rows were accepted; 0 rows stay");
    assert_eq!(installation.left(), Vec::new());
    assert_eq!(receiver.ledger(), [&bodies[..2], &bodies[..]].concat());
}
