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

/// *Scenario*: a receiver that discards is sent what is no gzip, a request without credentials, and a batch.
/// *Guarantees*: it accepts a body without a look, but not without credentials; a batch is read as ever.
#[tokio::test]
async fn discarded_bodies() {
    let receiver = Receiver::start_plain(&["--discard", "--bearer", "token"]);
    let headers = [("authorization", "Bearer token"), ("content-encoding", "gzip")];
    assert_eq!(post(&receiver, "/in", &headers, b"no gzip").await, (200, "{}".to_owned()));
    assert_eq!(post(&receiver, "/in", &headers[1..], b"no gzip").await.0, 401);
    assert_eq!(post(&receiver, "/batch", &[], br#"{"intake_key":"any","jsons":["1"]}"#).await.0, 200);
    assert_eq!(receiver.ledger(), ["1"]);
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

/// A channel as a sender names it.
const CHANNEL: (&str, &str) = ("x-splunk-request-channel", "fe0ecfad-13d5-401b-847d-77833bd77131");

/// *Scenario*: bodies for the HTTP Event Collector: with no token, a wrong one, none of its kind, no events, several, one
/// of every kind that Splunk refuses behind a good one.
/// *Guarantees*: the codes are Splunk's, with the place of the event at fault; what is before it is recorded, what is
/// behind it is not; a key that is not known ends the body without a word.
#[tokio::test]
async fn collector_bodies() {
    let receiver = Receiver::start_plain(&["--hec-token", "right", "--hec-index", "main"]);
    let path = "/services/collector/event";
    let right = [("authorization", "Splunk right")];
    for (headers, expected) in [
        (&[][..], (401, r#"{"code":2,"text":"Token is required"}"#)),
        (&[("authorization", "Bearer right")], (401, r#"{"code":3,"text":"Invalid authorization"}"#)),
        (&[("authorization", "Splunk wrong")], (403, r#"{"code":4,"text":"Invalid token"}"#)),
        (&right, (400, r#"{"code":5,"text":"No data"}"#)),
    ] {
        let (status, body) = post(&receiver, path, headers, b"").await;
        assert_eq!((status, &*body), expected);
    }
    let good = r#"{"time":1.5,"index":"main","fields":{"id":"a"},"event":{"a": 1}}{"event":"text"}"#;
    let (status, body) = post(&receiver, path, &right, good.as_bytes()).await;
    assert_eq!((status, &*body), (200, r#"{"code":0,"text":"Success"}"#));
    let mut expected = vec!["{\"a\": 1}", "\"text\""];
    assert_eq!(receiver.ledger(), expected);
    for (second, code, number) in [
        ("{]", 6, 1),
        (r#"{"time":[1],"event":"x"}"#, 6, 1),
        (r#"{"time":1}"#, 12, 1),
        (r#"{"event":""}"#, 13, 1),
        (r#"{"event":"x","fields":{"a":{"b":1}}}"#, 15, 1),
        (r#"{"event":"x","fields":1}"#, 15, 1),
        (r#"{"event":"x","index":"other"}"#, 7, 2),
    ] {
        let body = format!(r#"{{"event":1}}{second}{{"event":3}}"#);
        let (status, answer) = post(&receiver, path, &right, body.as_bytes()).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(status, 400, "{body}");
        let said = (answer["code"].as_u64().unwrap(), answer["invalid-event-number"].as_u64().unwrap());
        assert_eq!(said, (code, number), "{body}");
        expected.push("1");
    }
    let unknown = br#"{"event":1}{"event":2,"colour":"red"}{"event":3}"#;
    let (status, body) = post(&receiver, path, &right, unknown).await;
    assert_eq!((status, &*body), (200, r#"{"code":0,"text":"Success"}"#));
    expected.push("1");
    assert_eq!(receiver.ledger(), expected);
    let (status, body) = post(&receiver, "/services/collector/ack", &right, b"{\"acks\":[0]}").await;
    assert_eq!((status, &*body), (400, r#"{"code":14,"text":"ACK is disabled"}"#));
    assert_eq!(post(&receiver, "/services/collector/health/1.0", &[], b"").await.0, 200);
}

/// *Scenario*: acknowledgement is on; requests without a channel, with one that is none, in two channels; a batch is lost.
/// *Guarantees*: ids count from 0 in each channel; each answers true once; a lost one never does; the scripted refusal is
/// told as Splunk tells it.
#[tokio::test]
async fn collector_acknowledgements() {
    let receiver = Receiver::start_plain(&[
        "--hec-ack-after",
        "0s",
        "--faults",
        "ok,ok,ok,ok,lose,ok,ok,503,refuse-event:1",
    ]);
    let (events, question) = ("/services/collector/event", "/services/collector/ack");
    let token = ("authorization", "Splunk any");
    let check = async |path: &str, channel: &[(&str, &str)], body: &str, expected: (u16, &str)| {
        let headers = [&[token], channel].concat();
        let (status, answer) = post(&receiver, path, &headers, body.as_bytes()).await;
        assert_eq!((status, &*answer), expected, "{path} {body}");
    };
    let other = [("x-splunk-request-channel", "00000000-0000-4000-8000-000000000000")];
    let body = r#"{"event":1}{"event":2}"#;
    let receipt = |id: &str| format!(r#"{{"ackId":{id},"code":0,"text":"Success"}}"#);
    check(events, &[], body, (400, r#"{"code":10,"text":"Data channel is missing"}"#)).await;
    let wrong = [("x-splunk-request-channel", "one")];
    check(events, &wrong, body, (400, r#"{"code":11,"text":"Invalid data channel"}"#)).await;
    check(events, &[CHANNEL], body, (200, &receipt("0"))).await;
    check(events, &other, body, (200, &receipt("0"))).await;
    check(events, &[CHANNEL], body, (200, &receipt("1"))).await;
    let ids = r#"{"acks":[0,1,2]}"#;
    let in_query = format!("{question}?channel={}", CHANNEL.1);
    check(&in_query, &[], ids, (200, r#"{"acks":{"0":true,"1":false,"2":false}}"#)).await;
    check(question, &[CHANNEL], ids, (200, r#"{"acks":{"0":false,"1":false,"2":false}}"#)).await;
    check(events, &[CHANNEL], body, (503, r#"{"code":9,"text":"Server is busy"}"#)).await;
    let refused = r#"{"code":6,"invalid-event-number":1,"text":"Invalid data format"}"#;
    check(events, &[CHANNEL], body, (400, refused)).await;
    assert_eq!(receiver.ledger(), ["1", "2", "1", "2", "1"]);
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
        (&["--plain", "--faults", "refuse-event:x"], "`refuse-event:x`"),
        (&["--plain", "--hec-ack-after", "soon"], "--hec-ack-after"),
        (&["--plain", "--require-header", "x"], "expected NAME:VALUE"),
    ] {
        let output = example("receiver").args(arguments).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    let output = example("receiver").arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let faults = ["slow:500ms", "429:2", "302:URL", "reset", "accept-then-reset", "truncate", "doubtful"];
    for fault in faults.into_iter().chain(["refuse-event:N", "lose"]) {
        assert!(help.contains(fault), "{fault} is not explained");
    }
}
