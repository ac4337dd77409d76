//! jemalloc's sample hooks: what the profiler samples, and when it is freed.
//!
//! jemalloc calls them for sampled objects only, outside its own locks and inside its guard against re-entrancy
//! (5.3.1, `prof_malloc_sample_object` and `prof_free_sampled_object`). They are experimental: `prof_hook.h` has their
//! signatures, and nothing promises them for later versions.

use std::cell::Cell;
use std::ffi::{c_uint, c_void};
use std::slice;

use tikv_jemalloc_ctl::{Error, raw};

use crate::livetable;

type Sample = extern "C" fn(*const c_void, usize, *mut *mut c_void, c_uint, usize);
type Free = extern "C" fn(*const c_void, usize);

const SAMPLE: &[u8] = b"experimental.hooks.prof_sample\0";
const FREE: &[u8] = b"experimental.hooks.prof_sample_free\0";

thread_local! {
    /// The interval that this thread's next sample was drawn by, as a power of two: the one in force at its last. 0
    /// before its first. Neither a destructor nor an allocation comes with it.
    static DRAWN_LG: Cell<u8> = const { Cell::new(0) };
}

/// Why the hooks are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("this jemalloc has no sample hooks: {0}")]
    Missing(Error),
    #[error("the sample hooks serve somebody else")]
    Taken,
}

/// Whether the hooks are there and free.
pub(crate) fn check() -> Result<(), HookError> {
    // SAFETY: a null pointer or a function of this signature (prof_hook.h); `Option` makes null `None`.
    let sample = unsafe { raw::read::<Option<Sample>>(SAMPLE) }.map_err(HookError::Missing)?;
    // SAFETY: as above.
    let free = unsafe { raw::read::<Option<Free>>(FREE) }.map_err(HookError::Missing)?;
    let is_free = |hook: Option<usize>, own: usize| hook.is_none_or(|hook| hook == own);
    let own = is_free(sample.map(|hook| hook as usize), on_sample as *const () as usize)
        && is_free(free.map(|hook| hook as usize), on_free as *const () as usize);
    if own { Ok(()) } else { Err(HookError::Taken) }
}

/// Sends samples to the [current](livetable::current) table, from now to the process's end.
pub(crate) fn install() -> Result<(), HookError> {
    // Ends first: a sample whose end is not told would live for ever.
    // SAFETY: a function of the signature in prof_hook.h, which lives as long as the program.
    unsafe { raw::write::<Option<Free>>(FREE, Some(on_free)) }.map_err(HookError::Missing)?;
    // SAFETY: as above.
    if let Err(error) = unsafe { raw::write::<Option<Sample>>(SAMPLE, Some(on_sample)) } {
        // SAFETY: null takes the hook out.
        let _ = unsafe { raw::write::<Option<Free>>(FREE, None) };
        return Err(HookError::Missing(error));
    }
    Ok(())
}

extern "C" fn on_sample(
    address: *const c_void,
    _asked_bytes: usize,
    stack: *mut *mut c_void,
    depth: c_uint,
    usable_bytes: usize,
) {
    let Some(live) = livetable::current() else { return };
    if stack.is_null() {
        return;
    }
    // SAFETY: jemalloc passes `depth` return addresses that nobody changes during the call: the sample at hand keeps
    // its backtrace alive. A pointer is as large as a usize.
    let stack = unsafe { slice::from_raw_parts(stack.cast::<usize>(), depth as usize) };
    let now_lg = live.table().interval_lg();
    let interval_lg = match DRAWN_LG.replace(now_lg) {
        0 => now_lg,
        drawn_lg => drawn_lg,
    };
    live.table().sampled(address.addr() as u64, stack, usable_bytes as u64, interval_lg);
}

extern "C" fn on_free(address: *const c_void, usable_bytes: usize) {
    if let Some(live) = livetable::current() {
        live.table().freed(address.addr() as u64, usable_bytes as u64);
    }
}
