//! The official collectors' code for sending, `sekoia-automation-sdk`, which shows what it would send.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::json;

/// A request of it.
#[derive(Debug, Deserialize)]
pub(crate) struct SdkRequest {
    /// Below the intake's address.
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

/// The requests that it makes of these events, in no certain order where there are several.
pub(crate) fn requests(intake_key: &str, events: &[String]) -> Vec<SdkRequest> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = project.join("target/ci-venv/bin/python");
    let mut command = Command::new(&python);
    command.arg(project.join("tests/peers/sekoia_sdk.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let remedy = "run `python3 -m venv target/ci-venv && \
                  target/ci-venv/bin/pip install -r tests/peers/requirements.txt`";
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}; {remedy}", python.display()));
    let asked = json!({ "intake_key": intake_key, "events": events }).to_string();
    // Where it ends before it has read all, its error output tells why.
    child.stdin.take().unwrap().write_all(asked.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("ModuleNotFoundError"), "{said}{remedy}");
    assert!(output.status.success(), "{said}");
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}
