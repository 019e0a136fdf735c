//! Secrets and certificates that are read again from their files: when a file changes, and when the intake refuses the
//! credentials. So a rotated key or a renewed certificate needs no restart.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Framing, Protocol,
    auth::{Auth, Authorizer},
    http_intake::{Config, IntakeSetupError},
    protocols::ProtocolConfig,
};
use crate::{
    http::{self, Identity, NotAnIdentity, Proxy},
    model::{NotASecret, Secret},
    telemetry::chain,
};

/// Whether a file has changed is looked at this often at most.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A file with something of an intake in it that is renewed now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it holds.
    pub place: FilePlace,
}

/// What can stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilePlace {
    /// `intake_key`.
    IntakeKey,
    /// `token`.
    Token,
    /// `auth.bearer`.
    Bearer,
    /// `auth.basic.password`.
    Password,
    /// `auth.header.value`.
    HeaderValue,
    /// `auth.oauth2_client_credentials.client_secret`.
    ClientSecret,
    /// `ca_file`.
    Roots,
    /// `client_cert_file`.
    ClientCertificate,
    /// `client_key_file`.
    ClientKey,
}

impl FilePlace {
    /// The secrets.
    pub const SECRETS: [Self; 6] =
        [Self::IntakeKey, Self::Token, Self::Bearer, Self::Password, Self::HeaderValue, Self::ClientSecret];

    /// The key of the settings below the intake's table.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::IntakeKey => "intake_key",
            Self::Token => "token",
            Self::Bearer => "auth.bearer",
            Self::Password => "auth.basic.password",
            Self::HeaderValue => "auth.header.value",
            Self::ClientSecret => "auth.oauth2_client_credentials.client_secret",
            Self::Roots => "ca_file",
            Self::ClientCertificate => "client_cert_file",
            Self::ClientKey => "client_key_file",
        }
    }

    /// Where the secret stands in a configuration, if there is one.
    fn secret(self, config: &mut Config) -> Option<&mut Secret> {
        match (self, &mut config.protocol, &mut config.auth) {
            (Self::IntakeKey, ProtocolConfig::Sekoia { intake_key }, _) => Some(intake_key),
            (Self::Token, ProtocolConfig::SplunkHec(splunk), _) => Some(&mut splunk.token),
            (Self::Bearer, _, Auth::Bearer(token)) => Some(token),
            (Self::Password, _, Auth::Basic { password, .. }) => Some(password),
            (Self::HeaderValue, _, Auth::Header { value, .. }) => Some(value),
            (Self::ClientSecret, _, Auth::ClientCredentials(client)) => Some(&mut client.client_secret),
            _ => None,
        }
    }
}

/// A file cannot be used as it is now; what is known stays.
#[derive(Debug, thiserror::Error)]
enum NotRead {
    #[error("the file cannot be read")]
    File(#[source] io::Error),
    #[error("the file {0}")]
    Text(NotASecret),
}

/// What requests are made with.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) protocol: Arc<dyn Protocol>,
    pub(super) authorizer: Authorizer,
    pub(super) client: http::Client,
}

impl Connection {
    fn new(config: &Config, client: http::Client, session: u128) -> Result<Self, IntakeSetupError> {
        let protocol = config.protocol.build(&config.url, session).map_err(IntakeSetupError::Request)?;
        let mut secrets = protocol.secrets();
        secrets.extend(config.http.proxy.iter().flat_map(Proxy::secrets));
        let authorizer = Authorizer::new(&config.auth, secrets).map_err(IntakeSetupError::Request)?;
        Ok(Self { protocol, authorizer, client })
    }
}

/// The connection of an intake with what is in its files now.
#[derive(Debug)]
pub(super) struct Rotation {
    /// As the settings had it at the start; never changes.
    first: Arc<Connection>,
    /// A random number: what this process is to the intake, whatever its secrets are.
    session: u128,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Config,
    connection: Arc<Connection>,
    looked: Instant,
    /// What the files looked like when they were read last; `None` before they were looked at.
    stamps: Option<Vec<Stamp>>,
}

/// What changes when a file does: its time and its length, where it is there.
type Stamp = Option<(SystemTime, u64)>;

/// What the files hold that could be read.
type Contents = BTreeMap<FilePlace, Vec<u8>>;

impl Rotation {
    /// # Errors
    /// [`IntakeSetupError`] where the configuration does not make a connection.
    pub(super) fn new(config: Config) -> Result<Self, IntakeSetupError> {
        let client = http::Client::new(&config.http).map_err(IntakeSetupError::Client)?;
        let session = fastrand::u128(..);
        let first = Arc::new(Connection::new(&config, client, session)?);
        let connection = Arc::clone(&first);
        let state = State { config, connection, looked: Instant::now(), stamps: None };
        Ok(Self { first, session, state: Mutex::new(state) })
    }

