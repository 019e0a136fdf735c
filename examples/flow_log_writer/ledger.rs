//! What a collector must deliver: one line a committed tuple, the event in its `flow` form. The text is made from
//! the writer's own data, not by the collector's code, so that the two can be held against each other.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

use crate::generator::{
    json::{Escape, push_string},
    nsg,
    record::Record,
};

/// The file of expected events. Lines are written after their commit succeeded: the ledger never promises what is not
/// in the container.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: BufWriter<File>,
}

impl Ledger {
    /// A new file; an older one is replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(path)?) })
    }

    /// Appends a line for each tuple of a record.
    pub(crate) fn record(&mut self, record: &Record) -> io::Result<()> {
        let mut write = |line: String| self.file.write_all(line.as_bytes());
        if record.kind.is_nsg() {
            nsg::lines(record).try_for_each(write)
        } else {
            lines(record).try_for_each(&mut write)
        }
    }

    /// Hands everything to the operating system: a reader of the file sees it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The events of a record of virtual network flow logs, each with its line feed.
fn lines(record: &Record) -> impl Iterator<Item = String> {
    let identity = &record.identity;
    let mut head = String::from(r#"{"time":"#);
    push_string(&mut head, &record.time.in_event(), Escape::Needed);
    head.push_str(r#","flowLogVersion":4,"flowLogGUID":"#);
    push_string(&mut head, &identity.guid, Escape::Needed);
    head.push_str(r#","macAddress":"#);
    push_string(&mut head, &identity.mac_in_records, Escape::Needed);
    head.push_str(r#","operationName":"FlowLogFlowEvent","aclID":"#);
    record.tuples().map(move |(acl, rule, tuple)| {
        let mut line = head.clone();
        push_string(&mut line, acl, Escape::Needed);
        line.push_str(r#","rule":"#);
        push_string(&mut line, rule, Escape::Needed);
        line.push_str(&format!(",\"flow.0\":\"{}\"}}\n", tuple.expected()));
        line
    })
}
