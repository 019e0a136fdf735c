//! The blocks of one `PT1H.json`. The first is the head, the last the closing brackets; each minute adds one before
//! the closing block, so that every byte before it stays as it was.

use crate::generator::{HEAD, TAIL, record::Record};

/// A document that grows.
#[derive(Debug)]
pub(crate) struct Document {
    name: String,
    blocks: u32,
    length: u64,
    records: u64,
}

/// What one commit adds to a document.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Full name of the blob.
    pub(crate) name: String,
    /// Blocks of records that are committed already; `None` if there is no blob yet.
    pub(crate) committed: Option<u32>,
    /// Where the new blocks start: the length of what stays as it is.
    pub(crate) offset: u64,
    /// The new blocks, numbered after the committed ones.
    pub(crate) added: Vec<String>,
    /// The records in the new blocks, in the same order.
    pub(crate) records: Vec<Record>,
}

impl Growth {
    /// The blob's length after this commit.
    pub(crate) fn length(&self) -> u64 {
        self.offset + bytes(&self.added) + tail_bytes()
    }

    /// By how many bytes the blob grows.
    pub(crate) fn new_bytes(&self) -> u64 {
        match self.committed {
            None => self.length(),
            Some(_) => bytes(&self.added),
        }
    }
}

fn tail_bytes() -> u64 {
    u64::try_from(TAIL.len()).unwrap_or_default()
}

fn bytes(blocks: &[String]) -> u64 {
    blocks.iter().map(|block| u64::try_from(block.len()).unwrap_or_default()).sum()
}

impl Document {
    /// A document that is not there yet.
    pub(crate) fn new(name: String) -> Self {
        Self { name, blocks: 0, length: 0, records: 0 }
    }

    /// Full name of the blob.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Adds one block for each minute that has records. `None` if the document stays as it is.
    pub(crate) fn grow(&mut self, minutes: Vec<Vec<(Record, String)>>) -> Option<Growth> {
        let committed = (self.length > 0).then_some(self.blocks);
        if committed.is_some() && minutes.iter().all(Vec::is_empty) {
            return None;
        }
        let offset = match committed {
            None => u64::try_from(HEAD.len()).unwrap_or_default(),
            Some(_) => self.length - tail_bytes(),
        };
        let mut growth =
            Growth { name: self.name.clone(), committed, offset, added: Vec::new(), records: Vec::new() };
        for minute in minutes {
            let mut block = String::new();
            for (record, json) in minute {
                if self.records > 0 {
                    block.push(',');
                }
                block.push_str(&json);
                self.records += 1;
                growth.records.push(record);
            }
            if !block.is_empty() {
                growth.added.push(block);
                self.blocks += 1;
            }
        }
        self.length = growth.length();
        Some(growth)
    }
}
