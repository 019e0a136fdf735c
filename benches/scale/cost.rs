//! What something costs: processor time, memory, requests for memory.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Processor time of all threads and time on the wall that `work` takes, seconds.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64, f64) {
    let (cpu, wall) = (seconds(ClockId::ProcessCPUTime), Instant::now());
    let result = work();
    (result, seconds(ClockId::ProcessCPUTime) - cpu, wall.elapsed().as_secs_f64())
}

/// Lets the peak begin anew at what is taken now, where the kernel can.
pub(crate) fn forget_peak() {
    if fs::write("/proc/self/clear_refs", "5").is_err() {
        println!("(peaks are of the whole run so far)");
    }
}

/// Most memory that was resident, MiB.
pub(crate) fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// What the container spends on being there, which is not the product's.
#[derive(Debug, Default)]
pub(crate) struct Own {
    nanoseconds: AtomicU64,
    blocks: AtomicU64,
    counts_blocks: AtomicBool,
}

impl Own {
    /// Does something at the container's own cost.
    pub(crate) fn spent_on<T>(&self, work: impl FnOnce() -> T) -> T {
        let counts_blocks = self.counts_blocks.load(Ordering::Relaxed);
        let n_blocks = || if counts_blocks { dhat::HeapStats::get().total_blocks } else { 0 };
        let (blocks, began) = (n_blocks(), seconds(ClockId::ThreadCPUTime));
        let result = work();
        let nanoseconds = ((seconds(ClockId::ThreadCPUTime) - began) * 1e9).round();
        self.nanoseconds.fetch_add(nanoseconds as u64, Ordering::Relaxed);
        self.blocks.fetch_add(n_blocks() - blocks, Ordering::Relaxed);
        result
    }

    /// What was spent so far, seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// Requests for memory in `work` that were not the container's. Counting them takes time, so nothing is timed then.
    pub(crate) fn count_blocks<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        let _profiler = dhat::Profiler::builder().testing().build();
        self.counts_blocks.store(true, Ordering::Relaxed);
        let before = self.blocks.load(Ordering::Relaxed);
        let result = work();
        let all = dhat::HeapStats::get().total_blocks;
        self.counts_blocks.store(false, Ordering::Relaxed);
        (result, all - (self.blocks.load(Ordering::Relaxed) - before))
    }
}
