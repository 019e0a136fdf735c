//! One intake and its driver inside the test: what its tests need to set up, to send, and to look at.

use std::time::Duration;

use flowlogd::{
    batch::{EncodedEvents, EventPlace},
    event::Event,
    http,
    intake::{
        Intake, Selection, Verdict,
        auth::Auth,
        driver::{Driver, DriverConfig, Outcome},
        http_intake::{Compression, Config, HttpIntake},
        protocols::ProtocolConfig,
    },
    model::{EventId, RecordKey, Secret, Span},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::processes::Receiver;

/// Whatever is not delivered by then is not delivered, however busy the machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// An intake key that must not be seen anywhere.
pub(crate) const KEY: &str = "0a1b2c3d-canary-key";

/// Sekoia.io with [`KEY`].
pub(crate) fn sekoia() -> ProtocolConfig {
    ProtocolConfig::Sekoia { intake_key: Secret::new(KEY.to_owned()) }
}

/// How an intake is reached, with patience.
pub(crate) fn config(url: &Url, extra_roots_pem: Option<Vec<u8>>, protocol: ProtocolConfig) -> Config {
    let minute = Duration::from_secs(60);
    Config {
        protocol,
        url: url.clone(),
        auth: Auth::None,
        compression: Compression::Gzip,
        http: http::Config {
            extra_roots_pem,
            identity: None,
            proxy: None,
            connect_timeout: minute,
            read_timeout: minute,
            total_timeout: Some(minute),
        },
        files: Vec::new(),
        look_every: minute,
    }
}

/// The intake that a receiver is.
pub(crate) fn intake(receiver: &Receiver, protocol: ProtocolConfig) -> HttpIntake {
    HttpIntake::new(config(&receiver.url, Some(receiver.ca_pem()), protocol)).unwrap()
}

/// The events with these texts, as the intake wants them.
pub(crate) fn encode(intake: &HttpIntake, texts: &[impl AsRef<str>]) -> EncodedEvents {
    let mut events = EncodedEvents::default();
    for (ordinal, text) in (0..).zip(texts) {
        let record = Span { from: 0, to: 1 };
        let id = EventId { record: RecordKey::new(1), ordinal };
        let event = Event { id, record, time_ms: 0, body: text.as_ref().as_bytes(), shared: None };
        intake.framing().encode_event(&event, &mut events.bytes);
        events.finish_event(EventPlace { record, ordinal });
    }
    events
}

/// Sends all of the events once.
pub(crate) async fn attempt(intake: &HttpIntake, events: &EncodedEvents) -> Verdict {
    intake.attempt(events, &Selection::of(0..events.len())).await
}

/// Delivers all of them, in a reasonable time.
pub(crate) async fn deliver(driver: &Driver, intake: &HttpIntake, texts: &[impl AsRef<str>]) -> Outcome {
    let (events, never) = (encode(intake, texts), CancellationToken::new());
    let delivery = timeout(DEADLINE, driver.deliver(intake, &events, &never)).await;
    delivery.unwrap_or_else(|_| panic!("not delivered in {DEADLINE:?}; {:?}", driver.last_failure()))
}

/// Does not wait where a person would.
pub(crate) fn impatient() -> Driver {
    let config = DriverConfig {
        max_in_flight: 4,
        backoff_base: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(10),
        blocked_base: Duration::from_millis(1),
        blocked_cap: Duration::from_millis(10),
        ..DriverConfig::default()
    };
    Driver::new(config, fastrand::Rng::with_seed(7))
}

/// The reason of a blocked attempt; never with the key.
pub(crate) fn blocked(verdict: Verdict) -> String {
    let Verdict::Blocked { reason } = verdict else { panic!("not blocked: {verdict:?}") };
    assert!(!reason.contains(KEY), "{reason}");
    reason
}

/// The reason of an attempt that is to be repeated; never with the key.
pub(crate) fn retried(verdict: Verdict) -> String {
    let Verdict::Retry { reason, .. } = verdict else { panic!("not to be repeated: {verdict:?}") };
    assert!(!reason.contains(KEY), "{reason}");
    reason
}
