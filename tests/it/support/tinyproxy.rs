//! tinyproxy, a proxy that lets through who has a password.

use std::fs;

use tempfile::TempDir;

use super::programs::{self, ReservedPort, SystemServer};

/// Letters and digits are all that its settings take.
pub(crate) const USER: &str = "collector";
/// The same.
pub(crate) const PASSWORD: &str = "canary7";

/// A running proxy. It ends with the value.
#[derive(Debug)]
pub(crate) struct Tinyproxy {
    _server: SystemServer,
    port: ReservedPort,
    directory: TempDir,
}

impl Tinyproxy {
    /// Starts one that asks for [`USER`] and [`PASSWORD`].
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let port = ReservedPort::new();
        let text = format!(
            "Listen 127.0.0.1\nPort {}\nTimeout 60\nMaxClients 20\nLogLevel Connect\nBasicAuth {USER} {PASSWORD}\n",
            port.address.port()
        );
        let [configuration, log] = ["tinyproxy.conf", "log"].map(|name| directory.path().join(name));
        fs::write(&configuration, text).unwrap();
        let program = programs::find("tinyproxy", "tinyproxy-bin");
        let command = [program.to_str().unwrap(), "-d", "-c", configuration.to_str().unwrap()];
        let server = SystemServer::start(&command, &port, &log).await;
        Self { _server: server, port, directory }
    }

    /// `http://USER:password@127.0.0.1:PORT`.
    pub(crate) fn url(&self, password: &str) -> String {
        format!("http://{USER}:{password}@{}", self.port.address)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}
