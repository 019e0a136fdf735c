//! The Azure adapter against answers that no healthy server gives: each fault, and what the caller is told of it.

use std::time::{Duration, SystemTime};

use flowlogd::{
    http,
    model::{BlobName, ETag, Secret},
    storage::{
        Account, ListQuery, StorageError, StorageErrorKind,
        azure::{self, AzureAccount, SetupError},
    },
};
use url::Url;

use crate::support::{
    azurite,
    scripted_server::{ScriptedServer, Step},
};

const DATE: (&str, &str) = ("Date", "Tue, 24 Nov 2026 05:00:31 GMT");
const KEY: &str = "Y2FuYXJ5";

fn config(endpoint: &str) -> azure::Config {
    azure::Config {
        account: "testaccount".to_owned(),
        account_key: Secret::new(KEY.to_owned()).into(),
        secondary_key: None,
        endpoint: Url::parse(endpoint).unwrap(),
        http: http::Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            total_timeout: None,
        },
    }
}

fn account(server: &ScriptedServer) -> AzureAccount {
    AzureAccount::new(config(&server.url())).unwrap()
}

/// Bytes 2..8 of version `v1`.
async fn read(account: &AzureAccount) -> Result<Vec<u8>, StorageError> {
    let bytes = account.container("logs").read(&BlobName::new("a/b"), 2..8, &ETag::new("v1")).await?;
    Ok(bytes.to_vec())
}

async fn list(account: &AzureAccount) -> Result<Vec<String>, StorageError> {
    let query = ListQuery { prefix: "", delimiter: None, marker: None };
    let page = account.container("logs").list_page(query).await?;
    Ok(page.blobs.iter().map(|blob| blob.name.to_string()).collect())
}

/// The right answer to `read`.
fn part() -> Step {
    Step::answer(206, &[DATE, ("Content-Range", "bytes 2-7/10"), ("ETag", "\"v1\"")], "234567")
}

/// A listing of the one blob `a`.
fn page() -> Step {
    page_with("<NextMarker />")
}

fn page_with(end: &str) -> Step {
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs><Blob><Name>a</Name><Properties>\
         <Last-Modified>Tue, 24 Nov 2026 05:00:01 GMT</Last-Modified><Etag>0x1</Etag><Content-Length>10</Content-Length>\
         <AccessTier>Premium</AccessTier></Properties></Blob></Blobs>{end}</EnumerationResults>"
    );
    Step::answer(200, &[DATE, ("Content-Type", "application/xml")], body)
}

fn status(status: u16, code: &str) -> Step {
    Step::answer(status, &[DATE, ("x-ms-error-code", code)], "<Error>canary body</Error>")
}

/// A refusal from a server whose clock is `ahead` of this machine's.
fn refused_now(code: &str, ahead: Duration) -> Step {
    let date = httpdate::fmt_http_date(SystemTime::now() + ahead);
    Step::answer(403, &[("Date", &date), ("x-ms-error-code", code)], "<Error>canary body</Error>")
}

/// An error with all of its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text.push_str(&format!(": {current}"));
        cause = current.source();
    }
    text
}

/// Scenario: faults that pass, before a good answer: throttling, server errors, broken and cut connections, wrong
/// ranges. Guarantees: reads and listings succeed, with one request for each step and no byte of a bad answer.
#[tokio::test]
async fn passing_faults_are_retried() {
    let busy = Step::answer(503, &[DATE, ("x-ms-error-code", "ServerBusy"), ("Retry-After", "0")], "");
    let elsewhere =
        Step::answer(206, &[DATE, ("Content-Range", "bytes 0-5/10"), ("ETag", "\"v1\"")], "012345");
    for faults in [
        vec![],
        vec![busy],
        vec![status(500, "InternalError"), status(500, "OperationTimedOut")],
        vec![status(502, ""), status(504, "")],
        vec![status(429, "")],
        vec![Step::Close, Step::Reset],
        vec![part().cut(3)],
        vec![part().cut(0), elsewhere],
    ] {
        let n_steps = faults.len() + 1;
        let server = ScriptedServer::start([faults, vec![part()]].concat()).await;
        assert_eq!(read(&account(&server)).await.unwrap(), b"234567");
        assert_eq!(server.requests().len(), n_steps);
    }
    for faults in [vec![Step::Close, page().cut(30)], vec![status(503, "ServerBusy"), status(500, "")]] {
        let server = ScriptedServer::start([faults, vec![page()]].concat()).await;
        assert_eq!(list(&account(&server)).await.unwrap(), ["a"]);
        assert_eq!(server.requests().len(), 3);
    }
}

