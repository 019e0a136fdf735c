//! What can go wrong between a request and its answer.

use std::{error::Error, io};

use rustls::pki_types::pem;

/// The client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The additional roots are empty, or something else.
    #[error(
        "the additional root certificates (`ca_file`) hold no PEM certificate: a `-----BEGIN CERTIFICATE-----` block \
         is expected"
    )]
    NoCertificate,
    /// A block is torn or not base64.
    #[error("the additional root certificates (`ca_file`) are not valid PEM")]
    Pem(#[source] pem::Error),
    /// A block is no certificate that can be trusted as a root.
    #[error("the additional root certificates (`ca_file`): certificate {number} cannot be used as a root")]
    Root {
        /// Place in the file, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// No usable TLS.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// Anything else.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] Box<dyn Error + Send + Sync>),
}

/// A request without a whole answer.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct HttpError {
    /// What it means for the caller.
    pub kind: HttpErrorKind,
    /// What lies beneath; without the URL.
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What a failed request means for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HttpErrorKind {
    /// No connection: name resolution, refusal, time-out while connecting, TLS without a common ground.
    #[error("the server cannot be connected to")]
    Connect,
    /// No connection, where there is a proxy between: it cannot be reached, refuses, or cannot reach the server.
    #[error("the server cannot be connected to through the proxy; check `proxy`, and what it lets through")]
    Proxy,
    /// The server's certificate is not trusted, expired, or for another name.
    #[error(
        "the server's certificate is refused; if its authority is a private one, name that authority's certificate \
         in `ca_file`"
    )]
    Certificate,
    /// The server was silent, or the whole request took, too long.
    #[error("the server did not answer in time")]
    Timeout,
    /// The connection was reset before there was an answer, while the request was written perhaps.
    #[error("the connection was reset before there was an answer")]
    Reset,
    /// The connection broke, or what arrived was not HTTP.
    #[error("the connection broke before the answer was complete")]
    Closed,
    /// The body is longer than the caller accepts.
    #[error("the answer is larger than is accepted")]
    TooLarge,
    /// The request itself cannot be sent.
    #[error("the request cannot be sent")]
    Other,
}

impl HttpError {
    pub(super) fn new(kind: HttpErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// The same error of a client that goes through a proxy.
    pub(super) fn behind_proxy(self) -> Self {
        match self.kind {
            HttpErrorKind::Connect => Self { kind: HttpErrorKind::Proxy, ..self },
            HttpErrorKind::Proxy
            | HttpErrorKind::Certificate
            | HttpErrorKind::Reset
            | HttpErrorKind::Timeout
            | HttpErrorKind::Closed
            | HttpErrorKind::TooLarge
            | HttpErrorKind::Other => self,
        }
    }

    /// What lies beneath, for a caller that says what the kind says in its own words.
    #[must_use]
    pub fn into_source(self) -> Option<Box<dyn Error + Send + Sync>> {
        self.source
    }

    pub(super) fn from_reqwest(error: reqwest::Error) -> Self {
        let kind = if is_certificate_error(&error) {
            HttpErrorKind::Certificate
        } else if error.is_connect() {
            HttpErrorKind::Connect
        } else if error.is_timeout() {
            HttpErrorKind::Timeout
        } else if error.is_builder() {
            HttpErrorKind::Other
        } else if is_reset(&error) {
            HttpErrorKind::Reset
        } else {
            HttpErrorKind::Closed
        };
        Self { kind, source: Some(error.without_url().into()) }
    }
}

/// Whether the verification of a certificate is at the bottom of an error.
fn is_certificate_error(error: &(dyn Error + 'static)) -> bool {
    links(error).any(|link| {
        matches!(link.downcast_ref::<rustls::Error>(), Some(rustls::Error::InvalidCertificate(_)))
    })
}

/// Whether the other side reset the connection.
fn is_reset(error: &(dyn Error + 'static)) -> bool {
    links(error).filter_map(|link| link.downcast_ref::<io::Error>()).any(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
        )
    })
}

/// An error and what lies beneath.
fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let next = |current: &&'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        let current: &'a (dyn Error + 'static) = *current;
        // `source` of an I/O error passes over the error that it wraps.
        match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        }
    };
    std::iter::successors(Some(error), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a certificate error is wrapped in I/O errors, as TLS streams do it. Guarantees: it is recognised,
    /// and other TLS errors are not taken for it.
    #[test]
    fn certificate_errors_are_found_below_io_errors() {
        let check = |error: rustls::Error, expected: bool| {
            let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
            assert_eq!(is_certificate_error(&wrapped), expected, "{wrapped}");
        };
        check(rustls::CertificateError::UnknownIssuer.into(), true);
        check(rustls::CertificateError::Expired.into(), true);
        check(rustls::Error::HandshakeNotComplete, false);
    }
}
