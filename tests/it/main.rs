//! All integration tests, in one binary.
#![expect(clippy::unwrap_used, reason = "a test reports failure by panicking")]

mod tidy;
