//! Bodies that real clients sent, as `fuzz/corpus` has them, and a real live table.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the corpus is.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// A live table of a process that was killed, made small: `corpus/livetable/real`, where there is one.
#[must_use]
pub fn live_table() -> Option<&'static [u8]> {
    static TABLE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    TABLE.get_or_init(|| std::fs::read(directory().join("livetable/real")).ok()).as_deref()
}
