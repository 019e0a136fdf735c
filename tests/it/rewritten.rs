//! Blobs that are not only appended to: Azure does not do that, people and tools do.

use std::{collections::BTreeSet, time::SystemTime};

use flowlogd::model::Hour;
use serde_json::Value;

use crate::support::{
    azurite,
    blob_writer::BlobWriter,
    documents::{self, HEAD, Minute, document, events},
    storage_proxy::StorageProxy,
    world::World,
};

const BLOB: &str =
    "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/y=2025/m=06/d=01/h=05/m=00/macAddress=0022482F8D3A/PT1H.json";

/// A collector that tells event ids, and its blob.
struct Rewritten {
    world: World,
    writer: BlobWriter,
}

impl Rewritten {
    async fn new(container: &str) -> Self {
        let world = World::new(container, &[], &[("intakes", "provenance = true")]).await;
        Self { world, writer: BlobWriter::create(azurite::shared().await, container).await }
    }

    /// Puts a document of these minutes in the place of the blob and makes a pass; returns what it logged.
    async fn put(&mut self, minutes: &[&Minute]) -> String {
        self.writer.put(BLOB, &[&document(minutes)]).await;
        let (code, _, stderr) = self.world.once();
        assert_eq!(code, 0, "{stderr}");
        stderr
    }

    /// Compares all that has arrived so far: each event as often as the minutes that hold it were to be delivered, and
    /// one id for each event of each different place.
    fn check(&self, expected: &[&Minute], n_ids: usize) {
        let received = self.world.received();
        let mut tuples: Vec<String> = received
            .iter()
            .map(|line| line.split(",\"event.id\"").next().unwrap().to_owned() + "}")
            .collect();
        tuples.sort_unstable();
        assert_eq!(tuples, events(expected));
        let different: BTreeSet<&String> = received.iter().collect();
        let ids: BTreeSet<&str> =
            received.iter().map(|line| line.split("\"event.id\":\"").nth(1).unwrap()).collect();
        assert_eq!((different.len(), ids.len()), (n_ids, n_ids));
    }
}

const SAID: &str = "the blob was rewritten: it is read again from its beginning, its events keep their ids";

/// *Scenario*: a blob is replaced by one with the same first record and others after it; by one that is as long and
/// differs in a few digits; and in between it is appended to.
/// *Guarantees*: a rewriting is warned about and an append is not; all that is new is delivered; what is equal comes
/// again with the same ids and the same bytes.
#[tokio::test]
async fn a_blob_with_other_content_before_the_offset() {
    let (ours, others) = (documents::minutes(1, 3), documents::minutes(2, 3));
    let [a, b, c] = [&ours[0], &ours[1], &ours[2]];
    let [_, x, y] = [&others[0], &others[1], &others[2]];
    let mut blob = Rewritten::new("rewritten-longer").await;
    let log = blob.put(&[a, b]).await;
    assert!(!log.contains(SAID), "{log}");
    blob.check(&[a, b], a.events.len() + b.events.len());

    let log = blob.put(&[a, b, c]).await;
    assert!(!log.contains(SAID), "{log}");
    let n_ids = a.events.len() + b.events.len() + c.events.len();
    blob.check(&[a, b, c], n_ids);

    let log = blob.put(&[a, x, y, c]).await;
    assert!(log.contains(SAID) && log.contains(BLOB), "{log}");
    // The last record is the old one at another place: another id.
    let n_ids = n_ids + x.events.len() + y.events.len() + c.events.len();
    blob.check(&[a, b, c, a, x, y, c], n_ids);

    let (changed, n_other_ids) = with_other_last_tuple(c);
    let log = blob.put(&[a, x, y, &changed]).await;
    assert!(log.contains(SAID), "{log}");
    blob.check(&[a, b, c, a, x, y, c, a, x, y, &changed], n_ids + n_other_ids);
}

