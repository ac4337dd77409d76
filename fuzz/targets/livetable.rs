//! The live table of a process that is gone: a file of any bytes, and a real one with some of them changed.
#![no_main]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

/// Changes of eight bytes each: four of the place, four that are written.
const CHANGE_BYTES: usize = 8;

fuzz_target!(|input: &[u8]| {
    read(input, &[]);
    if let Some(real) = heapline_fuzz::corpus::live_table() {
        read(real, input);
    }
});

fn read(table: &[u8], changes: &[u8]) {
    let Ok(file) = memfd_create("table", MemfdFlags::CLOEXEC) else { return };
    let mut file = File::from(file);
    if file.write_all(table).is_err() {
        return;
    }
    for change in changes.chunks_exact(CHANGE_BYTES) {
        let place = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as u64;
        // Most of a table is empty: its beginning is where the interest is.
        let place = if change[3] % 2 == 0 { place % 4096 } else { place % table.len().max(1) as u64 };
        if file.write_all_at(&change[4..], place).is_err() {
            return;
        }
    }
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if let Some(adopted) = heapline::livetable::read(&path) {
        assert!(adopted.totals.live_bytes >= 0.0, "{:?}", adopted.totals);
    }
}
