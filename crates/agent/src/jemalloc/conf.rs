//! What [`use_jemalloc!`](crate::use_jemalloc) puts into the host's binary.

pub use tikv_jemallocator::Jemalloc;

/// jemalloc's start settings, NUL-terminated, as the symbol `malloc_conf` holds them. The variable `MALLOC_CONF` in
/// the environment beats them, key by key.
///
/// - `prof:true,prof_active:true`: sampling can only be compiled in at start; it is switched on and off later.
/// - `lg_prof_sample:19`: a sample each 512 KiB allocated, at most: see
///   [`Config::samples_per_second_max`](crate::Config::samples_per_second_max). Finer sampling would hide small objects
///   from `stats.allocated`.
/// - `background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0`: unused pages go back to the kernel a second after
///   a burst, also when the process idles; with the defaults RSS stayed at 127 MB after a burst that left 0.7 MB live.
pub const MALLOC_CONF: &[u8; 105] =
    b"prof:true,prof_active:true,lg_prof_sample:19,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Makes jemalloc the program's allocator, with heap profiling and prompt return of unused pages.
///
/// Once, at the crate root of the binary. It defines the `#[global_allocator]` and the symbol `malloc_conf`, which
/// jemalloc reads before `main`. C libraries linked into the program allocate from jemalloc as well, so that their
/// memory shows in profiles.
///
/// Cost: about 10 µs a sampled allocation (one each 512 KiB) and one background thread.
#[macro_export]
macro_rules! use_jemalloc {
    () => {
        #[global_allocator]
        static HEAPLINE_ALLOCATOR: $crate::__jemalloc::Jemalloc = $crate::__jemalloc::Jemalloc;

        // A reference to an array is a thin pointer, the `const char *` that jemalloc expects.
        #[allow(non_upper_case_globals)]
        #[unsafe(no_mangle)]
        #[doc(hidden)]
        pub static malloc_conf: &[u8; 105] = $crate::__jemalloc::MALLOC_CONF;
    };
}
