//! What every storage adapter promises, run for Azure over HTTP, Azure over HTTPS and a directory.
#![expect(clippy::indexing_slicing, reason = "a test reports failure by panicking")]

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use flowlogd::{
    model::{BlobName, BlobVersion, ETag},
    storage::{
        Account, BlobStore, ListPage, ListQuery, StorageErrorKind,
        directory::{self, Directory},
    },
};
use tempfile::TempDir;

use crate::support::{
    azurite::{self, ACCOUNT, Azurite},
    blob_writer::BlobWriter,
};

/// Entries a page: the suite's blobs need several pages.
const PAGE_ENTRIES: usize = 2;

/// One container, its writer, and the adapter under test.
enum Source {
    Azure { server: &'static Azurite, writer: BlobWriter, name: String },
    Directory { files: TempDir },
}

impl Source {
    async fn azure(server: &'static Azurite) -> Self {
        static N_CONTAINERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("contract-{}", N_CONTAINERS.fetch_add(1, Ordering::Relaxed));
        let writer = BlobWriter::create(server, &name).await;
        Self::Azure { server, writer, name }
    }

    fn directory() -> Self {
        Self::Directory { files: TempDir::new().unwrap() }
    }

    fn account(&self) -> Box<dyn Account> {
        match self {
            Self::Azure { server, .. } => {
                Box::new(server.account().with_page_entries(PAGE_ENTRIES.try_into().unwrap()))
            }
            Self::Directory { files } => Box::new(open_directory(files.path().to_owned())),
        }
    }

    fn store(&self) -> Arc<dyn BlobStore> {
        match self {
            Self::Azure { name, .. } => self.account().container(name),
            Self::Directory { .. } => self.account().container("contract-directory"),
        }
    }

    /// A container that is not there.
    fn missing(&self) -> Arc<dyn BlobStore> {
        match self {
            Self::Azure { .. } => self.account().container("contract-missing"),
            Self::Directory { files } => open_directory(files.path().join("missing")).container(""),
        }
    }

    async fn put(&mut self, name: &str, blocks: &[&[u8]]) {
        match self {
            Self::Azure { writer, .. } => writer.put(name, blocks).await,
            Self::Directory { files } => {
                let path = files.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, blocks.concat()).unwrap();
            }
        }
    }

    /// Grows a blob by a block before its last one, which has `n_closing` bytes.
    async fn append(&mut self, name: &str, block: &[u8], n_closing: usize) {
        match self {
            Self::Azure { writer, .. } => writer.append(name, block).await,
            Self::Directory { files } => {
                let path = files.path().join(name);
                let old = fs::read(&path).unwrap();
                let (head, closing) = old.split_at(old.len() - n_closing);
                fs::write(path, [head, block, closing].concat()).unwrap();
            }
        }
    }

    async fn delete(&mut self, name: &str) {
        match self {
            Self::Azure { writer, .. } => writer.delete(name).await,
            Self::Directory { files } => fs::remove_file(files.path().join(name)).unwrap(),
        }
    }
}

fn open_directory(path: PathBuf) -> Directory {
    let (account, container) = ("here".to_owned(), "contract-directory".to_owned());
    Directory::new(directory::Config { path, account, container })
}

async fn pages(store: &dyn BlobStore, prefix: &str, delimiter: Option<char>) -> Vec<ListPage> {
    let mut pages: Vec<ListPage> = Vec::new();
    loop {
        let marker = pages.last().and_then(|page| page.next.as_deref());
        pages.push(store.list_page(ListQuery { prefix, delimiter, marker }).await.unwrap());
        if pages.last().unwrap().next.is_none() {
            return pages;
        }
    }
}

async fn list(store: &dyn BlobStore, prefix: &str) -> Vec<BlobVersion> {
    pages(store, prefix, None).await.into_iter().flat_map(|page| page.blobs).collect()
}

fn names(blobs: &[BlobVersion]) -> Vec<&str> {
    blobs.iter().map(|blob| blob.name.as_str()).collect()
}

