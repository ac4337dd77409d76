//! The live table of a process that is gone: any bytes, and a table of which some words were changed.
#![no_main]

use std::sync::OnceLock;

use heapline::livetable::{check, specimen};
use libfuzzer_sys::fuzz_target;

/// Changes of eight bytes each: two of the place, six that are written over what is there.
const CHANGE_BYTES: usize = 8;
/// Where the header begins to change while a process lives; before it everything has a checksum.
const CHANGING_FROM: usize = 256;
/// The mappings, as text, fill most of a small table.
const MAPS: std::ops::Range<usize> = 4096..4096 + 32_768;

fuzz_target!(|input: &[u8]| {
    read(input);
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let mut table = TABLE.get_or_init(specimen).clone();
    let interesting = table.len() - MAPS.len();
    for change in input.chunks_exact(CHANGE_BYTES) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]]));
        // Words are what is read: six bytes of one change it as much as eight.
        let place = place * 8 % interesting;
        let place = if place < MAPS.start { place } else { place + MAPS.len() };
        // One change in sixteen may break the checksum.
        let place = if place < CHANGING_FROM && change[7] % 16 != 0 { place + CHANGING_FROM } else { place };
        table[place..place + 6].copy_from_slice(&change[2..]);
    }
    read(&table);
});

fn read(table: &[u8]) {
    if let Ok(totals) = check(table) {
        assert!(totals.live_bytes >= 0.0 && totals.allocated_bytes >= 0.0, "{totals:?}");
    }
}
