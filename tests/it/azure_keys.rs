//! Keys that are wrong, rotated or refused for another reason, against the real test server and a scripted one.

use std::{fs, path::PathBuf};

use flowlogd::{
    model::Secret,
    storage::{
        Account, ListQuery, StorageError, StorageErrorKind,
        azure::{self, AccountKey, AzureAccount, KeyFile, KeyForm},
    },
};
use tempfile::TempDir;
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::support::{
    azurite::{self, ACCOUNT, ACCOUNT_KEY, Azurite},
    blob_writer::BlobWriter,
    log::Log,
    scripted_server::{ScriptedServer, Step},
};

/// A key of nobody.
const WRONG_KEY: &str = "d3Jvbmcga2V5";

fn text(key: &str) -> AccountKey {
    Secret::new(key.to_owned()).into()
}

/// A key's file that can be changed.
struct Rotated {
    _directory: TempDir,
    path: PathBuf,
    form: KeyForm,
}

impl Rotated {
    fn new(form: KeyForm) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        Self { _directory: directory, path, form }
    }

    /// As it would be loaded: the wrong key was in it.
    fn wrong(&self) -> AccountKey {
        self.write(WRONG_KEY);
        AccountKey {
            key: Secret::new(WRONG_KEY.to_owned()),
            file: Some(KeyFile { path: self.path.clone(), form: self.form }),
        }
    }

    /// A new file takes the place of the old one, as tools that rotate secrets do it.
    fn write(&self, key: &str) {
        let content = match self.form {
            KeyForm::Key => format!("{key}\n"),
            KeyForm::ConnectionString => {
                format!("AccountName={ACCOUNT};AccountKey={key};BlobEndpoint=http://127.0.0.1:1/x\n")
            }
        };
        let new_path = self.path.with_extension("new");
        fs::write(&new_path, content).unwrap();
        fs::rename(new_path, &self.path).unwrap();
    }
}

async fn list(account: &AzureAccount, container: &str) -> Result<usize, StorageError> {
    let query = ListQuery { prefix: "", delimiter: None, marker: None };
    Ok(account.container(container).list_page(query).await?.blobs.len())
}

/// A container with one blob, and an account that sees it with these keys.
async fn account(
    azurite: &Azurite,
    container: &str,
    account_key: AccountKey,
    secondary_key: Option<AccountKey>,
) -> AzureAccount {
    BlobWriter::create(azurite, container).await.put("a", &[b"content"]).await;
    AzureAccount::new(azure::Config { account_key, secondary_key, ..azurite.config() }).unwrap()
}

/// How many listings of a container the server was asked for. One more, which the server logs behind them, shows that
/// all are counted.
async fn n_listings(azurite: &Azurite, container: &str) -> usize {
    let query = ListQuery { prefix: "last", delimiter: None, marker: None };
    azurite.account().container(container).list_page(query).await.unwrap();
    let listing = format!("{container}?restype=container&comp=list");
    azurite.requests(&format!("{listing}&prefix=last"), 1).await;
    azurite.requests(&listing, 1).await.len() - 1
}

/// Scenario: the first key is wrong and the second is right. Guarantees: the listing succeeds; from then on the second
/// key is used first, which is logged once, without a key.
#[tokio::test]
async fn the_second_key_is_tried_and_kept() {
    let azurite = azurite::shared().await;
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.subscriber(EnvFilter::new("flowlogd=info")));
    let account = account(azurite, "keys-second", text(WRONG_KEY), Some(text(ACCOUNT_KEY))).await;
    for _ in 0..3 {
        assert_eq!(list(&account, "keys-second").await.unwrap(), 1);
    }
    assert_eq!(n_listings(azurite, "keys-second").await, 4);
    let logged = log.text();
    assert_eq!(logged.matches("the storage account takes another key").count(), 1, "{logged}");
    assert!(logged.contains("key=\"secondary_key\""), "{logged}");
    assert!(!logged.contains(ACCOUNT_KEY) && !logged.contains(WRONG_KEY), "{logged}");
}

/// Scenario: the only key is in a file, alone or in a connection string; it is wrong, and becomes right while the program
/// runs. Guarantees: the first listing is refused, the next one finds the new key, which is used from then on.
#[tokio::test]
async fn a_key_is_looked_up_again_in_its_file() {
    let azurite = azurite::shared().await;
    for (container, form) in
        [("keys-file", KeyForm::Key), ("keys-connection-string", KeyForm::ConnectionString)]
    {
        let file = Rotated::new(form);
        let account = account(azurite, container, file.wrong(), None).await;
        let refused = list(&account, container).await.unwrap_err();
        assert!(matches!(refused.kind, StorageErrorKind::Denied { .. }), "{refused:?}");
        file.write(ACCOUNT_KEY);
        for _ in 0..2 {
            assert_eq!(list(&account, container).await.unwrap(), 1);
        }
        // Refused; refused and taken; taken.
        assert_eq!(n_listings(azurite, container).await, 4, "{container}");
    }
}

