//! An intake over HTTPS: a protocol, the client and compression.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{HeaderValue, StatusCode, header::CONTENT_ENCODING};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use url::Url;

use super::{
    Answer, Cause, Framing, Intake, Overhead, Protocol, Selection, Verdict,
    auth::{Auth, Credentials},
    confirmation,
    oauth::Denied,
    protocols::{ProtocolConfig, RequestError},
    rotation::{Connection, Rotation, WatchedFile},
};
use crate::{
    batch::EncodedEvents,
    buffers::{self, Recycled},
    http::{self, HttpError, HttpErrorKind, SetupError},
    offload::offload,
    telemetry::{chain, metrics::Counter},
};

/// Level 3 costs 1.6 times what level 1 does and makes bodies a third smaller.
const GZIP_LEVEL: u32 = 3;

/// Larger bodies are compressed off the async threads: below, handing over costs more than it saves.
const INLINE_COMPRESSION_BYTES: usize = 256 * 1024;

/// In the place of an answer that is larger than the protocol reads, or that breaks off. No protocol takes it for an answer
/// of its own: it is neither JSON nor protobuf.
const NOT_READ: &[u8] = b"<not read to its end>";

/// A receiving end over HTTPS. `Debug` leaves out the URL but for its origin, and the headers' values: some receivers
/// take their key there.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Protocol and what only it needs.
    pub protocol: ProtocolConfig,
    /// Base URL (sekoia, elasticsearch) or full URL (http). Checked: https, or plain http where it is allowed.
    pub url: Url,
    /// What authorises requests, where the protocol does not do it itself.
    pub auth: Auth,
    /// Compression of bodies.
    pub compression: Compression,
    /// How to connect.
    pub http: http::Config,
    /// The files that secrets and certificates came from; they are read again when they change, and when the intake takes
    /// nothing until somebody acts.
    pub files: Vec<WatchedFile>,
    /// Whether they have changed is looked at this often at most.
    pub look_every: Duration,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("protocol", &self.protocol)
            .field("origin", &self.url.origin().ascii_serialization())
            .field("auth", &self.auth)
            .field("compression", &self.compression)
            .field("http", &self.http)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Compression of request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `Content-Encoding: gzip`.
    Gzip,
    /// As they are.
    None,
}

