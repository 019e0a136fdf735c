//! Properties of the splitter and the encoder: where a stream is cut, resumed or paused never shows, and damage costs
//! nothing but what is damaged.

use std::{ops::Range, sync::LazyLock};

use flowlogd::{event::EventFormat, flowlog::Start, model::Span};
use proptest::prelude::*;

use crate::support::{
    convert::{Converted, convert, convert_whole},
    corpus,
};

const FORMAT: EventFormat = EventFormat::Ecs { enrich: true };

/// Cuts of a stream that is too long to be cut at every byte; no two of them are at the same place of a record.
const MOST_CUTS: usize = 2_000;

/// Every blob that there is, and every shape that a stream can have.
fn fixtures() -> &'static [Vec<u8>] {
    static FIXTURES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let blobs = corpus::blobs().into_iter().map(|(_, bytes)| bytes);
        blobs.chain(shapes()).collect()
    });
    &FIXTURES
}

fn shapes() -> Vec<Vec<u8>> {
    let blob = |text: &str| text.as_bytes().to_vec();
    let record = r#"{"time":"2025-04-30T09:07:40Z","flowLogVersion":4,"flowRecords":{"flows":[{"aclID":"a","flowGroups":[{"rule":"r \\\" } {","flowTuples":["1663146003599,1.2.3.4,192.0.2.180,23956,443,6,O,B,NX,0,0,0,0"]}]}]}}"#;
    vec![
        blob(""),
        blob(r#"{"records":[]}"#),
        blob("\u{feff} { \"other\": [{\"records\":[1]}], \"records\" :\n[ ] } \r\n"),
        blob(&format!("{record}\n{record}\r\n{record}")),
        blob(&format!("\u{feff}{{\"records\":[{record} , {record}")),
        blob(&format!("{{\"records\":[{record},{record}]}}  x")),
        blob(&format!("{{\"records\":[{record},{}", &record[..record.len() - 5])),
        blob(&format!("{{\"records\":[{record},{{not json}},{record}]}}")),
        blob(&format!("{{\"records\":[{record},nonsense")),
        blob(&format!("{{\"records\":[{record}{record}]}}")),
        blob(&format!("{{\"records\":[{record},{},{record},x,\n{record}]}} [{record}", &record[..99])),
        [b"{\"records\":[", record.replace(",6,", ",\\x,").as_bytes(), b",", record.as_bytes(), b"]}"]
            .concat(),
        [b"{\"records\":[{\"time\":\"\xff\"},".as_slice(), record.as_bytes(), b"]}"].concat(),
    ]
}

/// *Scenario*: every fixture, cut in two at every byte; long ones at two thousand of them.
/// *Guarantees*: the same events with the same ids, the same rejects, the same damage.
#[test]
fn any_single_cut() {
    for fixture in fixtures() {
        let whole = convert_whole(FORMAT, fixture);
        for cut in (0..=fixture.len()).step_by(fixture.len() / MOST_CUTS + 1) {
            let (head, tail) = fixture.split_at(cut);
            let parts = convert(FORMAT, Start::Beginning, [head, tail], usize::MAX);
            assert_eq!(parts, whole, "cut at byte {cut}");
        }
    }
}

/// *Scenario*: every fixture, read again from behind each of its records, as after a restart.
/// *Guarantees*: what is read before and after together is what is read in one go, with the same ids.
#[test]
fn resuming_behind_any_record() {
    for fixture in fixtures() {
        let whole = convert_whole(FORMAT, fixture);
        for (index, (offset, context)) in whole.offsets.iter().enumerate() {
            let start = Start::After { offset: *offset, context };
            let rest = convert(FORMAT, start, [&fixture[usize::try_from(*offset).unwrap()..]], usize::MAX);
            let n_before = whole.events.len() - rest.events.len();
            assert_eq!(rest.events, whole.events[n_before..]);
            assert_eq!(rest.offsets, whole.offsets[index + 1..]);
            assert_eq!((rest.damage, rest.incomplete), (whole.damage.clone(), whole.incomplete.clone()));
            assert!(whole.damaged.ends_with(&rest.damaged));
            let damaged_later = whole.damaged.iter().filter(|(span, ..)| span.from >= *offset).count();
            assert_eq!(rest.damaged.len(), damaged_later);
        }
    }
}

/// A blob of records that all differ, and the place of each.
fn blob_of_records(n_records: usize) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut blob = br#"{"records":["#.to_vec();
    let mut places = Vec::new();
    for index in 0..n_records {
        if index > 0 {
            blob.push(b',');
        }
        let begin = blob.len();
        blob.extend_from_slice(&record(index));
        places.push(begin..blob.len());
    }
    blob.extend_from_slice(b"]}");
    (blob, places)
}

