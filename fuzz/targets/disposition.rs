//! Names: a Content-Disposition of any bytes is read or refused, what is stored is a plain name, and what is sent back is
//! a header value that says the same name again.
#![no_main]

use heapline_fuzz::form::ours;
use heapline_upload::filename::stored_name;
use heapline_upload::fuzzing;
use heapline_upload::multipart::Boundary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(boundary) = Boundary::from_content_type(b"multipart/form-data; boundary=b") else { return };
    // As a client's header line ...
    let body = [b"--b\r\nContent-Disposition: ", input, b"\r\n\r\nx\r\n--b--\r\n"].concat();
    let parts = ours(&boundary, &body, &[]).unwrap_or_default();
    // ... and as a name by itself.
    let names = parts.into_iter().filter_map(|part| part.filename).chain([String::from_utf8_lossy(input).into_owned()]);
    for sent in names {
        let stored = stored_name(&sent);
        assert!(!stored.is_empty() && stored.len() <= 255, "{stored:?}");
        assert!(!stored.contains(['/', '\\']) && stored != "." && stored != "..", "{stored:?}");
        assert!(!stored.chars().any(char::is_control), "{stored:?}");
        assert_eq!(stored_name(&stored), stored, "stored again it is another name");
        let value = fuzzing::attachment(&stored);
        assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{value:?}");
        assert_eq!(name_of(&value).as_deref(), Some(stored.as_str()), "{value:?}");
    }
});

/// The name as a browser reads it: `filename*` where there is one.
fn name_of(value: &str) -> Option<String> {
    // A plain name may hold the same words, in its quotation marks.
    let (plain, extended) = match value.rsplit_once("; filename*=UTF-8''") {
        Some((plain, extended)) if !value.ends_with('"') => (plain, Some(extended)),
        _ => (value, None),
    };
    let Some(extended) = extended else {
        return Some(plain.strip_prefix("attachment; filename=\"")?.strip_suffix('"')?.to_owned());
    };
    let mut bytes = Vec::new();
    let mut rest = extended.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