/// Scenario: nested blobs, listed whole, below prefixes, and folded at `/`. Guarantees: every blob once, in the order
/// of names, over page boundaries; lengths and the clock are told; a prefix need not end at a `/`.
async fn listings(mut source: Source) {
    for name in ["r=/a/y=2026/1", "r=/a/y=2026/22", "r=/b/y=2026/1", "r=/b.json", "s", "z/deep/er/x"] {
        source.put(name, &[name.as_bytes()]).await;
    }
    let store = source.store();
    let check = async |prefix: &str, expected: &[&str]| {
        let pages = pages(&*store, prefix, None).await;
        if matches!(source, Source::Azure { .. }) {
            assert!(pages.len() >= expected.len().div_ceil(PAGE_ENTRIES), "prefix `{prefix}`: {pages:?}");
        }
        let blobs: Vec<BlobVersion> = pages.iter().flat_map(|page| page.blobs.clone()).collect();
        assert_eq!(names(&blobs), expected, "prefix `{prefix}`");
        for blob in &blobs {
            assert_eq!(blob.length, blob.name.as_str().len() as u64, "{}", blob.name);
            let age = pages[0].date - blob.last_modified;
            assert!(age.num_seconds().abs() < 120, "{}: listed at {}", blob.last_modified, pages[0].date);
        }
        assert!(pages.iter().all(|page| page.prefixes.is_empty()), "prefix `{prefix}`");
    };
    let all = ["r=/a/y=2026/1", "r=/a/y=2026/22", "r=/b.json", "r=/b/y=2026/1", "s", "z/deep/er/x"];
    check("", &all).await;
    check("r=/", &all[..4]).await;
    check("r=/b", &all[2..4]).await;
    check("r=/a/y=2026/2", &all[1..2]).await;
    check("r=/a/y=2026/", &all[..2]).await;
    check("s", &all[4..5]).await;
    check("nothing/here", &[]).await;
    check("/", &[]).await;

    let check_folded = async |prefix: &str, blobs: &[&str], prefixes: &[&str]| {
        let pages = pages(&*store, prefix, Some('/')).await;
        let found: Vec<BlobVersion> = pages.iter().flat_map(|page| page.blobs.clone()).collect();
        assert_eq!(names(&found), blobs, "prefix `{prefix}`");
        let found: Vec<String> = pages.iter().flat_map(|page| page.prefixes.clone()).collect();
        assert_eq!(found, prefixes, "prefix `{prefix}`");
    };
    check_folded("", &["s"], &["r=/", "z/"]).await;
    check_folded("r=/", &["r=/b.json"], &["r=/a/", "r=/b/"]).await;
    check_folded("r=/b", &["r=/b.json"], &["r=/b/"]).await;
    check_folded("r=/a/y=2026/", &["r=/a/y=2026/1", "r=/a/y=2026/22"], &[]).await;
    check_folded("nothing/", &[], &[]).await;
}

/// Scenario: a container without blobs, and one with an empty blob. Guarantees: an empty listing is one page; an empty
/// blob is listed with length 0, and there is nothing to read in it.
async fn empty(mut source: Source) {
    let store = source.store();
    let page = pages(&*store, "", None).await;
    assert_eq!((page.len(), page[0].blobs.len()), (1, 0));
    source.put("empty", &[]).await;
    let blobs = list(&*store, "").await;
    assert_eq!((names(&blobs), blobs[0].length), (vec!["empty"], 0));
    let version = store.head(&blobs[0].name).await.unwrap();
    assert_eq!(version, blobs[0]);
    let error = store.read(&version.name, 0..1, &version.etag).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::PastEnd, "{error:?}");
}

