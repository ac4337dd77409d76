//! The pace of the programs, and the count of what they leaked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use heapline::prometheus::{Error, IntCounter, Registry};

/// What leaks a second, bytes.
pub(crate) const LEAK_BYTES_PER_SECOND: u64 = 200_000;
/// Between two looks at what is due.
const REST: Duration = Duration::from_millis(10);

/// A clock and a count.
pub(crate) struct Ground {
    started: Instant,
    leaked: IntCounter,
}

/// One leak's pace from a moment on.
pub(crate) struct Pace {
    since: Instant,
    bytes_per_second: u64,
    taken_bytes: AtomicU64,
}

impl Ground {
    pub(crate) fn new(registry: &Registry) -> Result<Self, Error> {
        let leaked = IntCounter::new("host_leaked_bytes_total", "Bytes that this program leaked.")?;
        registry.register(Box::new(leaked.clone()))?;
        Ok(Self { started: Instant::now(), leaked })
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Counts bytes that were leaked.
    pub(crate) fn leaked(&self, bytes: usize) {
        self.leaked.inc_by(bytes as u64);
    }

    /// Calls `leak` for each `bytes` that are due, for ever.
    pub(crate) fn every(&self, bytes: usize, mut leak: impl FnMut(u64)) {
        let pace = Pace::new(LEAK_BYTES_PER_SECOND);
        for number in 0.. {
            while !pace.is_due(bytes) {
                rest();
            }
            leak(number);
            self.leaked(bytes);
        }
    }

    /// The same in a task.
    pub(crate) async fn due(&self, pace: &Pace, bytes: usize) {
        while !pace.is_due(bytes) {
            tokio::time::sleep(REST).await;
        }
        self.leaked(bytes);
    }
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { since: Instant::now(), bytes_per_second, taken_bytes: AtomicU64::new(0) }
    }

    /// Whether so many bytes more are within the pace; they are taken then.
    pub(crate) fn is_due(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let allowed = (self.since.elapsed().as_secs_f64() * self.bytes_per_second as f64) as u64;
        let is_due = self.taken_bytes.load(Ordering::Relaxed) + bytes <= allowed;
        if is_due {
            self.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        is_due
    }
}

#[expect(clippy::disallowed_methods, reason = "the pace of a load, not a wait for a result")]
pub(crate) fn rest() {
    std::thread::sleep(REST);
}

/// For ever.
pub(crate) fn idle() -> ! {
    loop {
        rest();
    }
}

/// A runtime of two threads, as a small service has it.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime")
}

/// xorshift64*: numbers for keys and sizes.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }
}
