//! One suite that every state store passes.