/// Scenario: ranges inside a blob, up to its end, over it and behind it. Guarantees: exactly the bytes asked for, or
/// an error that says what is the matter.
async fn ranges(mut source: Source) {
    let content: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    source.put("a/blob", &[&content[..300], &content[300..]]).await;
    let store = source.store();
    let name = BlobName::new("a/blob");
    let version = store.head(&name).await.unwrap();
    assert_eq!(version, list(&*store, "a/").await[0], "head and listing tell the same");
    for range in [0_usize..1_000, 0..1, 999..1_000, 299..301, 300..700] {
        let asked = range.start.try_into().unwrap()..range.end.try_into().unwrap();
        let bytes = store.read(&name, asked, &version.etag).await.unwrap();
        assert_eq!(bytes, content[range.clone()], "{range:?}");
    }
    for (range, expected) in [
        (900..1_100, StorageErrorKind::Truncated { got: 100, wanted: 200 }),
        (1_000..1_100, StorageErrorKind::PastEnd),
        (2_000..2_001, StorageErrorKind::PastEnd),
    ] {
        let error = store.read(&name, range.clone(), &version.etag).await.unwrap_err();
        assert_eq!(error.kind, expected, "{range:?}: {error:?}");
    }
}

/// Scenario: a blob grows by a block before its closing one, and its reader has the old version. Guarantees: the
/// growth changes the tag and nothing before the closing block; the old tag reads nothing more.
async fn growth(mut source: Source) {
    source.put("grow", &[b"{\"records\":[", b"{1}", b"]}"]).await;
    let store = source.store();
    let name = BlobName::new("grow");
    let before = store.head(&name).await.unwrap();
    let old = store.read(&name, 0..before.length, &before.etag).await.unwrap();

    source.append("grow", b",{2}", 2).await;
    let after = store.head(&name).await.unwrap();
    assert_ne!(after.etag, before.etag);
    assert_eq!(after.length, before.length + 4);
    let error = store.read(&name, 0..before.length, &before.etag).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Changed, "{error:?}");
    let new = store.read(&name, 0..after.length, &after.etag).await.unwrap();
    assert_eq!(new, &b"{\"records\":[{1},{2}]}"[..]);
    let n_kept = old.len() - 2;
    assert_eq!(new[..n_kept], old[..n_kept]);
}

/// Scenario: blobs and containers that were never there, and a blob that has gone. Guarantees: each has its own kind;
/// a container that is missing is never an empty listing.
async fn missing(mut source: Source) {
    source.put("a/gone", &[b"x"]).await;
    let store = source.store();
    let etag = store.head(&BlobName::new("a/gone")).await.unwrap().etag;
    source.delete("a/gone").await;
    for name in ["a/gone", "never", "never/there", "a"] {
        let name = BlobName::new(name);
        let error = store.head(&name).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::BlobNotFound, "{error:?}");
        let error = store.read(&name, 0..1, &etag).await.unwrap_err();
        let expected = [StorageErrorKind::BlobNotFound, StorageErrorKind::Changed];
        assert!(expected.contains(&error.kind), "{error:?}");
    }
    let store = source.missing();
    let error = store.list_page(ListQuery { prefix: "", delimiter: None, marker: None }).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::ContainerNotFound, "{error:?}");
    let error = store.head(&BlobName::new("a")).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::ContainerNotFound, "{error:?}");
}

/// Scenario: names with blanks, letters of other scripts and every mark that URLs and XML treat specially.
/// Guarantees: each is listed letter for letter, found by its own prefix, and read.
async fn odd_names(mut source: Source) {
    let mut odd = [
        "flowLogResourceID=/S_RG/NW_X/y=2026/m=11/d=24/h=05/m=00/macAddress=0022482F8D3A/PT1H.json",
        "a b  c",
        "100% %41 %2F",
        "a+b=c&d;e,f@g:h$i!j'k(l)m*n",
        "ques?tion#hash",
        "<xml> & \"quotes\"",
        "gr\u{fc}n/\u{65e5}\u{672c}/\u{1f600}",
        "[b]{c}|d^e`f~g",
        "dots/..a/b..c/.d",
    ];
    odd.sort_unstable();
    for name in odd {
        source.put(name, &[name.as_bytes()]).await;
    }
    let store = source.store();
    assert_eq!(names(&list(&*store, "").await), odd);
    for name in odd {
        let blobs = list(&*store, name).await;
        assert_eq!(names(&blobs), [name]);
        let version = store.head(&blobs[0].name).await.unwrap();
        assert_eq!(version, blobs[0]);
        let bytes = store.read(&version.name, 0..version.length, &version.etag).await.unwrap();
        assert_eq!(bytes, name.as_bytes());
    }
}

