//! A shared library that leaks, which the test of symbols builds in many ways and loads late: see symbols.rs beside.

use std::hint::black_box;

pub mod shelf {
    use std::hint::black_box;

    #[inline(never)]
    pub fn keep<T: Default + Clone>(bytes: usize) {
        for _ in 0..black_box(16) {
            kept_in_a_library::<T>(bytes);
        }
    }

    #[inline(always)]
    fn kept_in_a_library<T: Default + Clone>(bytes: usize) {
        std::mem::forget(black_box(vec![T::default(); bytes]));
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn plugin_leak(bytes: usize) {
    shelf::keep::<u8>(bytes);
    black_box(bytes);
}

/// Stands between the program and the program in a stack.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_call(back: extern "C" fn()) {
    back();
    black_box(back);
}