fn record(index: usize) -> Vec<u8> {
    let tuple = format!("1663146003599,1.2.3.4,192.0.2.180,{index},443,6,O,B,NX,0,0,0,0");
    let flows = serde_json::json!([{ "aclID": "a", "flowGroups": [{ "rule": "r", "flowTuples": [tuple] }] }]);
    let record = serde_json::json!({
        "time": "2025-04-30T09:07:40Z", "flowLogVersion": 4, "flowRecords": { "flows": flows }
    });
    serde_json::to_vec(&record).unwrap()
}

/// Records one after the other, each with something before and behind it, that no list holds together.
fn repeated(before: &str, behind: &str, stream_bytes: usize) -> Vec<u8> {
    let part = [before.as_bytes(), &record(0), behind.as_bytes()].concat();
    part.repeat(stream_bytes / part.len() + 1)
}

/// *Scenario*: streams made to waste time: records that each lack their end, in every way, objects within objects that
/// never end, texts that turn inside out, and each of them behind something that swallows the rest.
/// *Guarantees*: the work grows with the stream and not faster, and every record behind damage comes out.
#[test]
fn damage_takes_linear_time() {
    const BYTES: usize = 60_000;
    for (before, behind) in [
        (",{\"time\":\"\",\"flowRecords\":{},", ","),
        (",{\"a\":\"", ""),
        (",{\"a\":[", ""),
        (",[{\"a\":[1,", ","),
        ("\n{", "\n"),
        (",{\",\":\",{", "\n"),
        (",{\"x\":[", ",[1]]},"),
        ("x,", "]"),
        ("]}\n{\"records\":[", "]}"),
        ("\n\"{\",", ",\n"),
    ] {
        for opening in ["", "{\"records\":[", "[{\"a\":[0", ",{\"a\":\"", "x\n{\"a\":{\"b\":"] {
            let work = |stream_bytes: usize| {
                let stream = [opening.as_bytes(), &repeated(before, behind, stream_bytes)].concat();
                let converted = convert_whole(FORMAT, &stream);
                (converted.bytes_scanned, u64::try_from(stream.len()).unwrap())
            };
            let ((small, small_bytes), (large, large_bytes)) = (work(BYTES), work(3 * BYTES));
            let shown =
                format!("{opening} {before} {behind}: {small} of {small_bytes}, {large} of {large_bytes}");
            assert!(large <= small * 4, "{shown}");
            assert!(large <= large_bytes * 300, "{shown}");
        }
    }
}

