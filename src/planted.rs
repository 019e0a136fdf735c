//! F0: bugs that are there only where the program is compiled with `--cfg planted_bugs`, and then at most one of them at a
//! time: the one that the variable `FLOWLOGD_PLANTED_BUG` names. `tests/planted_bugs.sh` shows that the tests see each.
//! In every other build this is nothing.

/// A bug of a kind that loses events, or the proof that none is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A batch is acknowledged before the intake has answered.
    CommitBeforeAnswer,
    /// A position moves to the last acknowledged step, whatever is missing before it.
    WatermarkIsMaximum,
    /// Commits do not wait for the disk.
    NoSync,
    /// Rows have no checksum.
    NoChecksum,
    /// A blob that has changed while it was read counts as read.
    SkipOnChange,
    /// Events are numbered as they come, not by their place in the record.
    IdFromBatchIndex,
    /// What the intake refuses is forgotten.
    DropOnRefusal,
    /// The position behind a blob's last record is the blob's length.
    OffsetIsLength,
    /// No answer is taken for a good one.
    NoAnswerIsAnswer,
    /// What cannot be parsed is not kept.
    QuarantineForgets,
    /// A batch that leaves while it is still open leaves without its last event.
    BatchLosesEvent,
}

/// Whether this bug is there.
#[cfg(not(planted_bugs))]
#[must_use]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// For [`Bug::IdFromBatchIndex`].
#[cfg(not(planted_bugs))]
#[must_use]
pub const fn next_index() -> u32 {
    0
}

/// For [`Bug::IdFromBatchIndex`]: 0, 1, 2 and so on.
#[cfg(planted_bugs)]
#[must_use]
pub fn next_index() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Whether this bug is there.
#[cfg(planted_bugs)]
#[must_use]
pub fn is(bug: Bug) -> bool {
    static NAME: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("FLOWLOGD_PLANTED_BUG").ok());
    NAME.as_deref().is_some_and(|name| name == format!("{bug:?}"))
}
