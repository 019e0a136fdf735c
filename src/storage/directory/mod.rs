//! A local copy of a container: a directory whose files are the blobs.
//!
//! File I/O blocks, so it runs on the runtime's threads for blocking work. These are the only tasks that an adapter
//! starts, and each ends with the call that started it.

mod tree;

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Account, BlobStore, ListPage, ListQuery, StorageError, StorageErrorKind};
use crate::{
    model::{BlobName, BlobVersion, ETag, Origin},
    offload::offload,
};

/// A directory that stands for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory; blob names are the paths below it, with `/`.
    pub path: PathBuf,
    /// Account name for identities; empty where none is named.
    pub account: String,
    /// Container name for identities; empty where none is named.
    pub container: String,
}

/// A directory as an account with one container.
#[derive(Debug, Clone)]
pub struct Directory {
    container: Arc<Container>,
}

impl Directory {
    /// Looks at nothing yet: whether the directory exists shows at the first listing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let origin = Origin { account: config.account, container: config.container };
        Self { container: Arc::new(Container { root: config.path.into(), origin }) }
    }
}

#[async_trait]
impl Account for Directory {
    /// The one container, whether or not the directory exists.
    async fn containers(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let name = &self.container.origin.container;
        Ok(if name.starts_with(prefix) { vec![name.clone()] } else { Vec::new() })
    }

    /// The one container, whatever the name.
    fn container(&self, _name: &str) -> Arc<dyn BlobStore> {
        let container: Arc<Container> = Arc::clone(&self.container);
        container
    }

    fn place(&self) -> Option<String> {
        Some(format!("directory {}", self.container.root.display()))
    }
}

#[derive(Debug)]
struct Container {
    root: Arc<Path>,
    origin: Origin,
}

#[async_trait]
impl BlobStore for Container {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The whole listing is one page: it holds what is below the prefix, and nothing else is walked.
    async fn list_page(&self, query: ListQuery<'_>) -> Result<ListPage, StorageError> {
        let operation = format!("list directory {}, prefix {}", self.root.display(), query.prefix);
        let root = Arc::clone(&self.root);
        let prefix = query.prefix.to_owned();
        let depth = match query.delimiter {
            None => tree::Depth::Whole,
            Some('/') => tree::Depth::Folded,
            Some(other) => {
                let kind =
                    StorageErrorKind::Other(format!("a directory is folded at `/` only, not at `{other}`"));
                return Err(StorageError { operation, kind, source: None });
            }
        };
        blocking(operation, move || {
            // The clock is read first: what changes during the walk is not older than the page says.
            let date = SystemTime::now().into();
            let listing = tree::list(&root, &prefix, depth)?;
            Ok(ListPage { blobs: listing.blobs, prefixes: listing.prefixes, next: None, date })
        })
        .await
    }

    async fn head(&self, name: &BlobName) -> Result<BlobVersion, StorageError> {
        let operation = format!("look at file {name} below {}", self.root.display());
        let (root, name) = (Arc::clone(&self.root), name.clone());
        blocking(operation, move || head(&root, &name)).await
    }

    async fn read(&self, name: &BlobName, range: Range<u64>, etag: &ETag) -> Result<Bytes, StorageError> {
        let operation =
            format!("read bytes {}..{} of file {name} below {}", range.start, range.end, self.root.display());
        let (root, name, etag) = (Arc::clone(&self.root), name.clone(), etag.clone());
        blocking(operation, move || read(&root, &name, range, &etag)).await
    }
}

/// Why a piece of file work failed.
#[derive(Debug)]
struct Failure {
    kind: StorageErrorKind,
    source: Option<io::Error>,
}

