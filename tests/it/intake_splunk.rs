//! The HTTP Event Collector of Splunk, played by the example receiver.

use std::{collections::BTreeSet, time::Duration};

use flowlogd::{
    intake::{
        driver::Outcome,
        http_intake::HttpIntake,
        protocols::{
            ProtocolConfig,
            splunk_hec::{Config, Labels},
        },
        rotation::{FilePlace, WatchedFile},
    },
    model::{Reason, Secret},
};
use serde_json::Value;
use url::Url;

use crate::{
    crash::{check_ledger, kill_at_random},
    support::{
        delivery::{KEY, attempt, blocked, config, deliver, encode, impatient, intake, retried},
        examples::TWO_LOGS,
        processes::Receiver,
        scripted_server::{ScriptedServer, Step},
        world::World,
    },
};

/// Long enough for three questions.
const WITHIN: Duration = Duration::from_secs(4);

fn splunk(acknowledged_within: Option<Duration>) -> ProtocolConfig {
    let labels = Labels { index: Some("main".to_owned()), ..Labels::default() };
    ProtocolConfig::SplunkHec(Config { token: Secret::new(KEY.to_owned()), labels, acknowledged_within })
}

fn texts(n_events: usize) -> Vec<String> {
    (0..n_events).map(|number| format!("{{\"n\":{number}}}")).collect()
}

/// The places of the events that are not delivered. Each is refused, and its reason holds `said`.
fn refused(outcome: Outcome, said: &str) -> Vec<usize> {
    let Outcome::Delivered(unaccepted) = outcome else { panic!("{outcome:?}") };
    for event in &unaccepted {
        assert!(event.reason == Reason::Refused && event.detail.contains(said), "{event:?}");
    }
    unaccepted.into_iter().map(|event| event.event).collect()
}

/// *Scenario*: the collector refuses an event in the middle of a batch, then the first of what is left, then the last.
/// *Guarantees*: these three are refused, with the code; all others arrive once, in order.
#[tokio::test]
async fn an_event_is_refused_amid_a_batch() {
    let receiver = Receiver::start(&["--faults", "refuse-event:2,refuse-event:0,refuse-event:3"]);
    let events = texts(8);
    let outcome = deliver(&impatient(), &intake(&receiver, splunk(None)), &events).await;
    assert_eq!(refused(outcome, "code 6"), [2, 3, 7]);
    assert_eq!(receiver.ledger(), [0, 1, 4, 5, 6].map(|place| events[place].clone()));
    assert_eq!(receiver.stop().0, "received 5 events, 3 requests, 0 of them accepted");
}

/// *Scenario*: a blank event and one that is no JSON among good ones, as the collector itself refuses them.
/// *Guarantees*: both are refused; all others arrive once.
#[tokio::test]
async fn the_collector_refuses_what_splunk_does() {
    let receiver = Receiver::start(&["--hec-token", KEY, "--hec-index", "main"]);
    let events = ["{\"n\":0}", "\"\"", "{\"n\":2}", "{]", "{\"n\":4}"];
    let outcome = deliver(&impatient(), &intake(&receiver, splunk(None)), &events).await;
    assert_eq!(refused(outcome, "status 400"), [1, 3]);
    assert_eq!(receiver.ledger(), ["{\"n\":0}", "{\"n\":2}", "{\"n\":4}"]);
}

/// *Scenario*: a collector that is busy, resets and loses answers before it is well.
/// *Guarantees*: everything is delivered; where an answer was lost, the same events come again.
#[tokio::test]
async fn failures_that_pass() {
    let receiver = Receiver::start(&["--faults", "503,500,429:0,reset,truncate,accept-then-reset"]);
    let events = texts(2);
    let outcome = deliver(&impatient(), &intake(&receiver, splunk(None)), &events).await;
    assert_eq!(outcome, Outcome::Delivered(vec![]));
    assert_eq!(receiver.ledger(), [&*events, &*events, &*events].concat());
}

/// *Scenario*: a token that is not known, an index that the token may not use, no acknowledgement where it is wanted.
/// *Guarantees*: each blocks, nothing arrives or counts as delivered, and the reason names the key to check.
#[tokio::test]
async fn what_blocks_names_its_key() {
    for (arguments, within, expected) in [
        (["--hec-token", "another"], None, "check `token`"),
        (["--hec-index", "another"], None, "check `index`"),
        (["--hec-token", KEY], Some(WITHIN), "set `acknowledge` to false"),
    ] {
        let receiver = Receiver::start(&arguments);
        let intake = intake(&receiver, splunk(within));
        let reason = blocked(attempt(&intake, &encode(&intake, &texts(2))).await);
        assert!(reason.contains(expected), "{reason}");
    }
}

