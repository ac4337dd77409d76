//! The bearer token.

use hyper::header::{self, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A token as the server knows it: its hash, so that neither its bytes nor its length show in a comparison's time.
#[derive(Clone)]
pub struct Token {
    sha256: [u8; 32],
}

impl Token {
    /// A token; white space around it is not part of it. `None` for an empty one, and for one that no header can carry:
    /// a token is of printable ASCII without spaces.
    pub fn new(secret: &str) -> Option<Self> {
        let secret = secret.trim();
        (!secret.is_empty() && secret.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| Self { sha256: Sha256::digest(secret).into() })
    }

    /// A secret of 128 random bits, for a server that was given none.
    pub fn random_secret() -> Result<String, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether the request carries exactly one `Authorization: Bearer` with this token.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some((scheme, secret)) = value.as_bytes().split_at_checked("bearer ".len()) else {
            return false;
        };
        let sent: [u8; 32] = Sha256::digest(secret.trim_ascii()).into();
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(sent.ct_eq(&self.sha256))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_token_is_admitted() {
        let token = Token::new(" s3cret\n").unwrap();
        for (values, admitted) in [
            (&["Bearer s3cret"][..], true),
            (&["bearer s3cret"], true),
            (&["BEARER   s3cret "], true),
            (&[], false),
            (&["Bearer"], false),
            (&["Bearer "], false),
            (&["Bearer s3cre"], false),
            (&["Bearer s3crets"], false),
            (&["Basic s3cret"], false),
            (&["s3cret"], false),
            (&["Bearer s3cret", "Bearer s3cret"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(token.admits(&headers), admitted, "{values:?}");
        }
    }

    #[test]
    fn what_no_header_can_carry_is_no_token() {
        for secret in ["", " \n", "two words", "two\nlines", "töken"] {
            assert!(Token::new(secret).is_none(), "{secret:?}");
        }
        assert!(!format!("{:?}", Token::new("s3cret")).contains("s3cret"));
    }
}
