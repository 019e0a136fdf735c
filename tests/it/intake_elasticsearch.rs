//! Delivery into osmem-server, which answers as OpenSearch does. It knows no data streams, so everything goes into indexes.

use std::{collections::BTreeMap, fs};

use flowlogd::{
    intake::{
        Verdict,
        auth::Auth,
        driver::Outcome,
        http_intake::{Compression, Config, HttpIntake},
        protocols::ProtocolConfig,
        rotation::{FilePlace, WatchedFile},
    },
    model::Secret,
};
use serde_json::Value;
use url::Url;

use crate::support::{
    daemon::Daemon,
    delivery::{attempt, blocked, config, deliver, encode, impatient},
    examples::TWO_LOGS,
    fault_proxy::{Fault, FaultProxy},
    nginx::Nginx,
    osmem::Osmem,
    scripted_server::{ScriptedServer, Step},
    world::{World, last_line, sum},
};

/// Where events go here as a rule.
const INDEX: &str = "flows";

/// Where it goes when nothing is set.
const DEFAULT_INDEX: &str = "logs-azure.flowlogs-default";

/// A mapping with a port that is too small for some.
const SMALL_PORTS: &str =
    r#"{"mappings":{"properties":{"destination":{"properties":{"port":{"type":"short"}}}}}}"#;

/// The most that such a port can be.
const MOST_SMALL: u64 = 32_767;

fn protocol() -> ProtocolConfig {
    ProtocolConfig::Elasticsearch { index: INDEX.to_owned() }
}

/// The table of an intake at this address, with small batches and further lines.
fn table(url: &Url, further: &str) -> String {
    let address = url.as_str();
    format!(
        "protocol = \"elasticsearch\"\nurl = {address:?}\nindex = \"{INDEX}\"\nbatch = {{ max_events = 20 }}\n{further}"
    )
}

/// Checks that these documents are what was written: each once, by the id that it has itself.
fn check_documents(documents: &BTreeMap<String, Value>, written: &[String]) {
    let mut messages = Vec::new();
    for (id, document) in documents {
        assert_eq!(document["event"]["id"], id.as_str());
        assert!(document["@timestamp"].is_string(), "{document}");
        messages.push(document["message"].as_str().unwrap().to_owned());
    }
    messages.sort_unstable();
    assert!(!written.is_empty());
    assert_eq!(messages, written);
}

