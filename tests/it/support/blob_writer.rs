//! Writes blobs as Azure does: blocks are staged, then committed as a list.

use std::{collections::HashMap, sync::Arc};

use azure_core::{ClientOptions, TransportOptions, auth};
use azure_storage::{CloudLocation, StorageCredentials};
use azure_storage_blobs::prelude::{BlobBlockType, BlockId, BlockList, ClientBuilder, ContainerClient};
use bytes::Bytes;
use flowlogd::{http, storage::azure::Transport};

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
        let transport = Transport::new(http::Client::new(&azurite.http_config()).unwrap());
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
