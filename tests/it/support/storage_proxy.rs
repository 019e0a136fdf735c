//! A proxy on loopback between the collector and the storage server. It counts what is asked for, cuts answers short,
//! spoils or withholds them, repeats old listings, and sets the server's clock. It has threads of its own: tests wait for
//! whole processes meanwhile.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use super::azurite::{ACCOUNT, Azurite};

/// The running proxy. It ends with the value.
#[derive(Debug)]
pub(crate) struct StorageProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

/// What happens to the requests that [`StorageProxy::fail`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A listing is answered with what is no listing.
    Garbage,
    /// A listing's first page holds nothing and tells of a second one, which never comes whole.
    DiesMidway,
    /// The request is taken, and nothing comes back.
    Silence,
    /// 503, with the wish to be asked again after a minute.
    Busy,
    /// 403, as where a firewall does not let the client in.
    Denied,
}

#[derive(Debug)]
struct State {
    stopped: bool,
    /// GETs of a range so far.
    n_reads: u64,
    /// Which of them are cut.
    cut: Range<u64>,
    /// What the server's clock shows.
    clock: Clock,
    /// The requests that fail, by a part of method and target.
    failing: Option<(String, Fault)>,
    /// Method and target of every request.
    requests: Vec<String>,
    /// The first answer to each listing.
    listings: HashMap<String, Vec<u8>>,
    /// Whether listings are answered as they were.
    repeating: bool,
}

#[derive(Debug, Clone, Copy)]
enum Clock {
    Ahead(Duration),
    Stands(SystemTime),
}

impl StorageProxy {
    pub(crate) fn start(azurite: &Azurite) -> Self {
        let upstream = azurite.endpoint.socket_addrs(|| None).unwrap()[0];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            stopped: false,
            n_reads: 0,
            cut: 0..0,
            clock: Clock::Ahead(Duration::ZERO),
            failing: None,
            requests: Vec::new(),
            listings: HashMap::new(),
            repeating: false,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().stopped {
                    return;
                }
                let of_connection = Arc::clone(&shared);
                // A client that goes away in the middle is its own matter.
                thread::spawn(move || {
                    stream.and_then(|client| pass_on(client, upstream, &of_connection)).ok()
                });
            }
        });
        Self { address, state, accepting: Some(accepting) }
    }

    /// The line of the settings of a source that goes this way.
    pub(crate) fn setting(&self) -> String {
        format!("endpoint = \"http://{}/{ACCOUNT}\"", self.address)
    }

    /// From now on, cuts those GETs of a range whose number, counted from 0 and from now, lies within this.
    pub(crate) fn cut(&self, reads: Range<u64>) {
        let mut state = self.state.lock().unwrap();
        state.n_reads = 0;
        state.cut = reads;
    }

    /// GETs of a range since the last call of [`Self::cut`].
    pub(crate) fn n_reads(&self) -> u64 {
        self.state.lock().unwrap().n_reads
    }

    /// Requests so far whose method and target hold this.
    pub(crate) fn requests(&self, part: &str) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|request| request.contains(part)).count()
    }

    /// From now on, answers each listing as it was answered first, or honestly again.
    pub(crate) fn repeat_listings(&self, repeating: bool) {
        self.state.lock().unwrap().repeating = repeating;
    }

    /// From now on, the server's clock is this many hours ahead.
    pub(crate) fn set_hours_ahead(&self, hours: u64) {
        self.set_minutes_ahead(hours * 60);
    }

    /// From now on, the server's clock is this many minutes ahead.
    pub(crate) fn set_minutes_ahead(&self, minutes: u64) {
        self.state.lock().unwrap().clock = Clock::Ahead(Duration::from_secs(minutes * 60));
    }

    /// From now on, the server's clock stands at this time.
    pub(crate) fn stop_clock(&self, at: SystemTime) {
        self.state.lock().unwrap().clock = Clock::Stands(at);
    }

    /// From now on, requests whose method and target hold this fail.
    pub(crate) fn fail(&self, part: &str, fault: Fault) {
        self.state.lock().unwrap().failing = Some((part.to_owned(), fault));
    }

    /// From now on, nothing fails.
    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().failing = None;
    }
}

impl Drop for StorageProxy {
    fn drop(&mut self) {
        self.state.lock().unwrap().stopped = true;
        // Wakes the thread.
        TcpStream::connect(self.address).unwrap();
        self.accepting.take().unwrap().join().unwrap();
    }
}

