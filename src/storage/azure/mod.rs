//! Azure Blob Storage, read with an account key. The only folder that names the `azure_*` crates.
//!
//! The SDK signs the requests; the program's own HTTP client carries them, and the answers are judged and parsed
//! here. The SDK's own list and get calls are not used: one value that they do not know makes them fail a whole page,
//! and they send headers that some servers refuse.

mod address;
pub mod connection_string;
mod keys;
pub mod list_xml;
mod pace;
mod service;
mod status;
mod transport;

use std::{error::Error, fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use azure_core::headers::{self, Headers};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use url::Url;

pub use keys::{AccountKey, KeyFile, KeyForm};
pub use transport::{Refusal, Transport};

use self::{
    address::Address,
    list_xml::{Listed, Page},
    service::{Answer, Failure, Query, Service},
    status::Operation,
};
use super::{Account, BlobStore, ListPage, ListQuery, StorageError, StorageErrorKind};
use crate::{
    http,
    model::{BlobName, BlobVersion, ETag, Origin},
};

/// A storage account with its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Account name.
    pub account: String,
    /// Account key.
    pub account_key: AccountKey,
    /// The account's other key, tried when the server refuses the first.
    pub secondary_key: Option<AccountKey>,
    /// Blob endpoint without a trailing slash: `https://ACCOUNT.blob.core.windows.net`, or path style
    /// `http://127.0.0.1:10000/devstoreaccount1`.
    pub endpoint: Url,
    /// How to connect.
    pub http: http::Config,
}

/// The account cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The account key is not what the portal shows.
    #[error("an account key of `{account}` is not base64: copy it whole from the portal, with its `==`")]
    Key {
        /// Account name.
        account: String,
    },
    /// No container can stand below the endpoint.
    #[error("the endpoint of `{account}` is not an http or https URL")]
    Endpoint {
        /// Account name.
        account: String,
    },
    /// The HTTP client cannot be set up.
    #[error("the HTTP client of `{account}` cannot be set up")]
    Http {
        /// Account name.
        account: String,
        /// What is wrong.
        #[source]
        source: http::SetupError,
    },
}

/// A storage account.
pub struct AzureAccount {
    account: String,
    service: Arc<Service>,
    address: Address,
}

impl AzureAccount {
    /// Sets the account up; makes no request.
    ///
    /// # Errors
    /// [`SetupError`] where key, endpoint or additional roots are unusable.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let account = config.account;
        let address = Address::new(&config.endpoint).filter(|_| config.endpoint.has_host());
        let Some(address) = address else {
            return Err(SetupError::Endpoint { account });
        };
        let mut keys = std::iter::once(&config.account_key).chain(&config.secondary_key);
        if !keys.all(|key| keys::is_key(&key.key)) {
            return Err(SetupError::Key { account });
        }
        let client = match http::Client::new(&config.http) {
            Ok(client) => client,
            Err(source) => return Err(SetupError::Http { account, source }),
        };
        let service = Arc::new(Service::new(&account, config.account_key, config.secondary_key, client));
        Ok(Self { account, service, address })
    }

    /// Asks for at most `page_entries` entries a listing page, instead of as many as the service gives, so that page
    /// boundaries can be crossed with few blobs.
    #[must_use]
    pub fn with_page_entries(mut self, page_entries: u32) -> Self {
        self.address = self.address.with_page_entries(page_entries);
        self
    }
}

impl fmt::Debug for AzureAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureAccount").field("account", &self.account).finish_non_exhaustive()
    }
}

