//! One pure file for each protocol.

pub mod http_generic;
pub mod sekoia;
