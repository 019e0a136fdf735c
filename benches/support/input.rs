//! The documents that are measured: always the same bytes, in every shape that the example writer has.

use chrono::DateTime;

use super::generator::{
    kind::Kind,
    nic::{Nic, Plan},
    shape::Shape,
    whole,
};

/// 2026-11-24T05:00:00Z, the hour that the example writer begins with.
const START_SECOND: i64 = 1_795_496_400;

const SEED: u64 = 1;

/// Tuples a record of the typical document: with so many a tuple takes 84 bytes, the record's head and the names of rules
/// shared out. The goals were set with data of 81.6.
const TYPICAL_TUPLES: usize = 2_000;

/// A document.
#[derive(Debug)]
pub(crate) struct Input {
    /// Its shape, for people.
    pub(crate) name: &'static str,
    /// Full name of the blob.
    pub(crate) blob: String,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    /// Flow tuples in it: each becomes an event.
    pub(crate) n_tuples: u64,
}

impl Input {
    /// A busy virtual network: what the goals are measured with.
    pub(crate) fn typical(n_bytes: u64) -> Self {
        Self::new("typical", Shape::Typical, Some(TYPICAL_TUPLES), n_bytes)
    }

    /// The writer's own typical records.
    pub(crate) fn small(n_bytes: u64) -> Self {
        Self::new("small", Shape::Typical, None, n_bytes)
    }

    /// One of each shape, the typical one first.
    pub(crate) fn all(n_bytes: u64) -> Vec<Self> {
        let mut all = vec![Self::typical(n_bytes), Self::small(n_bytes)];
        for (name, shape) in [
            ("sparse", Shape::Sparse),
            ("dense", Shape::Dense),
            ("v6", Shape::V6),
            ("hostile", Shape::Hostile),
        ] {
            all.push(Self::new(name, shape, None, n_bytes));
        }
        all
    }

    fn new(name: &'static str, shape: Shape, tuples: Option<usize>, n_bytes: u64) -> Self {
        let plan = Plan { seed: SEED, roots: 1, kind: Kind::Vnet, shape, tuples, huge_bytes: 0 };
        let start = DateTime::from_timestamp(START_SECOND, 0).unwrap_or_default();
        let mut nic = Nic::new(plan, 0, false);
        let blob = nic.identity().blob_name(start);
        let (mut bytes, mut n_tuples) = (Vec::new(), 0);
        whole::write(&mut nic, start, n_bytes, &mut bytes, &mut |records, _| {
            n_tuples += records.iter().map(|record| record.tuples().count() as u64).sum::<u64>();
            Ok(())
        })
        .expect("memory can be written");
        Self { name, blob, bytes, n_tuples }
    }
}
