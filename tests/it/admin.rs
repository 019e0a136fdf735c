//! The admin server over loopback, spoken to byte by byte.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use flowlogd::{
    admin,
    telemetry::{
        chain,
        health::Health,
        metrics::{CONTENT_TYPE, Metrics},
    },
};

use super::metrics::Scrape;
use crate::support::{daemon::Daemon, world::World};

/// Longer than the server lets any connection live.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    address: SocketAddr,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = admin::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, health) = (Metrics::new(SystemTime::now()), Health::default());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(admin::serve(listener, metrics.clone(), health.clone(), shutdown.clone()));
        Self { address, metrics, health, shutdown, task }
    }

    async fn connect(&self) -> TcpStream {
        timeout(PATIENCE, TcpStream::connect(self.address)).await.unwrap().unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_close(&mut stream).await
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        Answer::parse(&self.exchange(&request).await)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// What comes until the server closes the connection; a reset counts as a close.
async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().ok();
    String::from_utf8(bytes).unwrap()
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// *Scenario*: components start, fail and recover while probes ask. *Guarantees*: the process lives all along; it is
/// ready only when all are, and else every reason is on a line of its own.
#[tokio::test]
async fn probes() {
    let server = Server::start().await;
    let starting = server.ask("GET", "/readyz").await;
    assert_eq!((starting.status, starting.body.as_str()), (503, "starting\n"));
    let store = server.health.component("store");
    let intake = server.health.component("intake sekoia");
    store.ready();
    let waiting = server.ask("GET", "/readyz").await;
    assert_eq!((waiting.status, waiting.body.as_str()), (503, "intake sekoia: starting\n"));
    intake.ready();
    let ready = server.ask("GET", "/readyz?verbose").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    store.not_ready("the disk is full\nfree some space");
    intake.not_ready("401: check the key");
    let failed = server.ask("GET", "/readyz").await;
    assert_eq!(
        (failed.status, failed.body.as_str()),
        (503, "intake sekoia: 401: check the key\nstore: the disk is full free some space\n")
    );
    assert_eq!(failed.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(failed.header("cache-control"), Some("no-store"));
    let alive = server.ask("GET", "/livez").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "alive\n"));
    server.stop().await;
}

/// *Scenario*: a scraper reads the metrics before and after something was counted. *Guarantees*: whole text of the type
/// that is announced, with the present values.
#[tokio::test]
async fn metrics_over_http() {
    let server = Server::start().await;
    let lane = server.metrics.lane("prod", "sekoia");
    let series = "flowlogd_events_delivered_total{intake=\"sekoia\",source=\"prod\"}";
    for expected in [0.0, 5.0] {
        let answer = server.ask("GET", "/metrics").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(CONTENT_TYPE)));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(Scrape::parse(&answer.body).get(series), Some(expected));
        lane.progress.events_delivered.inc_by(5);
    }
    server.stop().await;
}

/// *Scenario*: HEAD, other methods, other paths, other languages. *Guarantees*: HEAD is GET without a body; what is not
/// served is refused with the way out; the connection is closed after each answer.
#[tokio::test]
async fn other_requests() {
    let server = Server::start().await;
    for path in ["/livez", "/readyz", "/metrics", "/elsewhere"] {
        let (got, head) = (server.ask("GET", path).await, server.ask("HEAD", path).await);
        assert_eq!((head.status, head.body.as_str()), (got.status, ""), "{path}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{path}");
        assert!(!got.body.is_empty());
        assert_eq!(got.header("connection"), Some("close"), "{path}");
        if path == "/livez" {
            assert_eq!(head.header("content-length"), Some("6"));
        }
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let refused = server.ask(method, "/metrics").await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")), "{method}");
        assert_eq!(server.ask(method, "/").await.status, 404, "{method}");
    }
    let unknown = server.ask("GET", "/livez/").await;
    assert_eq!(
        (unknown.status, unknown.body.as_str()),
        (404, "not found; there are /livez, /readyz and /metrics\n")
    );
    assert_eq!(Answer::parse(&server.exchange("hello\r\n\r\n").await).status, 400);
    // The server closes with bytes unread, so its answer may be lost in a reset.
    let long = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(16 * 1024));
    for strange in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &long] {
        let answer = server.exchange(strange).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(server.ask("GET", "/livez").await.status, 200);
    server.stop().await;
}

/// *Scenario*: so many clients connect and say nothing, or half of something, that the server takes no more; then one
/// asks. *Guarantees*: it is answered once the idle ones have been cut off; the server lives.
#[tokio::test]
async fn idle_clients_are_cut_off() {
    let server = Server::start().await;
    let mut idle = Vec::new();
    for number in 0..16 {
        let mut stream = server.connect().await;
        if number % 2 == 0 {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
        }
        idle.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(server.ask("GET", "/livez").await.status, 200);
    assert!(begun.elapsed() > Duration::from_secs(1), "the idle clients held no place");
    for mut stream in idle {
        let said = read_to_close(&mut stream).await;
        assert!(!said.contains("200 OK"), "{said}");
    }
    server.stop().await;
}

/// *Scenario*: the server is stopped while a client is connected. *Guarantees*: it ends at once, and its address is
/// free again.
#[tokio::test]
async fn stops_with_clients_connected() {
    let server = Server::start().await;
    let address = server.address;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    assert_eq!(server.ask("GET", "/livez").await.status, 200);
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(read_to_close(&mut stream).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

/// *Scenario*: the address is taken. *Guarantees*: the error names the address, the key, the way out, and the cause.
#[tokio::test]
async fn an_address_in_use() {
    let server = Server::start().await;
    let error = admin::listen(server.address).await.unwrap_err();
    assert_eq!(
        chain(&error).to_string().replace(&server.address.to_string(), "ADDRESS"),
        "listen at ADDRESS: give admin.listen an address of this host that is free, or \"\" to do without the admin \
         server: Address already in use (os error 98)"
    );
    server.stop().await;
}

/// *Scenario*: a daemon runs, and a second one is started with the same settings: the same state and the same address.
/// *Guarantees*: the second one says that the state is in use, with the exit code for it, and not that the address is.
#[tokio::test]
async fn a_second_daemon_with_the_same_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("listen = \"{free}\"");
    let world = World::new("admin-second-daemon", &[], &[("admin", &listen)]).await;
    let first = Daemon::start(&world);
    first.until("the address", || std::net::TcpStream::connect(free).is_ok()).await;
    let second = world.collector(&["run"]).output().unwrap();
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(75), "{stderr}");
    assert!(!stderr.contains("Address already in use"), "{stderr}");
    let (code, log) = first.stop();
    assert_eq!(code, Some(0), "{log}");
}
