//! One owner at a time: a lock file beside the database. The operating system drops the lock with the process, so a
//! crash leaves nothing to clean up.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
    process,
};

use super::io_error;
use crate::store::StoreError;

const LOCK_FILE: &str = "flowlogd.lock";

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock of a state directory and writes this process's id into it.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOCK_FILE);
        let failed = || format!("lock {}", path.display());
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| io_error(failed(), error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let is_known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                return Err(StoreError::Locked {
                    directory: directory.display().to_string(),
                    pid: if is_known { pid.trim().to_owned() } else { "unknown".to_owned() },
                });
            }
            Err(TryLockError::Error(error)) => return Err(io_error(failed(), error)),
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", process::id()));
        written.map_err(|error| io_error(failed(), error))?;
        Ok(Self { _file: file })
    }
}
