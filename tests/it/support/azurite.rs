//! Azurite, the storage server that the tests run against.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use flowlogd::{
    http,
    model::Secret,
    storage::azure::{self, AzureAccount},
};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use url::Url;

use super::{tls::Certificates, wait};

/// The account that every Azurite has.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
/// Its key, as Azurite's documentation gives it.
pub(crate) const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// On a loaded machine Azurite needs 20 s and more.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// A request is logged at once, unless the machine is busy.
const LOG_DEADLINE: Duration = Duration::from_secs(30);

/// Ends the server when standard input ends: with its guard, and with the test process however that ends. Signals
/// of the terminal reach the test process; the shell waits for its end. The shared ones are never dropped, so the
/// server's files are removed here too.
const WATCHDOG: &str = r#"
trap '' INT
log=$1
shift
node "$@" >"$log" 2>&1 &
server=$!
cat >/dev/null
kill "$server"
wait "$server"
rm -rf -- "${log%/*}"
"#;

/// A running Azurite with its data in memory. It ends with the value.
#[derive(Debug)]
pub(crate) struct Azurite {
    watchdog: Child,
    log: PathBuf,
    /// Blob endpoint, path style, without a trailing slash.
    pub(crate) endpoint: Url,
    certificates: Option<Certificates>,
    _directory: TempDir,
}

/// The one that tests share: they use containers of their own.
pub(crate) async fn shared() -> &'static Azurite {
    static SHARED: OnceCell<Azurite> = OnceCell::const_new();
    SHARED.get_or_init(Azurite::start).await
}

/// The shared one that speaks HTTPS only.
pub(crate) async fn shared_https() -> &'static Azurite {
    static SHARED: OnceCell<Azurite> = OnceCell::const_new();
    SHARED.get_or_init(Azurite::start_https).await
}

impl Azurite {
    /// Starts one that speaks HTTP.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts one that speaks HTTPS, with a certificate from an authority of its own.
    pub(crate) async fn start_https() -> Self {
        Self::start_with(Some(Certificates::new())).await
    }

    async fn start_with(certificates: Option<Certificates>) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/azurite/node_modules/azurite/dist/src/blob/main.js");
        assert!(
            program.is_file(),
            "Azurite is not installed ({} is missing): run `npm ci --prefix tests/azurite`",
            program.display()
        );
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let log = directory.path().join("access.log");
        File::create(&log).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "azurite-watchdog"]).arg(&log).arg(&program);
        // Port 0: the server takes a free one and prints it.
        command.args([
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            "0",
            "--disableTelemetry",
            "--inMemoryPersistence",
        ]);
        if let Some(certificates) = &certificates {
            let (certificate_file, key_file) = certificates.write_to(directory.path());
            command.arg("--cert").arg(certificate_file).arg("--key").arg(key_file);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).current_dir(directory.path());
        let watchdog = command.spawn().unwrap();
        let mut azurite = Self {
            watchdog,
            log,
            endpoint: Url::parse("http://127.0.0.1/").unwrap(),
            certificates,
            _directory: directory,
        };
        let address = azurite.wait_for_address().await;
        azurite.endpoint = Url::parse(&format!("{address}/{ACCOUNT}")).unwrap();
        azurite
    }

    async fn wait_for_address(&self) -> String {
        let address = || {
            let log = fs::read_to_string(&self.log).unwrap();
            let (_, rest) = log.split_once("successfully listens on ")?;
            let (address, _) = rest.split_once('\n')?;
            Some(address.trim().to_owned())
        };
        let problem = || {
            let log = fs::read_to_string(&self.log).unwrap();
            format!("Azurite does not start; is `node` installed? It said:\n{log}")
        };
        wait::until_some(START_DEADLINE, address, problem).await
    }

    /// How a program connects.
    pub(crate) fn config(&self) -> azure::Config {
        azure::Config {
            account: ACCOUNT.to_owned(),
            account_key: Secret::new(ACCOUNT_KEY.to_owned()).into(),
            secondary_key: None,
            endpoint: self.endpoint.clone(),
            http: self.http_config(),
        }
    }

    /// The account, as a program sees it.
    pub(crate) fn account(&self) -> AzureAccount {
        AzureAccount::new(self.config()).unwrap()
    }

    pub(crate) fn http_config(&self) -> http::Config {
        http::Config {
            extra_roots_pem: self
                .certificates
                .as_ref()
                .map(|certificates| certificates.ca_pem.clone().into_bytes()),
            identity: None,
            proxy: None,
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            total_timeout: None,
        }
    }

    /// The first `n_requests` or more requests whose line holds `part`, such as a container's name: method and target,
    /// in order. The server writes a line a little after its answer.
    pub(crate) async fn requests(&self, part: &str, n_requests: usize) -> Vec<String> {
        let enough = || Some(self.logged(part)).filter(|requests| requests.len() >= n_requests);
        let problem =
            || format!("{n_requests} requests are expected, these were logged: {:?}", self.logged(part));
        wait::until_some(LOG_DEADLINE, enough, problem).await
    }

    fn logged(&self, part: &str) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines()
            .filter_map(|line| line.split('"').nth(1))
            .filter(|request| request.contains(part))
            .map(|request| request.trim_end_matches(" HTTP/1.1").to_owned())
            .collect()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        self.watchdog.wait().unwrap();
    }
}
