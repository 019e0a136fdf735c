//! The account's keys: one or two, each a text or a file. A key that is refused is looked up again in its file, then
//! the other one is tried; whichever the server takes is used first from then on. So keys are rotated without a
//! restart, and without a gap.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use azure_core::{ClientOptions, Pipeline, RetryOptions, TransportOptions};
use azure_storage::{StorageCredentials, clients::new_pipeline_from_options};

use super::{
    connection_string::{ConnectionString, ConnectionStringError},
    transport::Transport,
};
use crate::{
    model::{NotASecret, Secret},
    offload::{Ending, offload},
    telemetry::chain,
};

/// An account key and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountKey {
    /// The key, base64 as the portal shows it.
    pub key: Secret,
    /// The file that the key was read from; it is read again when the key is refused.
    pub file: Option<KeyFile>,
}

impl From<Secret> for AccountKey {
    fn from(key: Secret) -> Self {
        Self { key, file: None }
    }
}

/// A file with a key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it holds.
    pub form: KeyForm,
}

/// What a key's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// The key alone.
    Key,
    /// A connection string.
    ConnectionString,
}

/// A key's file cannot be used.
#[derive(Debug, thiserror::Error)]
enum KeyFileError {
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    #[error("the file {0}")]
    Text(NotASecret),
    #[error("the file holds no usable connection string")]
    ConnectionString(#[source] ConnectionStringError),
    #[error("the file's connection string is of another account")]
    Account,
    #[error("the file's key is not base64")]
    Key,
}

/// Whether a text can be an account key: it is decoded as the SDK will decode it at each signature.
pub(super) fn is_key(key: &Secret) -> bool {
    // An empty text is base64 too.
    azure_core::base64::decode(key.reveal()).is_ok_and(|bytes| !bytes.is_empty())
}

/// Signs requests with one key, and sends them.
pub(super) struct Signer {
    name: &'static str,
    key: Secret,
    pub(super) pipeline: Pipeline,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The keys of an account.
#[derive(Debug)]
pub(super) struct Keys {
    account: String,
    transport: Transport,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What is used first.
    used: Arc<Signer>,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    file: Option<KeyFile>,
    signer: Arc<Signer>,
}

impl Keys {
    pub(super) fn new(
        account: &str,
        transport: Transport,
        account_key: AccountKey,
        secondary_key: Option<AccountKey>,
    ) -> Self {
        let slot = |name, AccountKey { key, file }| Slot {
            file,
            signer: Arc::new(signer(account, &transport, name, key)),
        };
        let first = slot("account_key", account_key);
        let used = Arc::clone(&first.signer);
        let second = secondary_key.map(|key| slot("secondary_key", key));
        let slots = std::iter::once(first).chain(second).collect();
        Self { account: account.to_owned(), transport, state: Mutex::new(State { used, slots }) }
    }

    /// The key that is used first.
    pub(super) fn first(&self) -> Arc<Signer> {
        Arc::clone(&self.state().used)
    }

    /// A key that is not among those that were refused; the files are read again for it.
    pub(super) async fn another(&self, refused: &[Arc<Signer>]) -> Option<Arc<Signer>> {
        self.read_files_again().await;
        let state = self.state();
        let is_new = |signer: &&Arc<Signer>| !refused.iter().any(|other| Arc::ptr_eq(other, signer));
        let mut candidates = std::iter::once(&state.used).chain(state.slots.iter().map(|slot| &slot.signer));
        candidates.find(is_new).cloned()
    }

    /// The server took this key after it had refused another one: it is used first from now on.
    pub(super) fn prefer(&self, signer: &Arc<Signer>) {
        let mut state = self.state();
        if Arc::ptr_eq(&state.used, signer) {
            return;
        }
        let is_same_setting = state.used.name == signer.name;
        state.used = Arc::clone(signer);
        drop(state);
        let how = if is_same_setting { "read again from its file" } else { "tried after the other one" };
        tracing::info!(account = %self.account, key = signer.name, how, "the storage account takes another key");
    }

    async fn read_files_again(&self) {
        let files: Vec<(usize, KeyFile)> = {
            let state = self.state();
            let with_files = state.slots.iter().enumerate();
            with_files.filter_map(|(index, slot)| Some((index, slot.file.clone()?))).collect()
        };
        for (index, file) in files {
            let (path, account) = (file.path.clone(), self.account.clone());
            match offload(move || read_key(&file, &account)).await {
                Ok(Ok(key)) => self.replace(index, key),
                Ok(Err(error)) => {
                    tracing::warn!(account = %self.account, path = %path.display(), error = %chain(&error),
                        "a refused key cannot be read again");
                }
                Err(Ending) => {}
            }
        }
    }

    fn replace(&self, index: usize, key: Secret) {
        let mut state = self.state();
        if let Some(slot) = state.slots.get_mut(index).filter(|slot| slot.signer.key != key) {
            slot.signer = Arc::new(signer(&self.account, &self.transport, slot.signer.name, key));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signer(account: &str, transport: &Transport, name: &'static str, key: Secret) -> Signer {
    let credentials =
        StorageCredentials::access_key(account, azure_core::auth::Secret::new(key.reveal().to_owned()));
    let options =
        ClientOptions::new(TransportOptions::new(Arc::new(transport.clone()))).retry(RetryOptions::none());
    Signer { name, key, pipeline: new_pipeline_from_options(options, credentials) }
}

fn read_key(file: &KeyFile, account: &str) -> Result<Secret, KeyFileError> {
    let bytes = fs::read(&file.path).map_err(KeyFileError::Read)?;
    let text = Secret::from_file(bytes).map_err(KeyFileError::Text)?;
    let key = match file.form {
        KeyForm::Key => text,
        KeyForm::ConnectionString => {
            let parsed = ConnectionString::parse(text.reveal()).map_err(KeyFileError::ConnectionString)?;
            if parsed.account != account {
                return Err(KeyFileError::Account);
            }
            parsed.account_key
        }
    };
    if is_key(&key) { Ok(key) } else { Err(KeyFileError::Key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: files of both forms, whole and unusable. Guarantees: a key comes out letter for letter, or an error that
    /// says why and shows nothing of the file.
    #[test]
    fn key_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let check = |form: KeyForm, content: &str, expected: Result<&str, &str>| {
            fs::write(&path, content).unwrap();
            let read = read_key(&KeyFile { path: path.clone(), form }, "acme");
            let error = read.as_ref().err().map(|error| chain(error).to_string());
            assert_eq!(read.as_ref().map(Secret::reveal).ok(), expected.ok(), "{content}");
            if let Err(expected) = expected {
                let text = error.unwrap();
                assert!(text.contains(expected) && !text.contains("Y2FuYXJ5"), "{content}: {text}");
            }
        };
        check(KeyForm::Key, "Y2FuYXJ5\n", Ok("Y2FuYXJ5"));
        check(KeyForm::Key, "", Err("is empty"));
        check(KeyForm::Key, "Y2FuYXJ5!", Err("not base64"));
        let whole = "AccountName=acme;AccountKey=Y2FuYXJ5;EndpointSuffix=core.windows.net";
        check(KeyForm::ConnectionString, whole, Ok("Y2FuYXJ5"));
        check(KeyForm::ConnectionString, &whole.replace("acme", "other"), Err("another account"));
        check(KeyForm::ConnectionString, &whole.replace("AccountKey", "X"), Err("part 2"));
        let missing = read_key(&KeyFile { path: directory.path().join("x"), form: KeyForm::Key }, "acme");
        assert!(matches!(missing, Err(KeyFileError::Read(_))));
    }
}
