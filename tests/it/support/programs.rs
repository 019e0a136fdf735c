//! Servers of the system that tests run beside flowlogd: found, started on a port of their own, ended with the test.

use std::{
    env,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::net::TcpSocket;

use super::wait;

/// A server listens at once, unless the machine is busy.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Ends the server when standard input ends: with its guard, and with the test process however that ends. Signals of the
/// terminal reach the test process; the shell waits for its end.
const WATCHDOG: &str = r#"
trap '' INT
"$@" &
server=$!
cat >/dev/null
kill -KILL "$server"
wait "$server"
"#;

/// Where a program lies; `package` is Debian's for it.
pub(crate) fn find(name: &str, package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    // Servers lie where not everybody's programs do.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: run `apt-get install {package}` as root"))
}

/// A file that a package of `tests/peers/requirements.txt` installs, by its path in the folder of packages.
pub(crate) fn of_package(path: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci-venv/lib");
    let versions = fs::read_dir(folder).into_iter().flatten().map(|version| version.unwrap().path());
    let found = versions.map(|version| version.join("site-packages").join(path)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{path} is not installed: run `python3 -m venv target/ci-venv && \
             target/ci-venv/bin/pip install -r tests/peers/requirements.txt`"
        )
    })
}

/// A port of 127.0.0.1 that nobody else is given while the value lives: a socket that is bound to it and never listens.
/// Servers that take addresses again at once can listen on it, end, and listen on it once more.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    _socket: TcpSocket,
    /// Where to listen.
    pub(crate) address: SocketAddr,
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { _socket: socket, address }
    }
}

/// A running server. It is killed with the value.
#[derive(Debug)]
pub(crate) struct SystemServer {
    watchdog: Child,
}

impl SystemServer {
    /// Starts a program that stays in the foreground and says what is wrong into `log`; waits until it listens.
    pub(crate) async fn start(command: &[&str], port: &ReservedPort, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "server-watchdog"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let server = Self { watchdog };
        let listens = || std::net::TcpStream::connect(port.address).ok();
        let problem =
            || format!("{command:?} does not listen; it said:\n{}", fs::read_to_string(log).unwrap());
        wait::until_some(START_DEADLINE, listens, problem).await;
        server
    }
}

impl Drop for SystemServer {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        self.watchdog.wait().unwrap();
    }
}
