//! The command checkpoints.