/// Scenario: the account is asked for its containers. Guarantees: the one that is there is found by name and by
/// prefix, and its handle knows where it is.
async fn containers(source: Source) {
    let account = source.account();
    let store = source.store();
    let name = store.origin().container.clone();
    let expected_account = if matches!(source, Source::Azure { .. }) { ACCOUNT } else { "here" };
    assert_eq!(store.origin().account, expected_account);
    assert!(account.containers("contract-").await.unwrap().contains(&name));
    assert!(account.containers(&name).await.unwrap().contains(&name));
    assert_eq!(account.containers("contract-no-such").await.unwrap(), Vec::<String>::new());
}

macro_rules! contract {
    ($adapter:ident, $source:expr) => {
        mod $adapter {
            use super::*;

            contract!(@tests $source, listings, empty, ranges, growth, missing, odd_names, containers);
        }
    };
    (@tests $source:expr, $($check:ident),*) => {
        $(
            #[tokio::test]
            async fn $check() {
                super::$check($source).await;
            }
        )*
    };
}

contract!(azure_http, Source::azure(azurite::shared().await).await);
contract!(azure_https, Source::azure(azurite::shared_https().await).await);
contract!(directory_tree, Source::directory());

/// Scenario: a container is listed, looked at and read, as above, failures included. Guarantees: the storage server
/// saw GET and HEAD, and nothing else: the source is never written to.
#[tokio::test]
async fn azure_is_only_read() {
    let mut source = Source::azure(azurite::shared().await).await;
    source.put("a/b", &[b"content"]).await;
    let Source::Azure { server, name, .. } = &source else { unreachable!() };
    // The container, the block and the list of blocks.
    let n_written = server.requests(name, 3).await.len();
    let store = source.store();
    list(&*store, "").await;
    pages(&*store, "a/", Some('/')).await;
    let version = store.head(&BlobName::new("a/b")).await.unwrap();
    store.read(&version.name, 1..3, &version.etag).await.unwrap();
    store.read(&version.name, 1..3, &ETag::new("stale")).await.unwrap_err();
    store.head(&BlobName::new("none")).await.unwrap_err();
    let requests = server.requests(name, n_written + 6).await;
    let methods: Vec<&str> =
        requests[n_written..].iter().map(|request| request.split(' ').next().unwrap_or_default()).collect();
    assert!(methods.iter().all(|method| matches!(*method, "GET" | "HEAD")), "{requests:?}");
}

/// Scenario: a directory with links to a file, to a directory, to nowhere and to itself, and a name that is not UTF-8.
/// Guarantees: what can be read is listed once under its path; the walk ends.
#[cfg(unix)]
#[tokio::test]
async fn directory_links() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, os::unix::fs::symlink};

    let files = TempDir::new().unwrap();
    let root = files.path().join("root");
    let outside = files.path().join("outside");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("x"), "x").unwrap();
    fs::write(root.join("sub/a"), "a").unwrap();
    symlink(outside.join("x"), root.join("file")).unwrap();
    symlink(&outside, root.join("folder")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("circle", root.join("circle")).unwrap();
    symlink("..", root.join("sub/up")).unwrap();
    symlink(&root, root.join("self")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"latin-\xe9")), "").unwrap();
    fs::create_dir(root.join("void")).unwrap();

    let store = open_directory(root).container("");
    assert_eq!(names(&list(&*store, "").await), ["file", "folder/x", "sub/a"]);
    let page = &pages(&*store, "", Some('/')).await[0];
    assert_eq!(
        (names(&page.blobs), page.prefixes.clone()),
        (vec!["file"], vec!["folder/".to_owned(), "sub/".to_owned()])
    );
}
