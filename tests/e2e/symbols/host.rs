//! A program with the agent in it, that the test of symbols builds in many ways: see symbols.rs beside.
//!
//! `host STATE [LIBRARY...]` leaks in ways that a profile must be able to name, loads the libraries, leaks in them, prints
//! the admin address, and ends when its input does.

use std::ffi::{CString, c_char, c_int, c_void};
use std::future::Future;
use std::hint::black_box;
use std::io::Read;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

heapline::use_jemalloc!();

const MIB: usize = 1 << 20;

unsafe extern "C" {
    fn strdup(text: *const c_char) -> *mut c_char;
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

pub mod forms {
    use super::*;

    /// Frames that a profile shows: this function and the one inlined into it.
    #[inline(never)]
    pub fn leak_inlined() {
        for _ in 0..black_box(16) {
            kept_by_an_inlined_call();
        }
    }

    #[inline(always)]
    fn kept_by_an_inlined_call() {
        std::mem::forget(black_box(vec![1_u8; MIB]));
    }

    pub async fn leak_in_async() {
        for _ in 0..black_box(16) {
            std::mem::forget(black_box(vec![2_u8; MIB]));
            black_box(std::future::ready(())).await;
        }
    }

    #[inline(never)]
    pub fn leak_in_a_closure() {
        let each = black_box(|number: u8| std::mem::forget(black_box(vec![number; MIB])));
        let each: Box<dyn Fn(u8)> = black_box(Box::new(each));
        (0..black_box(16)).for_each(|number| each(number));
    }

    #[inline(never)]
    pub fn leak_through_c() {
        let text = CString::new(vec![b'x'; 2 * MIB]).unwrap_or_default();
        for _ in 0..black_box(8) {
            // SAFETY: `text` ends in NUL and lives on; what strdup returns is leaked on purpose.
            black_box(unsafe { strdup(text.as_ptr()) });
        }
    }

    /// Called by a library that has no symbols.
    #[inline(never)]
    pub extern "C" fn called_back() {
        for _ in 0..black_box(16) {
            std::mem::forget(black_box(vec![3_u8; MIB]));
        }
    }
}

#[inline(never)]
fn call_library(path: &str) {
    const RTLD_NOW: c_int = 2;
    let name = |text: &str| CString::new(text).unwrap_or_default();
    // SAFETY: the library is plugin.rs, whose functions have these signatures, and it is never closed.
    unsafe {
        let library = dlopen(name(path).as_ptr(), RTLD_NOW);
        assert!(!library.is_null(), "{path}");
        let leak = dlsym(library, name("plugin_leak").as_ptr());
        let call = dlsym(library, name("plugin_call").as_ptr());
        assert!(!leak.is_null() && !call.is_null(), "{path}");
        std::mem::transmute::<*mut c_void, extern "C" fn(usize)>(leak)(MIB);
        std::mem::transmute::<*mut c_void, extern "C" fn(extern "C" fn())>(call)(forms::called_back);
    }
    black_box(path);
}

/// Polls until it is done: nothing here waits.
fn run(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {}
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let config = heapline::Config {
        admin: Some(([127, 0, 0, 1], 0).into()),
        state_dir: Some(arguments[0].clone().into()),
        ..heapline::Config::default()
    };
    let agent = heapline::Agent::start(config).expect("the agent starts");
    forms::leak_inlined();
    run(forms::leak_in_async());
    forms::leak_in_a_closure();
    forms::leak_through_c();
    arguments[1..].iter().for_each(|library| call_library(library));
    println!("admin {}", agent.admin_addr());
    let _ = std::io::stdin().read(&mut [0]);
}
