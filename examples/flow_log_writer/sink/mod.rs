//! Where documents go: a container of a storage account, or a directory that stands for one.

mod azure;
mod directory;

use async_trait::async_trait;

use crate::document::Growth;

pub(crate) use azure::{Account, Azure};
pub(crate) use directory::Directory;

/// Takes commits. Those of one blob arrive in order; those of different blobs may overlap.
#[async_trait]
pub(crate) trait Sink: Send + Sync {
    /// Makes a document grow at once, as its readers see it: before this returns with success they see the old bytes
    /// or the new ones, nothing between.
    async fn commit(&self, growth: &Growth) -> anyhow::Result<()>;
}
