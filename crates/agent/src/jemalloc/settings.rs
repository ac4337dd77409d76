//! What jemalloc was told at start, by whom, and what it made of it.

use std::env;
use std::ffi::{CStr, c_char, c_void};
use std::hint::black_box;

use serde::Serialize;
use tikv_jemalloc_ctl::{raw, thread};

/// Who decided on a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DecidedBy {
    /// The symbol `malloc_conf`, as [`use_jemalloc!`](crate::use_jemalloc) sets it.
    Symbol,
    /// The variable `MALLOC_CONF`, which beats the symbol.
    Variable,
    /// jemalloc itself.
    Default,
}

/// One setting that matters to profiles or to how memory is given back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    /// As jemalloc reports it; `None` where it does not know the setting.
    pub(crate) effective: Option<String>,
    pub(crate) decided_by: DecidedBy,
    pub(crate) in_symbol: Option<String>,
    pub(crate) in_variable: Option<String>,
}

enum Type {
    Switch,
    Size,
    Signed,
}

const SETTINGS: [(&str, &[u8], Type); 7] = [
    ("prof", b"opt.prof\0", Type::Switch),
    ("prof_active", b"opt.prof_active\0", Type::Switch),
    ("lg_prof_sample", b"opt.lg_prof_sample\0", Type::Size),
    ("prof_accum", b"opt.prof_accum\0", Type::Switch),
    ("background_thread", b"opt.background_thread\0", Type::Switch),
    ("dirty_decay_ms", b"opt.dirty_decay_ms\0", Type::Signed),
    ("muzzy_decay_ms", b"opt.muzzy_decay_ms\0", Type::Signed),
];

/// The settings, and whether the symbol and the variable are there at all.
pub(crate) fn settings() -> Vec<Setting> {
    let symbol = symbol();
    let variable = env::var("MALLOC_CONF").ok();
    SETTINGS
        .iter()
        .map(|(key, name, kind)| {
            let in_symbol = symbol.as_deref().and_then(|conf| value(conf, key));
            let in_variable = variable.as_deref().and_then(|conf| value(conf, key));
            let decided_by = match (&in_variable, &in_symbol) {
                (Some(_), _) => DecidedBy::Variable,
                (None, Some(_)) => DecidedBy::Symbol,
                (None, None) => DecidedBy::Default,
            };
            Setting { key, effective: effective(name, kind), decided_by, in_symbol, in_variable }
        })
        .collect()
}

/// What the symbol `malloc_conf` holds, if the program has one.
pub(crate) fn symbol() -> Option<String> {
    // SAFETY: jemalloc defines the pointer as a weak symbol, null unless the program defines its own, which jemalloc's
    // documentation (TUNING, `malloc_conf`) wants to be a NUL-terminated string for the life of the program; nobody
    // writes to it.
    let text = unsafe { tikv_jemalloc_sys::malloc_conf.map(|start| CStr::from_ptr(start)) };
    text.map(|text| text.to_string_lossy().into_owned())
}

/// The unwinder that jemalloc was built with, and the frames of a stack that it keeps at most.
pub(crate) fn unwinder() -> (&'static str, Option<u64>) {
    // SAFETY: these are bools (jemalloc(3), config.*).
    let has = |name: &[u8]| unsafe { raw::read::<bool>(name) }.unwrap_or(false);
    let name = if has(b"config.prof_libunwind\0") {
        "libunwind"
    } else if has(b"config.prof_libgcc\0") {
        "libgcc"
    } else {
        "frame pointers or none"
    };
    // SAFETY: `opt.prof_bt_max` is an unsigned (jemalloc's ctl.c).
    let depth: Option<u32> = unsafe { raw::read(b"opt.prof_bt_max\0") }.ok();
    (name, depth.map(u64::from))
}

/// Whether memory that the C library asks for comes from jemalloc: what this thread allocated must move when `strdup`
/// does. `None` without jemalloc's statistics.
pub(crate) fn serves_c() -> Option<bool> {
    const TEXT_BYTES: usize = 64 << 10;
    unsafe extern "C" {
        fn strdup(text: *const c_char) -> *mut c_char;
        fn free(pointer: *mut c_void);
    }
    let allocated = thread::allocatedp::read().ok()?;
    let mut text = vec![b'x'; TEXT_BYTES];
    text.push(0);
    let before = allocated.get();
    // SAFETY: `text` ends in NUL and lives on; the copy is freed once, by the allocator that strdup used.
    unsafe {
        let copy = black_box(strdup(text.as_ptr().cast()));
        free(copy.cast());
    }
    Some(allocated.get().wrapping_sub(before) >= TEXT_BYTES as u64)
}

fn effective(name: &[u8], kind: &Type) -> Option<String> {
    // SAFETY: each name is read as the type that jemalloc(3) gives it: bool, size_t and ssize_t.
    unsafe {
        match kind {
            Type::Switch => raw::read::<bool>(name).ok().map(|value| value.to_string()),
            Type::Size => raw::read::<usize>(name).ok().map(|value| value.to_string()),
            Type::Signed => raw::read::<isize>(name).ok().map(|value| value.to_string()),
        }
    }
}

/// The last of equal keys counts.
fn value(conf: &str, key: &str) -> Option<String> {
    conf.split(',').filter_map(|pair| pair.split_once(':')).rfind(|(name, _)| *name == key).map(|(_, v)| v.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(value("prof:true,lg_prof_sample:19,prof:false", "prof").as_deref(), Some("false"));
        assert_eq!(value("prof_active:true", "prof"), None);
        assert_eq!(value("", "prof"), None);
    }
}
