//! Writes blobs as Azure does: blocks are staged, then committed as a list.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    Body, ClientOptions, HttpClient, TransportOptions, auth,
    error::{Error, ErrorKind},
    headers::{HeaderName, HeaderValue, Headers},
};
use azure_storage::{CloudLocation, StorageCredentials};
use azure_storage_blobs::prelude::{BlobBlockType, BlockId, BlockList, ClientBuilder, ContainerClient};
use bytes::Bytes;
use flowlogd::http;
use futures_util::TryStreamExt;

use super::azurite::{ACCOUNT, ACCOUNT_KEY, Azurite};

/// Writes into one container. The only part of the tests that changes a storage account.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    container: ContainerClient,
    /// Blocks of each blob, in order.
    blocks: HashMap<String, Vec<BlockId>>,
    n_blocks: u32,
}

impl BlobWriter {
    /// Creates the container.
    pub(crate) async fn create(azurite: &Azurite, container: &str) -> Self {
        let location =
            CloudLocation::Custom { account: ACCOUNT.to_owned(), uri: azurite.endpoint.as_str().to_owned() };
        let credentials = StorageCredentials::access_key(ACCOUNT, auth::Secret::new(ACCOUNT_KEY));
        let transport = Transport(http::Client::new(&azurite.http_config()).unwrap());
        let options = ClientOptions::new(TransportOptions::new(Arc::new(transport)));
        let container = ClientBuilder::with_location(location, credentials)
            .client_options(options)
            .container_client(container);
        container.create().into_future().await.unwrap();
        Self { container, blocks: HashMap::new(), n_blocks: 0 }
    }

    /// Puts a blob of these blocks in the place of whatever has the name.
    pub(crate) async fn put(&mut self, name: &str, blocks: &[&[u8]]) {
        let mut ids = Vec::new();
        for block in blocks {
            ids.push(self.stage(name, block).await);
        }
        self.commit(name, ids).await;
    }

    /// Grows a blob: one more block, before the closing one.
    pub(crate) async fn append(&mut self, name: &str, block: &[u8]) {
        let id = self.stage(name, block).await;
        let mut ids = self.blocks.get(name).cloned().unwrap();
        ids.insert(ids.len().saturating_sub(1), id);
        self.commit(name, ids).await;
    }

    /// Deletes a blob.
    pub(crate) async fn delete(&mut self, name: &str) {
        self.container.blob_client(name).delete().into_future().await.unwrap();
        self.blocks.remove(name);
    }

    async fn stage(&mut self, name: &str, block: &[u8]) -> BlockId {
        self.n_blocks += 1;
        let id = BlockId::new(format!("{:08}", self.n_blocks));
        let block = Bytes::copy_from_slice(block);
        self.container.blob_client(name).put_block(id.clone(), block).into_future().await.unwrap();
        id
    }

    async fn commit(&mut self, name: &str, ids: Vec<BlockId>) {
        let list = BlockList { blocks: ids.iter().cloned().map(BlobBlockType::Latest).collect() };
        self.container.blob_client(name).put_block_list(list).into_future().await.unwrap();
        self.blocks.insert(name.to_owned(), ids);
    }
}

/// The HTTP client in the shape that the SDK wants.
#[derive(Debug)]
struct Transport(http::Client);

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(
        &self,
        request: &azure_core::Request,
    ) -> azure_core::Result<azure_core::Response> {
        let mut builder =
            ::http::Request::builder().method(request.method().as_ref()).uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            builder = builder.header(name.as_str(), value.as_str());
        }
        let body = match request.body() {
            Body::Bytes(body) => body.clone(),
            Body::SeekableStream(_) => {
                return Err(Error::message(ErrorKind::Other, "the tests send no streams"));
            }
        };
        let response = self
            .0
            .send(builder.body(body).unwrap())
            .await
            .map_err(|error| Error::new(ErrorKind::Io, error))?;
        let status = azure_core::StatusCode::try_from(response.status.as_u16()).unwrap();
        let headers = response.headers.iter().map(|(name, value)| {
            let value = value.to_str().unwrap().to_owned();
            (HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value))
        });
        let headers = Headers::from(headers.collect::<HashMap<_, _>>());
        let body = response.into_stream().map_err(|error| Error::new(ErrorKind::Io, error));
        Ok(azure_core::Response::new(status, headers, Box::pin(body)))
    }
}
