//! The command convert.
