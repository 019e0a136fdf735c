//! How far a pass is, counted by its stages while it runs, and said where it takes long.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytesize::ByteSize;
use chrono::{DateTime, Utc};

use crate::model::Hour;

/// Reading that stands still for this long is held up by something, an intake that takes nothing above all: nobody can
/// foretell then when it is done, and the time does not count later either.
const STILL_AFTER: Duration = Duration::from_secs(5);

/// Stands for "no blob was handed to a reader yet".
const NO_HOUR: i64 = i64::MIN;

/// What the stages of one pass count. Plain numbers for people: nothing is decided by them.
#[derive(Debug)]
pub(super) struct Progress {
    /// Blobs with something to read, and their unread bytes.
    found_blobs: AtomicU64,
    found_bytes: AtomicU64,
    /// Whether every listing of the pass is done.
    all_found: AtomicBool,
    /// Blobs read, and the bytes of all blobs that were read so far.
    read_blobs: AtomicU64,
    read_bytes: AtomicU64,
    /// Blobs found that no reader has taken yet.
    waiting: AtomicU64,
    /// Hour of the blob that was handed to a reader last, counted from the epoch.
    hour: AtomicI64,
    /// Blobs acknowledged to their end.
    n_acknowledged: AtomicU64,
    /// For each hour: blobs found that are not acknowledged to their end, and the oldest last change among those found.
    undelivered: Mutex<BTreeMap<Hour, (u64, DateTime<Utc>)>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            found_blobs: AtomicU64::default(),
            found_bytes: AtomicU64::default(),
            all_found: AtomicBool::default(),
            read_blobs: AtomicU64::default(),
            read_bytes: AtomicU64::default(),
            waiting: AtomicU64::default(),
            hour: AtomicI64::new(NO_HOUR),
            n_acknowledged: AtomicU64::default(),
            undelivered: Mutex::default(),
        }
    }
}

impl Progress {
    /// A blob is on its way to the readers.
    pub(super) fn found(&self, hour: Hour, last_modified: DateTime<Utc>, unread_bytes: u64) {
        let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
        let (n_blobs, oldest) = undelivered.entry(hour).or_insert((0, last_modified));
        *n_blobs = n_blobs.saturating_add(1);
        *oldest = last_modified.min(*oldest);
        drop(undelivered);
        self.found_blobs.fetch_add(1, Ordering::Relaxed);
        self.found_bytes.fetch_add(unread_bytes, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// There will be no more of them.
    pub(super) fn all_found(&self) {
        self.all_found.store(true, Ordering::Relaxed);
    }

    /// A reader has taken a blob.
    pub(super) fn taken(&self, hour: Hour) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.hour.store(hour.number(), Ordering::Relaxed);
    }

    /// Whether blobs wait for a reader.
    pub(super) fn somebody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// New bytes of a blob were read.
    pub(super) fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A blob was read to its end, or could not be.
    pub(super) fn blob_done(&self) {
        self.read_blobs.fetch_add(1, Ordering::Relaxed);
    }

    /// A blob of this hour is acknowledged to its end.
    pub(super) fn acknowledged(&self, hour: Hour) {
        self.n_acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((n_blobs, _)) = undelivered.get_mut(&hour) {
            *n_blobs = n_blobs.saturating_sub(1);
            if *n_blobs == 0 {
                undelivered.remove(&hour);
            }
        }
    }

    /// How many blobs are acknowledged to their end.
    pub(super) fn n_acknowledged(&self) -> u64 {
        self.n_acknowledged.load(Ordering::Relaxed)
    }

    /// The oldest last change that is not delivered, as far as hours tell.
    pub(super) fn oldest_undelivered(&self) -> Option<DateTime<Utc>> {
        let undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
        undelivered.values().map(|(_, oldest)| *oldest).min()
    }

    /// Where the pass is now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let hour = Some(self.hour.load(Ordering::Relaxed)).filter(|hour| *hour != NO_HOUR);
        Snapshot {
            blobs: (load(&self.read_blobs), load(&self.found_blobs)),
            bytes: (load(&self.read_bytes), load(&self.found_bytes)),
            all_found: self.all_found.load(Ordering::Relaxed),
            hour: hour.map(Hour::from_number),
        }
    }
}

/// How long reading took so far, times without any left out. Time is an argument: since the beginning of the pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Bytes read when it was looked at last.
    bytes: u64,
    /// When they were last found to have grown.
    grown_at: Duration,
    reading: Duration,
}

impl Pace {
    /// Takes note of the bytes read up to `now`.
    pub(super) fn look(&mut self, bytes: u64, now: Duration) {
        if bytes == self.bytes {
            return;
        }
        let since = now.saturating_sub(self.grown_at);
        if since < STILL_AFTER {
            self.reading = self.reading.saturating_add(since);
        }
        (self.bytes, self.grown_at) = (bytes, now);
    }

