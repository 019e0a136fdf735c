//! Downloads a container as flowlogd does, with its own storage adapter, in ranges of 1 MiB pinned to the ETag and as many
//! blobs at once, and throws the bytes away: what flowlogd could reach if everything behind the download were free.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use flowlogd::{
    http,
    model::{BlobVersion, Secret},
    storage::{
        Account as _, BlobStore, ListQuery,
        azure::{self, AzureAccount},
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;
use url::Url;

/// As flowlogd reads.
const RANGE_BYTES: usize = 1024 * 1024;

/// From Microsoft's "Use the Azurite emulator for local Azure Storage development": no secret.
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Downloads every blob of a container of the storage emulator, and prints how many bytes there were and the seconds.
#[derive(Debug, Parser)]
#[command(name = "plain_download")]
struct Arguments {
    /// Blob service, path style.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:10000/devstoreaccount1")]
    endpoint: Url,
    /// Container.
    #[arg(long, value_name = "NAME", default_value = "insights-logs-flowlogflowevent")]
    container: String,
    /// Blobs at once; the default is that of `limits.parallel_blobs`.
    #[arg(long, value_name = "N", default_value_t = 8)]
    parallel_blobs: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { endpoint, container, parallel_blobs } = Arguments::parse();
    let account = AzureAccount::new(azure::Config {
        account: "devstoreaccount1".to_owned(),
        account_key: Secret::new(EMULATOR_KEY.to_owned()).into(),
        secondary_key: None,
        endpoint,
        http: http::Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            total_timeout: None,
        },
    })?;
    let store = account.container(&container);
    let start = Instant::now();
    let blobs = list(store.as_ref()).await?;
    let downloads = blobs.iter().map(|blob| download(store.as_ref(), blob));
    let sizes: Vec<u64> = stream::iter(downloads).buffer_unordered(parallel_blobs).try_collect().await?;
    let seconds = start.elapsed().as_secs_f64();
    let n_bytes: u64 = sizes.iter().sum();
    writeln!(io::stdout(), "downloaded blobs={} bytes={n_bytes} seconds={seconds:.3}", sizes.len())?;
    Ok(())
}

/// Every blob of the container.
async fn list(store: &dyn BlobStore) -> anyhow::Result<Vec<BlobVersion>> {
    let (mut blobs, mut marker) = (Vec::new(), None);
    loop {
        let query = ListQuery { prefix: "", delimiter: None, marker: marker.as_deref() };
        let page = store.list_page(query).await?;
        blobs.extend(page.blobs);
        marker = page.next;
        if marker.is_none() {
            return Ok(blobs);
        }
    }
}

/// One blob, range by range; its length.
async fn download(store: &dyn BlobStore, blob: &BlobVersion) -> anyhow::Result<u64> {
    let mut n_bytes: u64 = 0;
    for start in (0..blob.length).step_by(RANGE_BYTES) {
        let end = blob.length.min(start.saturating_add(RANGE_BYTES as u64));
        let bytes = store.read(&blob.name, start..end, &blob.etag).await?;
        n_bytes += u64::try_from(bytes.len())?;
    }
    (n_bytes == blob.length).then_some(n_bytes).with_context(|| format!("{} was not read whole", blob.name))
}
