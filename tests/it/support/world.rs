//! A whole installation: Azurite with a container, the example writer, the example receiver, and the settings of a
//! collector between them.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{azurite, examples::InteractiveWriter, processes::Receiver};

pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) receiver: Receiver,
    pub(crate) container: String,
    pub(crate) endpoint: String,
}

impl World {
    /// `settings` are further lines of the settings, by table.
    pub(crate) async fn new(container: &str, receiver_arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let endpoint = azurite::shared().await.endpoint.to_string().trim_end_matches('/').to_owned();
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

    pub(crate) fn configure(&self, settings: &[(&str, &str)]) {
        let further: BTreeMap<&str, &str> = settings.iter().copied().collect();
        let lines = |table: &str| further.get(table).copied().unwrap_or_default();
        let intake_key = if lines("intakes").contains("intake_key") { "" } else { "intake_key = \"right\"" };
        // Several collectors run at once on this host.
        let admin = if lines("admin").is_empty() { "listen = \"\"" } else { lines("admin") };
        let text = format!(
            "state_dir = {:?}\n[sources.test]\naccount = {:?}\naccount_key = {:?}\nendpoint = {:?}\n\
             container = {:?}\npoll_interval = \"200ms\"\n{}\n[intakes.test]\nprotocol = \"sekoia\"\nurl = {:?}\n\
             ca_file = {:?}\nrequests_per_second = 1000\n{intake_key}\n{}\n[limits]\n{}\n[admin]\n{}\n\
             [log]\nformat = \"json\"\n",
            self.path("state"),
            azurite::ACCOUNT,
            azurite::ACCOUNT_KEY,
            self.endpoint,
            self.container,
            lines("sources"),
            self.receiver.url.as_str(),
            self.path("ca.pem"),
            lines("intakes"),
            lines("limits"),
            admin,
        );
        fs::write(self.path("flowlogd.toml"), text).unwrap();
    }

    pub(crate) fn writer(&self, arguments: &[&str]) -> InteractiveWriter {
        let ledger = self.path("written");
        let target = [
            "--endpoint",
            &self.endpoint,
            "--container",
            &self.container,
            "--create-container",
            "--ledger",
            ledger.to_str().unwrap(),
        ];
        InteractiveWriter::start(target.into_iter().chain(arguments.iter().copied()))
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
        let mut lines: Vec<String> =
            fs::read_to_string(self.path("written")).unwrap().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    /// What the intake has accepted, sorted.
    pub(crate) fn received(&self) -> Vec<String> {
        let mut lines = self.receiver.ledger();
        lines.sort_unstable();
        lines
    }
}

/// The sum of a number over reports.
pub(crate) fn sum(reports: &[Value], name: &str) -> u64 {
    reports.iter().map(|report| report[name].as_u64().unwrap()).sum()
}
