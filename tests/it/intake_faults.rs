//! Delivery over a line with faults: a proxy between the collector and the receiver resets, is silent, slices, dawdles and
//! cuts, and then is well again.

use std::{
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant},
};

use flowlogd::intake::{
    driver::{Driver, DriverConfig, Outcome},
    http_intake::{Compression, HttpIntake},
};
use futures_util::future::join_all;

use crate::{
    crash::{check_ledger, without_id},
    support::{
        daemon::Daemon,
        delivery::{config, deliver, impatient, sekoia},
        environment::variable,
        examples::TWO_LOGS,
        fault_proxy::{Fault, FaultProxy},
        processes::Receiver,
        world::World,
    },
};

/// Longest pause of the drivers here.
const CAP: Duration = Duration::from_secs(1);

/// Longest request of the drivers here.
const TIMEOUT: Duration = Duration::from_secs(1);

/// One byte a second: nothing arrives in time.
const TRICKLE: Fault = Fault::Trickle(Duration::from_secs(1));

/// A daemon delivers, meets each fault in turn, and delivers again.
async fn ledgers_after(container: &str, faults: &[Fault]) {
    let world = World::new(container, &[], &[]).await;
    let proxy = FaultProxy::start(&world.receiver.url).await;
    let intake = format!(
        "protocol = \"sekoia\"\nintake_key = \"right\"\nprovenance = true\nurl = {:?}\nca_file = {:?}\n\
         requests_per_second = 1000\nbatch = {{ max_events = 50 }}",
        proxy.url().as_str(),
        world.path("ca.pem"),
    );
    world.configure(&[("intakes", &intake)]);
    let mut writer = world.writer(&TWO_LOGS);
    writer.minutes(1);
    let daemon = Daemon::start(&world);
    let is_level = || {
        let tuples: BTreeSet<_> = world.received().iter().map(|event| without_id(event)).collect();
        tuples.len() == world.written().len()
    };
    daemon.until("the first minute", is_level).await;
    let rounds = usize::try_from(variable("FLAPPING", 1)).unwrap();
    for fault in faults.repeat(rounds) {
        proxy.set(fault);
        writer.minutes(2);
        // Who fails twice in a row waits; where a fault takes long, once has to do.
        let n_strikes = if matches!(fault, Fault::Reset(_) | Fault::CutAnswer) { 2 } else { 1 };
        daemon.until(&format!("{fault:?}"), || proxy.n_strikes() >= n_strikes).await;
        proxy.set(Fault::None);
        daemon.until(&format!("what was written during {fault:?}"), is_level).await;
    }
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    check_ledger(&world.received(), &world.written(), &log);

    let before = world.received().len();
    let (code, _, stderr) = world.once();
    assert_eq!((code, world.received().len()), (0, before), "{stderr}");
}

/// *Scenario*: while blobs grow, connections are reset at their first byte, in the middle of a handshake, and in the middle
/// of a request.
/// *Guarantees*: afterwards every tuple written has arrived, what arrived twice has the same id and the same bytes, and
/// nothing is left to send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledgers_after_resets() {
    ledgers_after("faults-reset", &[Fault::Reset(0), Fault::Reset(100), Fault::Reset(1_500)]).await;
}

/// *Scenario*: while blobs grow, answers are cut in the middle of a TLS record: of the receiver's own answer, when it has
/// the events already, and then of handshakes.
/// *Guarantees*: as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledgers_after_cuts() {
    ledgers_after("faults-cut", &[Fault::CutAnswer, Fault::CutAnswer]).await;
}

/// *Scenario*: while blobs grow, connections fall silent, dawdle, and pass everything in small pieces.
/// *Guarantees*: as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledgers_after_silence() {
    ledgers_after("faults-silence", &[Fault::Silence, TRICKLE, Fault::Slices(3)]).await;
}

/// A random number generator that begins with large numbers.
fn unlucky() -> fastrand::Rng {
    let mut generators = (0..).map(fastrand::Rng::with_seed);
    let is_unlucky = |random: &fastrand::Rng| {
        let mut tried = random.clone();
        (0..6).all(|_| tried.f64() > 0.8)
    };
    generators.find(is_unlucky).unwrap()
}

/// Holds an intake in a fault for some of its longest pauses. Returns the time from the end of the fault to the delivery.
async fn recovery(fault: Fault) -> Duration {
    let receiver = Receiver::start(&[]);
    let proxy = FaultProxy::start(&receiver.url).await;
    let mut settings = config(&proxy.url(), Some(receiver.ca_pem()), sekoia());
    settings.http.total_timeout = Some(TIMEOUT);
    settings.compression = Compression::None;
    let intake = HttpIntake::new(settings).unwrap();
    let pauses = DriverConfig { backoff_base: CAP / 2, backoff_cap: CAP, ..DriverConfig::default() };
    let driver = Driver::new(pauses, unlucky());
    let [before, during]: [Vec<String>; 2] =
        ["before", "during"].map(|batch| (0..100).map(|n| format!("{batch} {n:03}")).collect());
    assert_eq!(deliver(&driver, &intake, &before).await, Outcome::Delivered(vec![]), "{fault:?}");

    proxy.set(fault);
    let mut delivery = pin!(deliver(&driver, &intake, &during));
    tokio::select! {
        outcome = &mut delivery => panic!("{fault:?} does not hold: {outcome:?}"),
        () = driver.failing_for(6 * CAP) => {}
    }
    assert!(proxy.n_strikes() > 1, "{fault:?} has struck {} times", proxy.n_strikes());
    proxy.set(Fault::None);
    let ended = Instant::now();
    let outcome = delivery.await;
    let recovery = ended.elapsed();
    assert_eq!(outcome, Outcome::Delivered(vec![]), "{fault:?}");
    let mut received = receiver.sorted_ledger();
    received.dedup();
    assert_eq!(received, [&*before, &*during].concat(), "{fault:?}");
    recovery
}

/// *Scenario*: each fault holds for six times the longest pause and then ends, on lines of their own; each pause is drawn
/// nearly as long as it may be.
/// *Guarantees*: nothing is delivered before its end, and everything within twice the longest pause after it; where a
/// request still waits for its answer then, it may take that long more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_resumes_soon_after_a_fault() {
    let faults = [Fault::Reset(0), Fault::Reset(600), Fault::Silence, TRICKLE, Fault::CutAnswer];
    let recoveries = join_all(faults.map(recovery)).await;
    for (fault, recovery) in faults.into_iter().zip(recoveries) {
        let hangs = matches!(fault, Fault::Silence | TRICKLE);
        let most = if hangs { 2 * CAP + TIMEOUT } else { 2 * CAP };
        assert!(recovery <= most, "{fault:?}: {recovery:?}");
    }
}

/// *Scenario*: requests and answers arrive in pieces of a byte, and of seven.
/// *Guarantees*: that is no failure: everything arrives once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_are_no_failure() {
    for length in [1, 7] {
        let receiver = Receiver::start(&[]);
        let proxy = FaultProxy::start(&receiver.url).await;
        proxy.set(Fault::Slices(length));
        let intake = HttpIntake::new(config(&proxy.url(), Some(receiver.ca_pem()), sekoia())).unwrap();
        let driver = impatient();
        let texts: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
        let outcome = deliver(&driver, &intake, &texts).await;
        assert_eq!((outcome, driver.last_failure()), (Outcome::Delivered(vec![]), None));
        assert_eq!(receiver.ledger(), texts);
        assert_eq!(proxy.n_strikes(), 2);
    }
}
