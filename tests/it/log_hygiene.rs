//! No secret reaches a log, whatever the operator asks to be logged.

use std::time::Duration;

use flowlogd::{
    http::{self, Proxy},
    model::{BlobName, Secret},
    storage::{
        Account, BlobStore, ListQuery, StorageError,
        azure::{self, AzureAccount},
    },
    telemetry::{chain, clamp},
};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    filter::{FilterExt, filter_fn},
};
use url::Url;

use crate::support::{
    azurite::{self, ACCOUNT_KEY},
    blob_writer::BlobWriter,
    log::Log,
    proxy::ForwardProxy,
    scripted_server::{ScriptedServer, Step},
};

/// All that an operator can ask for.
const EVERYTHING: &str = "trace,azure_core=trace,azure_storage=trace,hyper=trace,reqwest=trace,rustls=trace";

fn unclamped(log: &Log) -> impl Subscriber + Send + Sync + use<> {
    log.subscriber(EnvFilter::new(EVERYTHING))
}

fn clamped(log: &Log) -> impl Subscriber + Send + Sync + use<> {
    log.subscriber(EnvFilter::new(EVERYTHING).and(filter_fn(clamp::is_allowed)))
}

/// Lists, looks at and reads what there is, and what there is not; logs each error as the pipeline does.
async fn exercise(store: &dyn BlobStore) {
    let log = |error: StorageError| tracing::warn!(error = %chain(&error), debug = ?error, "storage error");
    let query = ListQuery { prefix: "", delimiter: None, marker: None };
    store.list_page(query).await.map(drop).unwrap_or_else(log);
    let name = BlobName::new("a");
    match store.head(&name).await {
        Ok(version) => {
            store.read(&name, 0..version.length, &version.etag).await.map(drop).unwrap_or_else(log)
        }
        Err(error) => log(error),
    }
    store.head(&BlobName::new("missing")).await.map(drop).unwrap_or_else(log);
}

/// A server that refuses each signature by repeating it, as Azure does.
async fn refusing_server() -> ScriptedServer {
    let body =
        "The MAC signature found in the HTTP request 'canary-signature' is not the same as any computed one";
    let code = ("x-ms-error-code", "AuthenticationFailed");
    ScriptedServer::start(vec![Step::Close, Step::answer(403, &[code], body)]).await
}

fn account_at(server: &ScriptedServer, key: &str) -> AzureAccount {
    AzureAccount::new(azure::Config {
        account: "testaccount".to_owned(),
        account_key: Secret::new(key.to_owned()).into(),
        secondary_key: None,
        endpoint: Url::parse(&server.url()).unwrap(),
        http: http::Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            total_timeout: None,
        },
    })
    .unwrap()
}

/// Scenario: everything is logged, of every library, while the storage adapter works against the real test server and
/// against one that refuses it, directly and through a proxy. Guarantees: neither account key nor signature nor the proxy's
/// password is written. The same run without the
/// clamp does write signatures, so this test can see them.
#[tokio::test]
async fn no_signature_is_logged() {
    const CANARY_KEY: &str = "Y2FuYXJ5IGtleSBvZiB0aGUgdGVzdHM=";
    let azurite = azurite::shared().await;
    BlobWriter::create(azurite, "hygiene").await.put("a", &[b"content"]).await;
    let refusing = refusing_server().await;
    let proxy = ForwardProxy::start(None).await;
    let run = async || {
        exercise(&*azurite.account().container("hygiene")).await;
        let mut proxied = azurite.config();
        proxied.http.proxy = Some(Proxy::parse(&proxy.url("user:canary-password@")).unwrap());
        let proxied = AzureAccount::new(proxied).unwrap();
        exercise(&*proxied.container("hygiene")).await;
        let account = account_at(&refusing, CANARY_KEY);
        tracing::debug!(?account, config = ?azurite.config(), "debug output of what holds the key");
        exercise(&*account.container("hygiene")).await;
        account.containers("").await.unwrap_err();
    };

    let everything = Log::default();
    let guard = tracing::subscriber::set_default(unclamped(&everything));
    run().await;
    drop(guard);
    assert!(everything.text().contains("SharedKey testaccount:"), "the unclamped log shows no signature");

    let allowed = Log::default();
    let guard = tracing::subscriber::set_default(clamped(&allowed));
    run().await;
    drop(guard);
    let text = allowed.text();
    assert!(
        text.contains("hyper_util") && text.contains("access denied (status 403, AuthenticationFailed)"),
        "{text}"
    );
    let signatures: Vec<String> = refusing
        .requests()
        .iter()
        .filter_map(|request| request.header("authorization")?.split_once(':'))
        .map(|(_, signature)| signature.to_owned())
        .collect();
    assert!(signatures.len() >= 6, "{signatures:?}");
    let secrets = [ACCOUNT_KEY, CANARY_KEY, "SharedKey", "canary-signature", "canary-password"];
    for secret in signatures.iter().map(String::as_str).chain(secrets) {
        assert!(!text.contains(secret), "{secret} is logged");
    }
}
