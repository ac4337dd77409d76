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
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(stored_name(&"n".repeat(255)), "n".repeat(255));
        assert_eq!(stored_name(&"n".repeat(300)), "n".repeat(255));
        assert_eq!(stored_name(&"ü".repeat(200)), "ü".repeat(127));
        assert_eq!(stored_name(&format!("{}🗼", "n".repeat(253))), "n".repeat(253));
    }
}
