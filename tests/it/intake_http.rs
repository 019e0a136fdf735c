//! Intakes against a real TLS receiver.
