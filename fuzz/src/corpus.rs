//! What is too large to be kept in `fuzz/corpus`.

use std::sync::OnceLock;

/// The live table of a process that was killed, where `HEAPLINE_FUZZ_LIVE_TABLE` names one.
#[must_use]
pub fn live_table() -> Option<&'static [u8]> {
    static TABLE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    TABLE.get_or_init(|| std::fs::read(std::env::var_os("HEAPLINE_FUZZ_LIVE_TABLE")?).ok()).as_deref()
}
