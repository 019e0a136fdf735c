//! What an operator needs beside a bad tuple: its record without the flows, and its place in them.

use super::{
    json::{write_compact, write_name, write_number, write_string},
    shape::TupleKind,
};
use crate::flowlog::{
    RawRecord,
    record::{self, GroupHead},
};

/// The context of a record's bad tuples. The head is written once, however many of them there are.
#[derive(Debug, Default)]
pub(super) struct Context {
    head: Option<Vec<u8>>,
}

impl Context {
    /// The head of the record with the place of one tuple in it, as compact JSON.
    pub(super) fn with_place(
        &mut self,
        raw: &RawRecord<'_>,
        kind: TupleKind,
        group: &GroupHead<'_>,
    ) -> String {
        let [.., first, second] = taken_names(kind);
        let values = match kind {
            TupleKind::Vnet => [&group.acl_id, &group.rule],
            TupleKind::Nsg(_) => [&group.rule, &group.mac],
        };
        let mut out = self.head.get_or_insert_with(|| head(raw, kind)).clone();
        for (name, text) in [first, second].into_iter().zip(values) {
            write_name(&mut out, name);
            write_string(&mut out, text);
        }
        out.push(b'}');
        // Names and values are pieces of valid UTF-8; nothing is replaced here.
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// The member of a record that holds the flows, and the names that the place of a tuple takes.
fn taken_names(kind: TupleKind) -> [&'static str; 3] {
    match kind {
        TupleKind::Vnet => ["flowRecords", "aclID", "rule"],
        TupleKind::Nsg(_) => ["properties", "rule", "mac"],
    }
}

/// The members of a record but its flows, and but those whose names the place of a tuple takes. Without the closing
/// brace.
fn head(raw: &RawRecord<'_>, kind: TupleKind) -> Vec<u8> {
    let mut out = vec![b'{'];
    for member in record::members(raw.bytes) {
        if taken_names(kind).contains(&&*member.name) {
            continue;
        }
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        write_string(&mut out, &member.name);
        out.push(b':');
        write_compact(&mut out, member.value.get());
    }
    if let TupleKind::Nsg(version) = kind {
        // The version, which says how to read the tuple, stands beside the flows.
        write_name(&mut out, "properties");
        out.extend_from_slice(b"{\"Version\":");
        write_number(&mut out, version.number());
        out.push(b'}');
    }
    out
}
