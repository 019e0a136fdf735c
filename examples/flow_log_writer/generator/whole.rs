//! A whole document of any size at once, one minute of records in memory at a time.

use std::io::{self, Write};

use chrono::{DateTime, Duration, Utc};

use super::{HEAD, TAIL, nic::Nic, record::Record};

/// Minutes over which the records are spread: one hour.
const MINUTES: u64 = 60;

/// Writes the document of an interface and of the hour that starts at `start`, of `target` bytes and at most two records
/// more. `written` is told the records of each minute and the bytes so far. Returns the bytes of the whole.
pub(crate) fn write(
    nic: &mut Nic,
    start: DateTime<Utc>,
    target: u64,
    out: &mut impl Write,
    written: &mut dyn FnMut(&[Record], u64) -> io::Result<()>,
) -> io::Result<u64> {
    let mut out = Counting { out, bytes: 0 };
    out.put(HEAD)?;
    let mut separator = "";
    while out.bytes < target {
        let minute = i64::try_from(out.bytes.saturating_mul(MINUTES) / target).unwrap_or_default();
        let mut records = Vec::new();
        for (record, json) in nic.minute(start + Duration::minutes(minute)) {
            out.put(separator)?;
            out.put(&json)?;
            separator = ",";
            records.push(record);
        }
        written(&records, out.bytes)?;
    }
    out.put(TAIL)?;
    Ok(out.bytes)
}

struct Counting<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Counting<W> {
    fn put(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.bytes += u64::try_from(text.len()).unwrap_or_default();
        Ok(())
    }
}
