//! The Range header: whatever is asked, a part is inside the file, and one that is inside is given.
#![no_main]

use heapline_upload::fuzzing::{Ranged, range};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((length, header)) = input.split_first_chunk::<8>() else { return };
    // Small lengths as often as large ones.
    let length = u64::from_le_bytes(*length) >> (length[7] % 64);
    let asked = plain(header);
    match range(header, length) {
        Ranged::Part { first, last } => {
            assert!(first <= last && last < length, "{first}-{last} of {length}");
            if let Some((from, to)) = asked {
                assert_eq!((first, last), (from, to.min(length - 1)));
            }
        }
        Ranged::Unsatisfiable => assert!(asked.is_none_or(|(from, _)| from >= length)),
        Ranged::Whole => assert!(asked.is_none(), "{asked:?} was asked for"),
    }
});

/// `bytes=first-last` in its plainest form, read by other means.
fn plain(header: &[u8]) -> Option<(u64, u64)> {
    let (first, last) = std::str::from_utf8(header).ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}
