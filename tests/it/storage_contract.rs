//! One suite that every storage adapter passes.
