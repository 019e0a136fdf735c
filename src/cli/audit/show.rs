//! What an audit says: a table for people, or JSON lines.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    super::{state::write_json, table::printable},
    judge::{Hole, Verdict, Wanted},
};
use crate::{
    checkpoint::Tally,
    model::{Hour, HourlyBlob, Scope},
};

/// What was found of one blob and one intake.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// The source's name in the settings.
    pub(super) source: &'a str,
    pub(super) scope: &'a Scope,
    pub(super) blob: &'a HourlyBlob,
    /// Bytes that the source has; `None` where the blob is gone.
    pub(super) seen: Option<u64>,
    /// Bytes before the position, of the text of a compressed blob.
    pub(super) consumed: Option<u64>,
    pub(super) ledger: Option<Tally>,
    pub(super) is_sealed: bool,
    pub(super) verdict: Verdict,
}

impl Entry<'_> {
    /// Whether a part of it was read by a version that did not count.
    fn is_uncounted(&self) -> bool {
        self.consumed.is_some() && self.ledger.is_none()
    }
}

/// All entries in numbers.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    /// Blobs, once for each intake.
    blobs: u64,
    complete: u64,
    pending: u64,
    not_wanted: u64,
    pub(super) holes: u64,
    /// Of the holes: blobs of which nobody knows how many bytes are missing.
    unknown_holes: u64,
    hole_bytes: u64,
    /// Blobs of which a part was read by a version that did not count.
    not_counted: u64,
    bytes: u64,
    records: u64,
    tuples: u64,
    delivered: u64,
    quarantined: u64,
}

