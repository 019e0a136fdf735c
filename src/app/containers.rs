//! Which containers a source means.

use std::fmt;

use crate::{
    flowlog::FLOW_LOG_CONTAINERS,
    settings::{self, Storage},
    storage::{Account, StorageError},
};

/// Names of every container that Azure writes flow logs of any kind into start with this.
const LOG_CONTAINER_PREFIX: &str = "insight";

/// Why a source has nothing to read. Each passes when what is missing appears.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NothingToRead {
    /// None is configured, and there is none with a usual name.
    #[error(
        "neither {} nor {} exists yet ({others}); Azure creates the container with the first flow log",
        FLOW_LOG_CONTAINERS[0], FLOW_LOG_CONTAINERS[1]
    )]
    NoneExists {
        /// What there is instead.
        others: Others,
    },
    /// The configured one does not exist.
    #[error("container {name} does not exist ({others}); waiting for it")]
    ContainerMissing {
        /// Its name.
        name: String,
        /// What there is instead.
        others: Others,
    },
    /// The account is one place, and it does not exist.
    #[error("{place} does not exist; waiting for it")]
    PlaceMissing {
        /// What and where.
        place: String,
    },
    /// The containers could not be listed.
    #[error("the containers could not be listed")]
    Unlisted(#[source] StorageError),
}

/// The containers that an account has instead.
#[derive(Debug)]
pub(crate) enum Others {
    /// These.
    Listed(Vec<String>),
    /// They could not be listed.
    Unlisted,
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(names) if names.is_empty() => {
                f.write_str("the account has no container of flow logs")
            }
            Self::Listed(names) => write!(f, "the account has {}", names.join(", ")),
            Self::Unlisted => f.write_str("the account's containers could not be listed"),
        }
    }
}

/// The container that the settings name; a directory is one container, named or not.
pub(crate) fn named(source: &settings::Source) -> Option<&str> {
    match &source.storage {
        Storage::Directory(config) => Some(&config.container),
        Storage::Azure(_) => source.container.as_deref(),
    }
}

/// The spellings that exist.
///
/// # Errors
/// Where there is none, or where the containers cannot be listed.
pub(crate) async fn existing(account: &dyn Account) -> Result<Vec<String>, NothingToRead> {
    let listed = account.containers(LOG_CONTAINER_PREFIX).await.map_err(NothingToRead::Unlisted)?;
    let (flow_logs, others): (Vec<String>, Vec<String>) =
        listed.into_iter().partition(|name| FLOW_LOG_CONTAINERS.contains(&name.as_str()));
    if flow_logs.is_empty() {
        return Err(NothingToRead::NoneExists { others: Others::Listed(others) });
    }
    Ok(flow_logs)
}

/// What to tell the operator about a configured container that does not exist.
pub(super) async fn missing(account: &dyn Account, configured: &str) -> NothingToRead {
    if let Some(place) = account.place() {
        return NothingToRead::PlaceMissing { place };
    }
    let others = account.containers(LOG_CONTAINER_PREFIX).await.map_or(Others::Unlisted, Others::Listed);
    NothingToRead::ContainerMissing { name: configured.to_owned(), others }
}
