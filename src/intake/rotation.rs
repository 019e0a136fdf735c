//! Secrets that are read again from their files: when a file changes, and when the intake refuses the credentials. So a
//! rotated key needs no restart.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Protocol,
    http_intake::{Auth, Config, ProtocolConfig},
    protocols::{RequestError, http_generic::HttpGeneric, sekoia::Sekoia},
};
use crate::{
    model::{NotASecret, Secret},
    telemetry::chain,
};

/// Whether a file has changed is looked at this often at most.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A file with a secret of an intake in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Which secret it holds.
    pub place: SecretPlace,
}

/// The secrets that an intake can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretPlace {
    /// `intake_key`.
    IntakeKey,
    /// `auth.bearer`.
    Bearer,
    /// `auth.basic.password`.
    Password,
    /// `auth.header.value`.
    HeaderValue,
}

impl SecretPlace {
    /// The key of the settings below the intake's table.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::IntakeKey => "intake_key",
            Self::Bearer => "auth.bearer",
            Self::Password => "auth.basic.password",
            Self::HeaderValue => "auth.header.value",
        }
    }

    /// Where the secret stands in a configuration, if there is one.
    fn of(self, config: &mut ProtocolConfig) -> Option<&mut Secret> {
        match (self, config) {
            (Self::IntakeKey, ProtocolConfig::Sekoia { intake_key }) => Some(intake_key),
            (Self::Bearer, ProtocolConfig::Http { auth: Auth::Bearer(token), .. }) => Some(token),
            (Self::Password, ProtocolConfig::Http { auth: Auth::Basic { password, .. }, .. }) => {
                Some(password)
            }
            (Self::HeaderValue, ProtocolConfig::Http { auth: Auth::Header { value, .. }, .. }) => Some(value),
            _ => None,
        }
    }
}

/// A secret cannot be read again; the one that is known stays.
#[derive(Debug, thiserror::Error)]
enum NotRead {
    #[error("the file cannot be read")]
    File(#[source] io::Error),
    #[error("the file {0}")]
    Text(NotASecret),
}

/// The protocol of an intake with the secrets that are in its files now.
#[derive(Debug)]
pub(super) struct Rotation {
    /// As the settings had it at the start; never changes.
    first: Arc<dyn Protocol>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Config,
    protocol: Arc<dyn Protocol>,
    looked: Instant,
    /// What the files looked like when they were read last; `None` before they were looked at.
    stamps: Option<Vec<Stamp>>,
}

/// What changes when a file does: its time and its length, where it is there.
type Stamp = Option<(SystemTime, u64)>;

impl Rotation {
    pub(super) fn new(config: Config) -> Result<Self, RequestError> {
        let first = protocol(&config)?;
        let state = State { config, protocol: Arc::clone(&first), looked: Instant::now(), stamps: None };
        Ok(Self { first, state: Mutex::new(state) })
    }

    /// The protocol as it was at the start: how events are laid out does not depend on secrets.
    pub(super) fn first(&self) -> &dyn Protocol {
        self.first.as_ref()
    }

    /// The protocol for the next request.
    pub(super) async fn current(&self) -> Arc<dyn Protocol> {
        let due = {
            let mut state = self.state();
            let is_due = state.stamps.is_none() || state.looked.elapsed() >= LOOK_EVERY;
            (is_due && !state.config.secret_files.is_empty()).then(|| {
                state.looked = Instant::now();
                state.config.secret_files.clone()
            })
        };
        if let Some(files) = due
            && let Ok(stamps) = tokio::task::spawn_blocking(move || stamps(&files)).await
        {
            let before = self.state().stamps.replace(stamps.clone());
            if before.is_some_and(|before| before != stamps) {
                self.read_again().await;
            }
        }
        Arc::clone(&self.state().protocol)
    }

    /// Reads the files again. Returns the protocol with what they hold now, where that is something else.
    pub(super) async fn read_again(&self) -> Option<Arc<dyn Protocol>> {
        let files = self.state().config.secret_files.clone();
        if files.is_empty() {
            return None;
        }
        let read = tokio::task::spawn_blocking(move || files.into_iter().map(read).collect::<Vec<_>>());
        // An error: the runtime is ending.
        let read = read.await.ok()?;
        let mut state = self.state();
        let mut config = state.config.clone();
        let mut keys = Vec::new();
        for (file, secret) in read {
            let key = file.place.key();
            match secret {
                Ok(secret) => {
                    if let Some(known) = file.place.of(&mut config.protocol).filter(|known| **known != secret)
                    {
                        *known = secret;
                        keys.push(key);
                    }
                }
                Err(error) => {
                    warn!(key, path = %file.path.display(), error = %chain(&error), "a secret cannot be read again");
                }
            }
        }
        if keys.is_empty() {
            return None;
        }
        match protocol(&config) {
            Ok(protocol) => {
                state.config = config;
                state.protocol = Arc::clone(&protocol);
                drop(state);
                info!(keys = keys.join(", "), "secrets of an intake were read again from their files");
                Some(protocol)
            }
            Err(error) => {
                warn!(keys = keys.join(", "), error = %chain(&error), "what a secret's file holds now cannot be used");
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn protocol(config: &Config) -> Result<Arc<dyn Protocol>, RequestError> {
    Ok(match &config.protocol {
        ProtocolConfig::Sekoia { intake_key } => Arc::new(Sekoia::new(&config.url, intake_key)?),
        ProtocolConfig::Http { framing, headers, auth, success_codes } => {
            Arc::new(HttpGeneric::new(&config.url, *framing, headers, auth, success_codes)?)
        }
    })
}

fn stamps(files: &[SecretFile]) -> Vec<Stamp> {
    let stamp = |file: &SecretFile| {
        let metadata = fs::metadata(&file.path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}

fn read(file: SecretFile) -> (SecretFile, Result<Secret, NotRead>) {
    let bytes = fs::read(&file.path).map_err(NotRead::File);
    let secret = bytes.and_then(|bytes| Secret::from_file(bytes).map_err(NotRead::Text));
    (file, secret)
}