/// *Scenario*: a blob is shortened between two passes, then grows again with other records.
/// *Guarantees*: the first is warned about; what is still there comes again with the same ids; what is new is delivered
/// once.
#[tokio::test]
async fn a_blob_that_is_shortened() {
    let (ours, others) = (documents::minutes(1, 2), documents::minutes(2, 3));
    let [a, b] = [&ours[0], &ours[1]];
    let [_, x, y] = [&others[0], &others[1], &others[2]];
    let mut blob = Rewritten::new("rewritten-shorter").await;
    blob.put(&[a, b]).await;
    let log = blob.put(&[a]).await;
    assert!(log.contains(SAID) && log.contains(BLOB), "{log}");
    blob.check(&[a, b, a], a.events.len() + b.events.len());

    let log = blob.put(&[a, x, y]).await;
    assert!(!log.contains(SAID), "{log}");
    let n_ids = [a, b, x, y].map(|minute| minute.events.len()).iter().sum();
    blob.check(&[a, b, a, x, y], n_ids);
}

/// *Scenario*: the last record of a sealed hour's blob has no end, so it is in the quarantine; then the blob is replaced
/// by a longer one with other content.
/// *Guarantees*: what is new is delivered; what was kept of the old content stays, for it is in no blob any more.
#[tokio::test]
async fn what_was_kept_of_old_content_stays() {
    let proxy = StorageProxy::start(azurite::shared().await);
    proxy.set_hours_ahead(2);
    let settings = format!("seal_after = \"1h\"\nrevisit = \"8h\"\n{}", proxy.setting());
    let world = World::new("rewritten-rest", &[], &[("sources", &settings)]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "rewritten-rest").await;
    let (ours, others) = (documents::minutes(1, 1), documents::minutes(2, 3));
    let hour = Hour::from_number(Hour::containing(SystemTime::now().into()).number() - 2);
    let name = format!(
        "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/{}m=00/macAddress=0022482F8D3A/PT1H.json",
        hour.prefix()
    );
    writer.put(&name, &[&[HEAD, &ours[0].records, b",{\"time\":"].concat()]).await;
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let kept = || {
        let output = world.collector(&["quarantine", "list"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = kept();
    assert!(before.contains("incomplete_record"), "{before}");

    let new: Vec<&Minute> = others.iter().collect();
    writer.put(&name, &[&document(&new)]).await;
    let mut n_passes = 0;
    let mut said = false;
    while !said {
        n_passes += 1;
        assert!(n_passes <= 24, "it was not looked at again");
        proxy.set_minutes_ahead(120 + n_passes);
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{stderr}");
        said = stderr.contains(SAID);
    }
    assert_eq!(world.received(), events(&[&[&ours[0]], new.as_slice()].concat()));
    assert_eq!(kept(), before);
}

/// The same minute, of the same length, with another source port in its last tuple; and how many events the record has
/// that holds it.
fn with_other_last_tuple(minute: &Minute) -> (Minute, usize) {
    const TUPLES: &str = "\"flowTuples\":[";
    let records = String::from_utf8(minute.records.clone()).unwrap();
    let list: Vec<Value> = serde_json::from_str(&format!("[{records}]")).unwrap();
    let last_record = list.last().unwrap().to_string();
    let n_events = [",I,", ",O,"].map(|direction| last_record.matches(direction).count()).iter().sum();

    let tuples = records.rfind(TUPLES).unwrap() + TUPLES.len();
    let last_tuple = records[tuples..].rfind(",\"").map_or(0, |comma| comma + 1);
    let (before, last) = records.split_at(tuples + last_tuple);
    let tuple = last.trim_start_matches('"').split('"').next().unwrap();
    let mut fields: Vec<String> = tuple.split(',').map(str::to_owned).collect();
    fields[3] = fields[3].chars().map(|digit| if digit == '1' { '2' } else { '1' }).collect();
    let changed = fields.join(",");
    let through_direction = |text: &str| text.split(',').take(7).collect::<Vec<_>>().join(",");
    let (old, new) = (through_direction(tuple), through_direction(&changed));

    let mut events = minute.events.clone();
    let last_event = events.last_mut().unwrap();
    assert!(last_event.contains(&old), "{last_event} is not the event of {tuple}");
    *last_event = last_event.replace(&old, &new);
    let records = before.to_owned() + &last.replacen(tuple, &changed, 1);
    (Minute { records: records.into_bytes(), events }, n_events)
}
