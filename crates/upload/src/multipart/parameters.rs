//! `value; key=token; key="quoted string"`, the shape of Content-Type and Content-Disposition.

use std::borrow::Cow;

/// The value before the first `;`, trimmed, and the parameters after it.
pub(super) fn split(header: &[u8]) -> (&[u8], Parameters<'_>) {
    let end = memchr::memchr(b';', header).unwrap_or(header.len());
    let (value, rest) = header.split_at(end);
    (value.trim_ascii(), Parameters { rest })
}

/// A parameter without `=`, or a quoted string without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadParameter;

pub(super) struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<(&'a [u8], Cow<'a, [u8]>), BadParameter>;

    fn next(&mut self) -> Option<Self::Item> {
        while let [b';' | b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return None;
        }
        let parameter = self.parameter();
        if parameter.is_err() {
            self.rest = &[];
        }
        Some(parameter)
    }
}

impl<'a> Parameters<'a> {
    fn parameter(&mut self) -> Result<(&'a [u8], Cow<'a, [u8]>), BadParameter> {
        let equals = memchr::memchr2(b'=', b';', self.rest).ok_or(BadParameter)?;
        if self.rest[equals] != b'=' {
            return Err(BadParameter);
        }
        let key = self.rest[..equals].trim_ascii();
        self.rest = self.rest[equals + 1..].trim_ascii_start();
        let value = match self.rest {
            [b'"', quoted @ ..] => {
                let (value, rest) = unquote(quoted)?;
                self.rest = rest;
                value
            }
            token => {
                let end = memchr::memchr(b';', token).unwrap_or(token.len());
                self.rest = &token[end..];
                Cow::Borrowed(token[..end].trim_ascii())
            }
        };
        match self.rest.trim_ascii_start() {
            [] | [b';', ..] => Ok((key, value)),
            _ => Err(BadParameter),
        }
    }
}

/// Reads up to the closing quote. A backslash escapes only `"` and `\`: some clients send `C:\dir\file` as it is.
fn unquote(quoted: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), BadParameter> {
    let mut value = Vec::new();
    let mut at = 0;
    let mut copied_to = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', &quoted[at..]).ok_or(BadParameter)?;
        match &quoted[at..] {
            [b'\\', b'"' | b'\\', ..] => {
                value.extend_from_slice(&quoted[copied_to..at]);
                copied_to = at + 1;
                at += 2;
            }
            [b'\\', ..] => at += 1,
            _ if copied_to == 0 => return Ok((Cow::Borrowed(&quoted[..at]), &quoted[at + 1..])),
            _ => {
                value.extend_from_slice(&quoted[copied_to..at]);
                return Ok((Cow::Owned(value), &quoted[at + 1..]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> (String, Result<Vec<(String, String)>, BadParameter>) {
        let (value, parameters) = split(header.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(value), parameters.map(|p| p.map(|(k, v)| (text(k), text(&v)))).collect())
    }

    #[test]
    fn parameters_as_clients_write_them() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("form-data", &[]),
            ("form-data;", &[]),
            ("form-data; name=a", &[("name", "a")]),
            ("form-data;name=a;filename=b c.txt ; x=", &[("name", "a"), ("filename", "b c.txt"), ("x", "")]),
            (r#"form-data; name="a;b"; filename="c=d""#, &[("name", "a;b"), ("filename", "c=d")]),
            (r#"form-data; filename="we\"ird\\.txt""#, &[("filename", r#"we"ird\.txt"#)]),
            (r#"form-data; filename="C:\dir\file.txt""#, &[("filename", r"C:\dir\file.txt")]),
            (r#"form-data; filename="\"""#, &[("filename", "\"")]),
            (r#"form-data; filename="""#, &[("filename", "")]),
            ("form-data ; Name = \"a\" ;", &[("Name", "a")]),
        ];
        for (header, expected) in cases {
            let (value, parameters) = parse(header);
            assert_eq!(value, "form-data", "{header}");
            let expected = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(parameters, Ok(expected), "{header}");
        }
    }

    #[test]
    fn broken_parameters_are_refused() {
        for header in
            [r#"f; name="a"#, "f; name", r#"f; name="a"b"#, "f; name; x=y", r#"f; name="a\"#, r#"f; name="a\""#]
        {
            assert_eq!(parse(header).1, Err(BadParameter), "{header}");
        }
    }
}
