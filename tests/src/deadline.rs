//! Waiting: for a condition, never for a guess; and keeping a pace.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(25);

/// The first `Some` that `condition` gives, or `None` when `limit` has passed without one.
pub fn poll<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause(POLL);
    }
}

/// Like [`poll`], for tests: panics with `what` when the time is over.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, condition: impl FnMut() -> Option<T>) -> T {
    match poll(limit, condition) {
        Some(value) => value,
        None => panic!("within {limit:?}: {what}"),
    }
}

/// Waits until `at` in short steps, or until `stop` says so; whether `at` was reached.
pub fn pace(at: Instant, stop: impl Fn() -> bool) -> bool {
    loop {
        if stop() {
            return false;
        }
        let Some(left) = at.checked_duration_since(Instant::now()) else { return true };
        pause(left.min(POLL));
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that sleeps: between two looks at a condition or a clock")]
fn pause(duration: Duration) {
    thread::sleep(duration);
}
