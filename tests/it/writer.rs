//! The example writer: what other tests rely on when they compare a collector's output with its ledger.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use flowlogd::{
    model::ETag,
    storage::{Account, BlobStore, ListQuery},
};
use serde_json::{Value, json};

use crate::support::{
    azurite,
    examples::{InteractiveWriter, TWO_LOGS, example},
};

/// Blob names below a directory, each with its bytes.
type Tree = BTreeMap<String, Vec<u8>>;

const KINDS: [&str; 3] = ["vnet", "nsg1", "nsg2"];

const SHAPES: [&str; 5] = ["typical", "sparse", "dense", "v6", "hostile"];

/// Runs the writer to its end and returns what it printed.
fn write(directory: &Path, arguments: &[&str]) -> String {
    let output =
        example("flow_log_writer").arg("--directory").arg(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                tree.insert(name, fs::read(path).unwrap());
            }
        }
    }
    tree
}

fn sorted_lines(path: &Path) -> Vec<String> {
    let mut lines: Vec<_> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// The `flow` events of a document, found by walking its JSON: nothing here is shared with the writer.
fn events(document: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(document).unwrap();
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut events = Vec::new();
    for record in list(&document, "records") {
        for flows in list(&record["flowRecords"], "flows") {
            for group in list(&flows, "flowGroups") {
                for tuple in list(&group, "flowTuples") {
                    let mut fields: Vec<_> = tuple.as_str().unwrap().split(',').collect();
                    assert!(fields.len() == 9 || fields.len() == 13, "{tuple}");
                    fields.resize(13, "");
                    fields.iter_mut().filter(|field| field.is_empty()).for_each(|field| *field = "0");
                    let event = json!({
                        "time": event_time(record["time"].as_str().unwrap()),
                        "flowLogVersion": record["flowLogVersion"],
                        "flowLogGUID": record["flowLogGUID"],
                        "macAddress": record["macAddress"],
                        "operationName": record["operationName"],
                        "aclID": flows["aclID"],
                        "rule": group["rule"],
                        "flow.0": fields.join(","),
                    });
                    events.push(event.to_string());
                }
            }
        }
    }
    events
}

fn event_time(record_time: &str) -> String {
    let (second, fraction) = record_time.trim_end_matches('Z').split_once('.').unwrap();
    assert_eq!(fraction.len(), 7, "{record_time}");
    match &fraction[..6] {
        "000000" => format!("{second}+00:00"),
        microseconds => format!("{second}.{microseconds}+00:00"),
    }
}

/// A ledger's lines as `events` prints them, sorted.
fn ledger_events(ledger: &Path) -> Vec<String> {
    let keys =
        ["time", "flowLogVersion", "flowLogGUID", "macAddress", "operationName", "aclID", "rule", "flow.0"];
    let text = fs::read_to_string(ledger).unwrap();
    let mut events: Vec<_> = text
        .split_terminator('\n')
        .map(|line| {
            let places = keys.map(|key| line.find(&format!("\"{key}\":")).unwrap());
            assert!(places.is_sorted(), "the keys are not in their order: {line}");
            serde_json::from_str::<Value>(line).unwrap().to_string()
        })
        .collect();
    events.sort_unstable();
    events
}

fn check_ledger(ledger: &Path, tree: &Tree) -> usize {
    let mut expected: Vec<_> = tree.values().flat_map(|document| events(document)).collect();
    expected.sort_unstable();
    assert!(!expected.is_empty());
    assert!(ledger_events(ledger) == expected, "the ledger differs from the documents");
    expected.len()
}

struct Place {
    _directory: tempfile::TempDir,
    container: PathBuf,
    ledger: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (container, ledger) = (directory.path().join("container"), directory.path().join("ledger"));
        Self { _directory: directory, container, ledger }
    }

    fn write(&self, arguments: &[&str]) -> (Tree, Vec<String>) {
        write(&self.container, &[arguments, &["--ledger", self.ledger.to_str().unwrap()]].concat());
        (read_tree(&self.container), sorted_lines(&self.ledger))
    }
}