    /// How events are laid out, which does not depend on secrets.
    pub(super) fn framing(&self) -> &dyn Framing {
        self.first.protocol.as_ref()
    }

    /// What the next request is made with.
    pub(super) async fn current(&self) -> Arc<Connection> {
        let due = {
            let mut state = self.state();
            let is_due = state.stamps.is_none() || state.looked.elapsed() >= LOOK_EVERY;
            (is_due && !state.config.files.is_empty()).then(|| {
                state.looked = Instant::now();
                state.config.files.clone()
            })
        };
        if let Some(files) = due
            && let Ok(stamps) = tokio::task::spawn_blocking(move || stamps(&files)).await
        {
            let before = self.state().stamps.replace(stamps.clone());
            // The first look also finds what has changed since the settings were read.
            if before.as_ref() != Some(&stamps) {
                self.read_again().await;
            }
        }
        Arc::clone(&self.state().connection)
    }

    /// Reads the files again. Returns the connection with what they hold now, where that is something else.
    pub(super) async fn read_again(&self) -> Option<Arc<Connection>> {
        let files = self.state().config.files.clone();
        if files.is_empty() {
            return None;
        }
        // An error: the runtime is ending.
        let contents = tokio::task::spawn_blocking(move || read_all(files)).await.ok()?;
        let mut state = self.state();
        let (config, keys) = renewed(&state.config, contents);
        if keys.is_empty() {
            return None;
        }
        let keys = keys.join(", ");
        let client = if config.http == state.config.http {
            Ok(state.connection.client.clone())
        } else {
            http::Client::new(&config.http).map_err(IntakeSetupError::Client)
        };
        match client.and_then(|client| Connection::new(&config, client, self.session)) {
            Ok(connection) => {
                let connection = Arc::new(connection);
                state.config = config;
                state.connection = Arc::clone(&connection);
                drop(state);
                info!(keys, "secrets or certificates of an intake were read again from their files");
                Some(connection)
            }
            Err(error) => {
                warn!(keys, error = %chain(&error), "what a file of an intake holds now cannot be used");
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configuration with what the files hold now, and the keys of what is new in it.
fn renewed(known: &Config, mut contents: Contents) -> (Config, Vec<&'static str>) {
    let mut config = known.clone();
    let mut keys = Vec::new();
    for place in FilePlace::SECRETS {
        let Some(bytes) = contents.remove(&place) else { continue };
        match Secret::from_file(bytes) {
            Ok(secret) => {
                if let Some(known) = place.secret(&mut config).filter(|known| **known != secret) {
                    *known = secret;
                    keys.push(place.key());
                }
            }
            Err(error) => say_unusable(place, &NotRead::Text(error)),
        }
    }
    if let Some(pem) = contents.remove(&FilePlace::Roots)
        && config.http.extra_roots_pem.as_ref() != Some(&pem)
    {
        config.http.extra_roots_pem = Some(pem);
        keys.push(FilePlace::Roots.key());
    }
    // Only the pair is renewed: between the writing of the one file and of the other they do not fit.
    let pair = contents.remove(&FilePlace::ClientCertificate).zip(contents.remove(&FilePlace::ClientKey));
    if let Some((certificates_pem, key_pem)) = pair
        && config.http.identity.as_ref().is_some_and(|known| known.pem() != (&certificates_pem, &key_pem))
    {
        match Identity::from_pem(certificates_pem, key_pem) {
            Ok(identity) => {
                config.http.identity = Some(identity);
                keys.extend([FilePlace::ClientCertificate.key(), FilePlace::ClientKey.key()]);
            }
            Err(error) => {
                let place = match error {
                    NotAnIdentity::Certificate => FilePlace::ClientCertificate,
                    NotAnIdentity::Key
                    | NotAnIdentity::Encrypted
                    | NotAnIdentity::Unusable(_)
                    | NotAnIdentity::Mismatch => FilePlace::ClientKey,
                };
                say_unusable(place, &error);
            }
        }
    }
    (config, keys)
}

fn say_unusable(place: FilePlace, error: &(dyn std::error::Error + 'static)) {
    warn!(key = place.key(), error = %chain(error), "a file of an intake cannot be read again");
}

fn stamps(files: &[WatchedFile]) -> Vec<Stamp> {
    let stamp = |file: &WatchedFile| {
        let metadata = fs::metadata(&file.path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}

fn read_all(files: Vec<WatchedFile>) -> Contents {
    let mut contents = Contents::new();
    for WatchedFile { path, place } in files {
        match fs::read(&path) {
            Ok(bytes) => {
                contents.insert(place, bytes);
            }
            Err(error) => {
                warn!(
                    key = place.key(), path = %path.display(), error = %chain(&NotRead::File(error)),
                    "a file of an intake cannot be read again",
                );
            }
        }
    }
    contents
}
