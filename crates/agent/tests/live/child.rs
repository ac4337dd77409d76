//! What a test needs a process of its own for runs in a child: this very program, told by a variable what to do.

use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) const CHILD: &str = "LIVETABLE_CHILD";

/// Runs a test of this program in a process of its own, which starts with that role.
pub(crate) fn child(test: &str, role: &str, state: &Path) -> Child {
    Command::new(std::env::current_exe().expect("a program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, role)
        .env("HEAPLINE_STATE", state)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child")
}

pub(crate) fn role() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// In a child of its own, so that no other test's allocations come between.
pub(crate) fn alone(test: &str, body: impl FnOnce(&Path)) {
    let state = tempfile::tempdir().expect("a directory");
    if role().is_some() {
        body(state.path());
        return;
    }
    let output = child(test, "alone", state.path()).wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
