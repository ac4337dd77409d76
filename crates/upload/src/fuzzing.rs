//! For the fuzz targets of this repository alone: pure inner parts by plain types. No part of the library's promise.

use crate::http;
use crate::outbox::record::{Decoded, Record, StoredFile, decode, next_start};
use crate::store::{FileId, FileMeta};

/// What a Range header asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Ranged {
    Whole,
    Part { first: u64, last: u64 },
    Unsatisfiable,
}

/// As a GET reads it.
#[must_use]
pub fn range(header: &[u8], length_bytes: u64) -> Ranged {
    match http::Range::parse(header, length_bytes) {
        http::Range::Whole => Ranged::Whole,
        http::Range::Part { first, last } => Ranged::Part { first, last },
        http::Range::Unsatisfiable => Ranged::Unsatisfiable,
    }
}

/// The Content-Disposition of a stored name.
#[must_use]
pub fn attachment(filename: &str) -> String {
    http::attachment(filename)
}

/// Where the records of a journal stand, each from and to, past all damage.
#[must_use]
pub fn read_journal(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut records, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match decode(rest) {
            Decoded::Record(_, length) => {
                records.push((at, at + length));
                at += length;
            }
            Decoded::Short(_) => at += next_start(rest),
            Decoded::Damaged(skip) => at += skip,
        }
    }
    records
}

/// The id of a record's `n`th file, as [`append_record`] makes it.
#[must_use]
pub fn file_id(seq: u64, n: usize) -> FileId {
    FileId::from_parts(seq, [n as u8; 10])
}

/// The outbox's cursor before event `seq`.
#[must_use]
pub fn cursor(seq: u64) -> String {
    crate::outbox::cursor_text(seq)
}

/// Appends a record of so many files.
pub fn append_record(journal: &mut Vec<u8>, seq: u64, files: usize) {
    let file = |n: usize| StoredFile {
        id: file_id(seq, n),
        meta: FileMeta {
            field: None,
            filename: n.to_string(),
            bytes: 1,
            sha256: None,
            content_type: None,
            stored_unix_ms: seq,
        },
    };
    // Short metadata always fits.
    let _ = Record { seq, files: (0..files).map(file).collect(), origin: None }.encode(journal);
}
