//! A disk that can be full: a small file system in memory in the place of the state directory. It is mounted where the
//! collector alone sees it, in name spaces of its own, so it is gone with the process and takes no privilege.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{daemon::Daemon, world::World};

/// Where this is refused, the collector does not run, and the test fails with what the kernel said.
const BEGIN: &str = r#"set -e
state=$1 seed=$2 kibibytes_left=$3
shift 3
mount -t tmpfs -o size=1m none "$state"
if [ -d "$seed" ]; then cp "$seed"/* "$state"; fi
if [ "$kibibytes_left" != all ]; then
    cat /dev/zero >"$state/filler" 2>/dev/null || true
    truncate -s "-${kibibytes_left}K" "$state/filler"
fi
exec "$@"
"#;

/// More than the disk holds: whoever can write that writes elsewhere.
const TOO_MANY_BYTES: usize = 4 * 1024 * 1024;

/// The collector with a small disk for its state. The disk begins with what is in the directory `seed`, if there is one,
/// and has `kibibytes_left`; `None`: all the room.
pub(crate) fn collector(world: &World, kibibytes_left: Option<u32>, arguments: &[&str]) -> Command {
    fs::create_dir_all(world.path("state")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", BEGIN, "sh"]);
    command.arg(world.path("state")).arg(world.path("seed"));
    command.arg(kibibytes_left.map_or_else(|| String::from("all"), |left| left.to_string()));
    command.arg(env!("CARGO_BIN_EXE_flowlogd")).arg("--config").arg(world.path("flowlogd.toml"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The disk of a daemon that runs.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// A daemon that began as [`collector`] says, once it has said something, and its disk.
    pub(crate) async fn start(world: &World, kibibytes_left: Option<u32>) -> (Daemon, Self) {
        let daemon = Daemon::spawn(&mut collector(world, kibibytes_left, &["run"]));
        daemon.until("the first word", || !daemon.log().is_empty()).await;
        let state = world.path("state");
        let seen_by_it = Path::new("/proc").join(daemon.id().to_string()).join("root");
        let directory = seen_by_it.join(state.strip_prefix("/").unwrap());
        (daemon, Self(directory))
    }

    /// Leaves not a byte.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        let page = [0; 4_096];
        for _page in 0..TOO_MANY_BYTES / page.len() {
            if let Err(error) = filler.write_all(&page) {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                return;
            }
        }
        panic!("{} is not on the small disk", self.0.display());
    }

    /// Makes room again.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}
