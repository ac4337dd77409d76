//! jemalloc's heap profiler: its switches, its dump, and an arena that keeps the profiler's own memory apart.
//!
//! Without [`use_jemalloc!`](crate::use_jemalloc) in the host, `opt.prof` is false and everything here answers
//! `false`, `None` or an error.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::{fs, io, ptr};

use rustix::fs::{MemfdFlags, memfd_create};
use tikv_jemalloc_ctl::{Error, profiling, raw};

/// The pseudo arena that stands for all of them (`MALLCTL_ARENAS_ALL`).
const ALL_ARENAS: u32 = 4096;

/// Why no heap dump was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    #[error("no anonymous file for the heap dump")]
    File(#[source] io::Error),
    #[error("jemalloc wrote no heap dump: {0}")]
    Jemalloc(Error),
}

/// Whether jemalloc has its profiler, compiled in and switched on at start (`opt.prof`).
pub(crate) fn is_compiled_in() -> bool {
    profiling::prof::read().unwrap_or(false)
}

/// Whether allocations are being sampled.
pub(crate) fn active() -> bool {
    // SAFETY: `prof.active` is a bool (jemalloc(3), prof.active).
    unsafe { raw::read(b"prof.active\0") }.unwrap_or(false)
}

/// Switches sampling. Samples taken so far stay.
///
/// # Errors
///
/// The profiler is not [compiled in](is_compiled_in).
pub(crate) fn set_active(on: bool) -> Result<(), Error> {
    // SAFETY: `prof.active` is a bool (jemalloc(3), prof.active).
    unsafe { raw::write(b"prof.active\0", on) }
}

/// Bytes allocated between two samples, on average.
pub(crate) fn sample_interval_bytes() -> Option<u64> {
    if !is_compiled_in() {
        return None;
    }
    // SAFETY: `prof.lg_sample` is a size_t (jemalloc(3), prof.lg_sample).
    let lg: usize = unsafe { raw::read(b"prof.lg_sample\0") }.ok()?;
    1_u64.checked_shl(u32::try_from(lg).ok()?)
}

/// Writes jemalloc's heap dump into an anonymous file in memory, and returns it. Its offset is at the end.
///
/// Synchronous; takes the lock on the table of stacks. Measured: 0.3 ms for a small heap, 35 to 55 ms and 7 MB for
/// 10,000 stacks of 42 frames.
///
/// # Errors
///
/// The profiler is not [compiled in](is_compiled_in), or the file cannot be made or written.
pub(crate) fn dump() -> Result<fs::File, DumpError> {
    let file = memfd_create("heapline-dump", MemfdFlags::CLOEXEC).map_err(|error| DumpError::File(error.into()))?;
    let file = fs::File::from(file);
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map_err(|error| DumpError::File(io::Error::other(error)))?;
    // SAFETY: `prof.dump` reads a `const char *` (jemalloc(3), prof.dump); `path` lives until the call is over.
    unsafe { raw::write(b"prof.dump\0", path.as_ptr()) }.map_err(DumpError::Jemalloc)?;
    Ok(file)
}

/// Keeps the calling thread's allocations out of all profiles, for as long as it lives.
pub(crate) fn exclude_this_thread() {
    // Fails only without a profiler, where there is nothing to be kept out of.
    // SAFETY: `thread.prof.active` is a bool (jemalloc(3), thread.prof.active).
    let _ = unsafe { raw::write(b"thread.prof.active\0", false) };
}

/// Gives unused pages of every arena back to the kernel.
pub(crate) fn purge_all() {
    purge(ALL_ARENAS);
}

/// Bytes that jemalloc counts as allocated and no profile shows: what threads have cached, its own tables, and the
/// profiler's arena. As of the last epoch.
pub(crate) fn unprofiled_bytes() -> u64 {
    let beside = |arena| arena_stat(arena, "tcache_bytes").saturating_add(arena_stat(arena, "internal"));
    let everywhere = beside(ALL_ARENAS);
    let Some(own) = OWN_ARENA.get().copied().flatten() else { return everywhere };
    let allocated = arena_stat(own, "small.allocated").saturating_add(arena_stat(own, "large.allocated"));
    everywhere.saturating_add(allocated).saturating_sub(beside(own))
}

/// 0 where it cannot be had.
fn arena_stat(arena: u32, name: &str) -> u64 {
    let name = format!("stats.arenas.{arena}.{name}\0");
    // SAFETY: the statistics asked for are size_t (jemalloc(3), stats.arenas.<i>), and the name ends in NUL.
    let bytes: usize = unsafe { raw::read(name.as_bytes()) }.unwrap_or(0);
    bytes as u64
}

/// The profiler's own, once it was made.
static OWN_ARENA: OnceLock<Option<u32>> = OnceLock::new();

/// An arena that serves the profiler's thread only, so that what a burst of work leaves behind can be given back at once
/// without touching the host's.
#[derive(Debug)]
pub(crate) struct OwnArena {
    index: u32,
}

impl OwnArena {
    /// Moves the calling thread to the arena, which is made at the first call: jemalloc never gives the metadata of
    /// one back.
    ///
    /// `None` where there are no more arenas.
    pub(crate) fn bind_this_thread() -> Option<OwnArena> {
        // SAFETY: `arenas.create` returns an unsigned (jemalloc(3), arenas.create).
        let index = (*OWN_ARENA.get_or_init(|| unsafe { raw::read(b"arenas.create\0") }.ok()))?;
        // SAFETY: `thread.arena` is an unsigned (jemalloc(3), thread.arena).
        unsafe { raw::write(b"thread.arena\0", index) }.ok()?;
        Some(OwnArena { index })
    }

    /// Gives the arena's unused pages back to the kernel. For the thread that is bound to it.
    pub(crate) fn purge(&self) {
        command(c"thread.tcache.flush");
        purge(self.index);
    }
}

fn purge(arena: u32) {
    if let Ok(name) = CString::new(format!("arena.{arena}.purge")) {
        command(&name);
    }
}

/// A mallctl that neither reads nor writes a value. A failure means that there is nothing to be done.
fn command(name: &CStr) {
    // SAFETY: `thread.tcache.flush` and `arena.<i>.purge` want all four pointers and lengths empty (jemalloc(3)), and
    // `name` ends in NUL. jemalloc is linked whether or not it is the global allocator.
    unsafe {
        tikv_jemalloc_sys::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0);
    }
}
