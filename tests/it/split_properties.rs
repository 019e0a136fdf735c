//! Properties of the splitter and the encoder: where a stream is cut, resumed or paused never shows.

use flowlogd::{event::EventFormat, flowlog::Start};
use proptest::prelude::*;

use crate::support::convert::{Converted, convert, convert_whole};

const FORMAT: EventFormat = EventFormat::Ecs { enrich: true };

/// Every shape that a stream can have.
fn fixtures() -> Vec<Vec<u8>> {
    let blob = |text: &str| text.as_bytes().to_vec();
    let record = r#"{"time":"2025-04-30T09:07:40Z","flowLogVersion":4,"flowRecords":{"flows":[{"aclID":"a","flowGroups":[{"rule":"r \\\" } {","flowTuples":["1663146003599,1.2.3.4,192.0.2.180,23956,443,6,O,B,NX,0,0,0,0"]}]}]}}"#;
    vec![
        include_bytes!("../data/seed/PT1H.json").to_vec(),
        include_bytes!("../data/odd.json").to_vec(),
        include_bytes!("../data/nsg/PT1H.json").to_vec(),
        include_bytes!("../data/nsg/odd.json").to_vec(),
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
    ]
}

/// *Scenario*: every fixture, cut in two at every byte.
/// *Guarantees*: the same events with the same ids, the same rejects, the same damage.
#[test]
fn any_single_cut() {
    for fixture in fixtures() {
        let whole = convert_whole(FORMAT, &fixture);
        for cut in 0..=fixture.len() {
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
        let whole = convert_whole(FORMAT, &fixture);
        for (index, (offset, context)) in whole.offsets.iter().enumerate() {
            let start = Start::After { offset: *offset, context };
            let rest = convert(FORMAT, start, [&fixture[usize::try_from(*offset).unwrap()..]], usize::MAX);
            let n_before = whole.events.len() - rest.events.len();
            assert_eq!(rest.events, whole.events[n_before..]);
            assert_eq!(rest.offsets, whole.offsets[index + 1..]);
            assert_eq!((rest.damage, rest.incomplete), (whole.damage.clone(), whole.incomplete.clone()));
        }
    }
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
            prop_assert_eq!(converted, convert_whole(FORMAT, &fixture));
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
