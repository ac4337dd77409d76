//! What an object store's failure means to us.

use std::error::Error;
use std::sync::Arc;

use crate::store::{CommitError, StoreError};

/// Of a cause without a code.
const SAID_CHARS_MAX: usize = 300;

/// A failed request to an object store, in its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct BucketError {
    said: String,
}

/// An answer of the store that we do not take for an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The bytes that arrived are not those that were sent: as the store finds, or as its checksum tells.
    #[error("the object store received other bytes than were sent: {0}")]
    Checksum(String),
    #[error("the object store refuses the request: {0}")]
    BadRequest(String),
    #[error("an object has other bytes than were stored")]
    Content,
    #[error("no answer in time")]
    TooSlow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not there.
    Missing,
    /// Credentials, permissions, or no such bucket: trying again changes nothing.
    Forbidden,
    /// A checksum does not hold.
    Damaged,
    /// It does not answer, or says that it cannot now.
    Away,
    Other,
}

pub(super) fn kind(error: &object_store::Error) -> Kind {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    match error {
        NotFound { source, .. } if source.to_string().contains("NoSuchBucket") => return Kind::Forbidden,
        NotFound { .. } => return Kind::Missing,
        PermissionDenied { .. } | Unauthenticated { .. } => return Kind::Forbidden,
        _ => {}
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<Refused>() {
            Some(Refused::Checksum(_) | Refused::Content) => return Kind::Damaged,
            Some(Refused::BadRequest(_)) => return Kind::Other,
            Some(Refused::TooSlow) => return Kind::Away,
            None => {}
        }
        cause = error.source();
    }
    match error {
        object_store::Error::Generic { .. } => Kind::Away,
        _ => Kind::Other,
    }
}

impl StoreError {
    pub(in crate::store) fn of_bucket(doing: &'static str, source: object_store::Error) -> Self {
        let (kind, source) = (kind(&source), BucketError { said: said(&source) });
        match kind {
            Kind::Away => Self::Away { doing, source: Arc::new(source) },
            Kind::Damaged => Self::Damaged { doing, source: Arc::new(source) },
            _ => Self::Io { doing, source: std::io::Error::other(source) },
        }
    }
}

/// The store's own code and words where it had some, else what went wrong underneath. One line; the whole answer of a
/// store shows more than a log should have.
fn said(error: &object_store::Error) -> String {
    let mut deepest = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        deepest = error.to_string();
        if between(&deepest, "<Code>", "</Code>").is_some() {
            break;
        }
        cause = error.source();
    }
    match (between(&deepest, "<Code>", "</Code>"), between(&deepest, "<Message>", "</Message>")) {
        (Some(code), message) => format!("{code}: {}", message.unwrap_or_default()),
        _ => deepest.lines().next().unwrap_or_default().chars().take(SAID_CHARS_MAX).collect(),
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Away { source, .. } => Self::Away { source },
            StoreError::Damaged { source, .. } => Self::Damaged { source },
            StoreError::NoSpace { source, .. } => Self::NoSpace { source: Arc::new(source) },
            StoreError::Io { source, .. } => Self::Io { source: Arc::new(source) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_however_deep_it_is() {
        let generic = |source: Box<dyn Error + Send + Sync>| object_store::Error::Generic { store: "S3", source };
        let deep = generic(Box::new(std::io::Error::other(generic(Box::new(Refused::Content)))));
        // An io::Error's source is what its payload has for one.
        assert_eq!(kind(&deep), Kind::Damaged);
        assert_eq!(kind(&generic(Box::new(Refused::Checksum(String::new())))), Kind::Damaged);
        assert_eq!(kind(&generic("connection refused".into())), Kind::Away);
        assert_eq!(kind(&generic(Box::new(Refused::BadRequest(String::new())))), Kind::Other);
        let missing = |source: &str| object_store::Error::NotFound { path: "a".into(), source: source.into() };
        assert_eq!(kind(&missing("<Code>NoSuchKey</Code>")), Kind::Missing);
        let no_bucket = missing("status 404: <Code>NoSuchBucket</Code><Message>none</Message><X>y</X>");
        assert_eq!((kind(&no_bucket), &*said(&no_bucket)), (Kind::Forbidden, "NoSuchBucket: none"));
        assert_eq!(said(&generic("connection refused".into())), "connection refused");
    }
}
