//! SIGKILL at named points: on the way to the disk, to the storage and to an intake; and a disk that fails there. `crash.rs`
//! and `crash_scenarios.rs` kill at random moments.
//!
//! `KILLS` multiplies the number of kills at each point, `SEED` chooses other moments.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
};

use fastrand::Rng;

use crate::{
    crash::check_ledger,
    support::{
        azurite::{self, ACCOUNT},
        effects::{self, Point as OnDisk},
        environment::variable,
        kill_proxy::{self, KillProxy, Marked, Point},
        processes::Receiver,
        world::{World, last_line},
    },
};

const PROVENANCE: (&str, &str) = ("intakes", "provenance = true");

/// Kills at a point of one world. In it blobs grow by less than an hour: in a later one they would be late.
const N_KILLS: u32 = 10;

/// A run can end before it is at a point so often; it takes more than one run for a kill then.
const RUNS_A_KILL: u32 = 4;

/// Points while the state is made: the file is there under another name, or its name is not on stable storage.
const CREATION: [OnDisk; 4] = [
    OnDisk { moment: "before", kind: "rename", ending: "state.sqlite3" },
    OnDisk { moment: "after", kind: "rename", ending: "state.sqlite3" },
    OnDisk { moment: "before", kind: "sync", ending: "/state" },
    OnDisk { moment: "after", kind: "sync", ending: "/state" },
];

/// Points of a commit, with how often one pass is there, at the least: its pages go to the write-ahead log, are synced,
/// and at the end of a pass go to the file itself, whereupon the log is deleted.
const COMMIT: [(OnDisk, u32); 8] = [
    (OnDisk { moment: "before", kind: "write", ending: "-wal" }, 8),
    (OnDisk { moment: "after", kind: "write", ending: "-wal" }, 8),
    (OnDisk { moment: "before", kind: "sync", ending: "-wal" }, 2),
    (OnDisk { moment: "after", kind: "sync", ending: "-wal" }, 2),
    (OnDisk { moment: "before", kind: "write", ending: "state.sqlite3" }, 3),
    (OnDisk { moment: "after", kind: "write", ending: "state.sqlite3" }, 3),
    (OnDisk { moment: "after", kind: "sync", ending: "state.sqlite3" }, 1),
    (OnDisk { moment: "after", kind: "unlink", ending: "-wal" }, 1),
];

/// Points between the servers and flowlogd, with how often one pass is there, at the least.
const NETWORK: [(Point, u32); 4] =
    [(Point::Listed, 2), (Point::HalfRead, 3), (Point::Received, 1), (Point::Answered, 1)];

/// A container that is a directory, which grows by a minute for each number.
struct Growing {
    world: World,
    n_minutes: u64,
}

impl Growing {
    async fn new(name: &str) -> Self {
        let world = World::new(name, &[], &[]).await;
        let container = world.path("container");
        world.configure(&[PROVENANCE, ("sources", &format!("directory = {container:?}"))]);
        Self { world, n_minutes: 0 }
    }

    fn grow(&mut self) {
        self.n_minutes += 1;
        let minutes = self.n_minutes.to_string();
        self.world.write_directory("container", "ledger", &["--nics", "3", "--minutes", &minutes]);
    }

    /// One pass that is killed the `number`-th time that it is at this point. Returns whether it was.
    fn is_killed(&self, point: OnDisk, number: u32) -> bool {
        let mut command = self.world.collector(&["run", "--once"]);
        effects::strike(&mut command, self.world.directory.path(), point, number);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        assert!(status.signal() == Some(9) || status.code() == Some(0), "{point:?}, {status}: {stderr}");
        status.signal().is_some()
    }

    fn finish(&self, which: &str) {
        let (code, _, stderr) = self.world.once();
        assert_eq!(code, 0, "{which}: {stderr}");
        check_ledger(&self.world.received(), &self.world.ledgers(&["ledger"]), which);
    }
}

/// The seeds of a point's worlds.
fn seeds() -> impl Iterator<Item = u64> {
    let seed = variable("SEED", 1);
    (0..variable("KILLS", 1)).map(move |round| seed * 1_000 + round)
}