/// Scenario: both keys are in files, both wrong; then the second file gets the right key. Guarantees: first each is tried
/// once and the refusal is told, then the new second key is found without a restart.
#[tokio::test]
async fn the_second_key_has_a_file_too() {
    let azurite = azurite::shared().await;
    let (first, second) = (Rotated::new(KeyForm::Key), Rotated::new(KeyForm::Key));
    let account = account(azurite, "keys-both", first.wrong(), Some(second.wrong())).await;
    let refused = list(&account, "keys-both").await.unwrap_err();
    assert!(refused.to_string().contains("access denied"), "{refused}");
    second.write(ACCOUNT_KEY);
    assert_eq!(list(&account, "keys-both").await.unwrap(), 1);
    assert_eq!(list(&account, "keys-both").await.unwrap(), 1);
    // Two are refused; the first is refused and the new second is taken; taken.
    assert_eq!(n_listings(azurite, "keys-both").await, 5);
}

/// Scenario: a refused key's file is away, damaged, or of another account's connection string. Guarantees: the refusal is
/// told, why the file is of no use is logged, and nothing of the file is shown.
#[tokio::test]
async fn an_unusable_file_is_told() {
    let denied = Step::answer(403, &[("x-ms-error-code", "AuthenticationFailed")], "");
    let server = ScriptedServer::start(vec![denied]).await;
    for (content, form, expected) in [
        (None, KeyForm::Key, "the file cannot be read"),
        (Some("Y2FuYXJ5 Y2FuYXJ5"), KeyForm::Key, "the file's key is not base64"),
        (Some("Y2FuYXJ5=;"), KeyForm::ConnectionString, "part 1 has a name that is not known"),
        (
            Some("AccountName=other;AccountKey=Y2FuYXJ5;EndpointSuffix=s"),
            KeyForm::ConnectionString,
            "of another account",
        ),
    ] {
        let file = Rotated::new(form);
        let config = azure::Config {
            account: "acme".to_owned(),
            account_key: file.wrong(),
            endpoint: Url::parse(&server.url()).unwrap(),
            ..azurite::shared().await.config()
        };
        match content {
            Some(content) => fs::write(&file.path, content).unwrap(),
            None => fs::remove_file(&file.path).unwrap(),
        }
        let log = Log::default();
        let guard = tracing::subscriber::set_default(log.subscriber(EnvFilter::new("flowlogd=info")));
        let n_requests = server.requests().len();
        let refused = list(&AzureAccount::new(config).unwrap(), "logs").await.unwrap_err();
        drop(guard);
        assert!(refused.to_string().contains("check the account key"), "{refused}");
        assert_eq!(server.requests().len(), n_requests + 1);
        assert!(log.text().contains(expected) && !log.text().contains("Y2Fu"), "{}", log.text());
    }
}

/// Scenario: refusals that no key can turn, and ones that another key may, with a second key at hand. Guarantees: only
/// the latter cost a second request.
#[tokio::test]
async fn another_key_is_tried_where_it_can_help() {
    for (status, code, n_requests) in [
        (403, "AuthenticationFailed", 2),
        (403, "AuthorizationFailure", 2),
        (403, "KeyBasedAuthenticationNotPermitted", 1),
        (403, "AccountIsDisabled", 1),
        (403, "AuthorizationPermissionMismatch", 1),
        (401, "NoAuthenticationInformation", 1),
        (404, "ContainerNotFound", 1),
    ] {
        let server =
            ScriptedServer::start(vec![Step::answer(status, &[("x-ms-error-code", code)], "")]).await;
        let config = azure::Config {
            account_key: text(WRONG_KEY),
            secondary_key: Some(text(ACCOUNT_KEY)),
            endpoint: Url::parse(&server.url()).unwrap(),
            ..azurite::shared().await.config()
        };
        list(&AzureAccount::new(config).unwrap(), "logs").await.unwrap_err();
        let requests = server.requests();
        assert_eq!(requests.len(), n_requests, "{code}");
        let mut signatures: Vec<_> = requests.iter().map(|request| request.header("authorization")).collect();
        signatures.dedup();
        assert_eq!(signatures.len(), n_requests, "{code}: the same key was tried again");
    }
}
