//! Which containers a source means.

use crate::{
    flowlog::FLOW_LOG_CONTAINERS,
    storage::{Account, StorageError},
};

/// Names of every container that Azure writes flow logs of any kind into start with this.
const LOG_CONTAINER_PREFIX: &str = "insight";

/// The spellings that exist; where there is none, what to tell the operator.
///
/// # Errors
/// Where the containers cannot be listed.
pub(super) async fn existing(account: &dyn Account) -> Result<Result<Vec<String>, String>, StorageError> {
    let listed = account.containers(LOG_CONTAINER_PREFIX).await?;
    let (flow_logs, others): (Vec<String>, Vec<String>) =
        listed.into_iter().partition(|name| FLOW_LOG_CONTAINERS.contains(&name.as_str()));
    if flow_logs.is_empty() {
        let [azure, vendor] = FLOW_LOG_CONTAINERS;
        return Ok(Err(format!(
            "neither {azure} nor {vendor} exists yet ({}); Azure creates the container with the first flow log",
            others_exist(&others)
        )));
    }
    Ok(Ok(flow_logs))
}

/// What to tell the operator about a configured container that does not exist.
pub(super) async fn missing(account: &dyn Account, configured: &str) -> String {
    let others = match account.containers(LOG_CONTAINER_PREFIX).await {
        Ok(listed) => others_exist(&listed),
        Err(_) => "the account's containers could not be listed".to_owned(),
    };
    format!("container {configured} does not exist ({others}); waiting for it")
}

fn others_exist(names: &[String]) -> String {
    if names.is_empty() {
        "the account has no container of flow logs".to_owned()
    } else {
        format!("the account has {}", names.join(", "))
    }
}
