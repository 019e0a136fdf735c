//! A container of a storage account, written as Azure writes it: blocks are staged, then a new list of blocks is
//! committed.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use azure_core::{ExponentialRetryOptions, RetryOptions, TransportOptions, auth::Secret};
use azure_storage::{CloudLocation, StorageCredentials};
use azure_storage_blobs::prelude::{
    BlobBlockType, BlobClient, BlobContentType, BlockId, BlockList, ClientBuilder, ContainerClient,
};

use flowlogd::{
    http::{Client, Config, HttpError, HttpErrorKind},
    storage::azure::{Refusal, Transport},
};

use super::Sink;
use crate::{
    document::Growth,
    generator::{HEAD, TAIL},
};

/// The status of an answer that says: it is there already.
const CONFLICT: u16 = 409;

/// How often a request is sent again. The waits are 0.4, 0.8, 1.6 and 3.2 seconds, each with a random part of a quarter
/// of a second: a restart is waited for, an absent server is soon said to be.
const RETRIES: u32 = 4;

/// How to reach a container.
#[derive(Debug)]
pub(crate) struct Account {
    /// Address of the blob service, the emulator's path style included.
    pub(crate) endpoint: String,
    /// Account name.
    pub(crate) name: String,
    /// Account key, base64.
    pub(crate) key: String,
    /// Container.
    pub(crate) container: String,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Azure {
    client: ContainerClient,
    endpoint: String,
}

impl Azure {
    /// Makes no request.
    pub(crate) fn new(account: Account) -> anyhow::Result<Self> {
        let Account { endpoint, name, key, container } = account;
        let http = Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            total_timeout: None,
        };
        let credentials = StorageCredentials::access_key(name.clone(), Secret::new(key));
        let uri = endpoint.trim_end_matches('/').to_owned();
        let client = ClientBuilder::with_location(CloudLocation::Custom { account: name, uri }, credentials)
            .retry(RetryOptions::exponential(ExponentialRetryOptions::default().max_retries(RETRIES)))
            .transport(TransportOptions::new(Arc::new(Transport::new(Client::new(&http)?))))
            .container_client(container);
        Ok(Self { client, endpoint })
    }

    /// Creates the container; one that is there already is left as it is.
    pub(crate) async fn create_container(&self) -> anyhow::Result<()> {
        let Err(error) = self.client.create().await else { return Ok(()) };
        let error = anyhow::Error::new(error);
        let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>());
        if refusal.is_some_and(|refusal| refusal.status == CONFLICT) {
            return Ok(());
        }
        Err(self.explain(error).context(format!("create the container {}", self.client.container_name())))
    }

    /// Adds where nobody answered, and the way out, to an error of the connection.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let http_error = error.chain().find_map(|cause| cause.downcast_ref::<HttpError>());
        if http_error.is_none_or(|http_error| http_error.kind != HttpErrorKind::Connect) {
            return error;
        }
        error.context(format!(
            "nobody can be reached at {}; start Azurite there, as CONTRIBUTING.md shows under \"The writer\", or name \
             the blob service with --endpoint",
            self.endpoint
        ))
    }
}

/// What a block is, within a document. All ids of a blob must have the same length.
#[derive(Debug, Clone, Copy)]
enum Block {
    Head,
    Minute(u32),
    Tail,
}

impl Block {
    fn id(self) -> BlockId {
        BlockId::new(match self {
            Self::Head => "head-0000000000".to_owned(),
            Self::Minute(number) => format!("block{number:010}"),
            Self::Tail => "tail-0000000000".to_owned(),
        })
    }
}

async fn stage(blob: &BlobClient, block: Block, bytes: &str) -> anyhow::Result<BlobBlockType> {
    blob.put_block(block.id(), bytes.to_owned()).await?;
    Ok(BlobBlockType::new_uncommitted(block.id()))
}

async fn commit(blob: &BlobClient, growth: &Growth) -> anyhow::Result<()> {
    let mut blocks = Vec::new();
    let (first_new, is_new) = match growth.committed {
        Some(committed) => {
            blocks.push(BlobBlockType::new_committed(Block::Head.id()));
            blocks.extend(
                (0..committed).map(|number| BlobBlockType::new_committed(Block::Minute(number).id())),
            );
            (committed, false)
        }
        None => {
            blocks.push(stage(blob, Block::Head, HEAD).await?);
            (0, true)
        }
    };
    for (number, text) in (first_new..).zip(&growth.added) {
        blocks.push(stage(blob, Block::Minute(number), text).await?);
    }
    blocks.push(match is_new {
        true => stage(blob, Block::Tail, TAIL).await?,
        false => BlobBlockType::new_committed(Block::Tail.id()),
    });
    // The SDK sends this again after a broken connection: the same list twice is the same blob.
    blob.put_block_list(BlockList { blocks })
        .content_type(BlobContentType::from("application/octet-stream"))
        .await
        .context("commit the list of blocks; whether it took effect is unknown")?;
    Ok(())
}

#[async_trait]
impl Sink for Azure {
    async fn commit(&self, growth: &Growth) -> anyhow::Result<()> {
        let blob = self.client.blob_client(&growth.name);
        let committed = commit(&blob, growth).await;
        committed.map_err(|error| self.explain(error).context(format!("write the blob {}", growth.name)))
    }
}
