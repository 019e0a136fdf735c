//! What the records look like: the shapes, their sizes and the texts that they draw from.

use std::ops::RangeInclusive;

use fastrand::Rng;

/// A kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// An ordinary machine.
    Typical,
    /// An idle machine: a few tuples a record, many empty records.
    Sparse,
    /// A busy machine: hundreds of tuples a record.
    Dense,
    /// As typical, but nearly all IPv6.
    V6,
    /// Everything that is legal and unpleasant.
    Hostile,
}

impl Shape {
    /// How many tuples are drawn for a record, around `mean` or the shape's own mean. A flow that ends in the
    /// millisecond in which it began counts once here and gives two.
    pub(crate) fn tuples(self, mean: Option<usize>) -> RangeInclusive<usize> {
        match (self, mean) {
            (Self::Sparse, mean) => 0..=mean.map_or(7, |tuples| tuples * 2),
            (_, Some(mean)) => mean.div_ceil(2)..=mean + mean / 2,
            (Self::Typical | Self::V6, None) => 12..=38,
            (Self::Dense, None) => 400..=800,
            (Self::Hostile, None) => 1..=24,
        }
    }

    /// One record in this many has no tuples.
    pub(crate) fn empty_one_in(self) -> u32 {
        match self {
            Self::Typical | Self::Dense | Self::V6 => 40,
            Self::Sparse | Self::Hostile => 8,
        }
    }

    /// One record in this many departs from the usual order of keys, or has unknown ones.
    pub(crate) fn odd_one_in(self) -> u32 {
        match self {
            Self::Typical | Self::Sparse | Self::Dense | Self::V6 => 12,
            Self::Hostile => 2,
        }
    }

    /// Rules that let a flow through.
    pub(crate) fn allowing_rules(self) -> &'static [&'static str] {
        if self == Self::Hostile { &HOSTILE_RULES } else { &ALLOWING_RULES }
    }

    /// Rules that deny a flow.
    pub(crate) fn denying_rules(self) -> &'static [&'static str] {
        if self == Self::Hostile { &HOSTILE_RULES } else { &DENYING_RULES }
    }
}

const ALLOWING_RULES: [&str; 7] = [
    "DefaultRule_AllowInternetOutBound",
    "DefaultRule_AllowVnetInBound",
    "DefaultRule_AllowVnetOutBound",
    "UserRule_AllowHttpsFromGateway",
    "UserRule_backup-to-vault",
    "PlatformRule",
    "AdminRule_AllowMonitoring",
];

const DENYING_RULES: [&str; 5] = [
    "DefaultRule_DenyAllInBound",
    "BlockHighRiskTCPPortsFromInternet",
    "Internet",
    "UserRule_DenyRdp",
    "unspecified",
];

/// Names that are legal JSON strings and break careless readers.
const HOSTILE_RULES: [&str; 16] = [
    "DefaultRule_AllowInternetOutBound",
    "UserRule_{unbalanced",
    "UserRule_unbalanced}]}",
    "UserRule_\"quoted\" and \\backslashed\\",
    "UserRule_ends with a backslash\\",
    "UserRule_\"},{\"time\":\"2020-01-01T00:00:00Z\",\"flowRecords\":{}}",
    "{\"records\":[",
    "]}",
    "UserRule_caf\u{e9} \u{5317}\u{4eac} \u{1f600}",
    "UserRule_line\nfeed, tab\t, return\r, bell\u{7}, nul\u{0}, delete\u{7f}",
    "UserRule_separators \u{2028}\u{2029}\u{feff}\u{a0}",
    "UserRule_</script><b>&amp;'\u{8}\u{c}",
    "UserRule_a,b,c",
    " ",
    "UserRule_\u{10ffff}\u{fffd}\u{0301}",
    "\\u0041",
];

/// A random element. The list must not be empty.
#[expect(clippy::indexing_slicing, reason = "the index is drawn below the length")]
pub(crate) fn pick<T: Copy, const N: usize>(rng: &mut Rng, from: [T; N]) -> T {
    from[rng.usize(..N)]
}
