//! The rules of the tree that no compiler enforces.
