use super::parameters;
use super::parser::Malformed;

/// The longest name of a form field that is kept.
const FIELD_NAME_BYTES_MAX: usize = 1 << 10;

/// The longest Content-Type that is kept; a longer one counts as none.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// What a part says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartHead {
    /// `name` of the Content-Disposition.
    pub name: String,
    /// `filename` as the client sent it, a path not yet removed; `filename*` is ignored (RFC 7578, 4.2).
    pub filename: Option<String>,
    /// The part's Content-Type where it is printable and short.
    pub content_type: Option<String>,
}

/// Reads the lines between a delimiter and the empty line, each with its CRLF.
pub(super) fn parse(lines: &[u8]) -> Result<PartHead, Malformed> {
    let lines = unfold(lines)?;
    let mut disposition = None;
    let mut content_type = None;
    for line in lines.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let colon = memchr::memchr(b':', line).ok_or(Malformed::Head("a header line has no colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || name.iter().any(|b| !b.is_ascii_graphic()) {
            return Err(Malformed::Head("a header name is not a token"));
        }
        if name.eq_ignore_ascii_case(b"content-disposition") {
            if disposition.replace(value).is_some() {
                return Err(Malformed::Head("it has two Content-Dispositions"));
            }
        } else if name.eq_ignore_ascii_case(b"content-type") {
            content_type = Some(value);
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding")
            && [&b"base64"[..], b"quoted-printable"].iter().any(|encoded| value.eq_ignore_ascii_case(encoded))
        {
            // Stored as it is, it would not be the file that the sender meant.
            return Err(Malformed::Head("a Content-Transfer-Encoding is not supported; send the bytes as they are"));
        }
    }
    let (name, filename) = names(disposition.ok_or(Malformed::Head("it has no Content-Disposition"))?)?;
    Ok(PartHead { name, filename, content_type: content_type.and_then(stored_content_type) })
}

fn names(disposition: &[u8]) -> Result<(String, Option<String>), Malformed> {
    let (kind, parameters) = parameters::split(disposition);
    if !kind.eq_ignore_ascii_case(b"form-data") {
        return Err(Malformed::Head("its Content-Disposition is not form-data"));
    }
    let (mut name, mut filename) = (None, None);
    for parameter in parameters {
        let (key, value) = parameter.map_err(|_| Malformed::Head("its Content-Disposition cannot be read"))?;
        let slot = if key.eq_ignore_ascii_case(b"name") {
            &mut name
        } else if key.eq_ignore_ascii_case(b"filename") {
            &mut filename
        } else {
            continue;
        };
        if slot.replace(unescape(&value)).is_some() {
            return Err(Malformed::Head("its Content-Disposition gives a name twice"));
        }
    }
    let name = name.ok_or(Malformed::Head("its Content-Disposition has no name"))?;
    if name.len() > FIELD_NAME_BYTES_MAX {
        return Err(Malformed::Head("its name is longer than 1 KiB"));
    }
    Ok((name, filename))
}

/// Undoes the three escapes of the HTML standard (`%22`, `%0D`, `%0A`), which are all that browsers and curl make.
fn unescape(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    if !text.contains('%') {
        return text.into_owned();
    }
    ["%22", "%0D", "%0d", "%0A", "%0a"]
        .into_iter()
        .zip(["\"", "\r", "\r", "\n", "\n"])
        .fold(text.into_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// A Content-Type that can be stored and sent again: printable, and of bounded length.
pub(crate) fn stored_content_type(value: &[u8]) -> Option<String> {
    let short = !value.is_empty() && value.len() <= CONTENT_TYPE_BYTES_MAX;
    let printable = value.iter().all(|b| matches!(b, b' '..=b'~'));
    (short && printable).then(|| String::from_utf8_lossy(value).into_owned())
}

/// Joins folded lines and turns each CRLF into LF. A line end that is not CRLF is an error: two readers of such a
/// head could see two different heads.
fn unfold(lines: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(lines.len());
    let mut rest = lines;
    loop {
        match rest {
            [] => return Ok(out),
            [b'\r', b'\n', b' ' | b'\t', after @ ..] => {
                out.push(b' ');
                rest = after;
            }
            [b'\r', b'\n', after @ ..] => {
                out.push(b'\n');
                rest = after;
            }
            [b'\r' | b'\n' | 0, ..] => return Err(Malformed::Head("a header line holds a stray CR, LF or NUL")),
            [other, after @ ..] => {
                out.push(*other);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn head(name: &str, filename: Option<&str>, content_type: Option<&str>) -> PartHead {
        PartHead { name: name.into(), filename: filename.map(Into::into), content_type: content_type.map(Into::into) }
    }

    #[test]
    fn heads_of_real_clients() {
        let cases = [
            (
                "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n",
                head("file", Some("a.txt"), Some("text/plain")),
            ),
            ("content-disposition:form-data;name=note\r\n", head("note", None, None)),
            (
                "Content-Disposition: form-data; name=\"f\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n",
                head("f", Some(""), Some("application/octet-stream")),
            ),
            (
                "Content-Disposition: form-data;\r\n\tname=\"f\";\r\n filename=\"folded\"\r\n",
                head("f", Some("folded"), None),
            ),
            (
                "Content-Disposition: form-data; name=f; filename=\"Grüße %22x%22 100%.txt\"\r\n",
                head("f", Some("Grüße \"x\" 100%.txt"), None),
            ),
            ("Content-Disposition: form-data; name=f; filename*=UTF-8''b.txt\r\n", head("f", None, None)),
            (
                "Content-Disposition: form-data; name=f; filename=a; filename*=UTF-8''b\r\nX-Other: 1\r\n",
                head("f", Some("a"), None),
            ),
            (
                "Content-Transfer-Encoding: binary\r\nContent-Disposition: FORM-DATA; NAME=f; FILENAME=a\r\n",
                head("f", Some("a"), None),
            ),
            ("Content-Disposition: form-data; name=f\r\nContent-Type: \u{1}\r\n", head("f", None, None)),
        ];
        for (lines, expected) in cases {
            assert_eq!(parse(lines.as_bytes()).unwrap(), expected, "{lines}");
        }
    }

    #[test]
    fn broken_heads() {
        let long = format!("Content-Disposition: form-data; name={}\r\n", "n".repeat(1025));
        for lines in [
            "",
            "Content-Type: text/plain\r\n",
            "Content-Disposition: attachment; name=f\r\n",
            "Content-Disposition: form-data; filename=a\r\n",
            "Content-Disposition: form-data; name=\"f\r\n",
            "Content-Disposition: form-data; name=f; name=g\r\n",
            "Content-Disposition: form-data; name=f; filename=a; filename=b\r\n",
            "Content-Disposition: form-data; name=f\r\nContent-Disposition: form-data; name=g\r\n",
            "Content-Disposition: form-data; name=f\nX: y\r\n",
            "Content-Disposition: form-data; name=f\rX: y\r\n",
            "Content-Disposition: form-data; name=f\0\r\n",
            "Content-Disposition form-data; name=f\r\n",
            "Content Disposition: form-data; name=f\r\n",
            "Content-Disposition: form-data; name=f\r\nContent-Transfer-Encoding: Base64\r\n",
            &long,
        ] {
            assert!(matches!(parse(lines.as_bytes()), Err(Malformed::Head(_))), "{lines:?}");
        }
    }
}
