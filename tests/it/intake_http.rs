//! Intakes against a real TLS receiver.

use std::time::Duration;

use flowlogd::{
    intake::{
        Intake, Verdict,
        auth::Auth,
        driver::{Outcome, Unaccepted},
        http_intake::{Compression, Config, HttpIntake},
        protocols::{ProtocolConfig, http_generic::HttpFraming},
        rotation::{FilePlace, WatchedFile},
    },
    model::{Reason, Secret},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::support::{
    delivery::{KEY, attempt, blocked, config, encode, impatient, intake, retried, sekoia},
    processes::Receiver,
    scripted_server::{ScriptedServer, Step},
};

fn generic(framing: HttpFraming) -> ProtocolConfig {
    let success_codes = [200, 201, 202, 204].map(|code| ::http::StatusCode::from_u16(code).unwrap());
    ProtocolConfig::Http { framing, headers: ::http::HeaderMap::new(), success_codes: success_codes.into() }
}

/// *Scenario*: a small batch, and one that is compressed off the async threads, with and without compression.
/// *Guarantees*: every event arrives letter for letter, in order.
#[tokio::test]
async fn every_event_arrives() {
    let small = vec!["{\"a\":\"\\\"\u{e9}\\\\\"}".to_owned(), "{}".to_owned()];
    let large: Vec<String> =
        (0..8_000).map(|n| format!("{{\"n\":{n},\"text\":\"some more text to fill it\"}}")).collect();
    for compression in [Compression::Gzip, Compression::None] {
        let receiver = Receiver::start(&["--intake-key", KEY]);
        let mut settings = config(&receiver.url, Some(receiver.ca_pem()), sekoia());
        settings.compression = compression;
        let intake = HttpIntake::new(settings).unwrap();
        for texts in [&small, &large] {
            assert_eq!(attempt(&intake, &encode(&intake, texts)).await, Verdict::Delivered);
        }
        assert_eq!(receiver.ledger(), [small.clone(), large.clone()].concat());
    }
}

/// *Scenario*: a batch for a server that keeps what it is sent.
/// *Guarantees*: the request is the documented one; its head has our name and version, and no key.
#[tokio::test]
async fn the_request_is_the_documented_one() {
    let server = ScriptedServer::start(vec![Step::answer(200, &[], r#"{"event_ids":["a"]}"#)]).await;
    let url = Url::parse(&format!("{}/api/", server.url())).unwrap();
    let mut settings = config(&url, None, sekoia());
    settings.compression = Compression::None;
    let intake = HttpIntake::new(settings).unwrap();
    let events = encode(&intake, &[r#"{"flow.0":"1663146003599,1.2.3.4"}"#]);
    assert_eq!(attempt(&intake, &events).await, Verdict::Delivered);
    let recorded = server.requests();
    let request = recorded.first().unwrap();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/api/batch"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-encoding"), None);
    assert_eq!(request.header("user-agent"), Some(concat!("flowlogd/", env!("CARGO_PKG_VERSION"))));
    assert!(!format!("{:?}", request.headers).contains(KEY), "{:?}", request.headers);
    expect_test::expect![[
        r#"{"intake_key":"0a1b2c3d-canary-key","jsons":["{\"flow.0\":\"1663146003599,1.2.3.4\"}"]}"#
    ]]
    .assert_eq(std::str::from_utf8(&request.body).unwrap());
}

/// *Scenario*: a batch, and a receiver that fails in every way that passes before it is well.
/// *Guarantees*: it is delivered at last; where an answer was lost the same events come again, letter for letter, and
/// nothing is missing.
#[tokio::test]
async fn failures_that_pass() {
    let receiver = Receiver::start(&["--faults", "500,500,429:0,reset,truncate,accept-then-reset,408,ok"]);
    let intake = intake(&receiver, sekoia());
    let driver = impatient();
    let outcome = driver.deliver(&intake, &encode(&intake, &["1", "2"]), &CancellationToken::new()).await;
    assert_eq!(outcome, Outcome::Delivered(vec![]));
    assert_eq!(driver.last_failure(), None);
    assert_eq!(receiver.ledger(), ["1", "2", "1", "2", "1", "2"]);
    assert_eq!(receiver.stop().0, "received 6 events, 8 requests, 3 of them accepted");
}

/// *Scenario*: an answer that breaks off in the middle, no answer at all, one that comes too late.
/// *Guarantees*: none of them counts as a delivery, whatever arrived of it, and the reason tells them apart.
#[tokio::test]
async fn answers_that_do_not_arrive() {
    let receiver = Receiver::start(&["--faults", "truncate,reset,slow:1h"]);
    let patient = intake(&receiver, sekoia());
    let events = encode(&patient, &["1"]);
    for expected in ["broke before the answer was complete", "was reset before there was an answer"] {
        let reason = retried(attempt(&patient, &events).await);
        assert!(reason.contains(expected), "{reason}");
    }
    let mut settings = config(&receiver.url, Some(receiver.ca_pem()), sekoia());
    settings.http.total_timeout = Some(Duration::from_millis(300));
    let reason = retried(attempt(&HttpIntake::new(settings).unwrap(), &events).await);
    assert!(reason.contains("in time"), "{reason}");
}

/// *Scenario*: a wrong intake key, then a daemon that is asked to stop.
/// *Guarantees*: the intake is blocked, again and again; the reason names the setting and neither key; giving up keeps
/// the reason.
#[tokio::test]
async fn a_wrong_key_blocks() {
    let receiver = Receiver::start(&["--intake-key", "another"]);
    let intake = intake(&receiver, sekoia());
    let events = encode(&intake, &["1"]);
    let reason = blocked(attempt(&intake, &events).await);
    assert!(reason.contains("401") && reason.contains("`intake_key`"), "{reason}");

    let driver = impatient();
    let cancelled = CancellationToken::new();
    let stop = async {
        driver.failing_for(Duration::from_millis(100)).await;
        assert_eq!(driver.last_failure().as_ref(), Some(&reason));
        cancelled.cancel();
    };
    let (outcome, ()) = tokio::join!(driver.deliver(&intake, &events, &cancelled), stop);
    assert_eq!(outcome, Outcome::Abandoned { reason: reason.clone() });
    assert_eq!(receiver.ledger(), [""; 0]);
}

/// *Scenario*: a receiver that accepts all events but one and does not say which.
/// *Guarantees*: the delivery ends in doubt, with the answer; every event can be had back as it was.
#[tokio::test]
async fn an_answer_with_too_few_ids_is_doubtful() {
    let receiver = Receiver::start(&["--faults", "doubtful"]);
    let intake = intake(&receiver, sekoia());
    let texts = ["{\"a\":\"\\\"\u{e9}\"}", "{}", "[3]"];
    let events = encode(&intake, &texts);
    let outcome = impatient().deliver(&intake, &events, &CancellationToken::new()).await;
    let Outcome::Delivered(unaccepted) = outcome else { panic!("{outcome:?}") };
    assert_eq!(unaccepted.iter().map(|event| event.event).collect::<Vec<_>>(), [0, 1, 2]);
    let Unaccepted { reason, detail, answer: (status, body), .. } = &unaccepted[0];
    assert_eq!((*reason, detail.as_str(), *status), (Reason::Doubtful, "doubtful 2 of 3", 200));
    assert!(body.starts_with(r#"{"event_ids":["#), "{body}");
    for (range, text) in events.ranges().zip(texts) {
        let decoded = intake.framing().decode_event(events.bytes.get(range).unwrap());
        assert_eq!(decoded, text.as_bytes());
    }
}

/// *Scenario*: a receiver whose authority is not trusted; nobody at the address.
/// *Guarantees*: both are tried again; the first reason names the setting that helps, and the receiver is sent
/// nothing.
#[tokio::test]
async fn no_connection() {
    let receiver = Receiver::start(&[]);
    let stranger = HttpIntake::new(config(&receiver.url, None, sekoia())).unwrap();
    let reason = retried(attempt(&stranger, &encode(&stranger, &["1"])).await);
    assert!(reason.contains("certificate") && reason.contains("`ca_file`"), "{reason}");

    let intake = intake(&receiver, sekoia());
    assert_eq!(receiver.stop().0, "received 0 events, 0 requests, 0 of them accepted");
    let reason = retried(attempt(&intake, &encode(&intake, &["1"])).await);
    assert!(reason.contains("cannot be connected to"), "{reason}");
}

/// *Scenario*: each kind of credentials in each framing, right ones and wrong ones.
/// *Guarantees*: events arrive as they are; wrong credentials block, and the reason does not quote them.
#[tokio::test]
async fn generic_receivers() {
    let secret = |text: &str| Secret::new(text.to_owned());
    let basic = |password| Auth::Basic { username: "me".to_owned(), password: secret(password) };
    let header =
        |value| Auth::Header { name: ::http::HeaderName::from_static("x-key"), value: secret(value) };
    for (demanded, right, wrong) in [
        (["--bearer", "s3cret"], Auth::Bearer(secret("s3cret")), Auth::Bearer(secret(KEY))),
        // The pair is base64 of `me:s3cret`.
        (["--require-header", "authorization:Basic bWU6czNjcmV0"], basic("s3cret"), basic(KEY)),
        (["--require-header", "x-key:s3cret"], header("s3cret"), header(KEY)),
    ] {
        let receiver = Receiver::start(&demanded);
        for framing in [HttpFraming::Ndjson, HttpFraming::JsonArray] {
            let intake_with = |auth: &Auth| {
                let settings = config(&receiver.url, Some(receiver.ca_pem()), generic(framing));
                HttpIntake::new(Config { auth: auth.clone(), ..settings }).unwrap()
            };
            let trusted = intake_with(&right);
            assert_eq!(attempt(&trusted, &encode(&trusted, &["{\"a\":1}", "{}"])).await, Verdict::Delivered);
            let refused = intake_with(&wrong);
            let reason = blocked(attempt(&refused, &encode(&refused, &["{}"])).await);
            assert!(reason.contains("401") && reason.contains("`auth`"), "{reason}");
        }
        assert_eq!(receiver.ledger(), ["{\"a\":1}", "{}", "{\"a\":1}", "{}"]);
    }
}

/// *Scenario*: configurations with secrets in every place that may hold one, shown for debugging.
/// *Guarantees*: no secret is shown, neither by the configuration nor by the intake.
#[test]
fn debug_shows_no_secret() {
    let url = Url::parse(&format!("https://receiver.example/{KEY}?key={KEY}")).unwrap();
    let mut headers = ::http::HeaderMap::new();
    headers.insert("x-key", ::http::HeaderValue::from_static(KEY));
    let auth = Auth::Bearer(Secret::new(KEY.to_owned()));
    let protocol = ProtocolConfig::Http { framing: HttpFraming::Ndjson, headers, success_codes: Vec::new() };
    for protocol in [protocol, sekoia()] {
        let settings = Config { auth: auth.clone(), ..config(&url, None, protocol) };
        let shown = format!("{settings:?} {:?}", HttpIntake::new(settings.clone()).unwrap());
        assert!(shown.contains("receiver.example") && !shown.contains(KEY), "{shown}");
    }
}

/// *Scenario*: the intake's key is rotated at the receiver and then in its file; the file is spoiled, and written again.
/// *Guarantees*: an old key blocks until the file has the new one, which is used without a restart, at once after the
/// refusal; a file that cannot be used changes nothing, and what it held before goes on.
#[tokio::test]
async fn keys_are_read_again_from_their_files() {
    let receiver = Receiver::start(&["--intake-key", "the-new-one"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intake_key");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write(KEY);
    let mut settings = config(&receiver.url, Some(receiver.ca_pem()), sekoia());
    settings.files = vec![WatchedFile { path: path.clone(), place: FilePlace::IntakeKey }];
    let intake = HttpIntake::new(settings).unwrap();
    let events = encode(&intake, &["1"]);
    for unusable in [KEY, ""] {
        write(unusable);
        let reason = blocked(attempt(&intake, &events).await);
        assert!(reason.contains("401") && reason.contains("`intake_key`"), "{reason}");
    }
    write("the-new-one\n");
    for _request in 0..2 {
        assert_eq!(attempt(&intake, &events).await, Verdict::Delivered);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(attempt(&intake, &events).await, Verdict::Delivered);
    assert_eq!(receiver.ledger(), ["1", "1", "1"]);
    // Two refusals, a third one with a request with the new key right after it, and no more.
    assert_eq!(receiver.stop().0, "received 3 events, 6 requests, 3 of them accepted");
}

/// *Scenario*: the intake's key has changed in its file, to a longer one, when four requests with the old one are under way;
/// beside it stands a file that cannot be used.
/// *Guarantees*: each of them goes out again with the new key; nothing is blocked; the length of the next body is known
/// exactly; the file that is wrong holds up nothing.
#[tokio::test]
async fn a_key_that_many_requests_need() {
    let receiver = Receiver::start(&["--intake-key", "the-new-one, which is \"longer\""]);
    let directory = tempfile::tempdir().unwrap();
    let [key, roots] = ["intake_key", "ca.pem"].map(|name| directory.path().join(name));
    std::fs::write(&key, "the-old-one").unwrap();
    std::fs::write(&roots, receiver.ca_pem()).unwrap();
    let mut settings = config(&receiver.url, Some(receiver.ca_pem()), sekoia());
    settings.files = vec![
        WatchedFile { path: roots.clone(), place: FilePlace::Roots },
        WatchedFile { path: key.clone(), place: FilePlace::IntakeKey },
    ];
    let intake = HttpIntake::new(settings).unwrap();
    let events = encode(&intake, &["1"]);
    blocked(attempt(&intake, &events).await);
    let length = |intake: &HttpIntake| intake.body_overhead().body_length(0, 0);
    let before = length(&intake);
    std::fs::write(&key, "the-new-one, which is \"longer\"").unwrap();
    std::fs::write(&roots, "no certificate").unwrap();
    let verdicts = futures_util::future::join_all((0..4).map(|_| attempt(&intake, &events))).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Delivered), "{verdicts:?}");
    // Two of the letters are escaped.
    assert_eq!(length(&intake) - before, "the-new-one, which is \"longer\"".len() + 2 - "the-old-one".len());
    assert_eq!(receiver.ledger(), ["1"; 4]);
}
