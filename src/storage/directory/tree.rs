//! Walks a directory tree as a listing of blobs.

use std::{
    fs::{self, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::Failure;
use crate::{
    model::{BlobName, BlobVersion, ETag},
    storage::StorageErrorKind,
};

/// How far a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Every file below the prefix.
    Whole,
    /// Files beside the prefix; directories are folded into their names.
    Folded,
}

/// What is below a prefix, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) blobs: Vec<BlobVersion>,
    pub(super) prefixes: Vec<String>,
}

/// Lists the files whose names start with `prefix`. Names that are not UTF-8 are passed over.
pub(super) fn list(root: &Path, prefix: &str, depth: Depth) -> Result<Listing, Failure> {
    let metadata =
        fs::metadata(root).map_err(|source| Failure::from_io(source, StorageErrorKind::ContainerNotFound))?;
    if !metadata.is_dir() {
        return Err(StorageErrorKind::ContainerNotFound.into());
    }
    let mut listing = Listing::default();
    // Only the directory that the prefix names is walked.
    let (directory, start) = match prefix.rsplit_once('/') {
        Some((directory, start)) => (directory, start),
        None => ("", prefix),
    };
    let top = if prefix.contains('/') {
        match super::file_of(root, directory) {
            Some(path) => Folder { path, name: format!("{directory}/") },
            None => return Ok(listing),
        }
    } else {
        Folder { path: root.to_owned(), name: String::new() }
    };
    let entries = entries_of(&top)?;
    let mut stack: Vec<Entry> =
        entries.into_iter().filter(|entry| entry.own_name.starts_with(start)).collect();
    while let Some(entry) = stack.pop() {
        match entry.place {
            Place::File(metadata) => {
                let version = version_of(BlobName::new(entry.name), &metadata)
                    .map_err(|source| Failure::from_io(source, StorageErrorKind::BlobNotFound))?;
                listing.blobs.push(version);
            }
            Place::Folder(folder) => match depth {
                Depth::Whole => stack.extend(entries_of(&folder)?),
                Depth::Folded => {
                    if holds_a_file(&folder)? {
                        listing.prefixes.push(folder.name);
                    }
                }
            },
        }
    }
    listing.blobs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    listing.prefixes.sort_unstable();
    Ok(listing)
}

/// A file's version; time and length stand for a tag.
pub(super) fn version_of(name: BlobName, metadata: &Metadata) -> io::Result<BlobVersion> {
    let modified = metadata.modified()?;
    let length = metadata.len();
    Ok(BlobVersion { name, length, etag: etag(modified, length), last_modified: modified.into() })
}

/// Nanoseconds since 1970 and bytes, in hexadecimal.
pub(super) fn etag(modified: SystemTime, length: u64) -> ETag {
    ETag::new(&match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => format!("{:x}-{length:x}", after.as_nanos()),
        Err(before) => format!("b{:x}-{length:x}", before.duration().as_nanos()),
    })
}

/// A directory; its name ends with a slash, the root's is empty.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    name: String,
}

#[derive(Debug)]
struct Entry {
    /// Within its directory.
    own_name: String,
    /// Below the root.
    name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(Metadata),
    Folder(Folder),
}

/// A directory that is gone holds nothing: it can go at any moment of a walk.
fn entries_of(folder: &Folder) -> Result<Vec<Entry>, Failure> {
    let failure = |source| Failure::from_io(source, StorageErrorKind::BlobNotFound);
    let reader = match fs::read_dir(&folder.path) {
        Ok(reader) => reader,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failure(error)),
    };
    let mut entries = Vec::new();
    for entry in reader {
        let entry = entry.map_err(failure)?;
        let Ok(own_name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        let is_link = entry.file_type().map_err(failure)?.is_symlink();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // Removed since, or a link that leads nowhere, or in a circle.
            Err(error) if is_gone(&error) => continue,
            Err(error) if is_link && error.kind() != ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(failure(error)),
        };
        let name = format!("{}{own_name}", folder.name);
        if metadata.is_file() {
            entries.push(Entry { own_name, name, place: Place::File(metadata) });
        } else if metadata.is_dir() && !(is_link && leads_upwards(&path)) {
            let below = Folder { path, name: format!("{name}/") };
            entries.push(Entry { own_name, name, place: Place::Folder(below) });
        }
    }
    Ok(entries)
}

/// Whether a link leads to a directory that it stands in: following it would never end.
fn leads_upwards(link: &Path) -> bool {
    let (Ok(target), Some(parent)) = (fs::canonicalize(link), link.parent()) else {
        return true;
    };
    fs::canonicalize(parent).map_or(true, |parent| parent.starts_with(target))
}

/// A folded prefix exists because of a file below it, as in a container.
fn holds_a_file(folder: &Folder) -> Result<bool, Failure> {
    let mut stack = entries_of(folder)?;
    while let Some(entry) = stack.pop() {
        match entry.place {
            Place::File(_) => return Ok(true),
            Place::Folder(below) => stack.extend(entries_of(&below)?),
        }
    }
    Ok(false)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