/// What the documentation puts below this path.
fn documented(path: &str) -> String {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/elasticsearch.md");
    let text = fs::read_to_string(document).unwrap();
    let (_, rest) = text.split_once(&format!("PUT /{path}\n")).unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// *Scenario*: the index template of the documentation, and the default index; whole passes while blobs grow, each a new
/// process; then all positions are forgotten, and everything is sent once more.
/// *Guarantees*: the template applies. After each pass the index has every tuple written once, under the id of its event; what is sent again is
/// taken as there already: nothing is doubled, changed or quarantined.
#[tokio::test]
async fn ledgers_are_equal_through_restarts() {
    let osmem = Osmem::start().await;
    let template = "_index_template/flowlogs";
    osmem.ask("PUT", template, &documented(template)).await;
    let intake =
        format!("protocol = \"elasticsearch\"\nurl = \"{}\"\nbatch = {{ max_events = 20 }}", osmem.url());
    let world = World::new("elastic-pass", &[], &[("intakes", &intake)]).await;
    let mut writer = world.writer(&TWO_LOGS);
    for _pass in 0..3 {
        writer.minutes(2);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        check_documents(&osmem.documents(DEFAULT_INDEX).await, &world.written());
    }
    let before = osmem.documents(DEFAULT_INDEX).await;
    let mapping = osmem.ask("GET", &format!("{DEFAULT_INDEX}/_mapping"), "").await;
    let properties = &mapping[DEFAULT_INDEX]["mappings"]["properties"];
    assert_eq!(properties["source"]["properties"]["ip"]["type"], "ip", "{mapping}");
    let reset = world.collector(&["checkpoints", "reset", "--all", "--yes"]).output().unwrap();
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    let (code, reports, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let n_written = u64::try_from(world.written().len()).unwrap();
    assert_eq!((sum(&reports, "events"), sum(&reports, "quarantined")), (n_written, 0), "{stderr}");
    assert_eq!(osmem.documents(DEFAULT_INDEX).await, before);
}

/// *Scenario*: answers are cut on their way back, so that what is there already is sent again and again; the daemon is
/// killed meanwhile, and the next one finds the line mended.
/// *Guarantees*: every tuple written is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_double_nothing() {
    let osmem = Osmem::start().await;
    let proxy = FaultProxy::start(&osmem.url()).await;
    let mut url = proxy.url();
    url.set_scheme("http").unwrap();
    let world = World::new("elastic-cut", &[], &[("intakes", &table(&url, ""))]).await;
    let mut writer = world.writer(&TWO_LOGS);
    for _kill in 0..2 {
        writer.minutes(2);
        proxy.set(Fault::CutAnswer);
        let daemon = Daemon::start(&world);
        daemon.until("lost answers", || proxy.n_strikes() >= 3).await;
        drop(daemon);
        let n_there = osmem.documents(INDEX).await.len();
        assert!(n_there > 0);
        proxy.set(Fault::None);
        let (code, reports, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        let documents = osmem.documents(INDEX).await;
        check_documents(&documents, &world.written());
        let n_new = u64::try_from(documents.len() - n_there).unwrap();
        assert!(sum(&reports, "events") > n_new, "nothing was sent twice: {stderr}");
    }
}

/// *Scenario*: an index whose port is too small for some of the events, in several passes; then another index that takes
/// them all, and a replay.
/// *Guarantees*: exactly the events that do not fit are in the quarantine, each with what was said of it; all others are in
/// the index, and nothing is in both. The replay brings the refused ones, with their ids.
#[tokio::test]
async fn single_events_are_refused() {
    let osmem = Osmem::start().await;
    osmem.ask("PUT", INDEX, SMALL_PORTS).await;
    let world = World::new("elastic-refused", &[], &[("intakes", &table(&osmem.url(), ""))]).await;
    let mut writer = world.writer(&TWO_LOGS);
    for _pass in 0..2 {
        writer.minutes(3);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
    }
    let mut all = osmem.documents(INDEX).await;
    assert!(all.values().all(|document| document["destination"]["port"].as_u64().unwrap() <= MOST_SMALL));

    let shown = world.collector(&["quarantine", "show"]).output().unwrap().stdout;
    let rows = String::from_utf8(shown).unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.len() > 2, "too few events were refused");
    let mut refused = BTreeMap::new();
    for row in &rows {
        let event: Value = serde_json::from_str(row["text"].as_str().unwrap()).unwrap();
        assert!(event["destination"]["port"].as_u64().unwrap() > MOST_SMALL, "{event}");
        assert_eq!(row["reason"], "refused");
        let detail = row["detail"].as_str().unwrap();
        let id = event["event"]["id"].as_str().unwrap().to_owned();
        let expected = format!(
            "status 400 (Bad Request), mapper_parsing_exception: failed to parse field [destination.port] of type \
             [short] in document with id '{id}'"
        );
        assert!(detail.starts_with(&expected), "{detail}");
        refused.insert(id, event);
    }
    assert_eq!(refused.len(), rows.len());

    world.configure(&[("intakes", &table(&osmem.url(), "").replace(INDEX, "larger"))]);
    let replayed = world.collector(&["quarantine", "replay"]).output().unwrap();
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    assert_eq!(osmem.documents("larger").await, refused);
    let n_taken = all.len();
    all.append(&mut refused);
    assert_eq!(all.len(), n_taken + rows.len(), "an event is in the index and in the quarantine");
    check_documents(&all, &world.written());
}

/// *Scenario*: an index that is closed, and one that is blocked for writing: both are said of each event. Then it is opened.
/// *Guarantees*: the pass ends with 69 and names the index; no event is refused. Afterwards all are there.
#[tokio::test]
async fn an_index_that_takes_nothing_blocks() {
    let osmem = Osmem::start().await;
    osmem.ask("PUT", INDEX, "").await;
    let settings = [("intakes", &*table(&osmem.url(), "")), ("limits", "once_deadline = \"1s\"")];
    let world = World::new("elastic-closed", &[], &settings).await;
    let mut writer = world.writer(&[]);
    let writing = |is_blocked: bool| format!(r#"{{"index.blocks.write":{is_blocked}}}"#);
    for (close, close_body, open, open_body, said) in [
        ("POST flows/_close", String::new(), "POST flows/_open", String::new(), "index_closed_exception"),
        (
            "PUT flows/_settings",
            writing(true),
            "PUT flows/_settings",
            writing(false),
            "cluster_block_exception",
        ),
    ] {
        writer.minutes(1);
        let (method, path) = close.split_once(' ').unwrap();
        osmem.ask(method, path, &close_body).await;
        let (code, _, stderr) = world.once();
        assert_eq!(code, 69, "{stderr}");
        for part in ["the intake test takes nothing", said, "`index`"] {
            assert!(last_line(&stderr).contains(part), "{part}: {stderr}");
        }
        let (method, path) = open.split_once(' ').unwrap();
        osmem.ask(method, path, &open_body).await;
        let (code, reports, stderr) = world.once();
        assert_eq!((code, sum(&reports, "quarantined")), (0, 0), "{stderr}");
        check_documents(&osmem.documents(INDEX).await, &world.written());
    }
}

/// *Scenario*: nginx before it lets one API key in; the file has another one, then the right one.
/// *Guarantees*: the pass ends with 69, names the setting and shows no key; nothing is refused. Afterwards all are there, and
/// all of it came compressed, with its length announced.
#[tokio::test]
async fn a_wrong_api_key_blocks() {
    let osmem = Osmem::start().await;
    let door = "if ($http_authorization != \"ApiKey cmlnaHQ6a2V5\") { return 401; }";
    let nginx = Nginx::start(&osmem.url(), door).await;
    let world = World::new("elastic-key", &[], &[]).await;
    let [ca_file, key_file] = ["nginx-ca.pem", "api_key"].map(|name| world.path(name));
    fs::write(&ca_file, &nginx.certificates.ca_pem).unwrap();
    fs::write(&key_file, "d3Jvbmc6a2V5\n").unwrap();
    let further = format!("ca_file = {ca_file:?}\nauth = {{ api_key_file = {key_file:?} }}");
    world.configure(&[("intakes", &table(&nginx.url(), &further)), ("limits", "once_deadline = \"1s\"")]);
    world.writer(&TWO_LOGS).minutes(2);
    let (code, _, stderr) = world.once();
    assert_eq!(code, 69, "{stderr}");
    for part in ["the intake test takes nothing", "401", "`auth`"] {
        assert!(last_line(&stderr).contains(part), "{part}: {stderr}");
    }
    assert!(!stderr.contains("d3Jvbmc6a2V5"), "{stderr}");

    fs::write(&key_file, "cmlnaHQ6a2V5\n").unwrap();
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "quarantined")), (0, 0), "{stderr}");
    check_documents(&osmem.documents(INDEX).await, &world.written());
    let requests = nginx.logged();
    let taken: Vec<_> = requests.iter().filter(|request| request.starts_with("200 ")).collect();
    assert!(taken.len() > 2, "{requests:?}");
    for request in taken {
        let length = request.strip_prefix("200 TLSv1.2 gzip ").unwrap();
        assert!(length.parse::<u64>().unwrap() > 0, "{request}");
    }
}