impl Summary {
    fn add(&mut self, entry: &Entry<'_>) {
        let bump = |count: &mut u64, by: u64| *count = count.saturating_add(by);
        bump(&mut self.blobs, 1);
        bump(&mut self.bytes, entry.seen.unwrap_or_default());
        bump(&mut self.not_counted, u64::from(entry.is_uncounted()));
        let Tally { records, tuples, delivered, quarantined, .. } = entry.ledger.unwrap_or_default();
        bump(&mut self.records, records);
        bump(&mut self.tuples, tuples);
        bump(&mut self.delivered, delivered);
        bump(&mut self.quarantined, quarantined);
        match &entry.verdict {
            Verdict::Complete => bump(&mut self.complete, 1),
            Verdict::Pending => bump(&mut self.pending, 1),
            Verdict::NotWanted(_) => bump(&mut self.not_wanted, 1),
            Verdict::Hole(Hole { bytes, .. }) => {
                bump(&mut self.holes, 1);
                match bytes {
                    Some(bytes) => bump(&mut self.hole_bytes, bytes.end.saturating_sub(bytes.start)),
                    None => bump(&mut self.unknown_holes, 1),
                }
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    source: &'a str,
    account: &'a str,
    container: &'a str,
    intake: &'a str,
    root: &'a str,
    hour: String,
    nic: &'a str,
    blob: &'a str,
    seen: Option<u64>,
    consumed: Option<u64>,
    /// These are `null` where a part was read by a version that did not count.
    records: Option<u64>,
    tuples: Option<u64>,
    delivered: Option<u64>,
    quarantined: Option<u64>,
    sealed: bool,
    verdict: &'a str,
    reason: Option<&'a str>,
    detail: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
}

#[derive(Debug, Serialize)]
struct SummaryLine<'a> {
    summary: &'a Summary,
    from: String,
    before: String,
}

/// Writes entries as they come, so that an archive of any size needs no memory.
#[derive(Debug)]
pub(super) struct Show<W> {
    out: W,
    json: bool,
    head: Option<(Scope, String)>,
    pub(super) summary: Summary,
}

impl<W: Write> Show<W> {
    pub(super) fn new(out: W, json: bool) -> Self {
        Self { out, json, head: None, summary: Summary::default() }
    }

    /// # Errors
    /// What the writer says.
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.summary.add(entry);
        if self.json { self.line(entry) } else { self.row(entry) }
    }

    fn line(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let Entry { source, scope, blob, seen, consumed, ledger, is_sealed, verdict } = entry;
        let hole = match verdict {
            Verdict::Hole(hole) => Some(hole),
            Verdict::Complete | Verdict::Pending | Verdict::NotWanted(_) => None,
        };
        let bytes = hole.and_then(|hole| hole.bytes.clone());
        let line = Line {
            source,
            account: &scope.origin.account,
            container: &scope.origin.container,
            intake: &scope.intake,
            root: blob.root(),
            hour: blob.hour().to_string(),
            nic: nic(blob),
            blob: blob.name().as_str(),
            seen: *seen,
            consumed: *consumed,
            records: ledger.map(|ledger| ledger.records),
            tuples: ledger.map(|ledger| ledger.tuples),
            delivered: ledger.map(|ledger| ledger.delivered),
            quarantined: ledger.map(|ledger| ledger.quarantined),
            sealed: *is_sealed,
            verdict: word(verdict),
            reason: hole.map(|hole| hole.reason.as_str()).or(match verdict {
                Verdict::NotWanted(Wanted::BeforeFirstHour) => Some("before_first_hour"),
                Verdict::NotWanted(_) => Some("filter"),
                Verdict::Complete | Verdict::Pending | Verdict::Hole(_) => None,
            }),
            detail: hole.map(|hole| hole.reason.to_string()),
            from: bytes.as_ref().map(|bytes| bytes.start),
            to: bytes.as_ref().map(|bytes| bytes.end),
        };
        write_json(&mut self.out, &line)
    }

    fn row(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let Entry { source, scope, blob, seen, consumed, ledger, is_sealed, verdict } = entry;
        let of = (Scope { intake: String::new(), ..(*scope).clone() }, blob.root().to_owned());
        if self.head.as_ref() != Some(&of) {
            let origin = scope.origin.to_string();
            let (source, origin, root) =
                (printable(source), printable(&origin), printable(&short(blob.root())));
            writeln!(self.out, "source {source} ({origin}), {root}")?;
            writeln!(
                self.out,
                "  {:<14}  {:<12}  {:<12}  {:>11}  {:>11}  {:>8}  {:>9}  {:>9}  {:>11}  {:<6}  VERDICT",
                "HOUR",
                "NIC",
                "INTAKE",
                "SEEN",
                "CONSUMED",
                "RECORDS",
                "TUPLES",
                "DELIVERED",
                "QUARANTINED",
                "SEALED"
            )?;
            self.head = Some(of);
        }
        let number =
            |number: Option<u64>| number.map_or_else(|| String::from("-"), |number| number.to_string());
        let uncounted = if entry.is_uncounted() { ", not counted" } else { "" };
        writeln!(
            self.out,
            "  {:<14}  {:<12}  {:<12}  {:>11}  {:>11}  {:>8}  {:>9}  {:>9}  {:>11}  {:<6}  {}{uncounted}",
            blob.hour().to_string(),
            printable(nic(blob)),
            printable(&scope.intake),
            number(*seen),
            number(*consumed),
            number(ledger.map(|ledger| ledger.records)),
            number(ledger.map(|ledger| ledger.tuples)),
            number(ledger.map(|ledger| ledger.delivered)),
            number(ledger.map(|ledger| ledger.quarantined)),
            if *is_sealed { "yes" } else { "no" },
            word(verdict).replace('_', " "),
        )?;
        let Verdict::Hole(Hole { reason, bytes }) = verdict else { return Ok(()) };
        let which = match bytes {
            Some(bytes) => {
                let n_bytes = bytes.end.saturating_sub(bytes.start);
                format!("bytes {} to {} ({n_bytes})", bytes.start, bytes.end)
            }
            None => String::from("bytes that nobody counted"),
        };
        writeln!(self.out, "    HOLE: {which} of {}: {reason}", printable(blob.name().as_str()))
    }

    /// # Errors
    /// What the writer says.
    pub(super) fn end(&mut self, hours: &std::ops::Range<Hour>) -> io::Result<()> {
        let (from, before) = (hours.start.to_string(), hours.end.to_string());
        let summary = &self.summary;
        if self.json {
            write_json(&mut self.out, &SummaryLine { summary, from, before })?;
            return self.out.flush();
        }
        let Summary {
            blobs,
            complete,
            pending,
            not_wanted,
            holes,
            unknown_holes,
            hole_bytes,
            not_counted,
            ..
        } = summary;
        writeln!(
            self.out,
            "{from} to {before}: {blobs} blobs, {complete} complete, {pending} pending, {not_wanted} not wanted, {holes} \
             with holes ({hole_bytes} bytes; {unknown_holes} of unknown size)"
        )?;
        if *not_counted > 0 {
            writeln!(self.out, "{not_counted} of them were read, in part, by a version that did not count")?;
        }
        let Summary { records, tuples, delivered, quarantined, .. } = summary;
        writeln!(
            self.out,
            "{records} records with {tuples} tuples were read; {delivered} delivered, {quarantined} quarantined"
        )?;
        self.out.flush()
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Complete => "complete",
        Verdict::Pending => "pending",
        Verdict::NotWanted(_) => "not_wanted",
        Verdict::Hole(_) => "hole",
    }
}

/// The network interface's hardware address in a blob's name; empty where it has none.
fn nic(blob: &HourlyBlob) -> &str {
    let address = |segment: &'_ str| -> Option<usize> {
        let (key, _) = segment.split_once('=')?;
        key.eq_ignore_ascii_case("macAddress").then_some(key.len().saturating_add(1))
    };
    blob.leaf()
        .split('/')
        .find_map(|segment| address(segment).and_then(|start| segment.get(start..)))
        .unwrap_or_default()
}

/// A root without what all of them have: the last two parts of a long resource id say which flow log it is.
fn short(root: &str) -> String {
    const SHOWN: usize = 2;
    let id = root.split_once("=/").map_or(root, |(_, id)| id);
    let parts: Vec<&str> = id.split('/').collect();
    match parts.len().checked_sub(SHOWN).filter(|left_out| *left_out > 0) {
        Some(left_out) => format!(".../{}", parts.get(left_out..).unwrap_or_default().join("/")),
        None => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlobName;

    /// *Scenario*: short and long roots, and names with and without a hardware address. *Guarantees*: what tells flow logs
    /// and interfaces apart is shown.
    #[test]
    fn names_for_people() {
        assert_eq!(short("flowLogResourceID=/S_RG/NETWORKWATCHER_X_L"), "S_RG/NETWORKWATCHER_X_L");
        let long = "resourceId=/SUBSCRIPTIONS/s/RESOURCEGROUPS/g/PROVIDERS/MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/n";
        assert_eq!(short(long), ".../NETWORKSECURITYGROUPS/n");
        let blob = |name: &str| HourlyBlob::new(BlobName::new(name), 4, Hour::from_number(0)).unwrap();
        assert_eq!(nic(&blob("root/y=2026/m=00/MACADDRESS=00AB/PT1H.json")), "00AB");
        assert_eq!(nic(&blob("root/y=2026/m=00/PT1H.json")), "");
    }
}