/// *Scenario*: the token in the file is another one by the time that the old one is refused.
/// *Guarantees*: the batch is delivered with the new one at once.
#[tokio::test]
async fn a_rotated_token_is_read_again() {
    let receiver = Receiver::start(&["--hec-token", "new-token"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, KEY).unwrap();
    let mut settings = config(&receiver.url, Some(receiver.ca_pem()), splunk(None));
    settings.files.push(WatchedFile { path: path.clone(), place: FilePlace::Token });
    let intake = HttpIntake::new(settings).unwrap();
    let events = encode(&intake, &texts(1));
    blocked(attempt(&intake, &events).await);
    std::fs::write(&path, "new-token").unwrap();
    assert_eq!(deliver(&impatient(), &intake, &texts(1)).await, Outcome::Delivered(vec![]));
}

/// *Scenario*: two batches with acknowledgement, for a server that keeps what it is sent.
/// *Guarantees*: all requests have one channel, in the header, and questions in the query too; each question names the id
/// of its batch and is not compressed.
#[tokio::test]
async fn one_channel_for_all() {
    let steps = [3, 4].map(|id| {
        let receipt = format!("{{\"text\":\"Success\",\"code\":0,\"ackId\":{id}}}");
        [Step::answer(200, &[], receipt), Step::answer(200, &[], format!("{{\"acks\":{{\"{id}\":true}}}}"))]
    });
    let server = ScriptedServer::start(steps.concat()).await;
    let url = Url::parse(&server.url()).unwrap();
    let intake = HttpIntake::new(config(&url, None, splunk(Some(WITHIN)))).unwrap();
    for _batch in 0..2 {
        assert_eq!(deliver(&impatient(), &intake, &texts(1)).await, Outcome::Delivered(vec![]));
    }
    let requests = server.requests();
    let channels: BTreeSet<_> =
        requests.iter().map(|request| request.header("x-splunk-request-channel").unwrap()).collect();
    let channel = channels.first().unwrap();
    assert!(channels.len() == 1 && channel.len() == 36, "{channels:?}");
    let question = format!("/services/collector/ack?channel={channel}");
    let targets: Vec<&str> = requests.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets, ["/services/collector/event", &*question].repeat(2));
    let asked: Vec<_> = requests.iter().filter(|request| request.target == question).collect();
    assert!(asked.iter().all(|request| request.header("content-encoding").is_none()));
    assert_eq!(
        asked.iter().map(|request| &request.body[..]).collect::<Vec<_>>(),
        [b"{\"acks\":[3]}", b"{\"acks\":[4]}"]
    );
    let authorization = format!("Splunk {KEY}");
    assert!(requests.iter().all(|request| request.header("authorization") == Some(&authorization)));
}

/// *Scenario*: the indexers take a while, or the collector is busy when it is asked.
/// *Guarantees*: it is asked until it says so, and the batch is sent once.
#[tokio::test]
async fn acknowledged_after_a_while() {
    for (arguments, expected) in [
        (["--hec-ack-after", "1500ms"].as_slice(), "received 2 events, 3 requests, 3 of them accepted"),
        (
            &["--hec-ack-after", "0s", "--faults", "ok,503"],
            "received 2 events, 3 requests, 2 of them accepted",
        ),
    ] {
        let receiver = Receiver::start(arguments);
        let outcome = deliver(&impatient(), &intake(&receiver, splunk(Some(WITHIN))), &texts(2)).await;
        assert_eq!(outcome, Outcome::Delivered(vec![]));
        assert_eq!(receiver.ledger(), texts(2));
        assert_eq!(receiver.stop().0, expected);
    }
}

/// *Scenario*: the collector takes a batch and loses it, without acknowledgement and with it.
/// *Guarantees*: without it nobody can know; with it the batch is sent again after the deadline, and arrives.
#[tokio::test]
async fn what_the_indexers_lose_is_sent_again() {
    let receiver = Receiver::start(&["--faults", "lose"]);
    let outcome = deliver(&impatient(), &intake(&receiver, splunk(None)), &texts(2)).await;
    assert_eq!((outcome, receiver.ledger()), (Outcome::Delivered(vec![]), vec![]));

    let receiver = Receiver::start(&["--hec-ack-after", "0s", "--faults", "lose"]);
    let intake = intake(&receiver, splunk(Some(WITHIN)));
    let reason = retried(attempt(&intake, &encode(&intake, &texts(2))).await);
    assert!(reason.contains("has not confirmed within 4s"), "{reason}");
    assert_eq!(deliver(&impatient(), &intake, &texts(2)).await, Outcome::Delivered(vec![]));
    assert_eq!(receiver.ledger(), texts(2));
}

