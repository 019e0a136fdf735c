//! A network interface that writes records, minute by minute. What it writes depends on the seed and on its own
//! number alone, not on the other interfaces nor on how many minutes are committed at once.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use chrono::{DateTime, Timelike as _, Utc};
use fastrand::Rng;

use super::{
    identity::Identity,
    kind::Kind,
    record::{AclFlows, Record, RecordTime, RuleFlows},
    shape::Shape,
    tuples::{Traffic, Tuple},
};

/// What all interfaces have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The same seed gives the same bytes.
    pub(crate) seed: u64,
    /// Flow-log resources.
    pub(crate) roots: u64,
    /// Kind of flow log.
    pub(crate) kind: Kind,
    /// Kind of traffic.
    pub(crate) shape: Shape,
    /// Mean number of tuples a record, instead of the shape's own.
    pub(crate) tuples: Option<usize>,
    /// Size of one record of the first interface and each hour; 0: none.
    pub(crate) huge_bytes: usize,
}

/// Rough length of a tuple in the blob, to size huge records.
const TUPLE_BYTES: usize = 78;

const MINUTE_MILLISECONDS: u64 = 60_000;

/// The minute of each hour that has the huge record.
const HUGE_MINUTE: u32 = 2;

/// One network interface.
#[derive(Debug)]
pub(crate) struct Nic {
    plan: Plan,
    first: bool,
    silent: bool,
    rng: Rng,
    identity: Arc<Identity>,
    traffic: Traffic,
}

impl Nic {
    /// The interface number `index`. A silent one has no records.
    pub(crate) fn new(plan: Plan, index: u64, silent: bool) -> Self {
        let mut rng = Rng::with_seed(plan.seed ^ index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let identity = Identity::new(&mut rng, plan, index);
        let traffic = Traffic::new(&mut rng, plan.kind, plan.shape, identity.acls.len());
        Self { plan, first: index == 0, silent, rng, identity: Arc::new(identity), traffic }
    }

    /// Names of everything.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The records of one minute, each with its JSON: one, sometimes two, none if the interface is silent.
    pub(crate) fn minute(&mut self, minute: DateTime<Utc>) -> Vec<(Record, String)> {
        if self.silent {
            return Vec::new();
        }
        let mut sizes = vec![None; if self.rng.u8(..10) == 0 { 2 } else { 1 }];
        if self.first && self.plan.huge_bytes > 0 && minute.minute() == HUGE_MINUTE {
            sizes.push(Some(self.plan.huge_bytes));
        }
        // Each record has its own part of the minute, so that no flow goes on before it begins.
        let first = u64::try_from(minute.timestamp_millis()).unwrap_or_default();
        let part = MINUTE_MILLISECONDS / u64::try_from(sizes.len()).unwrap_or(1);
        let starts = (0..).map(|index| first + index * part);
        let windows = starts.map(|start| start..start + part);
        sizes.into_iter().zip(windows).map(|(bytes, window)| self.record(minute, window, bytes)).collect()
    }

    /// A record of `bytes` bytes, or of the shape's size, with tuples of `window` (milliseconds since 1970).
    fn record(
        &mut self,
        minute: DateTime<Utc>,
        window: Range<u64>,
        bytes: Option<usize>,
    ) -> (Record, String) {
        let Self { plan, rng, .. } = self;
        let draws = match bytes {
            Some(bytes) => bytes.div_ceil(TUPLE_BYTES),
            None if rng.u32(..plan.shape.empty_one_in()) == 0 => 0,
            None => rng.usize(plan.shape.tuples(plan.tuples)),
        };
        let mut times: Vec<u64> = (0..draws).map(|_| rng.u64(window.clone())).collect();
        times.sort_unstable();
        let mut tuples = Vec::with_capacity(draws + 1);
        for time in times {
            self.traffic.push_tuples(rng, time, &mut tuples);
        }
        let time = RecordTime::within(rng, minute, plan.shape);
        let flows = self.grouped(tuples);
        let record = Record { kind: self.plan.kind, identity: Arc::clone(&self.identity), time, flows };
        let json = record.to_json(&mut self.rng, self.plan.shape);
        (record, json)
    }

    /// Sorts tuples below their access lists and rules, each group in the order of time.
    fn grouped(&mut self, tuples: Vec<Tuple>) -> Option<Vec<AclFlows>> {
        let hostile = self.plan.shape == Shape::Hostile;
        if tuples.is_empty() && hostile {
            return self.without_tuples();
        }
        let mut by_verdict: BTreeMap<_, Vec<Tuple>> = BTreeMap::new();
        for tuple in tuples {
            by_verdict.entry(tuple.verdict()).or_default().push(tuple);
        }
        let mut flows: Vec<(usize, AclFlows)> = Vec::new();
        for (verdict, tuples) in by_verdict {
            let shape = self.plan.shape;
            let rules = if verdict.denied { shape.denying_rules() } else { shape.allowing_rules() };
            let rule = rules.get(verdict.rule).copied().unwrap_or_default();
            let group = RuleFlows { rule, tuples: Some(tuples) };
            // The same access list may come again within a record.
            let again = hostile && self.rng.u8(..4) == 0;
            match flows.last_mut() {
                Some((acl, AclFlows { groups: Some(groups), .. })) if *acl == verdict.acl && !again => {
                    groups.push(group);
                }
                _ => {
                    let acl = self.identity.acls.get(verdict.acl).cloned().unwrap_or_default();
                    flows.push((verdict.acl, AclFlows { acl, groups: Some(vec![group]) }));
                }
            }
        }
        Some(flows.into_iter().map(|(_, flows)| flows).collect())
    }

    /// The ways in which a record can have no tuples.
    fn without_tuples(&mut self) -> Option<Vec<AclFlows>> {
        let groups = match self.rng.u8(..6) {
            0 => return None,
            1 => return Some(Vec::new()),
            2 => None,
            3 => Some(Vec::new()),
            4 => Some(vec![RuleFlows { rule: "UserRule_missing", tuples: None }]),
            _ => Some(vec![RuleFlows { rule: "UserRule_empty", tuples: Some(Vec::new()) }]),
        };
        Some(vec![AclFlows { acl: "unspecified".to_owned(), groups }])
    }
}