#[async_trait]
impl Account for AzureAccount {
    async fn containers(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let operation = || format!("list containers of account {}, prefix {prefix}", self.account);
        let mut names = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let url = self.address.containers(prefix, marker.as_deref());
            let (page, _) = list(&self.service, Listed::Containers, url)
                .await
                .map_err(|failure| failed(operation(), failure))?;
            names.extend(page.containers);
            check_progress(marker.as_deref(), page.next.as_deref())
                .map_err(|failure| failed(operation(), failure))?;
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn container(&self, name: &str) -> Arc<dyn BlobStore> {
        Arc::new(Container {
            origin: Origin { account: self.account.clone(), container: name.to_owned() },
            service: Arc::clone(&self.service),
            address: self.address.clone(),
        })
    }

    fn clock_skew(&self) -> Option<TimeDelta> {
        self.service.clock_skew()
    }
}

/// One container of the account.
struct Container {
    origin: Origin,
    service: Arc<Service>,
    address: Address,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("origin", &self.origin).finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobStore for Container {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    async fn list_page(&self, query: ListQuery<'_>) -> Result<ListPage, StorageError> {
        let operation = || format!("list container {}, prefix {}", self.origin.container, query.prefix);
        let url = self.address.blobs(&self.origin.container, &query);
        let (page, date) =
            list(&self.service, Listed::Blobs, url).await.map_err(|failure| failed(operation(), failure))?;
        check_progress(query.marker, page.next.as_deref()).map_err(|failure| failed(operation(), failure))?;
        Ok(ListPage { blobs: page.blobs, prefixes: page.prefixes, next: page.next, date })
    }

    async fn head(&self, name: &BlobName) -> Result<BlobVersion, StorageError> {
        let operation = || format!("look at blob {name} of container {}", self.origin.container);
        let answer =
            self.fetch(Operation::Head, name, None).await.map_err(|failure| failed(operation(), failure))?;
        version_of(name, &answer.headers).map_err(|failure| failed(operation(), failure))
    }

    async fn read(&self, name: &BlobName, range: Range<u64>, etag: &ETag) -> Result<Bytes, StorageError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let (from, to) = (range.start, range.end);
        let answer =
            self.fetch(Operation::Read, name, Some((range, etag.clone()))).await.map_err(|failure| {
                failed(
                    format!("read bytes {from}..{to} of blob {name} of container {}", self.origin.container),
                    failure,
                )
            })?;
        Ok(answer.body)
    }
}

impl Container {
    async fn fetch(
        &self,
        operation: Operation,
        name: &BlobName,
        part: Option<(Range<u64>, ETag)>,
    ) -> Result<Answer, Failure> {
        let url = self.address.blob(&self.origin.container, name.as_str()).ok_or_else(no_url)?;
        self.service.fetch(&Query { operation, url, part }).await
    }
}

async fn list(service: &Service, listed: Listed, url: Option<Url>) -> Result<(Page, DateTime<Utc>), Failure> {
    let operation = match listed {
        Listed::Blobs => Operation::ListBlobs,
        Listed::Containers => Operation::ListContainers,
    };
    let url = url.ok_or_else(no_url)?;
    let answer = service.fetch(&Query { operation, url, part: None }).await?;
    let date = text_of(&answer.headers, &headers::DATE)?;
    let date = list_xml::http_date(date).ok_or_else(|| unreadable("Date"))?;
    let page = list_xml::parse(&answer.body, listed).map_err(|source| Failure {
        kind: StorageErrorKind::Other("the storage server's listing cannot be read".to_owned()),
        source: Some(source.into()),
    })?;
    Ok((page, date))
}

/// A listing that leads back to the page that was asked for would never end.
fn check_progress(marker: Option<&str>, next: Option<&str>) -> Result<(), Failure> {
    if next.is_some() && marker == next {
        let text = "the listing's next page is the one that was asked for";
        return Err(StorageErrorKind::Other(text.to_owned()).into());
    }
    Ok(())
}

fn version_of(name: &BlobName, answered: &Headers) -> Result<BlobVersion, Failure> {
    let etag = ETag::new(text_of(answered, &headers::ETAG)?);
    let length = text_of(answered, &headers::CONTENT_LENGTH)?;
    let length = length.parse().map_err(|_| unreadable("Content-Length"))?;
    let last_modified = text_of(answered, &headers::LAST_MODIFIED)?;
    let last_modified = list_xml::http_date(last_modified).ok_or_else(|| unreadable("Last-Modified"))?;
    Ok(BlobVersion { name: name.clone(), length, etag, last_modified })
}

fn text_of<'a>(answered: &'a Headers, name: &headers::HeaderName) -> Result<&'a str, Failure> {
    answered.get_optional_str(name).ok_or_else(|| unreadable(name.as_str()))
}

fn unreadable(header: &str) -> Failure {
    StorageErrorKind::Other(format!("the storage server's answer has no readable `{header}` header")).into()
}

fn no_url() -> Failure {
    StorageErrorKind::Other("the name cannot be written as a URL".to_owned()).into()
}

fn failed(operation: String, failure: Failure) -> StorageError {
    let source: Option<Box<dyn Error + Send + Sync>> = failure.source;
    StorageError { operation, kind: failure.kind, source }
}
