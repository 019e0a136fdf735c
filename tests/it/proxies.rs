//! The way through a proxy, to the storage server and to the intake.

use std::process::Output;

use flowlogd::{
    http::Proxy,
    storage::{
        Account, ListQuery, StorageError, StorageErrorKind,
        azure::{self, AzureAccount},
    },
    telemetry::chain,
};

use crate::support::{
    azurite::{self, ACCOUNT, Azurite},
    blob_writer::BlobWriter,
    proxy::ForwardProxy,
    tinyproxy::{PASSWORD, Tinyproxy},
    world::{World, last_line},
};

/// `user:p@ss canary`, as it stands in a URL and in a header.
const CREDENTIALS: &str = "user:p%40ss%20canary@";
const AUTHORIZATION: &str = "Basic dXNlcjpwQHNzIGNhbmFyeQ==";

/// Variables that other programs take a proxy from.
const VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// Lists a container through a proxy.
async fn list(azurite: &Azurite, container: &str, proxy_url: &str) -> Result<usize, StorageError> {
    let mut config: azure::Config = azurite.config();
    config.http.proxy = Some(Proxy::parse(proxy_url).unwrap());
    let query = ListQuery { prefix: "", delimiter: None, marker: None };
    let account = AzureAccount::new(config).unwrap();
    Ok(account.container(container).list_page(query).await?.blobs.len())
}

/// What an error says, with all its causes and its debug output; no password is in it.
fn text_of(error: &StorageError) -> String {
    let text = chain(error).to_string();
    assert!(!format!("{text} {error:?}").contains("canary"), "{error:?}");
    text
}

/// *Scenario*: a listing over HTTP and one over HTTPS, each through a proxy that asks for credentials. *Guarantees*: both
/// succeed, HTTP by whole URLs and HTTPS in a tunnel that trusts the server's own authority; user and password are decoded
/// from the URL.
#[tokio::test]
async fn storage_is_reached_through_a_proxy() {
    let proxy = ForwardProxy::start(Some(AUTHORIZATION)).await;
    for azurite in [azurite::shared().await, azurite::shared_https().await] {
        BlobWriter::create(azurite, "proxied").await.put("a", &[b"content"]).await;
        assert_eq!(list(azurite, "proxied", &proxy.url(CREDENTIALS)).await.unwrap(), 1);
    }
    let server = |azurite: &Azurite| format!("127.0.0.1:{}", azurite.endpoint.port().unwrap());
    let (plain, tls) = (server(azurite::shared().await), server(azurite::shared_https().await));
    let listing = format!("{ACCOUNT}/proxied?restype=container&comp=list&maxresults=5000");
    assert_eq!(proxy.seen(), [format!("GET http://{plain}/{listing}"), format!("CONNECT {tls}")]);
}

/// *Scenario*: credentials are missing or wrong, the proxy is not there, and it cannot reach the server. *Guarantees*: each
/// is told as a matter of the proxy, and no password is shown.
#[tokio::test]
async fn trouble_with_a_proxy_is_told() {
    let (plain, tls) = (azurite::shared().await, azurite::shared_https().await);
    let proxy = ForwardProxy::start(Some(AUTHORIZATION)).await;
    for credentials in ["", "user:canary@"] {
        let error = list(plain, "proxied-not", &proxy.url(credentials)).await.unwrap_err();
        assert!(text_of(&error).contains("the proxy asks for credentials (status 407)"), "{error}");
        let error = list(tls, "proxied-not", &proxy.url(credentials)).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Transient);
        assert!(text_of(&error).contains("through the proxy; check `proxy`"), "{}", text_of(&error));
    }
    let nobody = proxy.url(CREDENTIALS);
    drop(proxy);
    for azurite in [plain, tls] {
        let error = list(azurite, "proxied-not", &nobody).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Transient);
        assert!(text_of(&error).contains("through the proxy; check `proxy`"), "{}", text_of(&error));
    }
}

