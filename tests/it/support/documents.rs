//! Documents of the example writer, taken apart: tests put other ones together from their records.

use std::{fs, path::Path};

use super::examples::example;

/// The head of every document.
pub(crate) const HEAD: &[u8] = br#"{"records":["#;

/// The end of every document.
pub(crate) const END: &[u8] = b"]}";

/// One minute of one network interface.
#[derive(Debug, Clone)]
pub(crate) struct Minute {
    /// Its records, with commas between them.
    pub(crate) records: Vec<u8>,
    /// The events that it must become, in order.
    pub(crate) events: Vec<String>,
}

/// The first minutes of an hour that is long past; other seeds have other content.
pub(crate) fn minutes(seed: u64, n_minutes: u32) -> Vec<Minute> {
    let mut minutes: Vec<Minute> = Vec::new();
    let (mut body_before, mut events_before) = (Vec::new(), Vec::new());
    for n in 1..=n_minutes {
        let directory = tempfile::tempdir().unwrap();
        let (target, ledger) = (directory.path().join("container"), directory.path().join("ledger"));
        let written = example("flow_log_writer")
            .arg("--directory")
            .arg(&target)
            .arg("--ledger")
            .arg(&ledger)
            .args(["--nics", "1", "--start-hour", "2025-06-01T05", "--seed", &seed.to_string()])
            .args(["--minutes", &n.to_string()])
            .output()
            .unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let document = fs::read(only_file(&target)).unwrap();
        let body = document.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(END)).unwrap().to_vec();
        let events: Vec<String> = fs::read_to_string(&ledger).unwrap().lines().map(str::to_owned).collect();
        let records = body.strip_prefix(body_before.as_slice()).unwrap();
        let records = records.strip_prefix(b",").unwrap_or(records).to_vec();
        let new_events = events.strip_prefix(events_before.as_slice()).unwrap().to_vec();
        assert!(!new_events.is_empty());
        minutes.push(Minute { records, events: new_events });
        (body_before, events_before) = (body, events);
    }
    minutes
}

/// A whole document of these minutes.
pub(crate) fn document(minutes: &[&Minute]) -> Vec<u8> {
    let records: Vec<&[u8]> = minutes.iter().map(|minute| minute.records.as_slice()).collect();
    [HEAD, &records.join(&b','), END].concat()
}

/// The events of these minutes, sorted.
pub(crate) fn events(minutes: &[&Minute]) -> Vec<String> {
    let mut events: Vec<String> = minutes.iter().flat_map(|minute| minute.events.clone()).collect();
    events.sort_unstable();
    events
}

pub(crate) fn only_file(directory: &Path) -> std::path::PathBuf {
    let mut path = directory.to_owned();
    while path.is_dir() {
        path = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    }
    path
}
