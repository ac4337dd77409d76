//! The name under which a file is remembered. It is never used as a path.

/// The longest stored name.
const FILENAME_BYTES_MAX: usize = 255;

/// What a file is called whose name holds nothing usable.
const FALLBACK: &str = "file";

/// The last path component (`/` and `\` both separate) without control characters, cut to 255 bytes.
///
/// A name of which nothing is left, `.` and `..` become `file`.
pub fn stored_name(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name: String = last.chars().filter(|c| !is_invisible(*c)).collect();
    if name.len() > FILENAME_BYTES_MAX {
        let end = (0..=FILENAME_BYTES_MAX).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
        name.truncate(end);
    }
    match name.trim() {
        "" | "." | ".." => FALLBACK.to_owned(),
        _ => name,
    }
}

/// A segment of a URL's path with its `%XX` undone; `None` where that is not UTF-8, or a `%` is not followed by two
/// hexadecimal digits.
pub fn percent_decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let (&[high, low], after) = rest.split_first_chunk()?;
                rest = after;
                let digit = |hex: u8| char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                (digit(high)? << 4) | digit(low)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Control characters, and the marks that turn the direction of text (`exe.gpj` shown as `jpg.exe`).
fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (sent, stored) in [
            ("a.txt", "a.txt"),
            ("/etc/passwd", "passwd"),
            ("../../x", "x"),
            (r"C:\Users\me\photo.jpg", "photo.jpg"),
            (r"a/b\c", "c"),
            ("Grüße 東京 🗼.txt", "Grüße 東京 🗼.txt"),
            ("a\r\nb\0\t.txt", "ab.txt"),
            ("a\u{202e}gpj.exe", "agpj.exe"),
            ("we\"ird;name.txt", "we\"ird;name.txt"),
            (".hidden", ".hidden"),
            ("", "file"),
            ("dir/", "file"),
            (".", "file"),
            ("..", "file"),
            ("\u{7}", "file"),
            ("  ", "file"),
        ] {
            assert_eq!(stored_name(sent), stored, "{sent:?}");
        }
    }

    #[test]
    fn segments() {
        for (segment, decoded) in [
            ("a.txt", Some("a.txt")),
            ("a%20b+c", Some("a b+c")),
            ("Gr%C3%BC%c3%9fe", Some("Grüße")),
            ("%2e%2E%2Fx", Some("../x")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
        ] {
            assert_eq!(percent_decoded(segment).as_deref(), decoded, "{segment}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(stored_name(&"n".repeat(255)), "n".repeat(255));
        assert_eq!(stored_name(&"n".repeat(300)), "n".repeat(255));
        assert_eq!(stored_name(&"ü".repeat(200)), "ü".repeat(127));
        assert_eq!(stored_name(&format!("{}🗼", "n".repeat(253))), "n".repeat(253));
    }
}