/// Scenario: the server asks for a second of patience, then answers. Guarantees: the second is waited, and the new
/// request is dated and signed anew.
#[tokio::test]
async fn retry_after_is_honoured() {
    let busy = Step::answer(503, &[DATE, ("x-ms-error-code", "ServerBusy"), ("Retry-After", "1")], "");
    let server = ScriptedServer::start(vec![busy, part()]).await;
    let start = tokio::time::Instant::now();
    assert_eq!(read(&account(&server)).await.unwrap(), b"234567");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    let requests = server.requests();
    let dates: Vec<&str> = requests.iter().filter_map(|request| request.header("x-ms-date")).collect();
    let signatures: Vec<&str> =
        requests.iter().filter_map(|request| request.header("authorization")).collect();
    assert_eq!((dates.len(), signatures.len()), (2, 2));
    assert_ne!(dates.first(), dates.last());
    assert_ne!(signatures.first(), signatures.last());
}

/// Scenario: the server is overloaded with one request under way, and says when it wants to be asked again or not; then
/// four reads come at once, and it is silent.
/// Guarantees: one of them is sent and the others wait for their turn; none before the time that it named.
#[tokio::test]
async fn an_overloaded_server_gets_fewer_requests_at_once() {
    let wish = [DATE, ("Retry-After", "60")];
    for status in [429, 500, 503] {
        let busy = Step::answer(status, &wish[..1], "");
        for (script, n_requests) in [
            (vec![busy.clone(), busy.clone(), busy, Step::Silence], 4),
            (vec![Step::answer(status, &wish, ""), Step::Silence], 1),
        ] {
            let server = ScriptedServer::start(script).await;
            let account = account(&server);
            read(&account).await.unwrap_err();
            let reads =
                async { tokio::join!(read(&account), read(&account), read(&account), read(&account)) };
            tokio::time::timeout(Duration::from_millis(500), reads).await.unwrap_err();
            assert_eq!(server.requests().len(), n_requests, "{status}");
        }
    }
}

/// Scenario: answers that nothing but a person can mend. Guarantees: one request, and a text with the way out, without
/// the address and what the server says itself.
#[tokio::test]
async fn what_a_person_has_to_mend_is_told() {
    let check_text = async |step: Step, expected: &str| {
        let server = ScriptedServer::start(vec![step.clone()]).await;
        let text = chain(&read(&account(&server)).await.unwrap_err());
        assert!(text.contains(expected), "{step:?}: {text}");
        assert!(!text.contains("canary") && !text.contains("http://"), "{text}");
        assert_eq!(server.requests().len(), 1, "{step:?}");
    };
    check_text(
        refused_now("AuthenticationFailed", Duration::ZERO),
        "access denied (status 403, AuthenticationFailed): check the account key",
    )
    .await;
    check_text(
        refused_now("AuthenticationFailed", Duration::from_secs(20 * 60 + 30)),
        "access denied (status 403, AuthenticationFailed): this machine's clock is 20 minutes behind the server's",
    )
    .await;
    check_text(status(403, "AuthorizationFailure"), "firewall").await;
    check_text(
        status(401, "NoAuthenticationInformation"),
        "access denied (status 401, NoAuthenticationInformation)",
    )
    .await;
    check_text(Step::answer(200, &[DATE], "0123456789"), "no readable Content-Range").await;
    check_text(status(418, "Teapot"), "read bytes 2..8 of blob a/b of container logs").await;
    check_text(status(418, "Teapot"), "(status 418, Teapot)").await;
}

