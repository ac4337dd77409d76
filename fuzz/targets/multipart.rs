//! The multipart parser: the same parts wherever the network cuts the body, and those that multer sees.
#![no_main]

use heapline_fuzz::form::{multers, ours};
use heapline_upload::multipart::Boundary;
use libfuzzer_sys::fuzz_target;

const BOUNDARY: &str = "b";

/// The first bytes are where the body is cut; the rest is the body, of a form with the boundary `b`.
const CUTS: usize = 6;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, body)) = input.split_first_chunk::<CUTS>() else { return };
    let Ok(boundary) = Boundary::from_content_type(b"multipart/form-data; boundary=b") else { return };
    let cuts: Vec<usize> = cuts.chunks(2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1])).collect();
    let whole = ours(&boundary, body, &[]);
    assert_eq!(ours(&boundary, body, &cuts), whole, "cut at {cuts:?} it is another form");
    // Multer takes a boundary in the middle of a preamble's line, where RFC 2046 has none: only forms that begin at once
    // can be compared, and of those the ones that both take.
    if !body.starts_with(b"--b\r\n") {
        return;
    }
    if let (Ok(ours), Some(theirs)) = (whole, multers(BOUNDARY, body)) {
        // A delimiter right behind the head's empty line ends a part without a body (RFC 2046: `[CRLF *OCTET]`). Multer
        // does not look for one there, and has all up to the next delimiter as that part's content.
        if ours.iter().any(|part| part.content.is_empty()) && holds(body, b"\r\n\r\n--b") {
            return;
        }
        let contents =
            |parts: &[heapline_fuzz::form::Part]| parts.iter().map(|part| part.content.clone()).collect::<Vec<_>>();
        assert_eq!(contents(&ours), contents(&theirs), "ours {ours:?}, multer's {theirs:?}");
    }
});

fn holds(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}
