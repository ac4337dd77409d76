//! jemalloc's own account of memory.

use std::hint::black_box;

use tikv_jemalloc_ctl::{epoch, epoch_mib, stats, thread};

/// jemalloc's statistics, each in bytes, all of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapBytes {
    /// Handed out to the program and not given back.
    pub allocated: u64,
    /// Pages that hold at least one allocation.
    pub active: u64,
    /// jemalloc's own bookkeeping.
    pub metadata: u64,
    /// Resident as jemalloc counts: active, metadata and unused dirty pages.
    pub resident: u64,
    /// Extents mapped and in use or cached.
    pub mapped: u64,
    /// Address space kept for later, without memory behind it.
    pub retained: u64,
}

/// Prepared names of the statistics: a read costs about 40 µs, nearly all of it the epoch that makes them current.
#[derive(Clone, Copy)]
pub(crate) struct HeapReader {
    epoch: epoch_mib,
    allocated: stats::allocated_mib,
    active: stats::active_mib,
    metadata: stats::metadata_mib,
    resident: stats::resident_mib,
    mapped: stats::mapped_mib,
    retained: stats::retained_mib,
}

impl HeapReader {
    /// `None` where jemalloc does not serve the host's Rust code, so that its numbers would say nothing about it.
    pub(crate) fn new() -> Option<Self> {
        if !serves_rust() {
            return None;
        }
        Some(Self {
            epoch: epoch::mib().ok()?,
            allocated: stats::allocated::mib().ok()?,
            active: stats::active::mib().ok()?,
            metadata: stats::metadata::mib().ok()?,
            resident: stats::resident::mib().ok()?,
            mapped: stats::mapped::mib().ok()?,
            retained: stats::retained::mib().ok()?,
        })
    }

    pub(crate) fn read(self) -> Result<HeapBytes, tikv_jemalloc_ctl::Error> {
        self.epoch.advance()?;
        Ok(HeapBytes {
            allocated: self.allocated.read()? as u64,
            active: self.active.read()? as u64,
            metadata: self.metadata.read()? as u64,
            resident: self.resident.read()? as u64,
            mapped: self.mapped.read()? as u64,
            retained: self.retained.read()? as u64,
        })
    }
}

/// Whether memory that Rust code asks for comes from jemalloc, whatever linked it in: jemalloc's count of this
/// thread's allocations must move when Rust allocates.
fn serves_rust() -> bool {
    const PROBE_BYTES: usize = 64 << 10;
    let Ok(allocated) = thread::allocatedp::read() else { return false };
    let before = allocated.get();
    drop(black_box(Vec::<u8>::with_capacity(PROBE_BYTES)));
    allocated.get().wrapping_sub(before) >= PROBE_BYTES as u64
}
