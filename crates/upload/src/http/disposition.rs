use std::fmt::Write;

/// `attachment` with the name for old and new clients (RFC 6266): an ASCII form, and `filename*` where that lost something.
pub(crate) fn attachment(filename: &str) -> String {
    let plain: String = filename
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    let mut value = format!("attachment; filename=\"{plain}\"");
    if plain != filename {
        value.push_str("; filename*=UTF-8''");
        for byte in filename.bytes() {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                value.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(value, "%{byte:02X}");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_in_one_of_two_forms() {
        for (filename, expected) in [
            ("a b.txt", r#"attachment; filename="a b.txt""#),
            ("Grüße.txt", r#"attachment; filename="Gr__e.txt"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt"#),
            (r#"a"b"#, r#"attachment; filename="a_b"; filename*=UTF-8''a%22b"#),
            ("100%.txt", r#"attachment; filename="100_.txt"; filename*=UTF-8''100%25.txt"#),
        ] {
            assert_eq!(attachment(filename), expected);
        }
    }
}
