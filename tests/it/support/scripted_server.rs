//! An HTTP/1.1 server on loopback that answers by a script, faults included, and keeps what it was asked.
#![expect(clippy::indexing_slicing, reason = "a test reports failure by panicking")]

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Answers; with `cut_after`, closes the connection after so many bytes of the body.
    Answer {
        /// Status.
        status: u16,
        /// Headers; `Content-Length` comes on top.
        headers: Vec<(String, String)>,
        /// Body, whose whole length is announced.
        body: Vec<u8>,
        /// How much of the body is sent.
        cut_after: Option<usize>,
    },
    /// Answers with what it was asked: parts of the target, values of headers, the body.
    Echo {
        /// Status.
        status: u16,
        /// Headers, as in [`Self::Answer`].
        headers: Vec<(String, String)>,
    },
    /// Sends bytes, which need not be a whole answer, and then closes the connection.
    Raw(Vec<u8>),
    /// Sends bytes, which need not be a whole answer, and then nothing more.
    Stall(Vec<u8>),
    /// Closes the connection without an answer.
    Close,
    /// Resets the connection without an answer.
    Reset,
    /// Never answers.
    Silence,
}

impl Step {
    /// A whole answer.
    pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Answer { status, headers, body: body.into(), cut_after: None }
    }

    /// An answer that quotes the request.
    pub(crate) fn echo(status: u16, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Echo { status, headers }
    }

    /// The same answer, cut.
    pub(crate) fn cut(self, after: usize) -> Self {
        match self {
            Self::Answer { status, headers, body, .. } => {
                Self::Answer { status, headers, body, cut_after: Some(after) }
            }
            Self::Echo { .. } | Self::Raw(_) | Self::Stall(_) | Self::Close | Self::Reset | Self::Silence => {
                self
            }
        }
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// Method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Headers; names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Body.
    pub(crate) body: Vec<u8>,
}

impl Recorded {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The values of the headers that not every request has.
    fn telling_headers(&self) -> impl Iterator<Item = &str> {
        let is_common = |name: &str| ["host", "user-agent", "accept", "content-encoding"].contains(&name);
        let telling = self.headers.iter().filter(move |(name, _)| !is_common(name));
        telling.map(|(_, value)| value.as_str())
    }

    /// As talkative servers quote a request: what they looked at, then all of it.
    fn quoted(&self) -> Vec<u8> {
        let parts = self.target.split(['/', '?', '&', '=']).filter(|part| !part.is_empty());
        let looked_at: Vec<&str> = parts.chain(self.telling_headers()).collect();
        let mut quoted = format!("not {} of {} ", looked_at.join(" "), self.target).into_bytes();
        quoted.extend_from_slice(&self.body);
        quoted
    }
}

/// A running server. It ends with the value.
#[derive(Debug)]
pub(crate) struct ScriptedServer {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl ScriptedServer {
    /// Answers the n-th request by the n-th step, and all later ones by the last.
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        assert!(!steps.is_empty(), "a script has a last step");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Script { steps, recorded: Arc::clone(&recorded) });
        let connections = Arc::new(AtomicUsize::new(0));
        let n_accepted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                n_accepted.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                // A connection that the client drops is no concern of the server's.
                tokio::spawn(async move { script.serve(stream).await.ok() });
            }
        });
        Self { address, recorded, connections, task }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, in the order of their arrival.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.recorded.lock().unwrap().clone()
    }

    /// The connections that were opened so far.
    pub(crate) fn n_connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Script {
    steps: Vec<Step>,
    recorded: Arc<Mutex<Vec<Recorded>>>,
}

impl Script {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read_request(&mut stream).await? {
            let step = {
                let mut recorded = self.recorded.lock().unwrap();
                let index = recorded.len().min(self.steps.len() - 1);
                recorded.push(request.clone());
                self.steps[index].clone()
            };
            match step {
                Step::Raw(bytes) => return stream.write_all(&bytes).await,
                Step::Stall(bytes) => {
                    stream.write_all(&bytes).await?;
                    std::future::pending().await
                }
                Step::Close => return Ok(()),
                Step::Reset => return stream.get_ref().set_zero_linger(),
                Step::Silence => std::future::pending().await,
                Step::Answer { status, headers, body, cut_after } => {
                    let cut = cut_after.unwrap_or(body.len());
                    answer(&mut stream, &request, (status, &headers), (&body, cut)).await?;
                    if cut_after.is_some() {
                        return Ok(());
                    }
                }
                Step::Echo { status, mut headers } => {
                    let quoted = request.quoted();
                    let values = request.telling_headers().collect::<Vec<_>>().join(" ");
                    headers.push(("X-Echo".to_owned(), values));
                    answer(&mut stream, &request, (status, &headers), (&quoted, quoted.len())).await?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a head, and the first `cut` bytes of a body whose whole length it announces.
async fn answer(
    stream: &mut BufReader<TcpStream>,
    request: &Recorded,
    (status, headers): (u16, &[(String, String)]),
    (body, cut): (&[u8], usize),
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} scripted\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    if request.method != "HEAD" {
        stream.write_all(&body[..cut]).await?;
    }
    stream.flush().await
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Recorded>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut recorded = Recorded { method, target, headers, body: Vec::new() };
    let length = recorded.header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    recorded.body.resize(length, 0);
    stream.read_exact(&mut recorded.body).await?;
    Ok(Some(recorded))
}
