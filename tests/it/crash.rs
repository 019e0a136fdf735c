//! SIGKILL at random moments, and SIGTERM.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use crate::support::world::World;

/// Starts a collector; its log lines arrive in a channel, which closes when it ends.
fn start(world: &World) -> (Child, Receiver<String>) {
    let mut child = world.collector(&["run"]).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    (child, lines)
}

/// Starts a collector and lets it run to a random moment, counted from its first line on. Returns what it said as well.
fn start_until(world: &World, random: &mut fastrand::Rng) -> (Child, Receiver<String>, Vec<String>) {
    let (child, lines) = start(world);
    let mut log = vec![lines.recv_timeout(Duration::from_secs(60)).unwrap()];
    let moment = Duration::from_millis(random.u64(0..400));
    let begun = Instant::now();
    // Log lines come all the time; the last look ends at the chosen moment, wherever the daemon is then.
    while let Some(left) = moment.checked_sub(begun.elapsed()) {
        match lines.recv_timeout(left) {
            Ok(line) => log.push(line),
            Err(_) => break,
        }
    }
    (child, lines, log)
}

/// Asks a collector to end (SIGTERM).
fn terminate(child: &Child) {
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
}

/// Starts a collector and kills it at a random moment.
pub(crate) fn kill_at_random(world: &World, random: &mut fastrand::Rng) {
    let (mut child, lines, mut log) = start_until(world, random);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    log.extend(lines);
    assert_eq!(status.signal(), Some(9), "it has ended by itself before, {status}: {}", log.join("\n"));
}

/// An event that was received with its id, without it.
pub(crate) fn without_id(event: &str) -> String {
    event.split(",\"event.id\"").next().unwrap().to_owned() + "}"
}

/// Compares what an intake has with what was written, sorted: everything is there, and what is there twice has the same
/// id and the same bytes. `which` is said where it is not so.
pub(crate) fn check_ledger(received: &[String], written: &[String], which: &str) {
    assert!(!written.is_empty(), "{which}");
    let different: BTreeSet<&String> = received.iter().collect();
    let id = |event: &&String| {
        event.split("\"event.id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let ids: BTreeSet<String> = different.iter().map(id).collect();
    assert_eq!(ids.len(), different.len(), "{which}: one id stands for two different events");
    let mut tuples: Vec<String> = different.iter().map(|event| without_id(event)).collect();
    tuples.sort_unstable();
    let n_lost = written.iter().filter(|event| tuples.binary_search(event).is_err()).count();
    assert!(tuples == written, "{which}: {n_lost} lost; {} arrived, {} written", tuples.len(), written.len());
}

/// *Scenario*: a daemon is killed at twenty random moments while blobs grow, then left to finish.
/// *Guarantees*: every tuple has arrived; what arrived twice has the same id and the same bytes.
#[tokio::test]
async fn killed_at_random_moments() {
    let world = World::new("crash-kill", &[], &[("intakes", "provenance = true")]).await;
    let mut writer = world.writer(&["--nics", "3", "--first-minute", "50"]);
    let mut random = fastrand::Rng::with_seed(20);
    for _kill in 0..20 {
        writer.minutes(1);
        kill_at_random(&world, &mut random);
    }
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    check_ledger(&world.received(), &world.written(), "seed 20");
}

/// *Scenario*: SIGTERM while the daemon polls and blobs grow; then a new start.
/// *Guarantees*: it ends with 0, and the next one goes on where it was: nothing arrives twice.
#[tokio::test]
async fn asked_to_stop() {
    let world = World::new("crash-term", &[], &[]).await;
    let mut writer = world.writer(&["--nics", "2"]);
    for _start in 0..3 {
        writer.minutes(2);
        let (mut child, lines) = start(&world);
        // One poll has been told about; the signal comes into the next one, or between the two.
        while !lines.recv_timeout(Duration::from_secs(60)).unwrap().contains("poll complete") {}
        writer.minutes(1);
        terminate(&child);
        let mut rest = String::new();
        lines.iter().for_each(|line| rest.push_str(&line));
        let mut stdout = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
        assert!(stdout.is_empty());
    }
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.received(), world.written());
}

/// *Scenario*: SIGTERM at fifty random moments, from the first line of the log on, while blobs grow and the intake is well.
/// *Guarantees*: it ends with 0, within a second after the drain deadline at the latest; nothing is lost, and nothing arrives
/// twice.
#[tokio::test]
async fn asked_to_stop_at_random_moments() {
    let drain = Duration::from_secs(5);
    let world = World::new("crash-stops", &[], &[("limits", "drain = \"5s\"")]).await;
    let mut writer = world.writer(&["--nics", "2", "--first-minute", "5"]);
    let mut random = fastrand::Rng::with_seed(50);
    for _stop in 0..50 {
        writer.minutes(1);
        let (mut child, lines, mut log) = start_until(&world, &mut random);
        terminate(&child);
        let asked = Instant::now();
        log.extend(lines);
        let status = child.wait().unwrap();
        let took = asked.elapsed();
        assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
        assert!(took <= drain + Duration::from_secs(1), "{took:?}: {}", log.join("\n"));
    }
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.received(), world.written());
}