/// *Scenario*: the first start is killed while it makes the state, ten times at each point.
/// *Guarantees*: the next start makes the state or goes on with it, and every tuple has arrived; what arrived twice has
/// the same id and the same bytes.
#[tokio::test]
async fn killed_while_the_state_is_made() {
    for point in CREATION {
        for seed in seeds() {
            let mut growing = Growing::new("crash-creation").await;
            growing.grow();
            for _kill in 0..N_KILLS {
                let state = growing.world.path("state");
                if state.exists() {
                    fs::remove_dir_all(&state).unwrap();
                }
                assert!(growing.is_killed(point, 1), "{point:?}");
                growing.finish(&format!("{point:?}, seed {seed}"));
            }
        }
    }
}

/// *Scenario*: each pass over blobs that grow is killed on the way of a commit to the disk, ten times at each point.
/// *Guarantees*: every tuple has arrived; what arrived twice has the same id and the same bytes.
#[tokio::test]
async fn killed_on_the_way_to_the_disk() {
    for (point, most) in COMMIT {
        for seed in seeds() {
            let mut growing = Growing::new("crash-commit").await;
            let mut random = Rng::with_seed(seed);
            let mut n_left = N_KILLS;
            for _run in 0..N_KILLS * RUNS_A_KILL {
                growing.grow();
                n_left -= u32::from(growing.is_killed(point, random.u32(1..=most)));
                if n_left == 0 {
                    break;
                }
            }
            assert_eq!(n_left, 0, "{point:?}, seed {seed}: so many kills did not happen");
            growing.finish(&format!("{point:?}, seed {seed}"));
        }
    }
}

/// *Scenario*: the sync of a commit fails, at the beginning of the write-ahead log and behind it; the next passes are well.
/// *Guarantees*: the pass ends with 74 and says why; every tuple has arrived in the end, and what arrived twice has the same
/// id and the same bytes.
#[tokio::test]
async fn a_sync_that_fails() {
    let mut growing = Growing::new("crash-sync").await;
    growing.grow();
    growing.finish("before");
    for number in [1, 2] {
        growing.grow();
        let mut command = growing.world.collector(&["run", "--once"]);
        let point = OnDisk { moment: "failing", kind: "sync", ending: "-wal" };
        effects::strike(&mut command, growing.world.directory.path(), point, number);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{number}: {stderr}");
        assert!(last_line(&stderr).contains("I/O error"), "{number}: {stderr}");
        growing.finish(&format!("{point:?}, {number}"));
    }
}

/// *Scenario*: each pass over blobs that grow is killed at a point between flowlogd and the storage or the receiver, ten
/// times at each.
/// *Guarantees*: every tuple has arrived; what arrived twice has the same id and the same bytes.
#[tokio::test]
async fn killed_between_the_servers() {
    let azurite = azurite::shared().await.endpoint.socket_addrs(|| None).unwrap()[0];
    for (at, (point, most)) in NETWORK.into_iter().enumerate() {
        for seed in seeds() {
            let receiver = Receiver::start_plain(&[]);
            let marked = Marked::default();
            let storage = KillProxy::start(azurite, &marked);
            let intake = KillProxy::start(receiver.url.socket_addrs(|| None).unwrap()[0], &marked);
            let world = World::new(&format!("crash-servers-{at}-{seed}"), &[], &[]).await;
            let source = format!("endpoint = \"http://{}/{ACCOUNT}\"", storage.address);
            let protocol = format!(
                "protocol = \"http\"\nurl = \"http://{}/events\"\nevent_format = \"flow\"\nprovenance = true",
                intake.address
            );
            world.configure(&[("sources", &source), ("intakes", &protocol)]);
            let mut writer = world.writer(&["--nics", "3"]);
            let mut random = Rng::with_seed(seed);
            let mut n_left = N_KILLS;
            for _run in 0..N_KILLS * RUNS_A_KILL {
                writer.minutes(1);
                let log = File::create(world.path("log")).unwrap();
                let mut command = world.collector(&["run", "--once"]);
                let number = random.u32(1..=most);
                let status = kill_proxy::run(&marked, command.stderr(log), point, number).await;
                let is_killed = status.signal() == Some(9);
                let log = || fs::read_to_string(world.path("log")).unwrap();
                assert!(is_killed || status.code() == Some(0), "{point:?}, {status}: {}", log());
                n_left -= u32::from(is_killed);
                if n_left == 0 {
                    break;
                }
            }
            assert_eq!(n_left, 0, "{point:?}, seed {seed}: so many kills did not happen");
            let (code, _, stderr) = world.once();
            assert_eq!(code, 0, "{point:?}, seed {seed}: {stderr}");
            let which = format!("{point:?}, seed {seed}");
            check_ledger(&receiver.sorted_ledger(), &world.written(), &which);
        }
    }
}
