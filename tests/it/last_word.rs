//! How the program says what ends it.

use serde_json::Value;

use crate::support::{
    daemon::Daemon,
    world::{World, last_line},
};

/// Exit code and output of a single pass.
fn once(world: &World, format: &str) -> (Option<i32>, String) {
    let output = world.collector(&["run", "--once"]).env("FLOWLOGD__LOG__FORMAT", format).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// *Scenario*: a single pass that stays blocked, one beside a running collector, and one with wrong settings; lines as
/// JSON, as text, and in the format that fits, which is JSON where nobody looks on.
/// *Guarantees*: once logging has started as JSON, every line is, the last one with exit code and reason; else the last one
/// is for people.
#[tokio::test]
async fn the_last_line() {
    let world = World::new("last-word", &[], &[]).await;
    let folder = world.path("container");
    let source = format!("directory = {folder:?}");
    let settings = [("limits", "once_deadline = \"1s\""), ("sources", source.as_str())];
    world.configure(&settings);
    for format in ["json", "auto"] {
        let (code, stderr) = once(&world, format);
        check_json(code, 69, "the source test cannot be read", &stderr);
    }
    let (code, stderr) = once(&world, "text");
    assert_eq!(code, Some(69), "{stderr}");
    assert!(last_line(&stderr).starts_with("flowlogd: still blocked after 1s"), "{stderr}");
    let (code, stderr) = once(&world, "verse");
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.starts_with("flowlogd: settings: log.format"), "{stderr}");

    let daemon = Daemon::start(&world);
    daemon.says(&["poll incomplete"], 1).await;
    let (code, stderr) = once(&world, "json");
    check_json(code, 75, "open the state", &stderr);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}

fn check_json(code: Option<i32>, expected: i32, reason: &str, stderr: &str) {
    assert_eq!(code, Some(expected), "{stderr}");
    let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!((&last["level"], &last["exit"]), (&Value::from("ERROR"), &Value::from(expected)), "{stderr}");
    assert!(last["error"].as_str().unwrap().contains(reason), "{stderr}");
}
