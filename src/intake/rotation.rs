//! Secrets and certificates that are read again from their files: when a file changes, and when the intake refuses the
//! credentials. So a rotated key or a renewed certificate needs no restart.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Framing, Overhead, Protocol,
    auth::{Auth, Authorizer},
    http_intake::{Config, IntakeSetupError},
    protocols::ProtocolConfig,
};
use crate::{
    http::{self, Identity, Proxy},
    model::{NotASecret, Secret},
    offload::offload,
    telemetry::chain,
};

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
    /// `auth.api_key`.
    ApiKey,
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
    pub const SECRETS: [Self; 7] = [
        Self::IntakeKey,
        Self::Token,
        Self::Bearer,
        Self::ApiKey,
        Self::Password,
        Self::HeaderValue,
        Self::ClientSecret,
    ];

    /// The key of the settings below the intake's table.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::IntakeKey => "intake_key",
            Self::Token => "token",
            Self::Bearer => "auth.bearer",
            Self::ApiKey => "auth.api_key",
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
            (Self::ApiKey, _, Auth::ApiKey(key)) => Some(key),
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

/// What changes when a file does, where it is there: the times of its content and of its owner and mode, its length and
/// the file itself.
type Stamp = Option<(SystemTime, (i64, i64), u64, u64)>;

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

    /// How events are laid out, which does not depend on secrets; what surrounds them may.
    pub(super) fn framing(&self) -> &dyn Framing {
        self.first.protocol.as_ref()
    }

    /// The size of what surrounds the events of the next request.
    pub(super) fn overhead(&self) -> Overhead {
        self.state().connection.protocol.overhead()
    }

    /// What the next request is made with.
    pub(super) async fn current(&self) -> Arc<Connection> {
        let due = {
            let mut state = self.state();
            let is_due = state.stamps.is_none() || state.looked.elapsed() >= state.config.look_every;
            (is_due && !state.config.files.is_empty()).then(|| {
                state.looked = Instant::now();
                state.config.files.clone()
            })
        };
        if let Some(files) = due
            && let Ok(stamps) = offload(move || stamps(&files)).await
        {
            let before = self.state().stamps.replace(stamps.clone());
            // The first look also finds what has changed since the settings were read.
            if before.as_ref() != Some(&stamps) {
                self.read_files().await;
            }
        }
        Arc::clone(&self.state().connection)
    }

    /// Reads the files again, after a request with this connection came to nothing. Returns another connection, where what
    /// they hold now makes one, or made one meanwhile.
    pub(super) async fn read_again(&self, used: &Arc<Connection>) -> Option<Arc<Connection>> {
        let other = || Some(Arc::clone(&self.state().connection)).filter(|known| !Arc::ptr_eq(known, used));
        if let Some(renewed) = other() {
            return Some(renewed);
        }
        self.read_files().await;
        other()
    }

    async fn read_files(&self) {
        let known = self.state().config.clone();
        if known.files.is_empty() {
            return;
        }
        let (client, session) = (self.state().connection.client.clone(), self.session);
        let work = move || {
            let files = known.files.clone();
            renewed(known, client, session, read_all(files))
        };
        let Ok(Some((config, connection, keys))) = offload(work).await else { return };
        let mut state = self.state();
        (state.config, state.connection) = (config, Arc::new(connection));
        drop(state);
        let keys = keys.join(", ");
        info!(keys, "secrets or certificates of an intake were read again from their files");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is new in the files and can be used, each for itself: one that is wrong does not hold up the others. `None` where
/// there is nothing.
fn renewed(
    known: Config,
    client: http::Client,
    session: u128,
    mut contents: Contents,
) -> Option<(Config, Connection, Vec<&'static str>)> {
    let (mut config, mut client, mut made, mut keys) = (known, client, None, Vec::new());
    // Only the pair is renewed: between the writing of the one file and of the other they do not fit.
    let places = FilePlace::SECRETS.into_iter().chain([FilePlace::Roots, FilePlace::ClientKey]);
    for place in places {
        let Some(bytes) = contents.remove(&place) else { continue };
        let mut tried = config.clone();
        let is_new = match place {
            FilePlace::Roots => Ok(tried.http.extra_roots_pem.replace(bytes) != config.http.extra_roots_pem),
            FilePlace::ClientKey | FilePlace::ClientCertificate => {
                let Some(chain) = contents.remove(&FilePlace::ClientCertificate) else { continue };
                renew_identity(&mut tried, chain, bytes)
            }
            FilePlace::IntakeKey
            | FilePlace::Token
            | FilePlace::Bearer
            | FilePlace::Password
            | FilePlace::HeaderValue
            | FilePlace::ApiKey
            | FilePlace::ClientSecret => renew_secret(place, &mut tried, bytes),
        };
        let connected = match is_new {
            Ok(false) => continue,
            Ok(true) => connect(&config, &tried, &client, session),
            Err(error) => Err(error),
        };
        match connected {
            Ok(connection) => {
                client = connection.client.clone();
                (config, made) = (tried, Some(connection));
                keys.push(place.key());
            }
            Err(error) => say_unusable(place, error.as_ref()),
        }
    }
    made.map(|connection| (config, connection, keys))
}

type Unusable = Box<dyn std::error::Error + Send + Sync>;

/// The connection that a changed configuration makes. The client, with its open connections, stays where it can.
fn connect(
    known: &Config,
    tried: &Config,
    client: &http::Client,
    session: u128,
) -> Result<Connection, Unusable> {
    let client = if known.http == tried.http {
        client.clone()
    } else {
        http::Client::new(&tried.http).map_err(IntakeSetupError::Client)?
    };
    Ok(Connection::new(tried, client, session)?)
}

/// Whether the file of a secret holds another one now.
fn renew_secret(place: FilePlace, config: &mut Config, bytes: Vec<u8>) -> Result<bool, Unusable> {
    let secret = Secret::from_file(bytes).map_err(NotRead::Text)?;
    let known = place.secret(config).filter(|known| **known != secret);
    Ok(known.map(|known| *known = secret).is_some())
}

/// Whether the files of the client certificate hold another pair now.
fn renew_identity(config: &mut Config, chain: Vec<u8>, key: Vec<u8>) -> Result<bool, Unusable> {
    if config.http.identity.as_ref().is_none_or(|known| known.pem() == (&chain, &key)) {
        return Ok(false);
    }
    config.http.identity = Some(Identity::from_pem(chain, key)?);
    Ok(true)
}

fn say_unusable(place: FilePlace, error: &(dyn std::error::Error + 'static)) {
    warn!(key = place.key(), error = %chain(error), "a file of an intake cannot be read again");
}

fn stamps(files: &[WatchedFile]) -> Vec<Stamp> {
    let stamp = |file: &WatchedFile| {
        let metadata = fs::metadata(&file.path).ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some((metadata.modified().ok()?, changed, metadata.len(), metadata.ino()))
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
