//! An intake over HTTPS: a protocol, the client and compression.

use std::{fmt, io::Write, ops::Range, time::SystemTime};

use ::http::{self as http_types, HeaderValue, StatusCode, header::CONTENT_ENCODING};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use url::Url;

use super::{
    Answer, Cause, Framing, Intake, Protocol, Verdict,
    protocols::RequestError,
    rotation::{Rotation, SecretFile},
};
use crate::{
    batch::EncodedEvents,
    http::{self, HttpError, HttpErrorKind, SetupError},
    model::Secret,
    telemetry::{chain, metrics::Counter},
};

/// Level 3 costs 1.6 times what level 1 does and makes bodies a third smaller.
const GZIP_LEVEL: u32 = 3;

/// Larger bodies are compressed off the async threads: below, handing over costs more than it saves.
const INLINE_COMPRESSION_BYTES: usize = 256 * 1024;

/// An answer is a list of ids at most; a larger one is no answer to us.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A receiving end over HTTPS. `Debug` leaves out the URL but for its origin, and the headers' values: some receivers
/// take their key there.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Protocol and what only it needs.
    pub protocol: ProtocolConfig,
    /// Base URL (sekoia) or full URL (http). Checked: https, or plain http where it is allowed.
    pub url: Url,
    /// Compression of bodies.
    pub compression: Compression,
    /// How to connect.
    pub http: http::Config,
    /// The files that secrets of `protocol` came from; they are read again when they change or a secret is refused.
    pub secret_files: Vec<SecretFile>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("protocol", &self.protocol)
            .field("origin", &self.url.origin().ascii_serialization())
            .field("compression", &self.compression)
            .field("http", &self.http)
            .field("secret_files", &self.secret_files)
            .finish_non_exhaustive()
    }
}

/// Which protocol is spoken.
#[derive(Clone, PartialEq, Eq)]
pub enum ProtocolConfig {
    /// Sekoia.io `/batch`.
    Sekoia {
        /// The intake key; goes into the body.
        intake_key: Secret,
    },
    /// Any receiver of NDJSON or of a JSON array.
    Http {
        /// Layout of the body.
        framing: HttpFraming,
        /// Headers to add, checked.
        headers: http_types::HeaderMap,
        /// Credentials.
        auth: Auth,
        /// Statuses that mean "accepted".
        success_codes: Vec<StatusCode>,
    },
}

impl fmt::Debug for ProtocolConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sekoia { intake_key } => f.debug_struct("Sekoia").field("intake_key", intake_key).finish(),
            Self::Http { framing, headers, auth, success_codes } => f
                .debug_struct("Http")
                .field("framing", framing)
                .field("headers", &headers.keys().collect::<Vec<_>>())
                .field("auth", auth)
                .field("success_codes", success_codes)
                .finish(),
        }
    }
}

/// Layout of a generic body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFraming {
    /// One event a line, `application/x-ndjson`, every line ended.
    Ndjson,
    /// `[event,event]`, `application/json`.
    JsonArray,
}

/// Credentials of a generic receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// None.
    None,
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A header of its own.
    Header {
        /// Header name.
        name: http_types::HeaderName,
        /// Its value.
        value: Secret,
    },
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
    client: http::Client,
    compression: Compression,
    bytes_sent: Counter,
}

impl HttpIntake {
    /// Sets the intake up; connects to nothing.
    ///
    /// # Errors
    /// [`IntakeSetupError`] where the client or the credentials cannot be used.
    pub fn new(config: Config) -> Result<Self, IntakeSetupError> {
        let client = http::Client::new(&config.http).map_err(IntakeSetupError::Client)?;
        let compression = config.compression;
        let rotation = Rotation::new(config).map_err(IntakeSetupError::Request)?;
        Ok(Self { rotation, client, compression, bytes_sent: Counter::default() })
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
        range: Range<usize>,
    ) -> Result<Vec<u8>, Verdict> {
        let ranges: Vec<_> = events.ranges().skip(range.start).take(range.len()).collect();
        let body = protocol.assemble(&events.bytes, &ranges);
        if self.compression == Compression::None {
            return Ok(body);
        }
        let compressed = if body.len() <= INLINE_COMPRESSION_BYTES {
            gzip(&body)
        } else {
            match tokio::task::spawn_blocking(move || gzip(&body)).await {
                Ok(compressed) => compressed,
                Err(error) => return Err(retry(format!("compress a request: {error}"))),
            }
        };
        compressed.map_err(|error| retry(format!("compress a request: {error}")))
    }

    async fn exchange(
        &self,
        protocol: &dyn Protocol,
        events: &EncodedEvents,
        range: Range<usize>,
    ) -> Result<Answer, Verdict> {
        let body = self.body(protocol, events, range).await?;
        let mut builder = protocol.request();
        if self.compression == Compression::Gzip {
            builder = builder.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        self.bytes_sent.inc_by(u64::try_from(body.len()).unwrap_or(u64::MAX));
        let request = builder.body(Bytes::from(body)).map_err(|error| Verdict::Blocked {
            reason: format!("the request cannot be made: {error}; check `url` and `headers`"),
        })?;
        let response = self.client.send(request).await.map_err(|error| unanswered(&error))?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = match response.bytes(ANSWER_BYTES).await {
            Ok(body) => body,
            // The status has arrived and counts: a busy server may wrap it in any page, and the same answer would come
            // again. Where the body decides, an empty one proves nothing.
            Err(error) if error.kind == HttpErrorKind::TooLarge => Bytes::new(),
            Err(error) => return Err(unanswered(&error)),
        };
        Ok(Answer { status, headers, body })
    }
}

#[async_trait]
impl Intake for HttpIntake {
    fn framing(&self) -> &dyn Framing {
        self.rotation.first()
    }

    async fn attempt(&self, events: &EncodedEvents, range: Range<usize>) -> Verdict {
        let n_events = range.len();
        let mut protocol = self.rotation.current().await;
        let mut result = self.exchange(protocol.as_ref(), events, range.clone()).await;
        if let Ok(answer) = &result
            && matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            && let Some(rotated) = self.rotation.read_again().await
        {
            protocol = rotated;
            result = self.exchange(protocol.as_ref(), events, range).await;
        }
        match result {
            Ok(answer) => protocol.classify(n_events, &answer, SystemTime::now()),
            Err(verdict) => verdict,
        }
    }
}

fn retry(reason: String) -> Verdict {
    Verdict::Retry { after: None, reason, cause: Cause::Unanswered }
}

/// Without a whole answer nobody knows whether the events were accepted: they are sent again, with the same ids.
fn unanswered(error: &HttpError) -> Verdict {
    let cause = match error.kind {
        HttpErrorKind::Reset => Cause::Reset,
        HttpErrorKind::Certificate => Cause::Untrusted,
        HttpErrorKind::Connect
        | HttpErrorKind::Proxy
        | HttpErrorKind::Timeout
        | HttpErrorKind::Closed
        | HttpErrorKind::TooLarge
        | HttpErrorKind::Other => Cause::Unanswered,
    };
    Verdict::Retry { after: None, reason: chain(error).to_string(), cause }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Level::new(GZIP_LEVEL));
    encoder.write_all(body)?;
    encoder.finish()
}
