//! Records of virtual network flow logs, version 4.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    elements::Elements,
    piece::PlainList,
    record::{
        Element, GroupHead, Head, Record, RecordError, Text, TupleGroup, Version, list, record_time,
        unknown_version,
    },
    time::RecordTime,
    usual::Reader,
};

/// The version of virtual network flow logs.
pub const VERSION: u32 = 4;

/// Few records have more groups of tuples: they are read with one allocation.
const USUAL_GROUPS: usize = 64;

/// What a record of virtual network flow logs says once. A text that the record lacks is empty.
#[derive(Debug)]
pub struct VnetHead<'a> {
    /// When the record was made.
    pub time: RecordTime,
    /// The texts.
    pub fields: VnetFields<'a>,
}

/// The members of a record. Any order; unknown members are ignored; a list that is missing or null is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VnetFields<'a> {
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    flow_log_version: Option<Version<'a>>,
    #[serde(borrow)]
    flow_records: FlowRecords<'a>,
    /// GUID of the flow log.
    #[serde(borrow, default, rename = "flowLogGUID")]
    pub flow_log_guid: Text<'a>,
    /// Hardware address of the network interface, as written.
    #[serde(borrow, default)]
    pub mac_address: Text<'a>,
    /// `FlowLogFlowEvent`.
    #[serde(borrow, default)]
    pub category: Text<'a>,
    /// Resource id of the flow log.
    #[serde(borrow, default, rename = "flowLogResourceID")]
    pub flow_log_resource_id: Text<'a>,
    /// Resource id of the virtual network, subnet or network interface that is logged.
    #[serde(borrow, default, rename = "targetResourceID")]
    pub target_resource_id: Text<'a>,
    /// `FlowLogFlowEvent`.
    #[serde(borrow, default)]
    pub operation_name: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct FlowRecords<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    flows: Vec<Flow<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flow<'a> {
    #[serde(borrow, default, rename = "aclID")]
    acl_id: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    flow_groups: Vec<FlowGroup<'a>>,
}

impl Element for Flow<'_> {
    fn is_empty(&self) -> bool {
        self.flow_groups.is_empty()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlowGroup<'a> {
    #[serde(borrow, default)]
    rule: Text<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    flow_tuples: Vec<&'a RawValue>,
}

impl Element for FlowGroup<'_> {
    fn is_empty(&self) -> bool {
        self.flow_tuples.is_empty()
    }
}

/// Reads a record. The outer error says that its members do not fit.
pub(super) fn read<'a>(
    text: &'a str,
    plain_lists: &'a [PlainList],
) -> serde_json::Result<Result<Record<'a>, RecordError>> {
    if let Some((fields, groups)) = read_usual(text, plain_lists) {
        return Ok(head(fields).map(|head| Record { head: Head::Vnet(head), groups }));
    }
    serde_json::from_str(text).map(check)
}

/// A record as nearly all are.
fn read_usual<'a>(
    text: &'a str,
    plain_lists: &'a [PlainList],
) -> Option<(VnetFields<'a>, Vec<TupleGroup<'a>>)> {
    let mut fields = VnetFields::default();
    let mut groups = Vec::new();
    let mut members_seen = 0_u16;
    let mut reader = Reader::of(text, plain_lists);
    reader.object(|reader, name| {
        let (bit, place) = match name {
            "time" => (0, fields.time.insert(Text::default())),
            "flowLogGUID" => (1, &mut fields.flow_log_guid),
            "macAddress" => (2, &mut fields.mac_address),
            "category" => (3, &mut fields.category),
            "flowLogResourceID" => (4, &mut fields.flow_log_resource_id),
            "targetResourceID" => (5, &mut fields.target_resource_id),
            "operationName" => (6, &mut fields.operation_name),
            "flowLogVersion" => {
                fields.flow_log_version = Some(Version::of_text(reader.digit()?));
                return once(&mut members_seen, 7);
            }
            "flowRecords" => {
                groups.reserve_exact(USUAL_GROUPS);
                reader.flow_records(&mut groups)?;
                return once(&mut members_seen, 8);
            }
            _ => return reader.skip(),
        };
        *place = reader.text()?;
        once(&mut members_seen, bit)
    })?;
    reader.end()?;
    (members_seen & 1 << 8 != 0).then_some((fields, groups))
}

