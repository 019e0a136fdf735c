//! The command convert, as a process.

use std::{
    fs,
    io::{Read, Write},
    process::{Command, Output, Stdio},
    thread,
};

use crate::support::daemon::{peak_kibibytes, program_kibibytes};

const BLOB: &[u8] = include_bytes!("../data/seed/PT1H.json");
const SENTENCES: &str = include_str!("../data/sentences.txt");

fn convert(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowlogd"))
        .arg("convert")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A command that does not read its input closes the pipe.
    drop(feeder.join().unwrap());
    output
}

fn check(arguments: &[&str], input: &[u8], code: i32, stdout: &str) -> String {
    let output = convert(arguments, input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), stdout, "{stderr}");
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// *Scenario*: the same blob from stdin, from a file, compressed, compressed in two members, and as one record a line.
/// *Guarantees*: the same sentences and success each time.
#[test]
fn every_kind_of_input() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("PT1H.json");
    fs::write(&path, BLOB).unwrap();
    let expected: String = SENTENCES.lines().take(6).map(|line| format!("{line}\n")).collect();
    let text = ["--format", "text"];
    let (head, tail) = BLOB.split_at(BLOB.len() / 2);
    let members = [gzip(head), gzip(tail)].concat();
    let record = &BLOB[br#"{"records":["#.len()..BLOB.len() - 2];
    for input in [BLOB, &gzip(BLOB), &members, record] {
        check(&text, input, 0, &expected);
        check(&["--format", "text", "-"], input, 0, &expected);
    }
    check(&["--format", "text", path.to_str().unwrap()], b"", 0, &expected);
    check(&text, b"", 0, "");
}

/// *Scenario*: a bad tuple, a damaged file, a file that ends within a record.
/// *Guarantees*: the rest is converted, each fault is one JSON object on stderr with its place, and the code is 65.
#[test]
fn faults_are_shown_with_their_place() {
    let bad = String::from_utf8(BLOB.to_vec()).unwrap().replacen(",6,O,B,", ",6,O,Z,", 1);
    let torn = &BLOB[..BLOB.len() - 10];
    let garbage = [BLOB, b"garbage".as_slice()].concat();
    let not_json = [&BLOB[..BLOB.len() - 2], b",{no json},{}]}"].concat();
    let compressed = gzip(BLOB);
    let cut = &compressed[..compressed.len() - 4];
    let mut broken = compressed.clone();
    let checksum = broken.len() - 8;
    broken[checksum] ^= 1;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let bad_tuple = "\"1663146003599,1.2.3.4,192.0.2.180,23956,443,6,O,Z,NX,0,0,0,0\"";
    for (input, reason, detail, shown_text, n_events) in [
        (
            bad.as_bytes(),
            "bad_tuple",
            "flow state: expected B, C, E or D, found `Z`",
            bad_tuple.to_owned(),
            5,
        ),
        (torn, "incomplete_record", "the file ends within this record", text(&torn[12..]), 0),
        (
            &garbage,
            "damage",
            "expected nothing after the closing bracket of the records, found `g`",
            "garbage".to_owned(),
            6,
        ),
        (&not_json, "damage", "the record that starts here is not JSON", text(b"{no json},{}]}"), 6),
        (cut, "damage", "the gzip stream is damaged or cut", String::new(), 6),
        (&broken, "damage", "the gzip stream is damaged or cut", String::new(), 6),
    ] {
        let output = convert(&["--format", "flow"], input);
        assert_eq!(output.status.code(), Some(65));
        assert_eq!(output.stdout.split(|byte| *byte == b'\n').count() - 1, n_events);
        let shown: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(shown["reason"], reason);
        assert!(shown["detail"].as_str().unwrap().contains(detail), "{shown}");
        assert_eq!(shown["text"], shown_text);
        assert!(shown["offset"].is_u64());
    }
}

/// *Scenario*: a file with damage in several places, and one with a record over the limit, both with more behind it.
/// *Guarantees*: all that can be read is converted; each damage is one JSON object with its place, its length, its
/// reason and its text, of the large record the first 64 KiB; the code is 65.
#[test]
fn reading_goes_on_behind_damage() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let record = &BLOB[12..BLOB.len() - 2];
    let torn = &record[..300];
    let blob = [b"{\"records\":[", torn, b",", record, b",x\xff,", record, b"]}"].concat();
    let large = [b"{\"time\":\"", b"\\\"".repeat(LIMIT / 2).as_slice(), b"\"}"].concat();
    let blob_with_large = [b"{\"records\":[", record, b",", &large, b",\n", record, b"]}"].concat();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let damage_at =
        |offset: usize, length: usize, reason: &str, text: String| (offset, length, reason.to_owned(), text);
    let second = 12 + 301 + record.len() + 1;
    for (input, expected) in [
        (
            &blob,
            vec![
                damage_at(12, 301, "damage", text(torn) + ","),
                damage_at(second, 3, "damage", "x\u{fffd},".to_owned()),
            ],
        ),
        (
            &blob_with_large,
            vec![damage_at(
                13 + record.len(),
                large.len() + 2,
                "record_too_large",
                text(&large[..64 * 1024]),
            )],
        ),
    ] {
        let output = convert(&["--format", "flow"], input);
        let shown: Vec<_> = text(&output.stderr)
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let number = |name: &str| usize::try_from(line[name].as_u64().unwrap()).unwrap();
                let word = |name: &str| line[name].as_str().unwrap().to_owned();
                damage_at(number("offset"), number("length"), &word("reason"), word("text"))
            })
            .collect();
        assert_eq!(shown, expected);
        assert_eq!(output.status.code(), Some(65));
        assert_eq!(memchr::memchr_iter(b'\n', &output.stdout).count(), 12);
    }
}

