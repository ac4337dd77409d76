//! What a subject measures of itself, and how it is told: a line a figure, `name value`.

use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Tells one figure.
pub fn tell(name: &str, value: f64) {
    println!("{name} {value}");
}

/// A duration in milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The duration below which such a share of them lies; zero of none. Sorts them.
pub fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share) as usize).copied().unwrap_or_default()
}

/// CPU seconds of this process, user and system.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU milliseconds, so far, of this process's threads whose names begin so.
pub fn cpu_ms_of_threads(prefix: &str) -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    let cpu_ns = |thread: std::fs::DirEntry| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        if name.starts_with(prefix) { times.split_whitespace().next()?.parse::<u64>().ok() } else { None }
    };
    let total_ns: u64 = threads.flatten().filter_map(cpu_ns).sum();
    total_ns as f64 / 1e6
}

/// Does nothing for so long, also where somebody unparked this thread before.
pub fn rest(time: Duration) {
    let began = Instant::now();
    while let Some(left) = time.checked_sub(began.elapsed()) {
        thread::park_timeout(left);
    }
}

/// A field of `/proc/self/status` in MiB: `VmRSS`, or `VmHWM`, the highest so far.
pub fn memory_mib(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.strip_prefix(field).is_some_and(|rest| rest.starts_with(':')));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// Makes `VmHWM` start anew from what is resident now.
///
/// # Errors
///
/// The kernel does not know how.
pub fn forget_highest() -> std::io::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5")
}
