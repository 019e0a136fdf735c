//! Numbers that a long run sets.

/// The number of a variable, or what there is without it.
pub(crate) fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
