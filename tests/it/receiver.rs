//! The example receiver.

use std::{io::Write, process::Stdio, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use flowlogd::http;

use crate::support::{
    examples::example,
    processes::{ChildGuard, Receiver},
};

fn client(receiver: &Receiver) -> http::Client {
    let extra_roots_pem = (receiver.url.scheme() == "https").then(|| receiver.ca_pem());
    let minute = Duration::from_secs(60);
    let config = http::Config {
        extra_roots_pem,
        identity: None,
        proxy: None,
        connect_timeout: minute,
        read_timeout: minute,
        total_timeout: None,
    };
    http::Client::new(&config).unwrap()
}

/// Posts a body; returns the answer's status and body.
async fn post(receiver: &Receiver, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let mut builder = ::http::Request::post(receiver.url.join(path).unwrap().as_str());
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let request = builder.body(Bytes::copy_from_slice(body)).unwrap();
    let response = client(receiver).send(request).await.unwrap();
    let status = response.status.as_u16();
    (status, String::from_utf8(response.bytes(100_000).await.unwrap().to_vec()).unwrap())
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// *Scenario*: batches for the Sekoia.io path: plain, compressed, with the wrong key, with a body that is none.
/// *Guarantees*: accepted events are in the ledger letter for letter before the answer, which has an id for each;
/// refused requests leave nothing behind; the last line counts all of it.
#[tokio::test]
async fn batches() {
    let receiver = Receiver::start(&["--intake-key", "right"]);
    let body = br#"{"intake_key":"right","jsons":["{\"a\": \"\\\"\u00e9\"}","{}"]}"#;
    let (status, answer) = post(&receiver, "/batch", &[], body).await;
    assert_eq!(status, 200);
    let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let ids: Vec<&str> =
        parsed["event_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| id.len() == 36) && ids.first() != ids.last(), "{answer}");
    assert_eq!(receiver.ledger(), ["{\"a\": \"\\\"\u{e9}\"}", "{}"]);

    let compressed = gzip(br#"{"intake_key":"right","jsons":["3"]}"#);
    assert_eq!(post(&receiver, "/api/batch", &[("content-encoding", "gzip")], &compressed).await.0, 200);
    for (headers, body, expected) in [
        (vec![], &br#"{"intake_key":"wrong","jsons":["4"]}"#[..], 401),
        (vec![], br#"{"jsons":["4"]}"#, 400),
        (vec![], b"\xff", 400),
        (vec![], br#"{"intake_key":"right","jsons":["4\n5"]}"#, 400),
        (vec![("content-encoding", "gzip")], br#"{"intake_key":"right","jsons":["4"]}"#, 400),
        (vec![("content-encoding", "br")], br#"{"intake_key":"right","jsons":["4"]}"#, 415),
    ] {
        assert_eq!(post(&receiver, "/batch", &headers, body).await.0, expected, "{}", body.escape_ascii());
    }
    assert_eq!(receiver.ledger().last().unwrap(), "3");
    assert_eq!(receiver.stop().0, "received 3 events, 8 requests, 2 of them accepted");
}

/// *Scenario*: NDJSON and a JSON array, with and without the credentials that are demanded, and a body over the limit.
/// *Guarantees*: events are recorded as they stand, only with the right credentials and within the limit, which holds
/// after decompression.
#[tokio::test]
async fn generic_bodies() {
    let receiver =
        Receiver::start_plain(&["--bearer", "token", "--require-header", "X-Key: a:b", "--max-body", "1000"]);
    let credentials = [("authorization", "Bearer token"), ("x-key", "a:b")];
    let json = [credentials.as_slice(), &[("content-type", "application/json")]].concat();
    let compressed = [credentials.as_slice(), &[("content-encoding", "gzip")]].concat();
    assert_eq!(post(&receiver, "/in", &credentials, b"{\"a\": 1}\n{\"b\":2}\n").await.0, 200);
    assert_eq!(post(&receiver, "/in", &json, br#"[{"c": [1, 2]} , "d"]"#).await.0, 200);
    assert_eq!(post(&receiver, "/in", &credentials[..1], b"{}\n").await.0, 401);
    assert_eq!(post(&receiver, "/in", &credentials[1..], b"{}\n").await.0, 401);
    assert_eq!(post(&receiver, "/in", &credentials, &[b'1'; 1001]).await.0, 413);
    assert_eq!(post(&receiver, "/in", &compressed, &gzip(&[b'1'; 1001])).await.0, 413);
    assert_eq!(receiver.ledger(), [r#"{"a": 1}"#, r#"{"b":2}"#, r#"{"c": [1, 2]}"#, r#""d""#]);
}

/// *Scenario*: every scripted fault that has an answer, then the end of the script.
/// *Guarantees*: the answers come in order, with what they carry; refused events are not recorded; then all is well.
#[tokio::test]
async fn faults() {
    let receiver =
        Receiver::start(&["--faults", "500, 429:2,302:https://other.example/in,202,doubtful,slow:1ms,ok"]);
    for expected in [500, 429, 302, 202, 200, 200, 200, 200] {
        let body = br#"{"intake_key":"any","jsons":["1","2"]}"#;
        assert_eq!(post(&receiver, "/batch", &[], body).await.0, expected);
    }
    assert_eq!(receiver.ledger(), ["1", "2", "1", "1", "2", "1", "2", "1", "2"]);
    assert_eq!(receiver.stop().0, "received 9 events, 8 requests, 5 of them accepted");
}

/// *Scenario*: the receiver ends and starts again with the same directory and a port file.
/// *Guarantees*: who trusted it before trusts it again, and the file names the port.
#[tokio::test]
async fn a_restart_keeps_the_authority() {
    let first = Receiver::start(&[]);
    let ca_pem = first.ca_pem();
    let (_, directory) = first.stop();
    let port_file = directory.path().join("port");
    let mut command = example("receiver");
    command.arg("--self-signed").arg(directory.path()).arg("--port-file").arg(&port_file);
    let second = ChildGuard::spawn(&mut command);
    let port = second.line().rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(std::fs::read_to_string(port_file).unwrap(), port);
    assert_eq!(std::fs::read(directory.path().join("ca.pem")).unwrap(), ca_pem);
    assert!(second.terminate().1.success());
}

/// *Scenario*: command lines that cannot work, and the one that asks for help.
/// *Guarantees*: they end at once with 2 and say what is wrong; the help explains every fault.
#[test]
fn the_command_line() {
    for (arguments, expected) in [
        (&[][..], "--self-signed"),
        (&["--plain", "--self-signed", "/tmp"], "cannot be used with"),
        (&["--cert", "/tmp/cert.pem"], "--key"),
        (&["--plain", "--faults", "500,nonsense"], "`nonsense` is no fault"),
        (&["--plain", "--faults", "slow:soon"], "`slow:soon`"),
        (&["--plain", "--faults", "99"], "`99` is no fault"),
        (&["--plain", "--require-header", "x"], "expected NAME:VALUE"),
    ] {
        let output = example("receiver").args(arguments).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    let output = example("receiver").arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for fault in ["slow:500ms", "429:2", "302:URL", "reset", "accept-then-reset", "truncate", "doubtful"] {
        assert!(help.contains(fault), "{fault} is not explained");
    }
}
