//! Switching sampling on and off.

use tikv_jemalloc_ctl::{Error, profiling, raw};

pub(crate) fn is_compiled_in() -> bool {
    profiling::prof::read().unwrap_or(false)
}

pub(crate) fn active() -> bool {
    // SAFETY: `prof.active` is a bool (jemalloc(3), prof.active).
    unsafe { raw::read(b"prof.active\0") }.unwrap_or(false)
}

pub(crate) fn set_active(on: bool) -> Result<(), Error> {
    // SAFETY: `prof.active` is a bool (jemalloc(3), prof.active).
    unsafe { raw::write(b"prof.active\0", on) }
}

pub(crate) fn sample_interval_bytes() -> Option<u64> {
    is_compiled_in().then(|| profiling::lg_prof_sample::read().ok().map(|lg| 1_u64 << lg))?
}
