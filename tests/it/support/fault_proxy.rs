//! A TCP proxy between a sender and a receiver, with the faults of a bad line, switched while it runs. It knows nothing of
//! what passes, so TLS stays whole from end to end.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use url::Url;

use super::wait;

/// Most bytes that are taken at once.
const CHUNK: usize = 16 * 1024;

/// The type, version and length of a TLS record.
const RECORD_HEAD: usize = 5;

/// What the line does to every connection, old and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Everything passes.
    None,
    /// So many bytes of the sender's pass, then the connection is reset.
    Reset(usize),
    /// Connections are there and nothing passes (half-open). When the fault ends they are reset, as by a host that has
    /// started anew.
    Silence,
    /// Everything passes in pieces of so many bytes.
    Slices(usize),
    /// One byte passes in this time, each way.
    Trickle(Duration),
    /// An answer ends in the middle of a TLS record: that of a handshake on a new connection, the receiver's own on one
    /// that was there before.
    CutAnswer,
}

/// A running proxy. It ends with the value, and so do its connections.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    n_strikes: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts one before the server of this URL; all is well.
    pub(crate) async fn start(server: &Url) -> Self {
        let server = *server.socket_addrs(|| None).unwrap().first().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, faults) = watch::channel(Fault::None);
        let n_strikes = Arc::new(AtomicUsize::new(0));
        let line = Line { server, fault: faults, n_strikes: Arc::clone(&n_strikes) };
        let task = tokio::spawn(async move {
            // They end with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that either side drops is no concern of the proxy's.
                let line = line.clone();
                connections.spawn(async move { line.serve(stream).await.ok() });
            }
        });
        Self { address, fault, n_strikes, task }
    }

    /// `https://127.0.0.1:PORT/`.
    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("https://{}/", self.address)).unwrap()
    }

    /// From now on the line does this.
    pub(crate) fn set(&self, fault: Fault) {
        self.n_strikes.store(0, Ordering::SeqCst);
        self.fault.send_replace(fault);
    }

    /// How often the fault has struck since it was set: once a connection and way.
    pub(crate) fn n_strikes(&self) -> usize {
        self.n_strikes.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As either side wants it, or as if it wanted it.
    Orderly,
    /// By a reset, on both sides.
    Reset,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

#[derive(Debug, Clone)]
struct Line {
    server: SocketAddr,
    fault: watch::Receiver<Fault>,
    n_strikes: Arc<AtomicUsize>,
}

impl Line {
    async fn serve(mut self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        if *self.fault.borrow_and_update() == Fault::Silence {
            self.silence().await;
            return client.set_zero_linger();
        }
        let mut server = TcpStream::connect(self.server).await?;
        server.set_nodelay(true)?;
        let end = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let (mut requests, mut answers) = (self.clone(), self);
            tokio::select! {
                end = requests.pass(Way::Request, from_client, to_server) => end?,
                end = answers.pass(Way::Answer, from_server, to_client) => end?,
            }
        };
        match end {
            End::Orderly => client.shutdown().await,
            End::Reset => {
                server.set_zero_linger()?;
                client.set_zero_linger()
            }
        }
    }

    /// Hands on what comes, as the fault has it, until the connection is to end.
    async fn pass(
        &mut self,
        way: Way,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<End> {
        let mut buffer = vec![0; CHUNK];
        let mut met = Fault::None;
        let mut passed = 0;
        loop {
            let n_bytes = from.read(&mut buffer).await?;
            if n_bytes == 0 {
                return Ok(End::Orderly);
            }
            let mut rest = &buffer[..n_bytes];
            while !rest.is_empty() {
                let fault = *self.fault.borrow_and_update();
                if fault != met {
                    (met, passed) = (fault, 0);
                }
                let length = match fault {
                    Fault::None => rest.len(),
                    Fault::Reset(most) if way == Way::Request && passed + rest.len() > most => {
                        to.write_all(&rest[..most - passed]).await?;
                        self.strike();
                        return Ok(End::Reset);
                    }
                    Fault::Reset(_) => rest.len(),
                    Fault::Silence => {
                        self.silence().await;
                        return Ok(End::Reset);
                    }
                    Fault::Slices(most) => most.min(rest.len()),
                    Fault::Trickle(_) => 1,
                    Fault::CutAnswer if way == Way::Answer => {
                        to.write_all(&rest[..half_of_record(rest)]).await?;
                        self.strike();
                        return Ok(End::Orderly);
                    }
                    Fault::CutAnswer => rest.len(),
                };
                to.write_all(&rest[..length]).await?;
                passed += length;
                rest = &rest[length..];
                if matches!(fault, Fault::Slices(_) | Fault::Trickle(_)) && passed == length {
                    self.strike();
                }
                if let Fault::Trickle(pace) = fault {
                    tokio::select! {
                        () = wait::pace(pace) => {}
                        _ = self.fault.changed() => {}
                    }
                }
            }
        }
    }

    /// Waits until the fault is another one.
    async fn silence(&mut self) {
        self.strike();
        // It fails where the proxy has ended, and so has the silence.
        self.fault.changed().await.ok();
    }

    fn strike(&self) {
        self.n_strikes.fetch_add(1, Ordering::SeqCst);
    }
}

/// How many bytes are the first half of the TLS record that begins here.
fn half_of_record(bytes: &[u8]) -> usize {
    let length = match bytes {
        [20..=23, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    (RECORD_HEAD + length / 2).min(bytes.len() - 1)
}
