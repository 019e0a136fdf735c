//! No log line carries a secret.
