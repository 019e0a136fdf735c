//! What every request says of itself, whatever its encoding.

/// Attributes of the resource that the records come from: flowlogd, and the flows by it from Azure.
pub(super) const RESOURCE: [(&str, &str); 2] = [("service.name", "flowlogd"), ("cloud.provider", "azure")];
/// Name of the scope of the records.
pub(super) const SCOPE: &str = "flowlogd";
/// Version of the scope of the records.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