/// *Scenario*: the answer that acknowledges a batch is lost, and the id is forgotten with it.
/// *Guarantees*: the batch is sent again, letter for letter, and acknowledged then.
#[tokio::test]
async fn a_lost_acknowledgement_is_no_loss() {
    for fault in ["ok,accept-then-reset", "ok,truncate"] {
        let receiver = Receiver::start(&["--hec-ack-after", "0s", "--faults", fault]);
        let intake = intake(&receiver, splunk(Some(Duration::from_secs(2))));
        assert_eq!(deliver(&impatient(), &intake, &texts(2)).await, Outcome::Delivered(vec![]));
        assert_eq!(receiver.ledger(), [texts(2), texts(2)].concat(), "{fault}");
    }
}

/// *Scenario*: with acknowledgement, an event in the middle of a batch is refused.
/// *Guarantees*: it alone is refused; what was before it has no acknowledgement and is sent again with the rest.
#[tokio::test]
async fn an_event_is_refused_where_indexers_acknowledge() {
    let receiver = Receiver::start(&["--hec-ack-after", "0s", "--faults", "refuse-event:1"]);
    let events = texts(4);
    let outcome = deliver(&impatient(), &intake(&receiver, splunk(Some(WITHIN))), &events).await;
    assert_eq!(refused(outcome, "code 6"), [1]);
    assert_eq!(receiver.ledger(), [0, 0, 2, 3].map(|place| events[place].clone()));
}

/// A whole installation with a collector at its end.
async fn world(container: &str, arguments: &[&str], settings: &str) -> World {
    let arguments = [&["--hec-token", KEY], arguments].concat();
    let world = World::new(container, &arguments, &[]).await;
    let intake = format!(
        "protocol = \"splunk_hec\"\ntoken = {KEY:?}\nevent_format = \"flow\"\nprovenance = true\nurl = {:?}\n\
         ca_file = {:?}\nbatch = {{ max_events = 30 }}\n{settings}",
        world.receiver.url.as_str(),
        world.path("ca.pem"),
    );
    world.configure(&[("intakes", &intake)]);
    world
}

/// The events in the quarantine.
fn quarantined(world: &World) -> Vec<String> {
    let output = world.collector(&["quarantine", "show", "--reason", "refused"]).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

/// *Scenario*: blobs grow; the collector refuses two events amid batches, is busy, resets and loses answers; the daemon is
/// killed three times and started again; then what was refused is replayed.
/// *Guarantees*: the refused events are in the quarantine and nowhere else; all others have arrived, twice only with the
/// same id and bytes; after the replay the ledgers are equal.
#[tokio::test]
async fn ledgers_after_refusals_and_restarts() {
    let faults = "refuse-event:3,refuse-event:0,503,accept-then-reset,reset,truncate";
    let world = world("splunk-ledgers", &["--faults", faults], "").await;
    let mut writer = world.writer(&TWO_LOGS);
    let mut random = fastrand::Rng::with_seed(11);
    writer.minutes(6);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    for _kill in 0..3 {
        writer.minutes(2);
        kill_at_random(&world, &mut random);
    }
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let (refused, received) = (quarantined(&world), world.received());
    assert_eq!(refused.len(), 2, "{stderr}");
    assert!(refused.iter().all(|event| !received.contains(event)), "{refused:?}");
    check_ledger(&[received, refused].concat(), &world.written(), &stderr);

    let replay = world.collector(&["quarantine", "replay"]).output().unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    assert_eq!(quarantined(&world), Vec::<String>::new());
    check_ledger(&world.received(), &world.written(), "replayed");
}

/// *Scenario*: the same with acknowledgement: a batch is lost behind the collector, questions fail, in two processes.
/// *Guarantees*: every tuple arrives all the same, and nothing is left to send.
#[tokio::test]
async fn ledgers_with_acknowledgement() {
    let arguments = ["--hec-ack-after", "200ms", "--faults", "lose,503,accept-then-reset,ok,truncate"];
    let settings = "acknowledge = true\nacknowledge_timeout = \"2s\"";
    let world = world("splunk-acknowledged", &arguments, settings).await;
    let mut writer = world.writer(&TWO_LOGS);
    for _run in 0..2 {
        writer.minutes(3);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        check_ledger(&world.received(), &world.written(), &stderr);
    }
    let before = world.received().len();
    let (code, _, stderr) = world.once();
    assert_eq!((code, world.received().len()), (0, before), "{stderr}");
}