/// Bytes that mean something to the splitter, and others.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        Just(b"{\"".to_vec()),
        Just(br#"{"records":["#.to_vec()),
        Just(b",{\"a\":[".to_vec()),
        Just(record(7)),
        Just([b",".as_slice(), &record(8), b","].concat()),
        "[\\[\\]{},:\"\\\\ \r\nx0-]{1,4}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// *Scenario*: every fixture in chunks of any sizes, with the encoder pausing after any number of events.
    /// *Guarantees*: the same as in one go.
    #[test]
    fn any_chunks_and_any_pauses(sizes in prop::collection::vec(1_usize..200, 1..40), pause in 1_usize..5) {
        for fixture in fixtures() {
            let mut chunks = Vec::new();
            let mut rest = fixture.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, behind) = rest.split_at(rest.len().min(*size));
                chunks.push(chunk);
                rest = behind;
            }
            let converted = convert(FORMAT, Start::Beginning, chunks, pause);
            prop_assert_eq!(converted, convert_whole(FORMAT, fixture));
        }
    }

    /// *Scenario*: every fixture, cut in three at any two bytes, in every format.
    /// *Guarantees*: the same as in one go.
    #[test]
    fn any_two_cuts(first in any::<prop::sample::Index>(), second in any::<prop::sample::Index>(), pause in 1_usize..5) {
        let formats = [FORMAT, EventFormat::Ecs { enrich: false }, EventFormat::Flow { provenance: true }, EventFormat::Text];
        for fixture in fixtures() {
            let cuts = [first.index(fixture.len() + 1), second.index(fixture.len() + 1)];
            let (from, to) = (cuts[0].min(cuts[1]), cuts[0].max(cuts[1]));
            let parts = [&fixture[..from], &fixture[from..to], &fixture[to..]];
            for format in formats {
                prop_assert_eq!(convert(format, Start::Beginning, parts, pause), convert_whole(format, fixture));
            }
        }
    }

    /// *Scenario*: garbage within, between, before and behind the records of a blob, in several places at once.
    /// *Guarantees*: every record that the garbage does not touch comes out, at its place.
    #[test]
    fn garbage_costs_only_what_it_touches(
        inserts in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(
            any::<u8>().prop_filter("opens no object", |byte| !b"{[".contains(byte)), 1..20)), 1..5),
    ) {
        const HEAD_BYTES: usize = 12;
        let (blob, places) = blob_of_records(6);
        let mut inserts: Vec<(usize, Vec<u8>)> = inserts
            .into_iter()
            .map(|(at, garbage)| (HEAD_BYTES + at.index(blob.len() - HEAD_BYTES), garbage))
            .collect();
        inserts.sort();
        let shifted = |at: usize| {
            at + inserts.iter().filter(|(place, _)| *place <= at).map(|(_, garbage)| garbage.len()).sum::<usize>()
        };
        let mut stream = blob.clone();
        for (at, garbage) in inserts.iter().rev() {
            stream.splice(*at..*at, garbage.iter().copied());
        }
        let converted = convert_whole(EventFormat::Flow { provenance: true }, &stream);
        for (index, place) in places.iter().enumerate() {
            if inserts.iter().any(|(at, _)| place.contains(at)) {
                continue;
            }
            let expected = (format!(",192.0.2.180,{index},443,"), format!("\"offset\":{}", shifted(place.start)));
            let found = converted.events.iter().filter(|(_, event)| {
                event.contains(&expected.0) && event.contains(&expected.1)
            });
            prop_assert_eq!(found.count(), 1, "record {} in {}", index, stream.escape_ascii());
        }
    }

    /// *Scenario*: any bytes at all, many of which mean something, in one chunk and in chunks of any size.
    /// *Guarantees*: no panic and no hang; the same pieces; each is a part of the stream, they are in order, and
    /// nothing lies between them but the head, white space, commas and closing brackets.
    #[test]
    fn no_byte_goes_missing(stream in fragments(), size in 1_usize..50) {
        let whole = convert_whole(FORMAT, &stream);
        let chunks = convert(FORMAT, Start::Beginning, stream.chunks(size), usize::MAX);
        prop_assert_eq!(&chunks, &whole);
        prop_assert!(whole.bytes_scanned <= 300 * u64::try_from(stream.len()).unwrap());
        let mut pieces = whole.pieces.clone();
        let length = u64::try_from(stream.len()).unwrap();
        let end = whole.tail.map_or(length, |tail| tail.from);
        pieces.push(Span { from: end, to: end });
        let mut behind = 0;
        for (index, piece) in pieces.iter().enumerate() {
            prop_assert!(behind <= piece.from && piece.from <= piece.to);
            let gap = &stream[usize::try_from(behind).unwrap()..usize::try_from(piece.from).unwrap()];
            let gap = if index == 0 { gap.strip_prefix("\u{feff}".as_bytes()).unwrap_or(gap) } else { gap };
            let is_head = index == 0 && gap.trim_ascii_start().starts_with(b"{");
            prop_assert!(is_head || gap.iter().all(|byte| b" \t\r\n,]}".contains(byte)), "{}", gap.escape_ascii());
            behind = piece.to;
        }
    }

    /// *Scenario*: any texts in every place of a record that takes one.
    /// *Guarantees*: each event of each format can be read again as JSON, with these texts in it; the message of an
    /// ecs event is the flow event.
    #[test]
    fn any_text_survives(rule in any::<String>(), acl in any::<String>(), encryption in "[^,]*") {
        let tuple = format!("1663146003599,::1,::2,1,2,6,I,D,{encryption},,,,");
        let record = serde_json::json!({ "records": [{
            "time": "2025-04-30T09:07:40.1Z", "flowLogVersion": 4, "macAddress": rule, "flowLogGUID": acl,
            "flowRecords": { "flows": [{ "aclID": acl, "flowGroups": [{ "rule": rule, "flowTuples": [tuple] }] }] }
        }] });
        let bytes = serde_json::to_vec(&record).unwrap();
        let only = |format| {
            let Converted { events, rejected, damage, .. } = convert_whole(format, &bytes);
            assert_eq!((events.len(), rejected.len(), damage), (1, 0, None));
            events[0].1.clone()
        };
        let flow = only(EventFormat::Flow { provenance: false });
        let parsed: serde_json::Value = serde_json::from_str(&flow).unwrap();
        prop_assert_eq!(&parsed["rule"], &rule);
        prop_assert_eq!(&parsed["aclID"], &acl);
        prop_assert_eq!(&parsed["flow.0"], &format!("1663146003599,::1,::2,1,2,6,I,D,{encryption},0,0,0,0"));
        let ecs: serde_json::Value = serde_json::from_str(&only(FORMAT)).unwrap();
        prop_assert_eq!(&ecs["message"], &flow);
        prop_assert_eq!(&ecs["rule"]["name"], &rule);
        prop_assert_eq!(&ecs["azure"]["flow"]["encryption"], &encryption);
    }

    /// *Scenario*: any texts in every place of a network security group's record that takes one.
    /// *Guarantees*: each event of each format can be read again as JSON, with these texts in it; the message of an
    /// ecs event is the flow event.
    #[test]
    fn any_text_survives_in_a_security_group(rule in any::<String>(), id in any::<String>(), surplus in any::<String>()) {
        let tuple = format!("1663146003,::1,::2,1,2,T,I,A,B,,,,,{surplus}");
        let record = serde_json::json!({ "records": [{
            "time": "2025-04-30T09:07:40.1Z", "resourceId": id, "macAddress": rule,
            "properties": { "Version": 2, "flows": [{ "rule": rule, "flows": [{ "mac": id, "flowTuples": [tuple] }] }] }
        }] });
        let bytes = serde_json::to_vec(&record).unwrap();
        let only = |format| {
            let Converted { events, rejected, damage, .. } = convert_whole(format, &bytes);
            assert_eq!((events.len(), rejected.len(), damage), (1, 0, None));
            events[0].1.clone()
        };
        let flow = only(EventFormat::Flow { provenance: false });
        let parsed: serde_json::Value = serde_json::from_str(&flow).unwrap();
        prop_assert_eq!(&parsed["rule"], &rule);
        prop_assert_eq!(&parsed["resourceId"], &id);
        prop_assert_eq!(&parsed["macAddress"], if rule.is_empty() { &id } else { &rule });
        prop_assert_eq!(&parsed["flow.0"], &tuple);
        let ecs: serde_json::Value = serde_json::from_str(&only(FORMAT)).unwrap();
        prop_assert_eq!(&ecs["message"], &flow);
        prop_assert_eq!(&ecs["rule"]["name"], &rule);
        prop_assert_eq!(&ecs["action"]["type"], &rule);
    }
}
