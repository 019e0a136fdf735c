//! SQLite's own check of the whole file, beside the start: a thread with a connection of its own reads the file while
//! the owner already answers. Nothing is committed before it has passed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rusqlite::{Connection, InterruptHandle, OptionalExtension};

use super::rows::{RESTORE, RowError};

/// How far the check is.
#[derive(Debug)]
pub(super) enum Check {
    /// It has not begun, or has failed.
    Due,
    /// It is under way.
    Running(Background),
    /// The file is sound.
    Passed,
}

/// A check on a thread of its own. It ends with this value.
pub(super) struct Background {
    thread: Option<JoinHandle<Result<(), RowError>>>,
    cancelled: Arc<AtomicBool>,
    interrupt: InterruptHandle,
}

impl Background {
    /// Begins to check the file of this connection.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let is_cancelled = Arc::clone(&cancelled);
        let interrupt = connection.get_interrupt_handle();
        let thread = std::thread::Builder::new().name(String::from("check")).spawn(move || {
            if is_cancelled.load(Ordering::Acquire) { Ok(()) } else { quick_check(&connection) }
        })?;
        Ok(Self { thread: Some(thread), cancelled, interrupt })
    }

    /// Waits for its end. `None` where the thread did not come to one.
    pub(super) fn wait(mut self) -> Option<Result<(), RowError>> {
        self.thread.take()?.join().ok()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.cancelled.store(true, Ordering::Release);
        self.interrupt.interrupt();
        // Nobody asks any more how it ended.
        drop(thread.join());
    }
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

/// Lets SQLite check the whole file.
pub(super) fn quick_check(connection: &Connection) -> Result<(), RowError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(RowError::Damaged { what: format!("the database ({found})"), way_out: RESTORE });
    }
    // A row that belongs to nothing answers no question, so its checksum is never looked at.
    let astray: Option<String> = connection
        .query_row("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1", [], |row| row.get(0))
        .optional()?;
    match astray {
        None => Ok(()),
        Some(table) => {
            let what = format!("table {table}, a row that belongs to nothing,");
            Err(RowError::Damaged { what, way_out: RESTORE })
        }
    }
}
