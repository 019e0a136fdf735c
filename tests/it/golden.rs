//! The golden samples.
