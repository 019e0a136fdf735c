//! Sekoia.io `/batch`.
