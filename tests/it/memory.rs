//! What the process holds while nobody takes anything.

use std::{cell::Cell, net::TcpListener};

use crate::support::{daemon::Daemon, world::World};

/// Reading stands still if nothing was read between so many looks.
const STILL: u32 = 100;

/// *Scenario*: four blobs of 40 MB, and an intake that takes connections and never answers.
/// *Guarantees*: reading stops when the memory is used up: the process holds its limit and what a program needs beside
/// it, not the blobs.
#[tokio::test]
async fn a_hanging_intake_costs_no_memory() {
    // The system takes connections for a listener, and nobody answers on them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::new("memory", &[], &[]).await;
    let directory = world.path("container");
    for seed in ["1", "2", "3", "4"] {
        world.write_directory("container", "written", &["--seed", seed, "--bytes", "40MB"]);
    }
    let url = format!("http://{}/", silent.local_addr().unwrap());
    world.configure(&[
        ("sources", &format!("directory = {directory:?}")),
        (
            "intakes",
            &format!("protocol = \"http\"\nurl = {url:?}\nevent_format = \"flow\"\nmax_in_flight = 64"),
        ),
        ("limits", "memory = \"16MiB\"\nrecord = \"1MiB\"\ndrain = \"1s\""),
    ]);
    let daemon = Daemon::start(&world);
    let (last, n_same) = (Cell::new(0), Cell::new(0));
    daemon
        .until("reading to stand still", || {
            let read = daemon.bytes_read();
            n_same.set(if read == last.replace(read) { n_same.get() + 1 } else { 0 });
            read > 4_000_000 && n_same.get() == STILL
        })
        .await;
    let (read, peak) = (daemon.bytes_read(), daemon.peak_kibibytes());
    assert!(read < 60_000_000, "{read} bytes were read for nobody");
    assert!(peak <= 64 * 1024, "{peak} KiB");
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}
