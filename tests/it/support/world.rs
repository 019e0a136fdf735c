//! A whole installation: Azurite with a container, the example writer, the example receiver, and the settings of a
//! collector between them.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    azurite::{self, Azurite},
    examples::{InteractiveWriter, example},
    processes::Receiver,
};

pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) receiver: Receiver,
    pub(crate) container: String,
    pub(crate) endpoint: String,
}

/// The hour before this one, as the writer takes it.
pub(crate) fn last_hour() -> String {
    let moment = DateTime::<Utc>::from(SystemTime::now() - Duration::from_secs(3_600));
    moment.format("%Y-%m-%dT%H").to_string()
}

impl World {
    /// `settings` are further lines of the settings, by table.
    pub(crate) async fn new(container: &str, receiver_arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::beside(azurite::shared().await, container, receiver_arguments, settings)
    }

    /// One with a storage server of its own.
    pub(crate) fn beside(
        azurite: &Azurite,
        container: &str,
        receiver_arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let endpoint = azurite.endpoint.to_string().trim_end_matches('/').to_owned();
        let mut arguments = vec!["--intake-key", "right"];
        arguments.extend(receiver_arguments);
        let receiver = Receiver::start(&arguments);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), receiver.ca_pem()).unwrap();
        let world = Self { directory, receiver, container: container.to_owned(), endpoint };
        world.configure(settings);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the settings. A line of `settings` comes in the place of the usual one for its key; a source with a
    /// `directory` has no account, and an intake with a `protocol` nothing of the usual one. What stands under "tables"
    /// comes last, with heads of its own.
    pub(crate) fn configure(&self, settings: &[(&str, &str)]) {
        let further: BTreeMap<&str, &str> = settings.iter().copied().collect();
        let lines = |table: &str| further.get(table).copied().unwrap_or_default();
        let intake_key = if lines("intakes").contains("intake_key") { "" } else { "intake_key = \"right\"" };
        let mut intake = format!(
            "protocol = \"sekoia\"\nurl = {:?}\nca_file = {:?}\nrequests_per_second = 1000\n{intake_key}\n",
            self.receiver.url.as_str(),
            self.path("ca.pem"),
        );
        if lines("intakes").starts_with("protocol") {
            intake.clear();
        }
        let mut source = String::new();
        for (key, value) in [
            ("account", azurite::ACCOUNT),
            ("account_key", azurite::ACCOUNT_KEY),
            ("endpoint", &self.endpoint),
            ("container", &self.container),
        ] {
            let is_given = lines("sources")
                .lines()
                .any(|line| line.starts_with(&format!("{key} = ")) || line.starts_with("directory"));
            if !is_given && !value.is_empty() {
                source.push_str(&format!("{key} = {value:?}\n"));
            }
        }
        // Several collectors run at once on this host.
        let admin = if lines("admin").is_empty() { "listen = \"\"" } else { lines("admin") };
        let text = format!(
            "state_dir = {:?}\n[sources.test]\n{source}poll_interval = \"200ms\"\n{}\n\
             [intakes.test]\n{intake}{}\n[limits]\n{}\n[admin]\n{}\n[log]\nformat = \"json\"\n{}\n",
            self.path("state"),
            lines("sources"),
            lines("intakes"),
            lines("limits"),
            admin,
            lines("tables"),
        );
        fs::write(self.path("flowlogd.toml"), text).unwrap();
    }

    pub(crate) fn writer(&self, arguments: &[&str]) -> InteractiveWriter {
        self.writer_into(&self.container, "written", arguments)
    }

    /// A finished writer into a directory, with a ledger of its own.
    pub(crate) fn write_directory(&self, directory: &str, ledger: &str, arguments: &[&str]) {
        let mut writer = example("flow_log_writer");
        writer.arg("--directory").arg(self.path(directory)).arg("--ledger").arg(self.path(ledger));
        let written = writer.args(arguments).output().unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    }

    /// A writer into this container, with a ledger of its own. It begins in the hour before this one, unless told
    /// otherwise: what appears later than that in an older hour is late, and found in its turn only.
    pub(crate) fn writer_into(&self, container: &str, ledger: &str, arguments: &[&str]) -> InteractiveWriter {
        let ledger = self.path(ledger);
        let start_hour = last_hour();
        let start: &[&str] =
            if arguments.contains(&"--start-hour") { &[] } else { &["--start-hour", &start_hour] };
        let target = [
            "--endpoint",
            &self.endpoint,
            "--container",
            container,
            "--create-container",
            "--ledger",
            ledger.to_str().unwrap(),
        ];
        InteractiveWriter::start(target.iter().chain(start).chain(arguments).copied())
    }

    /// The collector with these arguments.
    pub(crate) fn collector(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
        command.arg("--config").arg(self.path("flowlogd.toml")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// One pass; returns the exit code, the reports of its polls, and all of stderr.
    pub(crate) fn once(&self) -> (i32, Vec<Value>, String) {
        let Output { status, stderr, .. } = self.collector(&["run", "--once"]).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        let lines = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let reports = lines.filter(|fields| fields["list_calls"].is_u64());
        (status.code().unwrap(), reports.collect(), stderr)
    }

    /// What the writer has committed, sorted.
    pub(crate) fn written(&self) -> Vec<String> {
        self.ledgers(&["written"])
    }

    /// What the writers with these ledgers have committed, sorted.
    pub(crate) fn ledgers(&self, names: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        for name in names {
            lines.extend(fs::read_to_string(self.path(name)).unwrap().lines().map(str::to_owned));
        }
        lines.sort_unstable();
        lines
    }

    /// What `checkpoints list` says of each container and intake.
    pub(crate) fn checkpoints(&self) -> Vec<Value> {
        let Output { status, stdout, stderr } =
            self.collector(&["checkpoints", "list", "--json"]).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What the intake has accepted, sorted.
    pub(crate) fn received(&self) -> Vec<String> {
        self.receiver.sorted_ledger()
    }
}

/// The sum of a number over reports.
pub(crate) fn sum(reports: &[Value], name: &str) -> u64 {
    reports.iter().map(|report| report[name].as_u64().unwrap()).sum()
}

/// The last line of an output.
pub(crate) fn last_line(output: &str) -> &str {
    output.lines().last().unwrap_or_default()
}
