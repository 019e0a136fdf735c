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
            if is_cancelled.load(Ordering::Acquire) { Ok(()) } else { whole_file(&connection) }
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

/// Lets SQLite check the whole file: that every row is where it is looked for, and in every index, for a row that is not
/// found has a checksum that nobody looks at. The same goes for a row that points nowhere.
pub(super) fn whole_file(connection: &Connection) -> Result<(), RowError> {
    let damaged = |what: String| Err(RowError::Damaged { what, way_out: RESTORE });
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return damaged(format!("the database ({found})"));
    }
    let lost = connection.query_row("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0));
    match lost.optional()? {
        Some(table) => damaged(format!("table {table} (a row points nowhere)")),
        None => Ok(()),
    }
}