/// One request and its answer; the connection ends with it. The collector sends no bodies.
fn pass_on(mut client: TcpStream, upstream: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut lines = lines(&head);
    let is_read = lines[0].starts_with("GET ") && lines.iter().any(|line| is_header(line, "x-ms-range"));
    let request = lines[0].trim_end_matches(" HTTP/1.1").to_owned();
    let is_listing = request.contains("comp=list");
    lines.retain(|line| !is_header(line, "connection"));
    lines.push("Connection: close".to_owned());
    let (repeated, fault) = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        let failing = state.failing.as_ref().filter(|(part, _)| request.contains(part));
        (state.listings.get(&request).filter(|_| state.repeating).cloned(), failing.map(|(_, fault)| *fault))
    };
    if fault == Some(Fault::Silence) {
        // Until the client gives up.
        return client.read_to_end(&mut Vec::new()).map(drop);
    }
    if fault == Some(Fault::DiesMidway) && request.contains(SECOND_PAGE) {
        return Ok(());
    }
    if let Some(refusal) = fault.and_then(refusal) {
        return client.write_all(refusal.as_bytes());
    }
    let answer = match repeated {
        Some(answer) => answer,
        None => {
            let mut server = TcpStream::connect(upstream)?;
            server.write_all(&joined(&lines))?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer)?;
            answer
        }
    };
    if is_listing {
        state.lock().unwrap().listings.entry(request).or_insert_with(|| answer.clone());
    }
    let answer = match fault {
        Some(fault) => spoiled(&answer, fault)?,
        None => answer,
    };
    let (head, mut body) = split_head(&answer)?;
    let (cut, clock) = {
        let mut state = state.lock().unwrap();
        let n_read = state.n_reads;
        state.n_reads += u64::from(is_read);
        (is_read && state.cut.contains(&n_read), state.clock)
    };
    if cut {
        body = &body[..body.len() / 2];
    }
    let mut lines = self::lines(head);
    for line in &mut lines {
        if is_header(line, "date") {
            let date = match clock {
                Clock::Ahead(ahead) => {
                    httpdate::parse_http_date(line.split_once(": ").unwrap().1).unwrap() + ahead
                }
                Clock::Stands(at) => at,
            };
            *line = format!("Date: {}", httpdate::fmt_http_date(date));
        }
    }
    client.write_all(&joined(&lines))?;
    client.write_all(body)
}

/// In the request for the page after a spoiled one.
const SECOND_PAGE: &str = "marker=second";

/// The whole answer to any request, where the fault is one.
fn refusal(fault: Fault) -> Option<&'static str> {
    match fault {
        Fault::Busy => Some(
            "HTTP/1.1 503 Server Busy\r\nx-ms-error-code: ServerBusy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
        ),
        Fault::Denied => Some(
            "HTTP/1.1 403 Forbidden\r\nx-ms-error-code: AuthorizationFailure\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
        ),
        Fault::Garbage | Fault::DiesMidway | Fault::Silence => None,
    }
}

/// The answer to a listing with another body.
fn spoiled(answer: &[u8], fault: Fault) -> io::Result<Vec<u8>> {
    let body = match fault {
        Fault::Garbage => "<html><p>Sign in to the network",
        Fault::DiesMidway | Fault::Silence | Fault::Busy | Fault::Denied => {
            "<?xml version=\"1.0\"?><EnumerationResults><Blobs/><NextMarker>second</NextMarker></EnumerationResults>"
        }
    };
    let (head, _) = split_head(answer)?;
    let mut lines = lines(head);
    lines.retain(|line| !is_header(line, "content-length") && !is_header(line, "transfer-encoding"));
    lines.push(format!("Content-Length: {}", body.len()));
    Ok([joined(&lines), body.into()].concat())
}

pub(super) fn split_head(answer: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let at = at.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(answer.split_at(at + 4))
}

pub(super) fn lines(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8(head.to_vec()).unwrap();
    text.trim_end().split("\r\n").map(str::to_owned).collect()
}

pub(super) fn joined(lines: &[String]) -> Vec<u8> {
    (lines.join("\r\n") + "\r\n\r\n").into_bytes()
}

pub(super) fn is_header(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
}