/// *Scenario*: a whole pass with a proxy for the source and one for the intake, and then one with neither, while the
/// environment names a third. *Guarantees*: all events arrive; each proxy sees its own server's requests, nobody asks the
/// third one; the password is in no log and not in the effective settings.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_side_has_its_own_proxy() {
    let (source_proxy, intake_proxy) =
        (ForwardProxy::start(Some(AUTHORIZATION)).await, ForwardProxy::start(Some(AUTHORIZATION)).await);
    let environment_proxy = ForwardProxy::start(None).await;
    let proxy_line = |proxy: &ForwardProxy| format!("proxy = {:?}\n", proxy.url(CREDENTIALS));
    let (source_line, intake_line) = (proxy_line(&source_proxy), proxy_line(&intake_proxy));
    let world =
        World::new("proxied-pass", &[], &[("sources", &source_line), ("intakes", &intake_line)]).await;
    let mut writer = world.writer(&["--nics", "1"]);
    let run = |arguments: &[&str]| {
        let mut command = world.collector(arguments);
        command.envs(VARIABLES.map(|name| (name, environment_proxy.url(""))));
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert_eq!(status.code(), Some(0), "{text}");
        assert!(!text.contains("canary") && !text.contains("p%40ss"), "{text}");
        text
    };

    writer.minutes(2);
    run(&["run", "--once"]);
    assert_eq!(world.received(), world.written());
    let storage = format!("http://127.0.0.1:{}/", azurite::shared().await.endpoint.port().unwrap());
    let (source_seen, intake_seen) = (source_proxy.seen(), intake_proxy.seen());
    let receiver = format!("CONNECT 127.0.0.1:{}", world.receiver.url.port().unwrap());
    assert!(
        !source_seen.is_empty() && source_seen.iter().all(|line| line.contains(&storage)),
        "{source_seen:?}"
    );
    assert!(!intake_seen.is_empty() && intake_seen.iter().all(|line| *line == receiver), "{intake_seen:?}");
    let printed = run(&["check-config"]);
    assert_eq!(printed.matches("proxy = \"http://***@127.0.0.1:").count(), 2, "{printed}");

    world.configure(&[]);
    writer.minutes(1);
    run(&["run", "--once"]);
    assert_eq!(world.received(), world.written());
    assert_eq!(
        (source_proxy.seen().len(), intake_proxy.seen().len()),
        (source_seen.len(), intake_seen.len())
    );
    assert_eq!(environment_proxy.seen(), Vec::<String>::new());
}

/// *Scenario*: the intake stands behind tinyproxy, which asks for a password: first a wrong one, then the right one.
/// *Guarantees*: with the wrong one the pass ends with 69, the last line tells it as a matter of the proxy, and nothing is
/// lost; with the right one every tuple arrives once, in a tunnel. Neither password is in what is said.
#[tokio::test]
async fn an_intake_behind_tinyproxy() {
    let proxy = Tinyproxy::start().await;
    let world = World::new("proxied-tinyproxy", &[], &[]).await;
    let configure = |password: &str| {
        let intake = format!("proxy = {:?}", proxy.url(password));
        world.configure(&[("intakes", &intake), ("limits", "once_deadline = \"2s\"")]);
    };
    let once = || {
        let (code, _, stderr) = world.once();
        assert!(!stderr.contains("canary"), "{stderr}");
        (code, stderr)
    };
    world.writer(&["--nics", "2"]).minutes(3);

    configure("wrongcanary");
    let (code, stderr) = once();
    assert_eq!(code, 69, "{stderr}");
    for part in
        ["still blocked after 2s", "the intake test takes nothing", "through the proxy; check `proxy`"]
    {
        assert!(last_line(&stderr).contains(part), "{part}: {stderr}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    let tunnel = format!("CONNECT 127.0.0.1:{}", world.receiver.url.port().unwrap());

    configure(PASSWORD);
    let (code, stderr) = once();
    assert_eq!(code, 0, "{stderr}");
    assert!(!world.written().is_empty());
    assert_eq!(world.received(), world.written());
    assert!(proxy.log().contains(&tunnel), "{}", proxy.log());
}
