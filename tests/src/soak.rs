//! Longer forms of the tests that can find more the longer they run: `make soak` sets `HEAPLINE_SOAK`.

/// How much of something a test does: `short` in `make test`, `long` in `make soak`.
pub fn scaled(short: u64, long: u64) -> u64 {
    if std::env::var_os("HEAPLINE_SOAK").is_some() { long } else { short }
}
