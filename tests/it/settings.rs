//! The settings, as users meet them.
