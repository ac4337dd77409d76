use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Directory(PathBuf),
    /// `s3://name/prefix`; the prefix may be empty.
    Bucket {
        name: String,
        prefix: String,
    },
}

/// A store that is neither a directory nor a bucket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPlace(&'static str);

const SCHEME: &str = "s3://";
const PREFIX_BYTES_MAX: usize = 512;

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return match text {
                "" => Err(BadPlace("a directory, or s3://bucket/prefix")),
                _ if text.contains("://") => Err(BadPlace("only s3:// is an object store here")),
                _ => Ok(Self::Directory(text.into())),
            };
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if !(3..=63).contains(&name.len()) || !name.bytes().all(legal) {
            return Err(BadPlace("a bucket's name has 3 to 63 lower-case letters, digits, '-' and '.'"));
        }
        let prefix = prefix.trim_matches('/');
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._/=".contains(&b);
        let empty_part = !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | ".."));
        if prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(legal) || empty_part {
            return Err(BadPlace("a prefix has letters, digits, '-', '.', '_', '=' and single '/', 512 bytes at most"));
        }
        Ok(Self::Bucket { name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Bucket { name, prefix } if prefix.is_empty() => write!(f, "{SCHEME}{name}"),
            Self::Bucket { name, prefix } => write!(f, "{SCHEME}{name}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_read_as_they_are_written() {
        for (text, written) in [
            ("heapline-store", "heapline-store"),
            ("/var/lib/x", "/var/lib/x"),
            ("s3://files", "s3://files"),
            ("s3://files/", "s3://files"),
            ("s3://my.files-1/a/b_c/", "s3://my.files-1/a/b_c"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), written);
        }
        for text in
            ["", "gs://files", "s3://", "s3://F", "s3://ab", "s3://files/a//b", "s3://files/../b", "s3://files/a b"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