/// Scenario: no answer yet, then one from a server whose clock is an hour ahead, then one without a date. Guarantees:
/// the difference is known from the first dated answer on, whatever its status.
#[tokio::test]
async fn the_clocks_difference_is_known() {
    let undated = Step::answer(404, &[("x-ms-error-code", "BlobNotFound")], "");
    let server =
        ScriptedServer::start(vec![refused_now("AuthorizationFailure", Duration::from_secs(3_600)), undated])
            .await;
    let account = account(&server);
    assert_eq!(account.clock_skew(), None);
    for _ in 0..2 {
        read(&account).await.unwrap_err();
        let minutes = account.clock_skew().unwrap().num_minutes();
        assert!((59..=60).contains(&minutes), "{minutes}");
    }
}

/// Scenario: a server that takes requests and says nothing, and a port where nobody listens. Guarantees: the time
/// limits end each try, and the cause is told.
#[tokio::test]
async fn silence_ends() {
    let server = ScriptedServer::start(vec![Step::Silence]).await;
    let mut config_of_silence = config(&server.url());
    config_of_silence.http.read_timeout = Duration::from_millis(100);
    let error = read(&AzureAccount::new(config_of_silence).unwrap()).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Transient);
    assert!(chain(&error).contains("did not answer in time"), "{}", chain(&error));
    assert_eq!(server.requests().len(), 3);

    let port_of_nobody = server.url();
    drop(server);
    let error = list(&AzureAccount::new(config(&port_of_nobody)).unwrap()).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Transient);
    assert!(chain(&error).contains("cannot be connected to"), "{}", chain(&error));
}

/// Scenario: listings that are garbage, torn, undated or endless. Guarantees: each is an error that says why, never
/// a shorter listing.
#[tokio::test]
async fn bad_listings_are_errors() {
    let check = async |step: Step, expected: &str| {
        let server = ScriptedServer::start(vec![step]).await;
        let text = chain(&list(&account(&server)).await.unwrap_err());
        assert!(text.contains(expected), "{text}");
        assert!(text.starts_with("list container logs, prefix "), "{text}");
    };
    check(Step::answer(200, &[DATE], "<html>sign in</html>"), "not a whole listing").await;
    check(Step::answer(200, &[DATE], ""), "not a whole listing").await;
    check(Step::answer(200, &[DATE], "<EnumerationResults><Blobs>"), "not a whole listing").await;
    check(Step::answer(200, &[DATE], "<EnumerationResults><Blobs></x>"), "not well-formed XML").await;
    check(Step::answer(200, &[], "<EnumerationResults/>"), "no readable `date` header").await;

    let server = ScriptedServer::start(vec![page_with("<NextMarker>m</NextMarker>")]).await;
    let query = ListQuery { prefix: "", delimiter: None, marker: Some("m") };
    let error = account(&server).container("logs").list_page(query).await.unwrap_err();
    assert!(error.to_string().contains("next page is the one that was asked for"), "{error}");
}

