//! One element of `records`: its data, and its spelling in the blob.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use fastrand::Rng;

use super::{
    identity::Identity,
    json::{Escape, push_string},
    kind::Kind,
    nsg,
    shape::{Shape, pick},
    tuples::Tuple,
};

/// A record. Lists that are `None` are missing in the blob.
#[derive(Debug)]
pub(crate) struct Record {
    /// Of which flow log.
    pub(crate) kind: Kind,
    /// Whose.
    pub(crate) identity: Arc<Identity>,
    /// When it was written.
    pub(crate) time: RecordTime,
    /// `flowRecords.flows`; in records of network security groups the rules of `properties.flows`, whoever judged.
    pub(crate) flows: Option<Vec<AclFlows>>,
}

/// What one access list decided.
#[derive(Debug)]
pub(crate) struct AclFlows {
    /// `aclID`.
    pub(crate) acl: String,
    /// `flowGroups`.
    pub(crate) groups: Option<Vec<RuleFlows>>,
}

/// What one rule decided.
#[derive(Debug)]
pub(crate) struct RuleFlows {
    /// `rule`.
    pub(crate) rule: &'static str,
    /// `flowTuples`.
    pub(crate) tuples: Option<Vec<Tuple>>,
}

/// A moment in steps of 100 ns, as Azure writes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordTime {
    /// Whole seconds.
    second: DateTime<Utc>,
    /// 100 ns steps after it.
    ticks: u32,
    /// Whether the zone is written.
    zone: bool,
}

impl RecordTime {
    /// A random moment late in the minute that starts at `minute`.
    pub(crate) fn within(rng: &mut Rng, minute: DateTime<Utc>, shape: Shape) -> Self {
        let second = minute.trunc_subsecs(0) + chrono::TimeDelta::seconds(rng.i64(45..60));
        let ticks = match rng.u8(..20) {
            0 => 0,
            // Less than a microsecond: nothing is left of it in an event.
            1 => 7,
            2 => rng.u32(..10_000) * 1_000,
            _ => rng.u32(..10_000_000),
        };
        Self { second, ticks, zone: shape != Shape::Hostile || rng.u8(..8) > 0 }
    }

    /// As the record has it.
    pub(crate) fn in_blob(self) -> String {
        let zone = if self.zone { "Z" } else { "" };
        format!("{}.{:07}{zone}", self.second.format("%Y-%m-%dT%H:%M:%S"), self.ticks)
    }

    /// As an event carries it: microseconds, none where they are 0.
    pub(crate) fn in_event(self) -> String {
        let second = self.second.format("%Y-%m-%dT%H:%M:%S");
        match self.ticks / 10 {
            0 => format!("{second}+00:00"),
            microseconds => format!("{second}.{microseconds:06}+00:00"),
        }
    }
}

impl Record {
    /// Every tuple with its access list and rule, in the order of the blob.
    pub(crate) fn tuples(&self) -> impl Iterator<Item = (&str, &'static str, &Tuple)> {
        self.flows.iter().flatten().flat_map(|flows| {
            flows.groups.iter().flatten().flat_map(|group| {
                let tuples = group.tuples.iter().flatten();
                tuples.map(|tuple| (flows.acl.as_str(), group.rule, tuple))
            })
        })
    }

    /// The record's JSON. `rng` chooses among the spellings that the shape allows.
    pub(crate) fn to_json(&self, rng: &mut Rng, shape: Shape) -> String {
        let odd = rng.u32(..shape.odd_one_in()) == 0;
        let hostile = shape == Shape::Hostile;
        let spelling = Spelling {
            escape: if hostile && odd { Escape::Everything } else { Escape::Needed },
            comma: if hostile && rng.u8(..4) == 0 {
                pick(rng, [", ", ",\n  ", " ,\t", ",\r\n"])
            } else {
                ","
            },
            colon: if hostile && rng.u8(..4) == 0 { pick(rng, [": ", " : ", ":\n"]) } else { ":" },
            shuffled: odd,
            inner_shuffled: hostile && odd,
        };
        if self.kind.is_nsg() {
            return nsg::to_json(self, rng, spelling);
        }
        let text = |text: &str| spelling.string(text);
        let identity = &self.identity;
        let mut members = vec![
            ("time", text(&self.time.in_blob())),
            ("flowLogVersion", "4".to_owned()),
            ("flowLogGUID", text(&identity.guid)),
            ("macAddress", text(&identity.mac_in_records)),
            ("category", text("FlowLogFlowEvent")),
            ("flowLogResourceID", text(&identity.flow_log)),
            ("targetResourceID", text(&identity.target)),
            ("operationName", text("FlowLogFlowEvent")),
            ("flowRecords", self.flow_records(rng, spelling)),
        ];
        if odd && rng.bool() {
            let extra = r#"{"a":[1,2.5e3,true,null,{"time":"}"}],"flowTuples":["1,2,3"],"b":"]}"}"#;
            members.push(("flowLogExtra", extra.to_owned()));
        }
        spelling.object(rng, members, spelling.shuffled)
    }

    fn flow_records(&self, rng: &mut Rng, spelling: Spelling) -> String {
        let members = self.flows.iter().map(|flows| {
            let items = flows.iter().map(|flows| flows.to_json(rng, spelling)).collect();
            ("flows", spelling.list(items))
        });
        let members = members.collect();
        spelling.object(rng, members, false)
    }
}

impl AclFlows {
    fn to_json(&self, rng: &mut Rng, spelling: Spelling) -> String {
        let mut members = vec![("aclID", spelling.string(&self.acl))];
        if let Some(groups) = &self.groups {
            let items = groups.iter().map(|group| group.to_json(rng, spelling)).collect();
            members.push(("flowGroups", spelling.list(items)));
        }
        spelling.object(rng, members, spelling.inner_shuffled)
    }
}

impl RuleFlows {
    fn to_json(&self, rng: &mut Rng, spelling: Spelling) -> String {
        let mut members = vec![("rule", spelling.string(self.rule))];
        if let Some(tuples) = &self.tuples {
            let items = tuples.iter().map(|tuple| format!("\"{tuple}\"")).collect();
            members.push(("flowTuples", spelling.list(items)));
        }
        spelling.object(rng, members, spelling.inner_shuffled)
    }
}

/// One way among many to write the same JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelling {
    escape: Escape,
    comma: &'static str,
    colon: &'static str,
    /// The members of the record stand in any order.
    pub(crate) shuffled: bool,
    /// Those of the objects in it too.
    pub(crate) inner_shuffled: bool,
}

impl Spelling {
    /// A text.
    pub(crate) fn string(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 2);
        push_string(&mut out, text, self.escape);
        out
    }

    /// A list of values.
    pub(crate) fn list(self, items: Vec<String>) -> String {
        format!("[{}]", items.join(self.comma))
    }

    /// An object of names and values.
    pub(crate) fn object(self, rng: &mut Rng, mut members: Vec<(&str, String)>, shuffled: bool) -> String {
        if shuffled {
            rng.shuffle(&mut members);
        }
        let colon = self.colon;
        let members: Vec<_> =
            members.into_iter().map(|(key, value)| format!("\"{key}\"{colon}{value}")).collect();
        format!("{{{}}}", members.join(self.comma))
    }
}
