//! SHA-256 as bytes pass, and the digest fields of RFC 9530.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName};

/// A SHA-256 value.
pub type Sha256Value = [u8; 32];

pub(crate) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// A digest field that is no dictionary of byte sequences.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest field reads `sha-256=:<base64 of 32 bytes>:`")]
pub struct BadDigestField;

/// The value of a `Repr-Digest`.
pub fn field_value(sha256: &Sha256Value) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256))
}

/// The SHA-256 that a request promises for its content. Uploads have no Content-Encoding, so `Repr-Digest` and
/// `Content-Digest` mean the same bytes; both may be there if they agree. Other algorithms are ignored.
pub fn promised(headers: &HeaderMap) -> Result<Option<Sha256Value>, BadDigestField> {
    let mut promised: Option<Sha256Value> = None;
    for name in [REPR_DIGEST, CONTENT_DIGEST] {
        let mut of_field = None;
        for value in headers.get_all(name) {
            let text = value.to_str().map_err(|_| BadDigestField)?;
            for member in text.split(',') {
                of_field = sha256_member(member.trim())?.or(of_field);
            }
        }
        match (promised, of_field) {
            (Some(one), Some(other)) if one != other => return Err(BadDigestField),
            (_, Some(value)) => promised = Some(value),
            _ => {}
        }
    }
    Ok(promised)
}

/// One member of the dictionary: `key=:base64:`, parameters after it ignored.
fn sha256_member(member: &str) -> Result<Option<Sha256Value>, BadDigestField> {
    let (algorithm, rest) = member.split_once('=').ok_or(BadDigestField)?;
    let (encoded, after) = rest.strip_prefix(':').and_then(|rest| rest.split_once(':')).ok_or(BadDigestField)?;
    if !(after.is_empty() || after.trim_start().starts_with(';')) {
        return Err(BadDigestField);
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| BadDigestField)?;
    if algorithm != "sha-256" {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| BadDigestField)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // Of nothing: a published vector.
    const EMPTY: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

    fn read(fields: &[(&HeaderName, &str)]) -> Result<Option<Sha256Value>, BadDigestField> {
        promised(&fields.iter().map(|(name, value)| ((*name).clone(), value.parse().unwrap())).collect())
    }

    #[test]
    fn a_promise_is_read_and_written_the_same() {
        let value = read(&[(&REPR_DIGEST, EMPTY)]).unwrap().unwrap();
        assert_eq!(field_value(&value), EMPTY);
        assert_eq!(value[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(read(&[(&CONTENT_DIGEST, &format!("sha-512=:AAAA:, {EMPTY};p=1"))]), Ok(Some(value)));
        assert_eq!(read(&[(&CONTENT_DIGEST, EMPTY), (&REPR_DIGEST, EMPTY)]), Ok(Some(value)));
    }

    #[test]
    fn other_algorithms_are_ignored_and_broken_fields_are_not() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(&REPR_DIGEST, "md5=:AAAA:")]), Ok(None));
        let other = EMPTY.replace("47DE", "57DE");
        for field in [
            "",
            "sha-256",
            "sha-256=AAAA",
            "sha-256=:AAAA:",
            "sha-256=:!:",
            "sha-256=:AAAA",
            "sha-256=:AAAA:x",
            &other.replace('=', ":"),
        ] {
            assert_eq!(read(&[(&REPR_DIGEST, field)]), Err(BadDigestField), "{field}");
        }
        assert_eq!(read(&[(&REPR_DIGEST, EMPTY), (&CONTENT_DIGEST, &other)]), Err(BadDigestField));
    }
}
