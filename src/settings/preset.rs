//! Presets of protocol `http`: the receivers that need nothing but other defaults, which stand in the table of keys. Here
//! is what they refuse whatever the defaults are.

use serde::Deserialize;

/// Their names, as users write them.
pub(super) const PRESETS: &[&str] = &["datadog", "azure_monitor", "sumo"];

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Preset {
    /// Datadog's intake of logs, version 2.
    Datadog,
    /// The Logs Ingestion API of Azure Monitor.
    AzureMonitor,
    /// An HTTP source of Sumo Logic.
    Sumo,
}

impl Preset {
    /// The largest body that is taken, as it is before compression.
    pub(super) fn most_bytes(self) -> Option<usize> {
        match self {
            Self::Datadog => Some(5_000_000),
            Self::AzureMonitor => Some(1_000_000),
            Self::Sumo => None,
        }
    }

    /// The most events in a body.
    pub(super) fn most_events(self) -> Option<u64> {
        match self {
            Self::Datadog => Some(1_000),
            Self::AzureMonitor | Self::Sumo => None,
        }
    }

    /// Whether events are rows of a table, whose columns are flat and have names of letters, digits and `_`.
    pub(super) fn takes_columns(self) -> bool {
        self == Self::AzureMonitor
    }

    /// What to write into `url`.
    pub(super) fn remedy_for_url(self) -> &'static str {
        match self {
            Self::Datadog => "give https://http-intake.logs.SITE/api/v2/logs, with your Datadog site",
            Self::AzureMonitor => {
                "give https://ENDPOINT/dataCollectionRules/RULE/streams/STREAM?api-version=2023-01-01, with the \
                 immutable id of the data collection rule"
            }
            Self::Sumo => "give the address that Sumo Logic shows for the HTTP source",
        }
    }
}
