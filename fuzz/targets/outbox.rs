//! The outbox reader: a journal of any bytes is read to its end, and damage costs no record that stands whole behind it.
#![no_main]

use heapline_upload::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = fuzzing::read_journal(input);
    let Some((&[position, length, ..], damage)) = input.split_first_chunk::<4>() else { return };
    // A journal of ours, damaged by the input somewhere: at least the records that end before it and those that begin
    // behind it are there.
    let mut journal = Vec::new();
    let ends: Vec<usize> = (0..6)
        .map(|seq| {
            fuzzing::append_record(&mut journal, seq, usize::from(length) % 3 + 1);
            journal.len()
        })
        .collect();
    let at = usize::from(position) * journal.len() / 256;
    let damage = &damage[..damage.len().min(journal.len() - at)];
    journal[at..at + damage.len()].copy_from_slice(damage);
    let read = fuzzing::read_journal(&journal);
    let mut begin = 0;
    for end in ends {
        let untouched = end <= at || begin >= at + damage.len();
        assert!(!untouched || read.contains(&(begin, end)), "{begin}..{end} is lost: {read:?}, damaged from {at}");
        begin = end;
    }
});
