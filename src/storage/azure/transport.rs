//! Carries the SDK's requests over the program's own HTTP client: those of the adapter, which only reads, and those of
//! whoever writes flow logs with the same SDK.
//!
//! The SDK signs and nothing more: an answer other than 2xx becomes an error here, with all that the adapter wants
//! to know of it, before a policy of the SDK can read it. The body of such an answer is thrown away unread by
//! anybody: the service's explanation of a refused signature repeats that signature.

use std::{collections::HashMap, time::Duration};

use ::http::{HeaderMap, Request, StatusCode, header};
use async_trait::async_trait;
use azure_core::{
    Body, HttpClient,
    error::{Error, ErrorKind},
    headers::{HeaderName, HeaderValue, Headers},
};
use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::{http, retry};

/// The most of an error's body that is read so that its connection can be used again.
const ERROR_BODY_LIMIT: usize = 64 * 1024;

/// An answer other than 2xx.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server answered {status} ({})", code.as_deref().unwrap_or("without an error code"))]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// `x-ms-error-code`.
    pub code: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // The server's own clock tells how far away a date is.
        let now = text(header::DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok());
        let retry_after = text(header::RETRY_AFTER.as_str())
            .and_then(|value| retry::retry_after(value, now.unwrap_or_else(std::time::SystemTime::now)));
        Self { status: status.as_u16(), code: text("x-ms-error-code").map(str::to_owned), retry_after }
    }
}

/// The HTTP client in the shape that the SDK wants.
#[derive(Debug, Clone)]
pub struct Transport {
    client: http::Client,
}

impl Transport {
    /// Carries requests over `client`.
    #[must_use]
    pub fn new(client: http::Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(
        &self,
        request: &azure_core::Request,
    ) -> azure_core::Result<azure_core::Response> {
        let response =
            self.client.send(to_http(request)?).await.map_err(|error| Error::new(ErrorKind::Io, error))?;
        if !response.status.is_success() {
            let refusal = Refusal::new(response.status, &response.headers);
            if let Err(error) = response.bytes(ERROR_BODY_LIMIT).await {
                tracing::debug!(%error, "the body of an error answer was not read to its end");
            }
            return Err(Error::new(ErrorKind::Other, refusal));
        }
        let status = azure_core::StatusCode::try_from(response.status.as_u16()).map_err(|_| {
            Error::message(ErrorKind::DataConversion, "the answer has a status that HTTP does not know")
        })?;
        let headers = to_azure(&response.headers);
        let body = response.into_stream().map_err(|error| Error::new(ErrorKind::Io, error));
        Ok(azure_core::Response::new(status, headers, Box::pin(body)))
    }
}

fn to_http(request: &azure_core::Request) -> azure_core::Result<Request<Bytes>> {
    let mut builder = Request::builder().method(request.method().as_ref()).uri(request.url().as_str());
    for (name, value) in request.headers().iter() {
        // The program names itself to every server in the same way.
        if name.as_str() != header::USER_AGENT.as_str() {
            builder = builder.header(name.as_str(), value.as_str());
        }
    }
    let body = match request.body() {
        Body::Bytes(bytes) => bytes.clone(),
        Body::SeekableStream(_) => {
            return Err(Error::message(ErrorKind::Other, "only whole bodies are sent, no streams"));
        }
    };
    builder.body(body).map_err(|error| Error::new(ErrorKind::DataConversion, error))
}

fn to_azure(headers: &HeaderMap) -> Headers {
    let readable = headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value.to_owned())))
    });
    Headers::from(readable.collect::<HashMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: error answers with and without the headers of the real service. Guarantees: code and wait are
    /// taken; a date is measured from the server's clock, not from this machine's.
    #[test]
    fn refusals() {
        let check = |pairs: &[(&'static str, &str)], code: Option<&str>, seconds: Option<u64>| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, &headers);
            assert_eq!(refusal.code.as_deref(), code, "{pairs:?}");
            assert_eq!(refusal.retry_after, seconds.map(Duration::from_secs), "{pairs:?}");
        };
        check(&[], None, None);
        check(&[("x-ms-error-code", "ServerBusy"), ("retry-after", "2")], Some("ServerBusy"), Some(2));
        check(
            &[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")],
            None,
            Some(3),
        );
        check(&[("retry-after", "soon")], None, None);
    }
}