/// *Scenario*: each kind of credentials before a door that wants it, and with a wrong secret.
/// *Guarantees*: the right ones get through; the wrong ones block, and the reason names the setting.
#[tokio::test]
async fn every_kind_of_credentials() {
    let osmem = Osmem::start().await;
    let secret = |text: &str| Secret::new(text.to_owned());
    let basic = |password| Auth::Basic { username: "me".to_owned(), password: secret(password) };
    for (header, right, wrong) in [
        ("ApiKey cmlnaHQ6a2V5", Auth::ApiKey(secret("cmlnaHQ6a2V5")), Auth::ApiKey(secret("d3Jvbmc6a2V5"))),
        ("Bearer right-token", Auth::Bearer(secret("right-token")), Auth::Bearer(secret("wrong-token"))),
        ("Basic bWU6cmlnaHQta2V5", basic("right-key"), basic("wrong-key")),
    ] {
        let door = format!("if ($http_authorization != \"{header}\") {{ return 403; }}");
        let nginx = Nginx::start(&osmem.url(), &door).await;
        let with = |auth| {
            let ca_pem = nginx.certificates.ca_pem.clone().into_bytes();
            HttpIntake::new(Config { auth, ..config(&nginx.url(), Some(ca_pem), protocol()) }).unwrap()
        };
        let intake = with(right);
        assert_eq!(attempt(&intake, &encode(&intake, &["{}"])).await, Verdict::Delivered, "{header}");
        let reason = blocked(attempt(&with(wrong), &encode(&intake, &["{}"])).await);
        assert!(reason.contains("`auth`") && !reason.contains("wrong"), "{reason}");
    }
}

