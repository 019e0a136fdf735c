//! Delivery through a real reverse proxy: nginx, as it stands before many intakes.

use std::{path::Path, time::Duration};

use crate::support::{
    delivery::{attempt, blocked, config, deliver, encode, impatient, sekoia},
    nginx::Nginx,
    processes::Receiver,
    tls::Certificates,
    wait,
    world::World,
};
use flowlogd::intake::{
    Verdict,
    driver::Outcome,
    http_intake::{Compression, HttpIntake},
    rotation::{FilePlace, WatchedFile},
};
use futures_util::future::join_all;

/// A batch goes on its way at once, unless the machine is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// Demands a certificate of clients.
const DEMANDING: &str = "ssl_client_certificate ca.pem;\nssl_verify_client on;";

/// The way to a receiver behind nginx, uncompressed so that sizes are what they are.
fn intake_behind(nginx: &Nginx) -> HttpIntake {
    let ca_pem = nginx.certificates.ca_pem.clone().into_bytes();
    let mut settings = config(&nginx.url(), Some(ca_pem), sekoia());
    settings.compression = Compression::None;
    HttpIntake::new(settings).unwrap()
}

/// Events of about 1 kB, no two of them alike.
fn events(batch: &str, n_events: usize) -> Vec<String> {
    (0..n_events).map(|n| format!("{batch} {n:06} {}", "x".repeat(1_000))).collect()
}

fn count(requests: &[String], status: &str) -> usize {
    requests.iter().filter(|request| request.starts_with(status)).count()
}

/// *Scenario*: whole passes of a collector, whose intake stands behind nginx.
/// *Guarantees*: every tuple written arrives once; all of it came compressed, over TLS, and was taken at once.
#[tokio::test]
async fn every_event_arrives() {
    let world = World::new("nginx-pass", &[], &[]).await;
    let nginx = Nginx::start(&world.receiver.url, "").await;
    let ca_file = world.path("nginx-ca.pem");
    std::fs::write(&ca_file, &nginx.certificates.ca_pem).unwrap();
    let intake = format!(
        "protocol = \"sekoia\"\nintake_key = \"right\"\nurl = {:?}\nca_file = {ca_file:?}\n\
         requests_per_second = 1000\nbatch = {{ max_events = 20 }}",
        nginx.url().as_str(),
    );
    world.configure(&[("intakes", &intake)]);
    let mut writer = world.writer(&["--nics", "3", "--roots", "2"]);
    for _pass in 0..3 {
        writer.minutes(2);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        assert!(!world.written().is_empty());
        assert_eq!(world.received(), world.written(), "{stderr}");
    }
    let (counts, _directory) = world.receiver.stop();
    let n_requests: usize = counts.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(n_requests > 3, "{counts}");
    let requests = nginx.requests(n_requests).await;
    assert_eq!(requests.len(), n_requests, "{requests:?}");
    assert_eq!(count(&requests, "200 TLSv1.2 gzip "), n_requests, "{requests:?}");
}

/// *Scenario*: nginx takes bodies of at most 300 kB, and there are two batches of a megabyte.
/// *Guarantees*: every event arrives once; after the first batch no body is too large any more.
#[tokio::test]
async fn bodies_larger_than_nginx_takes() {
    let receiver = Receiver::start_plain(&[]);
    let nginx = Nginx::start(&receiver.url, "client_max_body_size 300k;").await;
    let (intake, driver) = (intake_behind(&nginx), impatient());
    let mut sent = Vec::new();
    let mut n_too_large = Vec::new();
    for batch in ["first", "second"] {
        let texts = events(batch, 1_000);
        let outcome = deliver(&driver, &intake, &texts).await;
        assert_eq!(outcome, Outcome::Delivered(vec![]));
        sent.extend(texts);
        assert_eq!(receiver.ledger(), sent);
        n_too_large.push(count(&nginx.logged(), "413"));
    }
    // The first whole megabyte; where the answer is lost it is tried once more.
    assert!((1..=2).contains(&n_too_large[0]), "{:?}", nginx.logged());
    assert_eq!(n_too_large[1], n_too_large[0], "{:?}", nginx.logged());
}

/// *Scenario*: bodies of four megabytes, of which nginx takes one: it says so and closes while the rest is still on its
/// way, or closes without a word.
/// *Guarantees*: whether the answer is seen or lost, every event arrives once.
#[tokio::test]
async fn early_closes() {
    let says = "client_max_body_size 1m;\nlingering_close off;";
    let silent = "client_max_body_size 0;\nreset_timedout_connection on;\nif ($content_length ~ \"^[0-9]{7}\") { return 444; }";
    for settings in [says, silent] {
        let receiver = Receiver::start_plain(&[]);
        let nginx = Nginx::start(&receiver.url, settings).await;
        let (intake, driver) = (intake_behind(&nginx), impatient());
        let texts = events("large", 4_000);
        let outcome = deliver(&driver, &intake, &texts).await;
        assert_eq!(outcome, Outcome::Delivered(vec![]), "{settings}");
        assert_eq!(receiver.ledger(), texts, "{settings}");
        let n_refused = count(&nginx.logged(), "413") + count(&nginx.logged(), "444");
        // Without a word it takes two resets to know.
        assert!(n_refused >= if settings == silent { 2 } else { 1 }, "{settings}: {:?}", nginx.logged());
    }
}