    /// What the bytes read so far took; `None` while reading stands still.
    pub(super) fn elapsed(&self, now: Duration) -> Option<Duration> {
        let since = now.saturating_sub(self.grown_at);
        (since < STILL_AFTER).then(|| self.reading.saturating_add(since))
    }
}

/// A moment of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Blobs done, of those found so far.
    pub(super) blobs: (u64, u64),
    /// Bytes read, of those found so far.
    pub(super) bytes: (u64, u64),
    /// Whether more may still be found.
    pub(super) all_found: bool,
    /// The hour that is being read.
    pub(super) hour: Option<Hour>,
}

impl Snapshot {
    /// Bytes found and not read.
    pub(super) fn backlog_bytes(&self) -> u64 {
        self.bytes.1.saturating_sub(self.bytes.0)
    }

    /// Blobs found and not done.
    pub(super) fn backlog_blobs(&self) -> u64 {
        self.blobs.1.saturating_sub(self.blobs.0)
    }

    /// How long the rest of what was found takes, where reading so far took so long; `None` before the first byte.
    fn time_left(&self, elapsed: Duration) -> Option<Duration> {
        let done = self.bytes.0.min(self.bytes.1);
        if done == 0 {
            return None;
        }
        let millis = u128::from(self.backlog_bytes()).saturating_mul(elapsed.as_millis()) / u128::from(done);
        Some(Duration::from_secs(u64::try_from(millis / 1_000).unwrap_or(u64::MAX)))
    }

    /// The line for people; see [`Pace::elapsed`] for `elapsed`.
    pub(super) fn line(&self, elapsed: Option<Duration>) -> Line<'_> {
        Line { snapshot: self, elapsed }
    }
}

/// A snapshot as a sentence.
pub(super) struct Line<'a> {
    snapshot: &'a Snapshot,
    elapsed: Option<Duration>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { blobs, bytes, all_found, hour } = *self.snapshot;
        let more = if all_found { "" } else { " found so far" };
        write!(
            f,
            "read {} of {} blobs{more}, {} of {}, oldest first",
            blobs.0,
            blobs.1,
            ByteSize::b(bytes.0.min(bytes.1)).display().iec(),
            ByteSize::b(bytes.1).display().iec(),
        )?;
        if let Some(hour) = hour {
            write!(f, ", now at {hour}")?;
        }
        match self.elapsed.and_then(|elapsed| self.snapshot.time_left(elapsed)) {
            Some(left) => write!(f, ", about {} left", humantime::format_duration(left)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a backlog at several moments. Guarantees: the line says how far it is and how long the rest takes, and
    /// does not divide by nothing.
    #[test]
    fn lines() {
        let progress = Progress::default();
        let check = |seconds: u64, expected: &str| {
            let line = progress.snapshot().line(Some(Duration::from_secs(seconds))).to_string();
            assert_eq!(line, expected);
        };
        check(5, "read 0 of 0 blobs found so far, 0 B of 0 B, oldest first");
        let hour = Hour::from_parts(2026, 11, 24, 5).unwrap();
        progress.found(hour, hour.end(), 3 << 20);
        progress.found(hour, hour.start(), 1 << 20);
        progress.taken(hour);
        assert!(progress.somebody_waits());
        progress.read(1 << 20);
        check(
            10,
            "read 0 of 2 blobs found so far, 1.0 MiB of 4.0 MiB, oldest first, now at 2026-11-24T05Z, about 30s left",
        );
        progress.blob_done();
        progress.all_found();
        check(
            90,
            "read 1 of 2 blobs, 1.0 MiB of 4.0 MiB, oldest first, now at 2026-11-24T05Z, about 4m 30s left",
        );
        assert_eq!(progress.snapshot().backlog_blobs(), 1);
        progress.acknowledged(hour);
        assert_eq!(progress.oldest_undelivered(), Some(hour.start()));
        progress.acknowledged(hour);
        assert_eq!(progress.oldest_undelivered(), None);
    }
    /// Scenario: reading goes on for ten seconds, stands still for a minute, and goes on. Guarantees: of the time left
    /// nothing is said meanwhile, and afterwards the minute does not count.
    #[test]
    fn a_pace_with_a_pause() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::default();
        let mut spoken = Vec::new();
        for second in 1..=80_u64 {
            let n_read = if second <= 10 { second } else { 10 + second.saturating_sub(70) };
            pace.look(n_read << 20, seconds(second));
            if second % 10 == 4 {
                spoken.push(pace.elapsed(seconds(second)).map(|elapsed| elapsed.as_secs()));
            }
        }
        assert_eq!(spoken, [Some(4), Some(14), None, None, None, None, None, Some(13)]);

        let progress = Progress::default();
        let hour = Hour::from_parts(2026, 11, 24, 5).unwrap();
        progress.found(hour, hour.end(), 4 << 20);
        progress.read(1 << 20);
        assert_eq!(
            progress.snapshot().line(None).to_string(),
            "read 0 of 1 blobs found so far, 1.0 MiB of 4.0 MiB, oldest first"
        );
    }
}
