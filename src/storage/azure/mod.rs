//! Azure Blob Storage. The only folder that names the `azure_*` crates.

use url::Url;

use crate::{http, model::Secret};

/// A storage account with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Account name.
    pub account: String,
    /// Account key, base64 as the portal shows it. Checked to be base64.
    pub account_key: Secret,
    /// Blob endpoint without a trailing slash: `https://ACCOUNT.blob.core.windows.net`, or path style
    /// `http://127.0.0.1:10000/devstoreaccount1`.
    pub endpoint: Url,
    /// How to connect.
    pub http: http::Config,
}
