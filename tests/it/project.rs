//! The shipped files.
