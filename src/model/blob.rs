//! Blobs and places in them.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};

use super::Hour;

/// The full name of a blob within its container, as the storage server spells it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName(Arc<str>);

impl BlobName {
    /// Takes the name letter for letter.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entity tag without its quotes: listings give it bare, headers quoted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(Arc<str>);

impl ETag {
    /// Takes a tag in either spelling; surrounding double quotes are removed.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        Self(tag.trim_matches('"').into())
    }

    /// The tag without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag as an `If-Match` header wants it.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One blob as one listing showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobVersion {
    /// Full name.
    pub name: BlobName,
    /// Length in bytes.
    pub length: u64,
    /// Changes with every commit of the blob.
    pub etag: ETag,
    /// When the blob was last committed, by the server's clock (whole seconds on Azure).
    pub last_modified: DateTime<Utc>,
}

/// A blob whose name follows the flow-log convention `{root}/y=2026/m=11/d=24/h=05/m=00/.../PT1H.json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HourlyBlob {
    name: BlobName,
    root_length: usize,
    hour: Hour,
}

impl HourlyBlob {
    /// `root_length` is the byte length of what stands before `/y=`. Returns `None` where that is no place in the
    /// name at which it can be cut.
    #[must_use]
    pub fn new(name: BlobName, root_length: usize, hour: Hour) -> Option<Self> {
        name.as_str().is_char_boundary(root_length).then_some(Self { name, root_length, hour })
    }

    /// The full name.
    #[must_use]
    pub fn name(&self) -> &BlobName {
        &self.name
    }

    /// The flow-log root: the name before `/y=`.
    #[must_use]
    pub fn root(&self) -> &str {
        self.name.as_str().get(..self.root_length).unwrap_or_default()
    }

    /// What follows the root, from `/y=` on.
    #[must_use]
    pub fn leaf(&self) -> &str {
        self.name.as_str().get(self.root_length..).unwrap_or_default()
    }

    /// The hour in the name, UTC.
    #[must_use]
    pub fn hour(&self) -> Hour {
        self.hour
    }
}

/// Bytes `from..to` of a blob (of the decompressed stream where the blob is gzip).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub from: u64,
    /// The byte after the last one.
    pub to: u64,
}

impl Span {
    /// Number of bytes.
    #[must_use]
    pub fn length(self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

/// Where blobs come from: part of every event's identity. For a directory both are as named in the settings, else
/// empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Storage account.
    pub account: String,
    /// Container.
    pub container: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.container)
    }
}

/// Whose positions: they are kept per account, container and intake name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Where the blobs are.
    pub origin: Origin,
    /// The intake's table name in the settings.
    pub intake: String,
}
