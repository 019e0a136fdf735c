//! A directory that stands for a container: blob names are paths below it.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use async_trait::async_trait;

use super::Sink;
use crate::{
    document::Growth,
    generator::{HEAD, TAIL},
};

/// The new version of a document is built here and moved into its place whole.
const PARTIAL: &str = ".flow_log_writer.partial";

/// A directory.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Creates the directory if it is missing.
    pub(crate) fn new(root: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("create the directory {}", root.display()))?;
        Ok(Self { root })
    }

    fn grow(&self, growth: &Growth) -> anyhow::Result<()> {
        let path = self.root.join(&growth.name);
        let partial = self.root.join(PARTIAL);
        let mut file = if growth.committed.is_some() {
            fs::copy(&path, &partial)?;
            let mut file = OpenOptions::new().write(true).open(&partial)?;
            file.set_len(growth.offset)?;
            file.seek(SeekFrom::End(0))?;
            file
        } else {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file = File::create(&partial)?;
            file.write_all(HEAD.as_bytes())?;
            file
        };
        for block in &growth.added {
            file.write_all(block.as_bytes())?;
        }
        file.write_all(TAIL.as_bytes())?;
        drop(file);
        fs::rename(&partial, &path)?;
        Ok(())
    }
}

#[async_trait]
impl Sink for Directory {
    async fn commit(&self, growth: &Growth) -> anyhow::Result<()> {
        // Nothing is awaited here, so no two documents share the partial file.
        self.grow(growth).with_context(|| format!("write {} in {}", growth.name, self.root.display()))
    }
}
