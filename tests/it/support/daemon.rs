//! The collector as a daemon: its log is read while it runs.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{wait, world::World};

/// A poll comes several times a second, unless the machine is busy.
const DEADLINE: Duration = Duration::from_secs(90);

/// `flowlogd run`. It is killed with the value.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn start(world: &World) -> Self {
        Self::spawn(&mut world.collector(&["run"]))
    }

    /// One with an intake `stdout`, whose events go to this file.
    pub(crate) fn start_to_file(world: &World, events: &Path) -> Self {
        Self::spawn(world.collector(&["run"]).stdout(File::create(events).unwrap()))
    }

    /// One that this command starts.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&log);
        // The thread ends when the child has closed its output.
        let reading = thread::spawn(move || {
            for line in stderr.lines() {
                let line = line.unwrap() + "\n";
                shared.lock().unwrap().push_str(&line);
            }
        });
        Self { child, log, reading: Some(reading) }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a condition; the log tells why it does not come.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let problem = || format!("still waiting for {what}: {}", self.log());
        wait::until_some(DEADLINE, || condition().then_some(()), problem).await;
    }

    /// Waits until `n_times` more lines of the log hold all of `parts`.
    pub(crate) async fn says(&self, parts: &[&str], n_times: usize) {
        let count = || self.log().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count();
        let before = count();
        self.until(&format!("{parts:?}"), || count() >= before + n_times).await;
    }

    /// The most memory that it ever held.
    pub(crate) fn peak_kibibytes(&self) -> u64 {
        peak_kibibytes(self.child.id())
    }

    /// Bytes that it has read from files.
    pub(crate) fn bytes_read(&self) -> u64 {
        measure(self.child.id(), "io", "rchar:")
    }

    /// Asks it to end (SIGTERM), and waits: its exit code and all that it said.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let stopped = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(stopped.success(), "{}", self.log());
        let status = self.child.wait().unwrap();
        self.reading.take().unwrap().join().unwrap();
        (status.code(), self.log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, and a test may be failing already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The most memory that a process ever held.
pub(crate) fn peak_kibibytes(process_id: u32) -> u64 {
    measure(process_id, "status", "VmHWM:")
}

/// What a process holds of its program's file and of the libraries'.
pub(crate) fn program_kibibytes(process_id: u32) -> u64 {
    measure(process_id, "status", "RssFile:")
}

fn measure(process_id: u32, file: &str, name: &str) -> u64 {
    let figures = fs::read_to_string(format!("/proc/{process_id}/{file}")).unwrap();
    let line = figures.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
