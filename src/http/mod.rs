//! F3: the one HTTP client, for storage and intakes. The only folder that names `reqwest`.
//!
//! It sends a request once and hands back the answer. It does not retry, does not follow redirects, takes no proxy
//! from the environment, and never puts a URL into an error: URLs can carry secrets.

mod error;
mod identity;
mod proxy;
mod roots;

use std::{mem, sync::Arc, time::Duration};

use ::http::{HeaderMap, Request, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use rustls::{crypto::ring, sign::SingleCertAndKey};

pub use error::{HttpError, HttpErrorKind, SetupError};
pub use identity::{Identity, NotAnIdentity};
pub use proxy::{NotAProxy, Proxy};

/// An idle connection is closed before the usual servers and balancers close it: a request that is sent into a
/// closing connection fails.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// Who asks.
const USER_AGENT: &str = concat!("flowlogd/", env!("CARGO_PKG_VERSION"));

/// How a client connects. Redirects are never followed, TLS is at least 1.2, and no setting turns verification off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// PEM certificates to trust in addition to the system's.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// What is shown to servers that ask for a client certificate.
    pub identity: Option<Identity>,
    /// The proxy that every request goes through; `None`: straight to the server, whatever the environment says.
    pub proxy: Option<Proxy>,
    /// Longest time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Longest silence while an answer is read.
    pub read_timeout: Duration,
    /// Longest time for a whole request, answer included; `None`: no limit but the other two.
    pub total_timeout: Option<Duration>,
}

/// A pool of connections. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    has_proxy: bool,
}

impl Client {
    /// Reads the system's trusted roots and sets the client up; connects to nothing.
    ///
    /// # Errors
    /// [`SetupError`] where the additional roots cannot be used. A system without roots is no error.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let roots = roots::load(config.extra_roots_pem.as_deref())?;
        let tls = rustls::ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(SetupError::Tls)?
            .with_root_certificates(roots);
        let mut tls = match &config.identity {
            Some(identity) => {
                tls.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())))
            }
            None => tls.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];

        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(USER_AGENT)
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.read_timeout)
            .pool_idle_timeout(IDLE_CONNECTION);
        if let Some(total_timeout) = config.total_timeout {
            builder = builder.timeout(total_timeout);
        }
        if let Some(proxy) = &config.proxy {
            let proxy = reqwest::Proxy::all(proxy.reveal().clone())
                .map_err(|error| SetupError::Client(error.without_url().into()))?;
            builder = builder.proxy(proxy);
        }
        let inner = builder.build().map_err(|error| SetupError::Client(error.without_url().into()))?;
        Ok(Self { inner, has_proxy: config.proxy.is_some() })
    }

    /// Sends a request and waits for the head of the answer, whatever its status.
    ///
    /// # Errors
    /// [`HttpError`] where there is no answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(HttpError::from_reqwest)?;
        let executed = self.inner.execute(request).await;
        let mut response = executed.map_err(|error| {
            let error = HttpError::from_reqwest(error);
            if self.has_proxy { error.behind_proxy() } else { error }
        })?;
        let headers = mem::take(response.headers_mut());
        Ok(Response { status: response.status(), headers, body: response })
    }
}

/// An answer, its body not yet read.
#[derive(Debug)]
pub struct Response {
    /// Status, of any class.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    body: reqwest::Response,
}

impl Response {
    /// Reads the body to its end.
    ///
    /// # Errors
    /// [`HttpErrorKind::TooLarge`] where the body has more than `cap` bytes; else [`HttpError`] where it does not
    /// arrive whole.
    pub async fn bytes(self, cap: usize) -> Result<Bytes, HttpError> {
        let announced = self.body.content_length().and_then(|length| usize::try_from(length).ok());
        let mut collected = BytesMut::with_capacity(announced.unwrap_or_default().min(cap));
        let mut body = self.body;
        while let Some(chunk) = body.chunk().await.map_err(HttpError::from_reqwest)? {
            if chunk.len() > cap.saturating_sub(collected.len()) {
                return Err(HttpError::new(HttpErrorKind::TooLarge));
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(collected.freeze())
    }

    /// The body as it arrives. A body that ends early ends with an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, HttpError>> + Send + Sync + 'static {
        self.body.bytes_stream().map_err(HttpError::from_reqwest)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn client() -> Client {
        let ten_seconds = Duration::from_secs(10);
        Client::new(&Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: ten_seconds,
            read_timeout: ten_seconds,
            total_timeout: Some(ten_seconds),
        })
        .unwrap()
    }

    /// Asks a server that answers `answer` and closes; at most `cap` bytes are wanted.
    async fn fetch(answer: &'static str, cap: usize) -> Result<Bytes, HttpErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path?secret=canary", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let request = Request::get(url).body(Bytes::new()).unwrap();
        let fetched = match client().send(request).await {
            Ok(response) => response.bytes(cap).await,
            Err(error) => Err(error),
        };
        server.await.unwrap();
        fetched.map_err(|error| {
            assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
            error.kind
        })
    }

    /// Scenario: bodies at, over and under the cap, announced or not, whole or torn; and an answer that is no HTTP.
    /// Guarantees: a whole body within the cap, or an error of the right kind that does not show the URL.
    #[tokio::test]
    async fn bodies_are_capped_and_whole() {
        let announced = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
        for whole in [announced, chunked] {
            assert_eq!(fetch(whole, 5).await, Ok(Bytes::from_static(b"hello")), "{whole}");
            assert_eq!(fetch(whole, 4).await, Err(HttpErrorKind::TooLarge), "{whole}");
            assert_eq!(fetch(whole, 0).await, Err(HttpErrorKind::TooLarge), "{whole}");
        }
        let empty = "HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(fetch(empty, 0).await, Ok(Bytes::new()));
        for torn in [
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200",
            "",
            "220 mail.example ESMTP\r\n",
        ] {
            assert_eq!(fetch(torn, 100).await, Err(HttpErrorKind::Closed), "{torn}");
        }
    }
}
