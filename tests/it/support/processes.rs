//! Child processes that end with their test.
