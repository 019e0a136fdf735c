//! The standard output as an intake.
