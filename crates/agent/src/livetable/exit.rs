//! A word at the process's end: when it exits by itself, from whichever thread and whether or not the agent is dropped.

use std::sync::Once;

unsafe extern "C" {
    /// C11, 7.22.4.2.
    fn atexit(function: extern "C" fn()) -> i32;
}

/// Has `function` called when the process exits: by a return from `main` or by `exit`, not by a signal, `abort` or
/// `_exit`. Other threads may still run then, and a child made by `fork` calls it, too. Once a process: a second
/// function is not registered.
pub(crate) fn at_exit(function: extern "C" fn()) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: atexit only keeps the pointer, to a function that lives as long as the program.
        if unsafe { atexit(function) } != 0 {
            tracing::debug!("the end of the process will not be recorded unless the agent is dropped");
        }
    });
}