impl From<StorageErrorKind> for Failure {
    fn from(kind: StorageErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl Failure {
    /// An I/O error at a place where a missing file means `missing`.
    fn from_io(source: io::Error, missing: StorageErrorKind) -> Self {
        let is_any_of = |kinds: &[ErrorKind]| kinds.contains(&source.kind());
        let kind = if is_any_of(&[ErrorKind::NotFound, ErrorKind::NotADirectory]) {
            missing
        } else if is_any_of(&[ErrorKind::PermissionDenied]) {
            StorageErrorKind::Denied {
                code: "permission denied".to_owned(),
                advice: "give the user that runs flowlogd the right to read the directory and all below it"
                    .to_owned(),
            }
        } else if is_any_of(&[ErrorKind::Interrupted, ErrorKind::TimedOut, ErrorKind::StaleNetworkFileHandle])
        {
            StorageErrorKind::Transient
        } else {
            StorageErrorKind::Other("the file system refuses".to_owned())
        };
        Self { kind, source: Some(source) }
    }
}

async fn blocking<T: Send + 'static>(
    operation: String,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, StorageError> {
    match offload(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(failure)) => {
            Err(StorageError { operation, kind: failure.kind, source: failure.source.map(Into::into) })
        }
        Err(ending) => {
            Err(StorageError { operation, kind: StorageErrorKind::Transient, source: Some(ending.into()) })
        }
    }
}

/// The file of a blob; `None` where the name leaves the directory or is no path below it.
fn file_of(root: &Path, name: &str) -> Option<PathBuf> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    (name.split('/').all(is_plain) && !name.contains('\0')).then(|| root.join(name))
}

fn open(root: &Path, name: &BlobName) -> Result<(File, BlobVersion), Failure> {
    let missing = || match root.is_dir() {
        true => StorageErrorKind::BlobNotFound,
        false => StorageErrorKind::ContainerNotFound,
    };
    let Some(path) = file_of(root, name.as_str()) else {
        return Err(StorageErrorKind::BlobNotFound.into());
    };
    let file = File::open(&path).map_err(|source| Failure::from_io(source, missing()))?;
    let metadata = file.metadata().map_err(|source| Failure::from_io(source, missing()))?;
    if !metadata.is_file() {
        return Err(StorageErrorKind::BlobNotFound.into());
    }
    let version = tree::version_of(name.clone(), &metadata)
        .map_err(|source| Failure::from_io(source, StorageErrorKind::BlobNotFound))?;
    Ok((file, version))
}

fn head(root: &Path, name: &BlobName) -> Result<BlobVersion, Failure> {
    Ok(open(root, name)?.1)
}

fn read(root: &Path, name: &BlobName, range: Range<u64>, etag: &ETag) -> Result<Bytes, Failure> {
    let (mut file, version) = open(root, name)?;
    if version.etag != *etag {
        return Err(StorageErrorKind::Changed.into());
    }
    let wanted = range.end.saturating_sub(range.start);
    if range.start >= version.length && wanted > 0 {
        return Err(StorageErrorKind::PastEnd.into());
    }
    let got = version.length.saturating_sub(range.start);
    if got < wanted {
        return Err(StorageErrorKind::Truncated { got, wanted }.into());
    }
    let io_failure = |source| Failure::from_io(source, StorageErrorKind::BlobNotFound);
    file.seek(SeekFrom::Start(range.start)).map_err(io_failure)?;
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
    file.take(wanted).read_to_end(&mut bytes).map_err(io_failure)?;

    // By its path, so that a file that was put in this one's place is seen too.
    let (_, after) = open(root, name)?;
    let is_whole = u64::try_from(bytes.len()).is_ok_and(|length| length == wanted);
    if after.etag != version.etag || !is_whole {
        return Err(StorageErrorKind::Changed.into());
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    /// Scenario: blob names that would leave the directory or are no paths. Guarantees: they name no file.
    #[test]
    fn names_stay_below_the_directory() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(file_of(Path::new("/data"), name), expected.map(PathBuf::from), "{name:?}");
        };
        check("a/b.json", Some("/data/a/b.json"));
        check("a b=/..c", Some("/data/a b=/..c"));
        check("", None);
        check("/etc/passwd", None);
        check("../x", None);
        check("a/../x", None);
        check("a/./x", None);
        check("a//x", None);
        check("a/", None);
        check("a\0b", None);
    }

    /// Scenario: the same file, later and longer. Guarantees: either difference alone changes the tag.
    #[test]
    fn tags_tell_time_and_length() {
        let at = |nanoseconds: i64| DateTime::from_timestamp_nanos(nanoseconds).into();
        let tags = [
            tree::etag(at(1_000), 5),
            tree::etag(at(1_001), 5),
            tree::etag(at(1_000), 6),
            tree::etag(at(-1), 5),
        ];
        for (index, tag) in tags.iter().enumerate() {
            assert_eq!(tags.iter().filter(|other| *other == tag).count(), 1, "tag {index}: {tag}");
        }
    }
}
