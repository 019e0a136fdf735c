//! Carries the SDK's requests over the program's HTTP client.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use azure_core::{
    Body, HttpClient,
    error::{Error, ErrorKind},
    headers::{HeaderName, HeaderValue, Headers},
};
use bytes::Bytes;
use flowlogd::http::{Client, Config, SetupError};
use futures_util::TryStreamExt as _;

/// The HTTP client in the shape that the SDK wants.
#[derive(Debug)]
pub(super) struct Transport(Client);

impl Transport {
    /// Connects to nothing yet.
    pub(super) fn new() -> Result<Self, SetupError> {
        let config = Config {
            extra_roots_pem: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            total_timeout: None,
        };
        Client::new(&config).map(Self)
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(
        &self,
        request: &azure_core::Request,
    ) -> azure_core::Result<azure_core::Response> {
        // An Io error is retried by the SDK.
        let response = self
            .0
            .send(to_http(request)?)
            .await
            .map_err(|error| Error::full(ErrorKind::Io, error, "send a request to the storage server"))?;
        let status = azure_core::StatusCode::try_from(response.status.as_u16())
            .map_err(|_| Error::message(ErrorKind::DataConversion, "the answer has no known status"))?;
        let headers = response.headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?.to_owned();
            Some((HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value)))
        });
        let headers = Headers::from(headers.collect::<HashMap<_, _>>());
        let body = response.into_stream().map_err(|error| Error::new(ErrorKind::Io, error));
        Ok(azure_core::Response::new(status, headers, Box::pin(body)))
    }
}

fn to_http(request: &azure_core::Request) -> azure_core::Result<http::Request<Bytes>> {
    let mut builder = http::Request::builder().method(request.method().as_ref()).uri(request.url().as_str());
    for (name, value) in request.headers().iter() {
        builder = builder.header(name.as_str(), value.as_str());
    }
    let body = match request.body() {
        Body::Bytes(bytes) => bytes.clone(),
        Body::SeekableStream(_) => {
            return Err(Error::message(ErrorKind::Other, "the writer sends whole blocks only"));
        }
    };
    builder.body(body).map_err(|error| Error::new(ErrorKind::DataConversion, error))
}
