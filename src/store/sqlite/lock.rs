//! The lock beside the database: one process owns the state. The kernel drops it when the process ends, however it
//! ends, so there are no stale locks.

use std::{
    fs::{File, TryLockError},
    io::{Read, Write},
    path::Path,
};

use crate::store::StoreError;

const LOCK_FILE: &str = "flowlogd.lock";

/// Longest process id that is read from a lock file.
const PID_BYTES: u64 = 32;

/// Held for as long as this value lives.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOCK_FILE);
        let failed = |source: std::io::Error| StoreError::Io {
            operation: format!("lock {}", path.display()),
            source: source.into(),
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    directory: directory.display().to_string(),
                    pid: holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    /// A process that is just being started has copies of all files until its program runs, and a lock lives as long as
    /// one copy is open; letting go explicitly ends it for all copies.
    fn drop(&mut self) {
        drop(self.file.unlock());
    }
}

fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.take(PID_BYTES).read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => pid.trim().to_owned(),
        Ok(_) | Err(_) => String::from("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the owner lets go while a copy of the lock's file is still open, as in a child process that is being
    /// started. Guarantees: the next owner gets the lock at once; while it is held nobody does.
    #[test]
    fn letting_go_is_final() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::take(directory.path()).unwrap();
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(directory.path()), Err(StoreError::Locked { .. })));
        drop(lock);
        Lock::take(directory.path()).unwrap();
        drop(copy);
    }
}
