//! What discovery notes of single blobs, by root and hour, so that it goes when the hour does. Pure.

use std::collections::HashMap;

use crate::{
    flowlog::path,
    model::{BlobName, ETag, Hour},
};

/// A version of a blob that is not read (on) for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// The version.
    pub(super) etag: ETag,
    /// Why.
    pub(super) reason: HeldFor,
}

/// Why a version of a blob is not read (on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldFor {
    /// It is damaged. Once its hour's time to be sealed has come, it is read again, and the damage enters the quarantine.
    Damage,
    /// Not all that was read of it is accounted for. Reading it again would only send it again.
    Ledger,
}

/// Notes of blobs.
#[derive(Debug)]
pub(super) struct Noted<T> {
    hours: HashMap<(String, Hour), HashMap<BlobName, T>>,
}

impl<T> Default for Noted<T> {
    fn default() -> Self {
        Self { hours: HashMap::new() }
    }
}

impl<T> Noted<T> {
    /// Notes something of a flow-log blob, in the place of what was noted before. Returns whether nothing was; `false`
    /// too for a name that is no flow log's.
    pub(super) fn insert(&mut self, name: &BlobName, note: T) -> bool {
        let Some(blob) = path::parse(name) else { return false };
        let hour = self.hours.entry((blob.root().to_owned(), blob.hour())).or_default();
        hour.insert(name.clone(), note).is_none()
    }

    /// Takes out everything of an hour.
    pub(super) fn take(&mut self, root: &str, hour: Hour) -> HashMap<BlobName, T> {
        self.hours.remove(&(root.to_owned(), hour)).unwrap_or_default()
    }

    /// Drops what is noted of other hours than these.
    pub(super) fn retain_hours(&mut self, is_kept: impl Fn(&str, Hour) -> bool) {
        self.hours.retain(|(root, hour), _| is_kept(root, *hour));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: blobs of two hours, noted, noted again, taken out and dropped by hour. Guarantees: each is new once;
    /// what went is new again, and nothing is left of it.
    #[test]
    fn notes_go_with_their_hour() {
        let name =
            |hour: u32, mac: &str| BlobName::new(format!("r/y=2026/m=11/d=24/h={hour:02}/{mac}/PT1H.json"));
        let hour = |hour| Hour::from_parts(2026, 11, 24, hour).unwrap();
        let mut noted = Noted::default();
        assert!(noted.insert(&name(5, "a"), 1));
        assert!(!noted.insert(&name(5, "a"), 2));
        assert!(noted.insert(&name(5, "b"), 3));
        assert!(noted.insert(&name(6, "a"), 4));
        assert!(!noted.insert(&BlobName::new("other.json"), 5));
        noted.retain_hours(|root, at| root == "r" && at != hour(6));
        let taken = noted.take("r", hour(5));
        assert_eq!((taken.get(&name(5, "a")), taken.get(&name(5, "b"))), (Some(&2), Some(&3)));
        assert!(noted.hours.is_empty());
        assert!(noted.insert(&name(6, "a"), 6));
    }
}