/// Notes that a member was seen; `None` where it was seen before.
fn once(members_seen: &mut u16, bit: u16) -> Option<()> {
    let before = *members_seen;
    *members_seen |= 1 << bit;
    (*members_seen != before).then_some(())
}

fn head(fields: VnetFields<'_>) -> Result<VnetHead<'_>, RecordError> {
    check_version(fields.flow_log_version.as_ref())?;
    Ok(VnetHead { time: record_time(fields.time.as_ref())?, fields })
}

fn check(mut fields: VnetFields<'_>) -> Result<Record<'_>, RecordError> {
    let mut groups = Vec::new();
    for Flow { acl_id, flow_groups } in std::mem::take(&mut fields.flow_records.flows) {
        groups.extend(flow_groups.into_iter().map(|FlowGroup { rule, flow_tuples }| TupleGroup {
            head: GroupHead { acl_id: acl_id.clone(), rule, mac: Text::default() },
            tuples: Elements::any(flow_tuples),
        }));
    }
    Ok(Record { head: Head::Vnet(head(fields)?), groups })
}

pub(super) fn check_version(version: Option<&Version<'_>>) -> Result<(), RecordError> {
    match version.and_then(Version::number) {
        Some(VERSION) => Ok(()),
        _ => Err(unknown_version("4", version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a record says, whether its texts are borrowed or not.
    fn said(record: &Record<'_>) -> String {
        let Head::Vnet(VnetHead { time, fields }) = &record.head else { panic!("another kind") };
        let texts = [
            &fields.flow_log_guid,
            &fields.mac_address,
            &fields.category,
            &fields.flow_log_resource_id,
            &fields.target_resource_id,
            &fields.operation_name,
        ];
        let mut said = format!("{time:?} {:?}", texts.map(|text| &**text));
        // Groups without tuples say nothing.
        for TupleGroup { head, tuples } in record.groups.iter().filter(|group| group.tuples.n_left() > 0) {
            let elements: Vec<&str> = tuples.clone().map(|element| element.json()).collect();
            assert_eq!(elements.len(), tuples.n_left());
            said += &format!(" {:?} {:?} {elements:?}", &*head.acl_id, &*head.rule);
        }
        said
    }

    const USUAL: &str = r#"{"time":"2026-11-24T05:00:00Z","flowLogVersion":4,"flowLogGUID":"g","macAddress":"m","category":"c","flowLogResourceID":"f","targetResourceID":"t","operationName":"o","flowRecords":{"flows":[{"aclID":"a","flowGroups":[{"rule":"r","flowTuples":["1,2","3"]},{"rule":"s","flowTuples":["4"]}]}]}}"#;

    /// *Scenario*: the usual record, and the same with one thing in it replaced: members that come twice, are null, are
    /// missing or unknown, have another type or an escaped name, white space, commas too many or missing, what stands
    /// behind the end.
    /// *Guarantees*: what the fast reader takes, it reads as the plain one does, and it takes the usual record.
    #[test]
    fn the_fast_reader_reads_what_the_plain_one_reads() {
        let changes = [
            ("", ""),
            (r#""flowLogVersion""#, r#""time":"2020-01-01T00:00:00Z","flowLogVersion""#),
            (r#""flowLogGUID""#, r#""flowLogVersion":4,"flowLogGUID""#),
            (r#""operationName":"o","#, r#""operationName":"o","operationName":"p","#),
            (r#""flowRecords""#, r#""flowRecords":{"flows":[]},"flowRecords""#),
            (r#""aclID":"a","#, r#""aclID":"a","aclID":"b","#),
            (r#""rule":"s","#, r#""rule":"s","rule":"u","#),
            (r#""flowTuples":["4"]"#, r#""flowTuples":["4"],"flowTuples":["5"]"#),
            (r#"{"flows":["#, r#"{"flows":[],"flows":["#),
            (r#""flowGroups":["#, r#""flowGroups":[],"flowGroups":["#),
            (r#""macAddress":"m","#, ""),
            (r#""macAddress":"m""#, r#""macAddress":null"#),
            (r#""macAddress":"m""#, r#""macAddress":7"#),
            (r#""macAddress":"m""#, r#""macAddress":"\u006d""#),
            (r#""macAddress""#, r#""mac\u0041ddress""#),
            (r#""macAddress":"m""#, "\"macAddress\":\"m\u{1}\""),
            (r#""rule":"r","#, ""),
            (r#""rule":"r""#, r#""rule":null"#),
            (r#""aclID":"a","#, ""),
            (r#"["1,2","3"]"#, "[]"),
            (r#"["1,2","3"]"#, "null"),
            (r#"["1,2","3"]"#, r#"[ "1,2" , "3" ]"#),
            (r#"["1,2","3"]"#, r#"["1,2",,"3"]"#),
            (r#"["1,2","3"]"#, r#"["1,2","3",]"#),
            (r#"["1,2","3"]"#, r#"[,"1,2"]"#),
            (r#"["1,2","3"]"#, r#"["1,2" "3"]"#),
            (r#"["1,2","3"]"#, r#"["1,2\"","3"]"#),
            (r#"["1,2","3"]"#, r#"["1,2",3,null,{}]"#),
            (r#"["1,2","3"]"#, "[\"1,2\n\",\"3\"]"),
            (r#""flowLogVersion":4"#, r#""flowLogVersion":"4""#),
            (r#""flowLogVersion":4"#, r#""flowLogVersion":5"#),
            (r#""flowLogVersion":4"#, r#""flowLogVersion":40"#),
            (r#""flowLogVersion":4"#, r#""flowLogVersion":4.0"#),
            (r#""flowLogVersion":4"#, r#""flowLogVersion":04"#),
            (r#""flowLogVersion":4,"#, ""),
            (r#""time":"2026-11-24T05:00:00Z","#, ""),
            (r#""category":"c""#, r#""category":"c","new":{"a":[1,{"b":"}]"},-1.5e3,true,null]}"#),
            (r#""category":"c""#, r#""category":"c","new":[1,]"#),
            (r#""category":"c""#, r#""category":"c","new":tru"#),
            (r#""category":"c""#, r#""category":"c","new":01"#),
            (r#""category":"c""#, r#""category":"c","new":"\x""#),
            (r#""category":"c","#, r#""category":"c",,"#),
            (r#"{"time""#, r#" { "time" "#),
            (r#"{"time""#, r#"{,"time""#),
            (r#""time":"#, r#""time":: "#),
            (r#""flowRecords":{"#, r#""flowRecords":["#),
            (r#"]}]}]}}"#, r#"]}]}]},}"#),
            (r#"]}]}]}}"#, r#"]}]}]}}}"#),
            (r#"]}]}]}}"#, r#"]}]}]}} "#),
            (r#"]}]}]}}"#, r#"]}]}]}"#),
        ];
        let (mut n_fast, mut n_plain) = (0, 0);
        for (old, new) in changes {
            assert!(USUAL.contains(old), "{old}");
            let text = USUAL.replacen(old, new, 1);
            let plain = serde_json::from_str(&text).ok().map(check);
            n_plain += usize::from(matches!(plain, Some(Ok(_))));
            let Some((fields, groups)) = read_usual(&text, &[]) else { continue };
            n_fast += usize::from(plain.is_some());
            let fast = head(fields).map(|head| said(&Record { head: Head::Vnet(head), groups }));
            assert_eq!(Some(fast), plain.map(|plain| plain.map(|record| said(&record))), "{text}");
        }
        assert!(read_usual(USUAL, &[]).is_some());
        // Neither takes everything, nor nothing.
        assert!(n_fast >= 9 && n_plain >= 17, "{n_fast} {n_plain}");
    }
}
