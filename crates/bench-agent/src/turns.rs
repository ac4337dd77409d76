//! Work in short turns, so that programs which are compared meet the same machine: each waits while the others have theirs.

use std::io::{self, BufRead, Write};

use crate::figures::tell;

/// Does the work once for each line of the input, and tells the rate under that name.
pub fn take(name: &str, rate: impl Fn() -> f64) {
    for _ in io::stdin().lock().lines().map_while(Result::ok) {
        tell(name, rate());
        // Whoever waits for it is gone: the next line will not come.
        let _ = io::stdout().flush();
    }
}
