//! The kinds of flow logs that Azure writes.

/// A kind of flow log. All have the same blobs; records and tuples differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Virtual network flow logs, version 4.
    Vnet,
    /// Flow logs of network security groups, version 1: tuples without state and counters.
    Nsg1,
    /// Flow logs of network security groups, version 2.
    Nsg2,
}

impl Kind {
    /// Whether it is one of the two of network security groups.
    pub(crate) fn is_nsg(self) -> bool {
        self != Self::Vnet
    }

    /// The version in the records.
    pub(crate) fn version(self) -> u32 {
        match self {
            Self::Vnet => 4,
            Self::Nsg1 => 1,
            Self::Nsg2 => 2,
        }
    }

    /// The container that Azure writes it into.
    pub(crate) fn container(self) -> &'static str {
        match self {
            Self::Vnet => "insights-logs-flowlogflowevent",
            Self::Nsg1 | Self::Nsg2 => "insights-logs-networksecuritygroupflowevent",
        }
    }
}