/// *Scenario*: a record over the limit, and a torn one almost as large as the limit with a record behind it.
/// *Guarantees*: besides the pages of its program, which are many and not its own where that is not optimised, the process
/// never holds more than 20 MiB. `tests/convert_memory.sh` has the same with all pages of the optimised program.
#[test]
fn memory_is_bounded_in_damage() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let record = &BLOB[12..BLOB.len() - 2];
    let text = b"\\\"".repeat(LIMIT / 2 - 5_000);
    let torn = [b"{\"time\":\"", text.as_slice(), b",\n"].concat();
    let large = [b"{\"time\":\"", text.as_slice(), &text[..20_000], b"\"},"].concat();
    let input =
        [b"{\"records\":[", torn.as_slice(), record, b",", &large, record, b",", &torn, record].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowlogd"))
        .args(["convert", "--format", "flow"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&input).unwrap();
    // All but what a pipe holds has been read by now; the process lives until its input is closed.
    let kibibytes = peak_kibibytes(child.id()) - program_kibibytes(child.id());
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(65));
    assert!(kibibytes <= 20 * 1024, "{kibibytes} KiB");
}

/// *Scenario*: a file that is not there, a directory, a format that is none.
/// *Guarantees*: 66 and the path, 2 for wrong usage; nothing on stdout.
#[test]
fn wrong_arguments() {
    assert!(check(&["/nowhere/PT1H.json"], b"", 66, "").contains("/nowhere/PT1H.json"));
    assert!(check(&["/"], b"", 66, "").contains("is a directory"));
    assert!(check(&["--format", "xml"], b"", 2, "").contains("possible values: flow, ecs, text"));
}

/// *Scenario*: more files than the process may open.
/// *Guarantees*: all are converted.
#[test]
fn more_files_than_may_be_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("PT1H.json");
    fs::write(&path, BLOB).unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 32 && exec \"$0\" convert --format text \"$@\"",
            env!("CARGO_BIN_EXE_flowlogd"),
        ])
        .args(vec![&path; 100])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(memchr::memchr_iter(b'\n', &output.stdout).count(), 600);
}

/// *Scenario*: whoever reads the events goes away.
/// *Guarantees*: the command ends with 74 instead of running on or panicking.
#[test]
fn a_closed_pipe() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowlogd"))
        .args(["convert", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let feeder =
        thread::spawn(move || (0..2_000).try_for_each(|_| stdin.write_all(&BLOB[12..BLOB.len() - 2])));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(74), "{stderr}");
    assert!(stderr.contains("write to stdout"), "{stderr}");
    assert!(feeder.join().unwrap().is_err());
}

/// *Scenario*: a blob of 200 MB.
/// *Guarantees*: every record is converted and the process never holds more than 32 MiB.
#[test]
fn memory_does_not_grow_with_the_blob() {
    const BLOB_BYTES: usize = 200_000_000;
    let record = &BLOB[12..BLOB.len() - 2];
    let n_records = BLOB_BYTES / (record.len() + 1) + 1;
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowlogd"))
        .args(["convert", "--format", "flow"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let process_id = child.id();
    let feeder = thread::spawn(move || {
        let block = [record, b","].concat().repeat(1_000);
        stdin.write_all(br#"{"records":["#).unwrap();
        let mut left = n_records;
        while left > 0 {
            let n_now = left.min(1_000);
            stdin.write_all(&block[..n_now * (record.len() + 1)]).unwrap();
            left -= n_now;
        }
        stdin.write_all(b"]}").unwrap();
        // All but what a pipe holds has been read by now; the process lives until its input is closed.
        let kibibytes = peak_kibibytes(process_id);
        drop(stdin);
        kibibytes
    });
    let mut stdout = child.stdout.take().unwrap();
    let (mut n_events, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let n_read = stdout.read(&mut buffer).unwrap();
        if n_read == 0 {
            break;
        }
        n_events += memchr::memchr_iter(b'\n', &buffer[..n_read]).count();
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(n_events, n_records * 6);
    let kibibytes = feeder.join().unwrap();
    assert!(kibibytes <= 32 * 1024, "{kibibytes} KiB");
}
