//! What the commands on the stored state share: where it is, which blobs are meant, and how a failure ends.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    exit::{Exit, Failure},
    load_settings,
};
use crate::{
    model::Origin,
    store::{StoreError, sqlite::SqliteStore},
};

/// The state directory: the flag's, else the setting's.
///
/// # Errors
/// Where no flag names it and the settings cannot be loaded.
pub(super) fn state_directory(config: Option<&Path>, flag: Option<&Path>) -> Result<PathBuf, Failure> {
    match flag {
        Some(directory) => Ok(directory.to_path_buf()),
        None => Ok(load_settings(config)?.settings.state_dir),
    }
}

/// The state that is there, to change it. A mistyped directory does not become a new state.
///
/// # Errors
/// As the store says; where there is none too.
pub(super) fn open_existing(directory: &Path) -> Result<SqliteStore, StoreError> {
    drop(SqliteStore::open_read_only(directory)?);
    SqliteStore::open(directory)
}

/// Joins a store's error and the code that a command ends with.
pub(super) fn failure(error: StoreError) -> Failure {
    let exit = match &error {
        StoreError::Locked { .. } => Exit::Locked,
        StoreError::NewerSchema { .. } => Exit::Configuration,
        StoreError::Gap { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Full { .. }
        | StoreError::ReadOnly { .. }
        | StoreError::Io { .. } => Exit::CannotStart,
    };
    Failure::new(exit, error)
}

/// The argument `ACCOUNT/CONTAINER`.
///
/// # Errors
/// What is expected, where it is not that.
pub(super) fn parse_origin(text: &str) -> Result<Origin, String> {
    let (account, container) =
        text.split_once('/').ok_or_else(|| String::from("expected ACCOUNT/CONTAINER, found no slash"))?;
    Ok(Origin { account: account.to_owned(), container: container.to_owned() })
}

/// One JSON object, and the end of the line.
///
/// # Errors
/// What the writer says.
pub(super) fn write_json(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// How a command ends that has written its results.
///
/// # Errors
/// Where they could not be written.
pub(super) fn written(result: io::Result<()>) -> Result<Exit, Failure> {
    match result {
        Ok(()) => Ok(Exit::Success),
        // Whoever reads has seen enough, as in `flowlogd checkpoints export | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Success),
        Err(error) => {
            Err(Failure::new(Exit::CannotStart, anyhow::Error::new(error).context("write to stdout")))
        }
    }
}
