//! F3: the one HTTP client, for storage and intakes. The only folder that names `reqwest`.

use std::time::Duration;

/// How a client connects. Redirects are never followed, TLS is at least 1.2, and no setting turns verification off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// PEM certificates to trust in addition to the system's.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// Longest time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Longest silence while an answer is read.
    pub read_timeout: Duration,
    /// Longest time for a whole request, answer included; `None`: no limit but the other two.
    pub total_timeout: Option<Duration>,
}
