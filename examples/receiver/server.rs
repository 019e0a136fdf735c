//! Connections and requests: one task a connection, HTTP/1.1.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    answer::{Answer, answer},
    collector::{is_collector, scripted},
    faults::{Fault, Script},
    intake::{Accepted, Intake, Refused, Share},
};

/// The receiver.
pub(crate) struct Server {
    /// What it makes of requests.
    pub(crate) intake: Intake,
    /// What it does wrong on purpose.
    pub(crate) faults: Mutex<Script>,
    /// What happened so far.
    pub(crate) counts: Counts,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: AtomicU64,
    accepted: AtomicU64,
    events: AtomicU64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [requests, accepted, events] =
            [&self.requests, &self.accepted, &self.events].map(|count| count.load(Ordering::Relaxed));
        write!(f, "received {events} events, {requests} requests, {accepted} of them accepted")
    }
}

/// The connection is to be dropped without an answer.
#[derive(Debug, thiserror::Error)]
#[error("scripted reset")]
struct Dropped;

impl Server {
    /// Accepts connections for ever; with TLS where there is an acceptor.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // One connection is gone, or too many files are open: others get time to end.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let server = Arc::clone(&self);
            let acceptor = tls.clone();
            tokio::spawn(async move {
                match acceptor {
                    // A failed handshake is the other side's to report.
                    Some(acceptor) => {
                        if let Ok(encrypted) = acceptor.accept(stream).await {
                            server.serve_connection(encrypted, |io| io.get_ref().0).await;
                        }
                    }
                    None => server.serve_connection(stream, |io| io).await,
                }
            });
        }
    }

    async fn serve_connection<S>(self: Arc<Self>, stream: S, tcp: fn(&S) -> &TcpStream)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| Arc::clone(&self).answer(request));
        let mut connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        if (&mut connection).await.is_err_and(|error| is_scripted(&error)) {
            let stream = connection.into_parts().io.into_inner();
            // Without this the system may say goodbye in an orderly way. If it fails, it does just that.
            tcp(&stream).set_zero_linger().unwrap_or_default();
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Dropped> {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).next();
        match fault {
            Fault::Reset => Err(Dropped),
            Fault::Slow(duration) => {
                tokio::time::sleep(duration).await;
                Ok(self.accept(request, StatusCode::OK, Share::All).await)
            }
            Fault::AcceptThenReset => {
                self.accept(request, StatusCode::OK, Share::All).await;
                Err(Dropped)
            }
            Fault::Truncate => {
                let mut response = self.accept(request, StatusCode::OK, Share::All).await;
                response.body_mut().break_off();
                Ok(response)
            }
            Fault::Doubtful => Ok(self.accept(request, StatusCode::OK, Share::AllButLast).await),
            Fault::RefuseEvent(place) => Ok(self.accept(request, StatusCode::OK, Share::Before(place)).await),
            Fault::Lose => Ok(self.accept(request, StatusCode::OK, Share::None).await),
            Fault::Status(status, detail) => {
                let mut response = if status.is_success() {
                    self.accept(request, status, Share::All).await
                } else {
                    // The body is read so that the sender can finish sending and see the answer.
                    let said = if is_collector(request.uri()) {
                        scripted(status)
                    } else {
                        Refused::new(status, "scripted")
                    };
                    let Refused { status: refused, body, .. } =
                        self.read(request.into_body()).await.map_or_else(|refused| refused, |_| said);
                    answer(refused, body)
                };
                add_detail(&mut response, detail);
                Ok(response)
            }
        }
    }

    /// Takes the events in and answers with `status`, or says why not.
    async fn accept(
        self: &Arc<Self>,
        request: Request<Incoming>,
        status: StatusCode,
        share: Share,
    ) -> Response<Answer> {
        let (head, incoming) = request.into_parts();
        let outcome = match self.read(incoming).await {
            Ok(body) => self.take_in(head, body, share).await,
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok(Accepted { n_events, body }) => {
                self.counts.accepted.fetch_add(1, Ordering::Relaxed);
                self.count_events(n_events);
                answer(status, body)
            }
            Err(Refused { status: refused, body, n_events }) => {
                self.count_events(n_events);
                answer(refused, body)
            }
        }
    }

    fn count_events(&self, n_events: usize) {
        self.counts.events.fetch_add(u64::try_from(n_events).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Decompresses and writes where it holds up nobody.
    async fn take_in(
        self: &Arc<Self>,
        head: request::Parts,
        body: Bytes,
        share: Share,
    ) -> Result<Accepted, Refused> {
        let server = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || server.intake.take_in(&head, &body, share));
        work.await
            .unwrap_or_else(|error| Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
    }

    async fn read(&self, incoming: Incoming) -> Result<Bytes, Refused> {
        match Limited::new(incoming, self.intake.max_body).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                let message = format!("the body is larger than {} bytes", self.intake.max_body);
                Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
            Err(error) => Err(Refused::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"))),
        }
    }
}

/// Whether a connection ended because the script wanted a reset.
fn is_scripted(error: &hyper::Error) -> bool {
    error.source().is_some_and(|source| source.is::<Dropped>())
}

/// Adds what a scripted status says beyond its number: where to go, or when to come back.
fn add_detail(response: &mut Response<Answer>, detail: Option<String>) {
    let name = if response.status().is_redirection() { header::LOCATION } else { header::RETRY_AFTER };
    if let Some(value) = detail.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(name, value);
    }
}