/// *Scenario*: nginx wants a client certificate, which it answers with 400; later it does not want one any more.
/// *Guarantees*: the intake is blocked at once, and the reason names the settings; no event is dropped, and no smaller
/// batch is tried. Afterwards every event arrives once. Who has a certificate gets through from the start.
#[tokio::test]
async fn a_client_certificate_is_missing() {
    let receiver = Receiver::start_plain(&[]);
    let mut nginx = Nginx::start(&receiver.url, DEMANDING).await;
    let (intake, driver) = (intake_behind(&nginx), impatient());
    let texts = events("blocked", 40);
    let reason = blocked(attempt(&intake, &encode(&intake, &texts)).await);
    for part in
        ["status 400", "`client_cert_file`", "`client_key_file`", "No required SSL certificate was sent"]
    {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let trusted = intake_with_certificate(&nginx, &nginx.certificates, Vec::new());
    assert_eq!(attempt(&trusted, &encode(&trusted, &["trusted"])).await, Verdict::Delivered);

    let operator = async {
        // Seven probes would reach a single event by halves; a blocked intake is asked for all of them each time.
        let requests = nginx.requests(20).await;
        assert_eq!(driver.last_failure().as_ref(), Some(&reason));
        nginx.kill();
        nginx.start_again("").await;
        requests
    };
    let (outcome, requests) = tokio::join!(deliver(&driver, &intake, &texts), operator);
    let whole = requests[0].split(' ').next_back().unwrap();
    let refused: Vec<_> = requests.iter().filter(|request| request.starts_with("400 ")).collect();
    assert!(refused.len() >= 19 && refused.iter().all(|request| request.ends_with(whole)), "{requests:?}");
    assert_eq!(outcome, Outcome::Delivered(vec![]));
    assert_eq!(receiver.ledger(), [vec!["trusted".to_owned()], texts].concat());
    assert_eq!(attempt(&intake, &encode(&intake, &["later"])).await, Verdict::Delivered);
}

/// The same way with a client certificate, which may stand in files that are looked at again.
fn intake_with_certificate(nginx: &Nginx, client: &Certificates, files: Vec<WatchedFile>) -> HttpIntake {
    let ca_pem = nginx.certificates.ca_pem.clone().into_bytes();
    let mut settings = config(&nginx.url(), Some(ca_pem), sekoia());
    settings.http.identity = Some(client.client_identity());
    settings.files = files;
    settings.look_every = Duration::ZERO;
    HttpIntake::new(settings).unwrap()
}

/// *Scenario*: a client certificate of an authority that nginx does not know; then the right one is written into the files,
/// first the certificate alone, then its key.
/// *Guarantees*: the intake is blocked at once and the reason names the settings, while the two files do not fit too; the
/// renewed pair is used without a restart, once it is whole.
#[tokio::test]
async fn a_client_certificate_is_renewed() {
    let receiver = Receiver::start_plain(&[]);
    let nginx = Nginx::start(&receiver.url, DEMANDING).await;
    let directory = tempfile::tempdir().unwrap();
    let [certificate, key] = ["client.pem", "client.key"].map(|name| directory.path().join(name));
    let stranger = Certificates::new();
    std::fs::write(&certificate, &stranger.client_certificate_pem).unwrap();
    std::fs::write(&key, &stranger.client_key_pem).unwrap();
    let files = vec![
        WatchedFile { path: certificate.clone(), place: FilePlace::ClientCertificate },
        WatchedFile { path: key.clone(), place: FilePlace::ClientKey },
    ];
    let intake = intake_with_certificate(&nginx, &stranger, files);
    let events = encode(&intake, &["renewed"]);
    let renewals: [(&Path, &str); 2] = [
        (&certificate, &nginx.certificates.client_certificate_pem),
        (&key, &nginx.certificates.client_key_pem),
    ];
    for (path, pem) in renewals {
        let reason = blocked(attempt(&intake, &events).await);
        for part in ["status 400", "`client_cert_file`", "The SSL certificate error"] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        std::fs::write(path, pem).unwrap();
    }
    assert_eq!(attempt(&intake, &events).await, Verdict::Delivered);
    assert_eq!(receiver.ledger(), ["renewed"]);
}

/// *Scenario*: four batches at a time are under way when nginx is killed, and it comes back on the same port.
/// *Guarantees*: every event arrives; what arrives twice is equal to the byte.
#[tokio::test]
async fn a_restart_in_the_middle() {
    let receiver = Receiver::start_plain(&[]);
    let mut nginx = Nginx::start(&receiver.url, "").await;
    let (intake, driver) = (intake_behind(&nginx), impatient());
    let batches: Vec<_> = (0..60).map(|batch| events(&format!("batch {batch:02}"), 200)).collect();
    let delivery = join_all(batches.iter().map(|texts| deliver(&driver, &intake, texts)));
    let restart = async {
        let begun = || (receiver.ledger().len() > 400).then_some(());
        wait::until_some(DEADLINE, begun, || "nothing arrives".to_owned()).await;
        nginx.kill();
        let noticed = || driver.last_failure();
        let reason = wait::until_some(DEADLINE, noticed, || "nobody misses nginx".to_owned()).await;
        nginx.start_again("").await;
        reason
    };
    let (outcomes, reason) = tokio::join!(delivery, restart);
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered(vec![])), "{outcomes:?}");
    assert!(!reason.is_empty());
    let mut received = receiver.sorted_ledger();
    received.dedup();
    assert_eq!(received, batches.concat());
}
