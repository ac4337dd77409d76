//! What is known of a stored file beside its bytes, and where it is kept: an extended attribute of the file itself.
//!
//! Data and metadata are then one inode, written by one fsync and made visible by one rename. Where the file system
//! has no user attributes, or the metadata is too long for one, a sidecar `.<id>.json` beside the file takes its place.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::FileId;

/// ext4 gives all attributes of a file one block; what is longer than this goes to a sidecar.
pub(super) const XATTR_BYTES_MAX: usize = 2048;
/// A field name and a content type fill a part's head (16 KiB) at most; escaped as JSON, six times that.
const META_BYTES_MAX: u64 = 256 * 1024;
/// What metadata takes, but for long names.
const JSON_BYTES: usize = 256;
const XATTR_NAME: &str = "user.heapline";

/// What is known of a stored file beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Name of the form's field; `None` for a raw PUT.
    pub field: Option<String>,
    /// The sanitized name that the client gave.
    pub filename: String,
    pub bytes: u64,
    /// `None` with `--digest none`, or where the metadata was lost.
    #[serde(with = "hex_digest")]
    pub sha256: Option<[u8; 32]>,
    pub content_type: Option<String>,
    pub stored_unix_ms: u64,
}

pub(super) fn sidecar_name(id: &FileId) -> String {
    format!(".{id}.json")
}

/// Writes the metadata of `file`, `id` in `dir`. A sidecar is synced by `sync` before this returns; an attribute is
/// not, the file's own fsync takes it along. What is longer than `xattr_bytes_max` goes to a sidecar; `true` where there
/// is one.
pub(super) fn write(
    xattr_bytes_max: usize,
    file: &File,
    dir: BorrowedFd<'_>,
    id: &FileId,
    meta: &FileMeta,
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<bool> {
    let mut json = Vec::with_capacity(JSON_BYTES);
    serde_json::to_writer(&mut json, meta)?;
    if json.len() <= xattr_bytes_max {
        match rustix::fs::fsetxattr(file, XATTR_NAME, &json, XattrFlags::empty()) {
            Ok(()) => return Ok(false),
            Err(errno) if needs_sidecar(errno) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut sidecar = File::from(rustix::fs::openat(dir, sidecar_name(id), flags, Mode::RUSR | Mode::WUSR)?);
    sidecar.write_all(&json)?;
    sync(&sidecar)?;
    Ok(true)
}

/// The metadata of `file`, `id` in `dir`. A file that lost it is still a file: its name is its id, it has no digest.
pub(super) fn read(file: &File, dir: BorrowedFd<'_>, id: &FileId) -> io::Result<FileMeta> {
    let found = match read_xattr(file)? {
        Some(meta) => Some(meta),
        None => read_sidecar(dir, id)?,
    };
    let stat = file.metadata()?;
    let mut meta = found.unwrap_or_else(|| FileMeta {
        field: None,
        filename: id.to_string(),
        bytes: stat.len(),
        sha256: None,
        content_type: None,
        stored_unix_ms: modified_unix_ms(&stat),
    });
    if meta.bytes != stat.len() {
        // Somebody wrote to it: what was said of its bytes no longer holds.
        meta.bytes = stat.len();
        meta.sha256 = None;
    }
    Ok(meta)
}

fn read_xattr(file: &File) -> io::Result<Option<FileMeta>> {
    let mut json = [0; XATTR_BYTES_MAX];
    match rustix::fs::fgetxattr(file, XATTR_NAME, &mut json[..]) {
        Ok(bytes) => Ok(serde_json::from_slice(&json[..bytes]).ok()),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn read_sidecar(dir: BorrowedFd<'_>, id: &FileId) -> io::Result<Option<FileMeta>> {
    let sidecar = match rustix::fs::openat(dir, sidecar_name(id), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let mut json = Vec::new();
    sidecar.take(META_BYTES_MAX).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json).ok())
}

/// No attributes here at all, or no room left for one in the inode's block (which ext4 calls a full disk).
fn needs_sidecar(errno: Errno) -> bool {
    [Errno::NOTSUP, Errno::NOSYS, Errno::NOSPC, Errno::TOOBIG, Errno::RANGE, Errno::PERM].contains(&errno)
}

fn modified_unix_ms(stat: &std::fs::Metadata) -> u64 {
    let modified = stat.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    modified.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Lower-case hexadecimal, as clients read it.
pub(crate) fn hex(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = String::with_capacity(2 * digest.len());
    text.extend(digits.map(|digit| char::from(DIGITS[usize::from(digit)])));
    text
}

mod hex_digest {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(digest: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
        digest.map(|digest| super::hex(&digest)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        parse(&text).map(Some).ok_or_else(|| de::Error::custom("not a SHA-256 in hexadecimal"))
    }

    fn parse(text: &str) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (place, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn json_round_trips(
            field: Option<String>, filename: String, bytes: u64, sha256: Option<[u8; 32]>,
            content_type: Option<String>, stored_unix_ms: u64,
        ) {
            let meta = FileMeta { field, filename, bytes, sha256, content_type, stored_unix_ms };
            let json = serde_json::to_vec(&meta).expect("strings and numbers");
            prop_assert_eq!(serde_json::from_slice::<FileMeta>(&json).expect("what was written"), meta);
        }
    }

    #[test]
    fn a_digest_of_another_length_is_refused() {
        let json = r#"{"field":null,"filename":"a","bytes":1,"sha256":"abcd","content_type":null,"stored_unix_ms":1}"#;
        assert!(serde_json::from_str::<FileMeta>(json).is_err());
    }
}
