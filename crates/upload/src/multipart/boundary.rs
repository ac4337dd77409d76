use super::parameters;

/// The longest boundary that RFC 2046 allows.
const BOUNDARY_BYTES_MAX: usize = 70;

/// A multipart boundary: 1 to 70 characters of RFC 2046's set, the last not a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary(Box<[u8]>);

/// Why a Content-Type does not announce a form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentTypeError {
    /// Another media type, or none.
    #[error("the Content-Type must be multipart/form-data")]
    NotFormData,
    /// `boundary` is absent, twice there, or the parameters cannot be read.
    #[error("the Content-Type has no readable boundary")]
    NoBoundary,
    /// Too long, empty, or with a character that a boundary cannot have.
    #[error("a boundary has 1 to 70 characters of digits, letters and '()+_,-./:=?")]
    BadBoundary,
}

impl Boundary {
    /// Reads the boundary of a Content-Type header.
    pub fn from_content_type(header: &[u8]) -> Result<Self, ContentTypeError> {
        let (media_type, parameters) = parameters::split(header);
        if !media_type.eq_ignore_ascii_case(b"multipart/form-data") {
            return Err(ContentTypeError::NotFormData);
        }
        let mut boundary = None;
        for parameter in parameters {
            let (key, value) = parameter.map_err(|_| ContentTypeError::NoBoundary)?;
            if key.eq_ignore_ascii_case(b"boundary") && boundary.replace(value).is_some() {
                return Err(ContentTypeError::NoBoundary);
            }
        }
        Self::new(&boundary.ok_or(ContentTypeError::NoBoundary)?)
    }

    /// Checks length and characters.
    pub fn new(bytes: &[u8]) -> Result<Self, ContentTypeError> {
        let valid = (1..=BOUNDARY_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b))
            && !bytes.ends_with(b" ");
        if valid { Ok(Self(bytes.into())) } else { Err(ContentTypeError::BadBoundary) }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn boundaries_of_real_clients() {
        for (header, boundary) in [
            (
                "multipart/form-data; boundary=------------------------d74496d66958873e",
                "------------------------d74496d66958873e",
            ),
            (
                "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
                "----WebKitFormBoundary7MA4YWxkTrZu0gW",
            ),
            ("Multipart/Form-Data; charset=utf-8; BOUNDARY=\"a b'(c)\"", "a b'(c)"),
            ("multipart/form-data;boundary=x", "x"),
        ] {
            assert_eq!(Boundary::from_content_type(header.as_bytes()).unwrap().as_bytes(), boundary.as_bytes());
        }
    }

    #[test]
    fn other_types_and_bad_boundaries() {
        use ContentTypeError::*;
        let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
        for (header, error) in [
            ("", NotFormData),
            ("text/plain", NotFormData),
            ("multipart/mixed; boundary=x", NotFormData),
            ("multipart/form-data", NoBoundary),
            ("multipart/form-data; boundary=\"x", NoBoundary),
            ("multipart/form-data; boundary=x; boundary=y", NoBoundary),
            ("multipart/form-data; boundary=", BadBoundary),
            ("multipart/form-data; boundary=\"x \"", BadBoundary),
            ("multipart/form-data; boundary=a@b", BadBoundary),
            ("multipart/form-data; boundary=\"a\tb\"", BadBoundary),
            (&long, BadBoundary),
        ] {
            assert_eq!(Boundary::from_content_type(header.as_bytes()), Err(error), "{header}");
        }
        assert!(Boundary::new(&[b'b'; 70]).is_ok());
    }
}
