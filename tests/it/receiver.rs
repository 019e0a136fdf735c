//! The example receiver.
