//! The profiler's sampling interval, changed while the program runs.
//!
//! jemalloc's own way, `prof.reset`, is not safe beside other threads in 5.3.1 (docs/live-table.md says why), and throws
//! its own records away. But all that `prof.reset` does for the interval is to write one word, `lg_prof_sample`, which each
//! thread reads when it draws how far its next sample is (`prof_sample_new_event_wait`). This writes the word alone. It is
//! a private name of jemalloc's: found by a weak symbol, so that a program links without it, and used only as long as
//! `prof.lg_sample` answers with what stands there.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::prof;

/// The longest interval that is ever set: 2^40 bytes.
pub(crate) const LG_MAX: u8 = 40;

#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod word {
    use std::sync::atomic::AtomicUsize;

    // The address of jemalloc's word, or 0 where no linked object has it.
    std::arch::global_asm!(
        ".weak _rjem_je_lg_prof_sample",
        ".pushsection .data.rel.ro.heapline_lg_prof_sample,\"aw\"",
        ".balign 8",
        ".globl heapline_lg_prof_sample",
        ".hidden heapline_lg_prof_sample",
        "heapline_lg_prof_sample:",
        ".quad _rjem_je_lg_prof_sample",
        ".popsection",
    );

    unsafe extern "C" {
        static heapline_lg_prof_sample: *mut usize;
    }

    pub(super) fn find() -> Option<&'static AtomicUsize> {
        // SAFETY: the assembly above defines it, and nobody writes to it once the program is loaded. jemalloc's word
        // is a `size_t` of static storage (src/prof.c), aligned, and lives as long as the program. jemalloc reads and
        // writes it as one machine word, without a lock, on processors where that is a whole.
        unsafe {
            let word = heapline_lg_prof_sample;
            (!word.is_null()).then(|| AtomicUsize::from_ptr(word))
        }
    }
}

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod word {
    use std::sync::atomic::AtomicUsize;

    pub(super) fn find() -> Option<&'static AtomicUsize> {
        None
    }
}

/// The interval in force: 2^this bytes.
pub(crate) fn lg() -> Option<u8> {
    prof::sample_interval_bytes().and_then(u64::checked_ilog2).and_then(|lg| u8::try_from(lg).ok())
}

/// Whether [`set`] can do anything here.
pub(crate) fn can_be_set() -> bool {
    word().is_some()
}

/// Draws samples 2^`lg` bytes apart from now on, on average: each thread from its next sample on. False where this
/// jemalloc has no such word, and everything stays as it was.
pub(crate) fn set(lg: u8) -> bool {
    let Some(word) = word().filter(|_| (..=LG_MAX).contains(&lg)) else { return false };
    let before = word.swap(lg.into(), Relaxed);
    let is_heard = self::lg() == Some(lg);
    if !is_heard {
        word.store(before, Relaxed);
    }
    is_heard
}

/// jemalloc's word, where it is the one that jemalloc goes by.
fn word() -> Option<&'static AtomicUsize> {
    let word = word::find()?;
    (lg().map(usize::from) == Some(word.load(Relaxed))).then_some(word)
}
