//! A proxy on loopback, in plain HTTP, before a storage server or a receiver. It kills the collector when a request is where
//! it is told to. It has threads of its own: tests wait for whole processes meanwhile.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    storage_proxy::{is_header, joined, lines, split_head},
    wait,
};

/// One pass takes a second, unless the machine is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A client that has the whole answer closes its connection at once, unless the machine is busy.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Where a request is when the collector is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// The collector has the whole answer to a listing.
    Listed,
    /// It has half the bytes of a range.
    HalfRead,
    /// The receiver has a batch and has answered; the collector has no answer.
    Received,
    /// The collector has the whole answer to a batch.
    Answered,
}

/// A collector that is killed the `number`-th time that a request is at the point.
#[derive(Debug)]
pub(crate) struct Victim {
    point: Point,
    number: u32,
    collector: Child,
}

/// Nobody, or the collector that runs.
pub(crate) type Marked = Arc<Mutex<Option<Victim>>>;

/// Runs a collector that is killed at a point, to its end: by that, or by itself.
pub(crate) async fn run(marked: &Marked, command: &mut Command, point: Point, number: u32) -> ExitStatus {
    {
        // Whoever is at the point waits until the collector is known.
        let mut marked = marked.lock().unwrap();
        *marked = Some(Victim { point, number, collector: command.spawn().unwrap() });
    }
    let ended = || marked.lock().unwrap().as_mut().unwrap().collector.try_wait().unwrap();
    let status = wait::until_some(DEADLINE, ended, || format!("{command:?} does not end")).await;
    *marked.lock().unwrap() = None;
    status
}

/// A running proxy. It ends with the value.
#[derive(Debug)]
pub(crate) struct KillProxy {
    pub(crate) address: SocketAddr,
    marked: Marked,
    is_stopped: Arc<Mutex<bool>>,
    accepting: Option<JoinHandle<()>>,
}

impl KillProxy {
    /// Starts one before a server.
    pub(crate) fn start(server: SocketAddr, marked: &Marked) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_stopped = Arc::new(Mutex::new(false));
        let (stopped, victim) = (Arc::clone(&is_stopped), Arc::clone(marked));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if *stopped.lock().unwrap() {
                    return;
                }
                let marked = Arc::clone(&victim);
                // A client that goes away in the middle is its own matter.
                thread::spawn(move || stream.and_then(|client| pass_on(client, server, &marked)).ok());
            }
        });
        Self { address, marked: Arc::clone(marked), is_stopped, accepting: Some(accepting) }
    }
}

impl Drop for KillProxy {
    fn drop(&mut self) {
        if let Ok(mut marked) = self.marked.lock()
            && let Some(victim) = marked.as_mut()
        {
            // A test is failing already.
            victim.collector.kill().ok();
            victim.collector.wait().ok();
        }
        *self.is_stopped.lock().unwrap() = true;
        // Wakes the thread.
        TcpStream::connect(self.address).unwrap();
        self.accepting.take().unwrap().join().unwrap();
    }
}

/// Whether the collector is to be killed at this point now.
fn is_time(marked: &Mutex<Option<Victim>>, point: Point) -> bool {
    let mut marked = marked.lock().unwrap();
    let Some(victim) = marked.as_mut().filter(|victim| victim.point == point && victim.number > 0) else {
        return false;
    };
    victim.number -= 1;
    victim.number == 0
}

fn kill(marked: &Mutex<Option<Victim>>) {
    // It may have ended by itself.
    if let Some(victim) = marked.lock().unwrap().as_mut() {
        victim.collector.kill().ok();
    }
}

/// One request and its answer; the connection ends with it.
fn pass_on(mut client: TcpStream, server: SocketAddr, marked: &Mutex<Option<Victim>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut request = lines(&head);
    let length = request.iter().find(|line| is_header(line, "content-length"));
    let length = length.map_or(0, |line| line.split_once(": ").unwrap().1.parse().unwrap());
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    request.retain(|line| !is_header(line, "connection"));
    request.push("Connection: close".to_owned());

    let mut upstream = TcpStream::connect(server)?;
    upstream.write_all(&[joined(&request), body].concat())?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    let (answer_head, answer_body) = split_head(&answer)?;

    let is_batch = request[0].starts_with("POST ");
    let is_listing = request[0].contains("comp=list");
    let is_read = request[0].starts_with("GET ") && request.iter().any(|line| is_header(line, "x-ms-range"));
    if is_batch && is_time(marked, Point::Received) {
        kill(marked);
        return Ok(());
    }
    client.write_all(answer_head)?;
    if is_read && is_time(marked, Point::HalfRead) {
        client.write_all(&answer_body[..answer_body.len() / 2])?;
        kill(marked);
        return Ok(());
    }
    client.write_all(answer_body)?;
    client.shutdown(Shutdown::Write)?;
    if is_batch && is_time(marked, Point::Answered) || is_listing && is_time(marked, Point::Listed) {
        client.set_read_timeout(Some(CLOSE_DEADLINE))?;
        // It closes its side when it has all, or is reset by that: the same.
        client.read_to_end(&mut Vec::new()).ok();
        kill(marked);
    }
    Ok(())
}
