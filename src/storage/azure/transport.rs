//! Carries the SDK's requests over the program's own HTTP client: those of the adapter, which only reads, and those of
//! whoever writes flow logs with the same SDK.
//!
//! The SDK signs and nothing more: an answer other than 2xx becomes an error here, with all that the adapter wants
//! to know of it, before a policy of the SDK can read it. The body of such an answer is thrown away unread by
//! anybody: the service's explanation of a refused signature repeats that signature.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use ::http::{HeaderMap, Request, StatusCode, header};
use async_trait::async_trait;
use azure_core::{
    Body, HttpClient,
    error::{Error, ErrorKind},
    headers::{HeaderName, HeaderValue, Headers},
};
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::TryStreamExt;
use url::Url;

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
    /// Host that a redirect leads to.
    pub redirect_host: Option<String>,
    /// How far the server's clock is ahead of this machine's, by the answer's `Date`.
    pub clock_skew: Option<TimeDelta>,
}

impl Refusal {
    fn new(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Self {
        // The server's own clock tells how far away a date is.
        let server_now = date_of(headers);
        let retry_after = text_of(headers, header::RETRY_AFTER.as_str())
            .and_then(|value| retry::retry_after(value, server_now.unwrap_or(now)));
        // The host alone: what stands behind it may be a token.
        let redirect_host = text_of(headers, header::LOCATION.as_str())
            .and_then(|location| Url::parse(location).ok())
            .and_then(|location| location.host_str().map(str::to_owned));
        Self {
            status: status.as_u16(),
            code: text_of(headers, "x-ms-error-code").map(str::to_owned),
            retry_after,
            redirect_host,
            clock_skew: server_now.and_then(|date| skew(date, now)),
        }
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn date_of(headers: &HeaderMap) -> Option<SystemTime> {
    text_of(headers, header::DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok())
}

/// How far `server` is ahead of `local`.
fn skew(server: SystemTime, local: SystemTime) -> Option<TimeDelta> {
    match server.duration_since(local) {
        Ok(ahead) => TimeDelta::from_std(ahead).ok(),
        Err(behind) => TimeDelta::from_std(behind.duration()).ok().map(|delta| -delta),
    }
}

/// The HTTP client in the shape that the SDK wants.
#[derive(Debug, Clone)]
pub struct Transport {
    client: http::Client,
    last_skew: Arc<Mutex<Option<TimeDelta>>>,
}

impl Transport {
    /// Carries requests over `client`.
    #[must_use]
    pub fn new(client: http::Client) -> Self {
        Self { client, last_skew: Arc::default() }
    }

    /// How far the server's clock was ahead of this machine's at the last answer that had a date.
    #[must_use]
    pub fn clock_skew(&self) -> Option<TimeDelta> {
        *self.last_skew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_skew(&self, headers: &HeaderMap, now: SystemTime) {
        if let Some(measured) = date_of(headers).and_then(|date| skew(date, now)) {
            *self.last_skew.lock().unwrap_or_else(PoisonError::into_inner) = Some(measured);
        }
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
        let now = SystemTime::now();
        self.note_skew(&response.headers, now);
        if !response.status.is_success() {
            let refusal = Refusal::new(response.status, &response.headers, now);
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

    fn refusal(pairs: &[(&'static str, &str)]) -> Refusal {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:50:37 GMT").unwrap();
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, &headers, now)
    }

    /// Scenario: error answers with and without the headers of the real service. Guarantees: code and wait are
    /// taken; a date is measured from the server's clock, not from this machine's.
    #[test]
    fn refusals() {
        let check = |pairs: &[(&'static str, &str)], code: Option<&str>, seconds: Option<u64>| {
            let refusal = refusal(pairs);
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

    /// Scenario: answers from clocks before, behind and like this machine's, and without a readable date. Guarantees:
    /// the difference has the sign of a server that is ahead; without a date there is none.
    #[test]
    fn skews() {
        let check = |date: &str, expected: Option<i64>| {
            let measured = refusal(&[("date", date)]).clock_skew;
            assert_eq!(measured.map(|delta| delta.num_seconds()), expected, "{date}");
        };
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(0));
        check("Sun, 06 Nov 1994 08:51:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 07:50:37 GMT", Some(-3_600));
        check("yesterday", None);
        assert_eq!(refusal(&[]).clock_skew, None);
    }

    /// Scenario: redirects to another host, within the same one, and to no URL. Guarantees: only the host is kept.
    #[test]
    fn redirects() {
        let check = |location: &str, expected: Option<&str>| {
            assert_eq!(refusal(&[("location", location)]).redirect_host.as_deref(), expected, "{location}");
        };
        check("https://user:canary@login.example/path?token=canary", Some("login.example"));
        check("/elsewhere", None);
        check("mailto:x", None);
    }
}
