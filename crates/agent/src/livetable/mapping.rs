//! Memory for the table that outlives the process, or else memory that does not.
//!
//! The file's blocks are allocated before it is mapped: a page that finds no room on the disk later would be a SIGBUS.

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// The least that can be mapped.
const PAGE_BYTES: usize = 4096;

/// Maps a file, shared, for as long as the process lives. It is made as long as the words need, all zero.
///
/// # Errors
///
/// No room on the disk, or no address space.
pub(super) fn of_file(file: &File, words: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = words * size_of::<u64>();
    file.set_len(0)?;
    fallocate(file, FallocateFlags::empty(), 0, bytes as u64)?;
    let flags = MapFlags::SHARED;
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let start = unsafe { mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags, file, 0) }?;
    // SAFETY: mapped just now, `bytes` long, and never unmapped.
    Ok(unsafe { words_at(start, words) })
}

/// Maps memory of this process alone. A child has its own copy.
///
/// # Errors
///
/// No address space.
pub(super) fn anonymous(words: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = words * size_of::<u64>();
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let start =
        unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }?;
    // SAFETY: mapped just now, `bytes` long, and never unmapped.
    Ok(unsafe { words_at(start, words) })
}

/// A word that is zero in every child made by `fork` (Linux 4.14).
///
/// # Errors
///
/// The kernel does not know how, or has no address space.
pub(super) fn wiped_on_fork() -> io::Result<&'static AtomicU64> {
    let words = anonymous(PAGE_BYTES / size_of::<u64>())?;
    let start = words.as_ptr().cast_mut().cast();
    // SAFETY: the page was mapped just now and holds nothing yet.
    if let Err(error) = unsafe { madvise(start, PAGE_BYTES, Advice::LinuxWipeOnFork) } {
        // SAFETY: nothing refers to the page: `words` is not used from here on.
        let _ = unsafe { munmap(start, PAGE_BYTES) };
        return Err(error.into());
    }
    Ok(&words[0])
}

/// # Safety
///
/// `start` is a mapping of at least so many words, readable and writable, that is never unmapped.
unsafe fn words_at(start: *mut std::ffi::c_void, words: usize) -> &'static [AtomicU64] {
    let start = NonNull::new(start).map_or(NonNull::dangling(), NonNull::cast::<AtomicU64>);
    // SAFETY: by the contract above; a mapping starts at a page, so it is aligned; all bytes make valid atomics, and
    // other processes that map the file change them by atomic stores only.
    unsafe { slice::from_raw_parts(start.as_ptr(), words) }
}
