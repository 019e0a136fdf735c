//! Child processes that end with their test.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tempfile::TempDir;
use url::Url;

use super::examples::example;

/// A program starts, answers and ends at once, unless the machine is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A child process whose standard output is read line by line. It is killed with the value.
#[derive(Debug)]
pub(crate) struct ChildGuard {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl ChildGuard {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // The thread ends when the child has closed its output.
        thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line of its output.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    /// Asks it to end (SIGTERM), and waits: the rest of its output, and how it ended.
    pub(crate) fn terminate(mut self) -> (Vec<String>, ExitStatus) {
        let process_id = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &process_id]).status().unwrap();
        assert!(sent.success(), "the process {process_id} has ended already");
        let mut rest = Vec::new();
        let ended = loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => rest.push(line),
                Err(end) => break end,
            }
        };
        assert_eq!(ended, mpsc::RecvTimeoutError::Disconnected, "the process {process_id} does not end");
        let status = self.child.wait().unwrap();
        (rest, status)
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // It may have ended by itself, and a test may be failing already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The example receiver with a ledger, and with a certificate of its own unless it speaks plain HTTP.
#[derive(Debug)]
pub(crate) struct Receiver {
    process: ChildGuard,
    /// Where it listens: `https://127.0.0.1:PORT/`.
    pub(crate) url: Url,
    directory: TempDir,
}

impl Receiver {
    /// Starts one that speaks HTTPS, with further arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut command = example("receiver");
        command.arg("--self-signed").arg(directory.path());
        Self::start_with(command, directory, arguments)
    }

    /// Starts one that speaks plain HTTP, with further arguments.
    pub(crate) fn start_plain(arguments: &[&str]) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut command = example("receiver");
        command.arg("--plain");
        Self::start_with(command, directory, arguments)
    }

    fn start_with(mut command: Command, directory: TempDir, arguments: &[&str]) -> Self {
        command.arg("--ledger").arg(directory.path().join("ledger")).args(arguments);
        let process = ChildGuard::spawn(&mut command);
        let ready = process.line();
        let url = Url::parse(ready.strip_prefix("listening on ").unwrap()).unwrap();
        Self { process, url, directory }
    }

    /// The certificate of its authority, PEM.
    pub(crate) fn ca_pem(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("ca.pem")).unwrap()
    }

    /// Every event that it has recorded, in order.
    pub(crate) fn ledger(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join("ledger")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The same, sorted.
    pub(crate) fn sorted_ledger(&self) -> Vec<String> {
        let mut lines = self.ledger();
        lines.sort_unstable();
        lines
    }

    /// Ends it. Returns its last line, which counts what it received, and its directory.
    pub(crate) fn stop(self) -> (String, TempDir) {
        let (mut lines, status) = self.process.terminate();
        assert!(status.success(), "the receiver ended with {status}");
        assert_eq!(lines.len(), 1, "{lines:?}");
        (lines.remove(0), self.directory)
    }
}