/// Scenario: one request of each sort. Guarantees: it is a GET or HEAD without a body, names the program, asks for
/// the exact range and version, and sends no header that strict servers refuse.
#[tokio::test]
async fn requests_are_lean() {
    let head = Step::answer(
        200,
        &[DATE, ("ETag", "\"v1\""), ("Last-Modified", "Tue, 24 Nov 2026 05:00:01 GMT")],
        "0123456789",
    );
    let server = ScriptedServer::start(vec![page(), head, part()]).await;
    let account = account(&server);
    list(&account).await.unwrap();
    let version = account.container("logs").head(&BlobName::new("a b")).await.unwrap();
    assert_eq!((version.length, version.etag), (10, ETag::new("v1")));
    read(&account).await.unwrap();
    let requests = server.requests();
    let lines: Vec<String> =
        requests.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    let expected =
        ["GET /logs?restype=container&comp=list&maxresults=5000", "HEAD /logs/a%20b", "GET /logs/a/b"];
    assert_eq!(lines, expected);
    for request in &requests {
        assert!(request.body.is_empty());
        assert_eq!(request.header("user-agent"), Some(concat!("flowlogd/", env!("CARGO_PKG_VERSION"))));
        assert!(
            request.header("authorization").is_some_and(|value| value.starts_with("SharedKey testaccount:"))
        );
        assert_eq!(request.header("x-ms-range-get-content-crc64"), None);
        assert_eq!(request.header("range"), None);
    }
    let last = requests.last().unwrap();
    assert_eq!((last.header("x-ms-range"), last.header("if-match")), (Some("bytes=2-7"), Some("\"v1\"")));
}

/// *Scenario*: two hundred reads, listings and refusals, four at once.
/// *Guarantees*: the connections of those that are answered serve those that come behind them.
#[tokio::test]
async fn connections_are_used_again() {
    const ROUNDS: usize = 50;
    let mut script = Vec::new();
    for _ in 0..ROUNDS {
        script.extend([page(), page(), status(404, "BlobNotFound"), status(412, "ConditionNotMet")]);
    }
    let server = ScriptedServer::start(script).await;
    let account = account(&server);
    for _ in 0..ROUNDS {
        // Which of them gets which answer is chance; none of the answers is tried again.
        let _answers = tokio::join!(list(&account), list(&account), list(&account), list(&account));
    }
    assert_eq!(server.requests().len(), 4 * ROUNDS);
    assert!(server.n_connections() <= 4 * 4, "{} connections", server.n_connections());
}

/// Scenario: keys and endpoints that cannot work. Guarantees: each is refused before any request, without a panic and
/// without the key in the text.
#[tokio::test]
async fn unusable_settings_are_refused() {
    for key in ["not base64!", "canary==canary", ""] {
        let mut unusable = config("https://h");
        unusable.account_key = Secret::new(key.to_owned()).into();
        let error = AzureAccount::new(unusable).unwrap_err();
        assert!(matches!(error, SetupError::Key { .. }), "{error:?}");
        assert!(!chain(&error).contains("canary"), "{error}");
    }
    let mut unusable = config("https://h");
    unusable.http.extra_roots_pem = Some(b"no certificate".to_vec());
    let error = AzureAccount::new(unusable).unwrap_err();
    assert!(chain(&error).contains("hold no PEM certificate"), "{}", chain(&error));
    assert!(matches!(AzureAccount::new(config("mailto:x")), Err(SetupError::Endpoint { .. })));
}

/// Scenario: the real test server is given a wrong key, and one whose certificate nobody vouches for. Guarantees: the
/// first is a refusal with advice, the second is told as a matter of certificates, with the way out, and not retried.
#[tokio::test]
async fn strangers_are_told_apart() {
    let mut wrong = azurite::shared().await.config();
    wrong.account_key = Secret::new("d3Jvbmcga2V5".to_owned()).into();
    let error = list(&AzureAccount::new(wrong).unwrap()).await.unwrap_err();
    assert!(matches!(error.kind, StorageErrorKind::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("account key"), "{error}");

    let mut untrusting = azurite::shared_https().await.config();
    untrusting.http.extra_roots_pem = None;
    let error = list(&AzureAccount::new(untrusting).unwrap()).await.unwrap_err();
    assert!(matches!(error.kind, StorageErrorKind::Other(_)), "{error:?}");
    assert!(
        error.to_string().contains("certificate is refused") && error.to_string().contains("`ca_file`"),
        "{error}"
    );
    assert!(chain(&error).contains("UnknownIssuer"), "{}", chain(&error));
}