/// Why an intake could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum IntakeSetupError {
    /// The HTTP client could not be made.
    #[error("set up the connection to the intake")]
    Client(#[source] SetupError),
    /// The settings do not make a request.
    #[error("set up the requests to the intake")]
    Request(#[source] RequestError),
}

/// A receiving end over HTTPS: protocol, client and compression.
#[derive(Debug)]
pub struct HttpIntake {
    rotation: Rotation,
    compression: Compression,
    bytes_sent: Counter,
}

/// How a request ended that was not answered.
enum Failed {
    /// There were no credentials to send it with.
    Denied(Denied),
    /// Anything else.
    Unanswered(Verdict),
}

impl HttpIntake {
    /// Sets the intake up; connects to nothing.
    ///
    /// # Errors
    /// [`IntakeSetupError`] where the client or the credentials cannot be used.
    pub fn new(config: Config) -> Result<Self, IntakeSetupError> {
        let compression = config.compression;
        Ok(Self { rotation: Rotation::new(config)?, compression, bytes_sent: Counter::default() })
    }

    /// Counts the bytes of request bodies, as they are sent.
    #[must_use]
    pub fn counting(mut self, bytes_sent: Counter) -> Self {
        self.bytes_sent = bytes_sent;
        self
    }

    async fn body(
        &self,
        protocol: &dyn Protocol,
        events: &EncodedEvents,
        selection: &Selection,
    ) -> Result<Vec<u8>, Verdict> {
        let body = protocol.assemble(&events.bytes, &selection.byte_ranges(events));
        if self.compression == Compression::None {
            return Ok(body);
        }
        let compressed = if body.len() <= INLINE_COMPRESSION_BYTES {
            gzip(body)
        } else {
            offload(move || gzip(body)).await.unwrap_or_else(|ending| Err(io::Error::other(ending)))
        };
        compressed.map_err(|error| retry(format!("compress a request: {error}")))
    }

    async fn exchange(
        &self,
        connection: &Connection,
        events: &EncodedEvents,
        selection: &Selection,
    ) -> Result<(Answer, Credentials), Failed> {
        let Connection { protocol, authorizer, client } = connection;
        let credentials = authorizer.credentials(client).await.map_err(Failed::Denied)?;
        let body = self.body(protocol.as_ref(), events, selection).await.map_err(Failed::Unanswered)?;
        let mut builder = protocol.request();
        if let Some((headers, (name, value))) = builder.headers_mut().zip(credentials.header.clone()) {
            headers.insert(name, value);
        }
        if self.compression == Compression::Gzip {
            builder = builder.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        self.bytes_sent.inc_by(u64::try_from(body.len()).unwrap_or(u64::MAX));
        let request = builder.body(Bytes::from_owner(Recycled::from(body))).map_err(|error| {
            let reason = format!("the request cannot be made: {error}; check `url` and `headers`");
            Failed::Unanswered(Verdict::Blocked { reason })
        })?;
        let response = client.send(request).await.map_err(|error| unanswered(&error))?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = match response.bytes(protocol.answer_bytes()).await {
            Ok(body) => body,
            // The status has arrived and counts: a busy server may wrap it in any page, and the same answer would come
            // again. Who refuses a request before its end often closes the connection under its own answer. Where the body
            // decides, this one proves nothing.
            Err(error) if error.kind == HttpErrorKind::TooLarge || !status.is_success() => {
                Bytes::from_static(NOT_READ)
            }
            Err(error) => return Err(unanswered(&error)),
        };
        let redaction = credentials.redaction.clone();
        Ok((Answer { status, headers, body, redaction }, credentials))
    }

    /// What a try came to.
    fn judge(
        connection: &Connection,
        n_events: usize,
        result: &Result<(Answer, Credentials), Failed>,
    ) -> Verdict {
        match result {
            Ok((answer, _)) => connection.protocol.classify(n_events, answer, SystemTime::now()),
            Err(Failed::Denied(denied)) => denied.verdict(),
            Err(Failed::Unanswered(verdict)) => verdict.clone(),
        }
    }

    /// What another try is made with, where the first one blocks and there may be other credentials or certificates by now:
    /// in a file, or at the token endpoint.
    async fn renewed(
        &self,
        connection: &Arc<Connection>,
        result: &Result<(Answer, Credentials), Failed>,
        verdict: &Verdict,
    ) -> Option<Arc<Connection>> {
        let is_blocked =
            matches!(verdict, Verdict::Blocked { .. } | Verdict::Retry { cause: Cause::Untrusted, .. });
        if !is_blocked {
            return None;
        }
        if let Some(rotated) = self.rotation.read_again(connection).await {
            return Some(rotated);
        }
        let Ok((answer, credentials)) = result else { return None };
        let is_refused = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        (is_refused && connection.authorizer.refused(credentials)).then(|| Arc::clone(connection))
    }
}

#[async_trait]
impl Intake for HttpIntake {
    fn framing(&self) -> &dyn Framing {
        self.rotation.framing()
    }

    fn body_overhead(&self) -> Overhead {
        self.rotation.overhead()
    }

    async fn attempt(&self, events: &EncodedEvents, selection: &Selection) -> Verdict {
        let connection = self.rotation.current().await;
        let result = self.exchange(&connection, events, selection).await;
        let verdict = Self::judge(&connection, selection.len(), &result);
        let Some(renewed) = self.renewed(&connection, &result, &verdict).await else {
            return confirmed(&connection, &result, verdict).await;
        };
        let result = self.exchange(&renewed, events, selection).await;
        let verdict = Self::judge(&renewed, selection.len(), &result);
        confirmed(&renewed, &result, verdict).await
    }
}

/// The verdict, once the intake has confirmed a delivery that it only received; the same verdict for others.
async fn confirmed(
    connection: &Connection,
    result: &Result<(Answer, Credentials), Failed>,
    verdict: Verdict,
) -> Verdict {
    let Connection { protocol, client, .. } = connection;
    match result {
        Ok((answer, credentials)) if verdict == Verdict::Delivered => match protocol.confirmation(answer) {
            Some(question) => {
                confirmation::wait(protocol.as_ref(), client, &question, &credentials.redaction).await
            }
            None => verdict,
        },
        Ok(_) | Err(_) => verdict,
    }
}

fn retry(reason: String) -> Verdict {
    Verdict::Retry { after: None, reason, cause: Cause::Unanswered }
}

fn unanswered(error: &HttpError) -> Failed {
    let reason = chain(error).to_string();
    Failed::Unanswered(Verdict::Retry { after: None, reason, cause: Cause::of(error.kind) })
}

fn gzip(body: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Level::new(GZIP_LEVEL));
    encoder.write_all(&body)?;
    buffers::give_back(body);
    encoder.finish()
}
