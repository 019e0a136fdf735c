//! The example writer.