/// Scenario: the same seed, committed whole, minute by minute, with more interfaces beside, and another seed.
/// Guarantees: documents and ledger depend on the seed alone; every tuple of the documents is in the ledger, once.
#[test]
fn the_same_seed_gives_the_same_bytes_however_they_are_committed() {
    for shape in SHAPES {
        let places = [Place::new(), Place::new(), Place::new(), Place::new()];
        let base = ["--shape", shape, "--roots", "2", "--first-minute", "57"];
        let with = |more: &[&'static str]| [&base[..], more].concat();
        let whole = places[0].write(&with(&["--nics", "3", "--minutes", "6"]));
        let growing = places[1].write(&with(&["--nics", "3", "--rounds", "6", "--pause", "0s"]));
        assert!(whole == growing, "{shape}");
        assert_eq!(whole.0.len(), 6, "two hours of three interfaces");
        let tuples = check_ledger(&places[0].ledger, &whole.0);
        assert_eq!(tuples, whole.1.len());

        let wider = places[2].write(&with(&["--nics", "5", "--minutes", "6"]));
        assert!(whole.0.iter().all(|(name, bytes)| wider.0.get(name) == Some(bytes)), "{shape}");
        let other = places[3].write(&with(&["--nics", "3", "--minutes", "6", "--seed", "2"]));
        assert_ne!(whole.1, other.1, "{shape}");
    }
}

/// *Scenario*: every kind of flow log in every shape, converted by the command.
/// *Guarantees*: the events in their `flow` form are the ledger, byte for byte; so are the messages of the `ecs` form;
/// nothing is quarantined.
#[test]
fn converted_documents_are_the_ledger() {
    for kind in KINDS {
        for shape in SHAPES {
            let place = Place::new();
            let huge = if shape == "hostile" { "1MB" } else { "0B" };
            let (tree, ledger) = place.write(&[
                "--kind",
                kind,
                "--shape",
                shape,
                "--nics",
                "3",
                "--roots",
                "2",
                "--first-minute",
                "58",
                "--minutes",
                "8",
                "--huge-bytes",
                huge,
            ]);
            assert!(!ledger.is_empty());
            let convert = |format: &[&str]| {
                let output = Command::new(env!("CARGO_BIN_EXE_flowlogd"))
                    .arg("convert")
                    .args(format)
                    .args(tree.keys().map(|name| place.container.join(name)))
                    .output()
                    .unwrap();
                let stderr = String::from_utf8(output.stderr).unwrap();
                assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{kind} {shape}");
                String::from_utf8(output.stdout).unwrap()
            };
            let flow = convert(&["--format", "flow"]);
            let mut flow: Vec<&str> = flow.lines().collect();
            flow.sort_unstable();
            assert!(flow == ledger, "{kind} {shape}: the events differ from the ledger");
            let ecs = convert(&["--format", "ecs"]);
            let mut messages: Vec<String> = ecs
                .lines()
                .map(|line| {
                    serde_json::from_str::<Value>(line).unwrap()["message"].as_str().unwrap().to_owned()
                })
                .collect();
            messages.sort_unstable();
            assert!(messages == ledger, "{kind} {shape}: the messages differ from the ledger");
        }
    }
}

/// Scenario: documents grow minute by minute over the end of an hour; one interface is silent. Guarantees: each
/// version is valid JSON, ends with the closing brackets and begins with all of the one before but those; new hours
/// get documents of their own; the totals and the ledger are right at every step.
#[test]
fn documents_grow_before_their_closing_brackets() {
    let place = Place::new();
    let (container, ledger) = (place.container.to_str().unwrap(), place.ledger.to_str().unwrap());
    let target = ["--directory", container, "--ledger", ledger];
    let documents = ["--shape", "hostile", "--first-minute", "55"];
    let mut writer = InteractiveWriter::start(target.into_iter().chain(TWO_LOGS).chain(documents));
    let mut before = Tree::new();
    for minute in 55..65 {
        let n_tuples = usize::try_from(writer.minutes(1)).unwrap();
        let now = read_tree(&place.container);
        assert_eq!(now.len(), if minute < 60 { 4 } else { 8 });
        let open = if minute < 60 { "/h=05/" } else { "/h=06/" };
        let mut n_silent = 0;
        for (name, document) in &now {
            serde_json::from_slice::<Value>(document).unwrap();
            n_silent += usize::from(document == br#"{"records":[]}"#);
            assert!(document.ends_with(b"]}"));
            let Some(earlier) = before.get(name) else { continue };
            assert!(document.starts_with(&earlier[..earlier.len() - 2]), "{name}");
            let grows = name.contains(open) && earlier != br#"{"records":[]}"#;
            assert_eq!(document.len() > earlier.len(), grows, "{name}");
        }
        assert_eq!(n_silent, if minute < 60 { 1 } else { 2 });
        if n_tuples > 0 {
            assert_eq!(check_ledger(&place.ledger, &now), n_tuples);
        }
        before = now;
    }
    assert!(writer.ask("hour").starts_with("error "));
    assert!(writer.ask("minutes many").starts_with("error "));
    assert!(writer.ask("minutes 0").starts_with("done "));
}

/// Scenario: the shipped sample is written again by the command in CONTRIBUTING.md. Guarantees: byte for byte the
/// same, so the sample is what the writer writes, and the documented command is the right one.
#[test]
fn the_sample_container_is_what_the_documented_command_writes() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(project.join("CONTRIBUTING.md")).unwrap();
    let start = "cargo run --example flow_log_writer -- --directory examples/sample-container ";
    let command = text.lines().find_map(|line| line.trim().strip_prefix(start)).unwrap();
    let place = Place::new();
    write(&place.container, &command.split(' ').collect::<Vec<_>>());
    let sample = read_tree(&project.join("examples/sample-container"));
    let sizes = sample.values().map(Vec::len).sum::<usize>();
    assert!((10_000..60_000).contains(&sizes), "the sample has {sizes} bytes");
    assert!(read_tree(&place.container) == sample);
    let events: Vec<_> = sample.values().flat_map(|document| events(document)).collect();
    for part in [",B,", ",C,", ",E,", ",D,", ",I,", ",O,", ",2001:db8:", ",192.0.2."] {
        assert!(events.iter().any(|event| event.contains(part)), "no tuple of the sample has {part}");
    }
}

/// Scenario: one large document, and a huge record. Guarantees: both have the size that was asked for, are valid, and
/// their ledger is right.
#[test]
fn sizes_are_as_asked_for() {
    let place = Place::new();
    let (tree, _) = place.write(&["--bytes", "3MB", "--shape", "dense"]);
    let length = tree.values().map(Vec::len).sum::<usize>();
    assert!((3_000_000..3_300_000).contains(&length), "{length} bytes");
    check_ledger(&place.ledger, &tree);

    let place = Place::new();
    let (tree, _) = place.write(&["--huge-bytes", "2MB", "--nics", "1"]);
    let length = tree.values().map(Vec::len).sum::<usize>();
    assert!((1_800_000..2_600_000).contains(&length), "{length} bytes");
    check_ledger(&place.ledger, &tree);
}

/// Scenario: the same documents grow in a real container and in a directory. Guarantees: the same bytes under the same
/// names at every step; tag and date of a blob that grew are new, those of others stay.
#[tokio::test]
async fn a_container_grows_as_a_directory_does() {
    let azurite = azurite::shared().await;
    let place = Place::new();
    let common = ["--nics", "3", "--silent", "1", "--roots", "2", "--first-minute", "58"];
    let mut directory = InteractiveWriter::start(
        ["--directory", place.container.to_str().unwrap()].into_iter().chain(common),
    );
    let mut container = InteractiveWriter::start(
        [
            "--endpoint",
            azurite.endpoint.as_str(),
            "--container",
            "example-writer",
            "--create-container",
            "--ledger",
            place.ledger.to_str().unwrap(),
        ]
        .into_iter()
        .chain(common),
    );
    let store = azurite.account().container("example-writer");
    let mut tags_before: BTreeMap<String, (ETag, u64)> = BTreeMap::new();
    for _ in 0..4 {
        assert_eq!(directory.ask("minute"), container.ask("minute"));
        let (tree, tags) = download(store.as_ref()).await;
        assert!(tree == read_tree(&place.container));
        for (name, (tag, length)) in &tags {
            let Some((earlier_tag, earlier_length)) = tags_before.get(name) else { continue };
            assert_eq!(tag != earlier_tag, length > earlier_length, "{name}");
        }
        tags_before = tags;
    }
    assert_eq!(tags_before.len(), 6);
    check_ledger(&place.ledger, &read_tree(&place.container));
}

/// *Scenario*: nobody listens at the endpoint; the container is to be created first, or taken as it is. *Guarantees*: the
/// writer gives up soon, and names the endpoint and the way out.
#[test]
fn an_absent_server_is_named() {
    let begun = Instant::now();
    let start = |further: &[&str]| {
        let mut command = example("flow_log_writer");
        command.args(["--endpoint", "http://127.0.0.1:1/devstoreaccount1"]).args(further);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in [start(&["--create-container"]), start(&[])] {
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("nobody can be reached at http://127.0.0.1:1/devstoreaccount1; start Azurite"),
            "{error}"
        );
    }
    // The waits add up to less than 8 seconds; the rest is for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

async fn download(store: &dyn BlobStore) -> (Tree, BTreeMap<String, (ETag, u64)>) {
    let page = store.list_page(ListQuery { prefix: "", delimiter: None, marker: None }).await.unwrap();
    let (mut tree, mut tags) = (Tree::new(), BTreeMap::new());
    for blob in page.blobs {
        let bytes = store.read(&blob.name, 0..blob.length, &blob.etag).await.unwrap();
        tree.insert(blob.name.to_string(), bytes.to_vec());
        tags.insert(blob.name.to_string(), (blob.etag, blob.length));
    }
    (tree, tags)
}
