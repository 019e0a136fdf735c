//! The command check-config.
