//! rotel, an OpenTelemetry collector that writes down every record that it has decoded.

use std::{collections::BTreeMap, fs, time::Duration};

use tempfile::TempDir;

use super::{
    programs::{self, ReservedPort, SystemServer},
    wait,
};

/// A record is written down soon after its answer, unless the machine is busy.
const LOG_DEADLINE: Duration = Duration::from_secs(60);

/// A record as it was decoded.
#[derive(Debug, Default)]
pub(crate) struct LogRecord {
    /// `Timestamp`, `Body` and others; texts and numbers are marked as such.
    pub(crate) fields: BTreeMap<String, String>,
    /// Attributes: `Str(...)`, `Int(...)` and so on.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A running collector. It ends with the value.
#[derive(Debug)]
pub(crate) struct Rotel {
    _server: SystemServer,
    port: ReservedPort,
    _grpc_port: ReservedPort,
    directory: TempDir,
}

impl Rotel {
    pub(crate) async fn start() -> Self {
        let program = programs::of_package("rotel/rotel-agent");
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (port, grpc_port) = (ReservedPort::new(), ReservedPort::new());
        let (address, grpc_address) = (port.address.to_string(), grpc_port.address.to_string());
        let command = [
            program.to_str().unwrap(),
            "start",
            "--otlp-http-endpoint",
            &address,
            "--otlp-grpc-endpoint",
            &grpc_address,
            "--exporter",
            "blackhole",
            "--debug-log",
            "logs",
            "--debug-log-verbosity",
            "detailed",
        ];
        let server = SystemServer::start(&command, &port, &directory.path().join("log")).await;
        Self { _server: server, port, _grpc_port: grpc_port, directory }
    }

    /// The base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.port.address)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Attributes of resources and names of scopes, without repetition.
    pub(crate) fn origins(&self) -> Vec<String> {
        let log = self.log();
        let is_origin =
            |line: &&str| line.contains(" -> service.") || line.starts_with("InstrumentationScope");
        let mut origins: Vec<_> = log.lines().filter(is_origin).map(|line| line.trim().to_owned()).collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }

    /// The first `n_records` or more.
    pub(crate) async fn records(&self, n_records: usize) -> Vec<LogRecord> {
        let enough = || Some(self.written_down()).filter(|records| records.len() >= n_records);
        let problem = || format!("{n_records} records are expected; it said: {}", self.log());
        wait::until_some(LOG_DEADLINE, enough, problem).await
    }

    /// Those that are written down to their ends.
    fn written_down(&self) -> Vec<LogRecord> {
        let mut records = Vec::new();
        let mut current: Option<LogRecord> = None;
        for line in self.log().lines() {
            if line.starts_with("LogRecord #") {
                current = Some(LogRecord::default());
            }
            let Some(record) = &mut current else { continue };
            if let Some((name, value)) = line.strip_prefix("     -> ").and_then(|pair| pair.split_once(": "))
            {
                record.attributes.insert(name.to_owned(), value.to_owned());
            } else if let Some((name, value)) = line.split_once(": ") {
                record.fields.insert(name.to_owned(), value.to_owned());
            }
            if line.starts_with("Flags:") {
                records.extend(current.take());
            }
        }
        records
    }
}
