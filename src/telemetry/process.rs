//! What the kernel says about this process.

use std::fs;

/// Memory that is resident, in bytes; `None` where the kernel does not tell.
pub(super) fn resident_bytes() -> Option<u64> {
    resident_of(&fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` of a status file. Unlike `statm` it does not count in pages, whose size differs between machines.
fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: status files, whole and damaged. *Guarantees*: the memory in bytes, or nothing; this process has
    /// some.
    #[test]
    fn resident_memory() {
        assert_eq!(
            resident_of("Name:\tx\nVmHWM:\t   9 kB\nVmRSS:\t   12 kB\nRssAnon:\t 1 kB\n"),
            Some(12_288)
        );
        for damaged in ["", "VmRSS:", "VmRSS:\t12", "VmRSS:\t-1 kB", "VmRSS:\t18446744073709551615 kB"] {
            assert_eq!(resident_of(damaged), None, "{damaged}");
        }
        assert!(resident_bytes() > Some(100_000));
    }
}
