//! F4: the admin server: whether the process lives and is ready, and its metrics, for probes and scrapers. It answers
//! from memory alone, so no intake, source or disk can hold it up. It starts no task: all connections are part of the
//! one future that [`serve`] returns.

mod answers;

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::telemetry::{chain, health::Health, metrics::Metrics};

/// A probe, a scraper or two and a person: more connections wait for one of these to end.
const MOST_CONNECTIONS: usize = 16;

/// A connection serves one request and is closed after this long, whoever is slow: an answer is made in milliseconds.
/// This is the limit for reading the head too.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(5);

/// Largest head of a request: those of probes and scrapers have some hundred bytes. The least that hyper takes.
const HEAD_BYTES: usize = 8 * 1024;

/// Wait after a connection could not be accepted: there are no free file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The admin server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "listen at {address}: give admin.listen an address of this host that is free, or \"\" to do without the admin server"
)]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Begins to listen. Until [`serve`] runs, connections wait.
///
/// # Errors
/// [`ListenError`] where the address is in use or not this host's.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// Answers until `shutdown`; what is under way then is cut off.
pub async fn serve(listener: TcpListener, metrics: Metrics, health: Health, shutdown: CancellationToken) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(()) = connections.next() => {}
            stream = accept(&listener), if connections.len() < MOST_CONNECTIONS => {
                connections.push(connection(stream, &metrics, &health));
            }
        }
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(error = %chain(&error), "the admin server could not accept a connection, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, metrics: &Metrics, health: &Health) {
    let service = service_fn(async |request: http::Request<_>| {
        Ok::<_, Infallible>(answers::answer(request.method(), request.uri().path(), metrics, health))
    });
    let serving = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_DEADLINE, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            debug!(error = %chain(&error), "a client of the admin server went away or was not understood")
        }
        Err(_) => debug!("a client of the admin server was too slow"),
    }
}
