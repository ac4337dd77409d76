//! One sample of the process's memory: the allocator's statistics, the kernel's view and the limit, reconciled.

use std::io;

use crate::jemalloc::stats::HeapReader;

pub mod cgroup;
pub mod equation;
pub(crate) mod oom_kills;
pub mod process;

pub use cgroup::{Limit, LimitSource};
pub use equation::Equation;

pub use crate::jemalloc::stats::HeapBytes;

/// One sample.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Resident memory as the kernel counts it, in bytes.
    pub rss_bytes: u64,
    /// The allocator's statistics; `None` where jemalloc does not serve the host.
    pub heap: Option<HeapBytes>,
}

impl Sample {
    /// Where the resident bytes are.
    pub fn equation(&self) -> Equation {
        Equation::new(self.rss_bytes, self.heap.as_ref())
    }
}

/// Takes samples; usable from any thread, about 50 µs each.
pub(crate) struct MemoryReader {
    heap: Option<HeapReader>,
    process: process::RssReader,
}

impl MemoryReader {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { heap: HeapReader::new(), process: process::RssReader::open()? })
    }

    pub(crate) fn sample(&self) -> io::Result<Sample> {
        Ok(Sample { rss_bytes: self.rss_bytes()?, heap: self.heap() })
    }

    pub(crate) fn rss_bytes(&self) -> io::Result<u64> {
        self.process.rss_bytes()
    }

    /// The allocator's part alone, without a system call.
    pub(crate) fn heap(&self) -> Option<HeapBytes> {
        self.heap.and_then(|reader| reader.read().ok())
    }
}
