//! A local copy of a container.

use std::path::PathBuf;

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