/// *Scenario*: an API key is refused, and its file has another one by now.
/// *Guarantees*: that one is used at once.
#[tokio::test]
async fn a_renewed_api_key_is_read() {
    let osmem = Osmem::start().await;
    let door = "if ($http_authorization != \"ApiKey cmlnaHQ6a2V5\") { return 401; }";
    let nginx = Nginx::start(&osmem.url(), door).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api_key");
    fs::write(&path, "cmlnaHQ6a2V5\n").unwrap();
    let ca_pem = nginx.certificates.ca_pem.clone().into_bytes();
    let intake = HttpIntake::new(Config {
        auth: Auth::ApiKey(Secret::new("d3Jvbmc6a2V5".to_owned())),
        files: vec![WatchedFile { path, place: FilePlace::ApiKey }],
        ..config(&nginx.url(), Some(ca_pem), protocol())
    })
    .unwrap();
    assert_eq!(attempt(&intake, &encode(&intake, &["{}"])).await, Verdict::Delivered);
}

/// *Scenario*: bodies of a megabyte, and nginx before it takes 300 kB.
/// *Guarantees*: every event is there once.
#[tokio::test]
async fn bodies_larger_than_what_is_taken() {
    let osmem = Osmem::start().await;
    let nginx = Nginx::start(&osmem.url(), "client_max_body_size 300k;").await;
    let ca_pem = nginx.certificates.ca_pem.clone().into_bytes();
    let mut settings = config(&nginx.url(), Some(ca_pem), protocol());
    settings.compression = Compression::None;
    let intake = HttpIntake::new(settings).unwrap();
    let events: Vec<String> =
        (0..1_000).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(1_000))).collect();
    assert_eq!(deliver(&impatient(), &intake, &events).await, Outcome::Delivered(vec![]));
    let documents = osmem.documents(INDEX).await;
    let mut numbers: Vec<u64> = documents.values().map(|document| document["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    let requests = nginx.logged();
    assert!(requests.iter().any(|request| request.starts_with("413 ")), "{requests:?}");
}

/// *Scenario*: an answer of five megabytes, which says much of each event; one of more than is read; one that is cut.
/// *Guarantees*: the first is understood; the second proves nothing and blocks; after the third the events are sent again.
#[tokio::test]
async fn large_answers() {
    let long = |megabytes: usize| {
        let reason = "x".repeat(megabytes * 500_000);
        let item =
            format!("{{\"create\":{{\"status\":400,\"error\":{{\"type\":\"t\",\"reason\":\"{reason}\"}}}}}}");
        Step::answer(200, &[], format!("{{\"errors\":true,\"items\":[{item},{item}]}}"))
    };
    let server = ScriptedServer::start(vec![long(5), long(34), long(5).cut(1_000_000)]).await;
    let url = Url::parse(&server.url()).unwrap();
    let intake = HttpIntake::new(config(&url, None, protocol())).unwrap();
    let events = encode(&intake, &["{}", "{}"]);
    let verdict = attempt(&intake, &events).await;
    let Verdict::Partial { refused, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(refused.len(), 2);
    let reason = blocked(attempt(&intake, &events).await);
    assert!(reason.contains("no list `items`"), "{reason}");
    let verdict = attempt(&intake, &events).await;
    assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
}
