//! One committed form as bytes: `HLR1`, length, CRC-32, JSON. Pure.

use serde::{Deserialize, Serialize};

use crate::store::{FileId, FileMeta};

const MAGIC: &[u8; 4] = b"HLR1";
/// Magic, then two little-endian `u32`: the payload's length, and the CRC-32 of that length and the payload.
const HEAD_BYTES: usize = 12;
/// A form of 1,000 files with the longest heads stays below; a length above it is damage.
pub(crate) const RECORD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A file as the journal speaks of it; its event follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredFile {
    pub(crate) id: FileId,
    pub(crate) meta: FileMeta,
}

/// A form that was committed: event `seq` is its first file's, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) files: Vec<StoredFile>,
    /// Where the form's record is in a bucket, to be deleted when all its events are delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<String>,
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A record, and its length in bytes.
    Record(Record, usize),
    /// The start of one, which takes so many bytes at least.
    Short(usize),
    /// No record; the next one cannot start before so many bytes.
    Damaged(usize),
}

impl Record {
    /// The event number behind this record's last.
    pub(crate) fn end(&self) -> u64 {
        self.seq.saturating_add(self.files.len() as u64)
    }

    /// Appends the record to `bytes`.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        let start = bytes.len();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; HEAD_BYTES - MAGIC.len()]);
        serde_json::to_writer(&mut *bytes, self)?;
        let payload_bytes = bytes.len() - start - HEAD_BYTES;
        let length = u32::try_from(payload_bytes).ok().filter(|_| payload_bytes <= RECORD_BYTES_MAX);
        let Some(length) = length else {
            bytes.truncate(start);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "a form's metadata is too long"));
        };
        let crc = checksum(length, &bytes[start + HEAD_BYTES..]);
        bytes[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        bytes[start + 8..start + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }
}

/// Reads what stands at the start of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Decoded::Damaged(next_start(bytes));
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Decoded::Short(HEAD_BYTES) };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, crc) = (number(4), number(8));
    let payload_bytes = length as usize;
    if payload_bytes > RECORD_BYTES_MAX {
        return Decoded::Damaged(next_start(bytes));
    }
    let Some(payload) = rest.get(..payload_bytes) else { return Decoded::Short(HEAD_BYTES + payload_bytes) };
    if checksum(length, payload) != crc {
        return Decoded::Damaged(next_start(bytes));
    }
    match serde_json::from_slice(payload) {
        Ok(record) => Decoded::Record(record, HEAD_BYTES + payload_bytes),
        Err(_) => Decoded::Damaged(next_start(bytes)),
    }
}

/// How much to skip where a record was expected and is not: to the next magic, or to where one may begin.
pub(crate) fn next_start(bytes: &[u8]) -> usize {
    let rest = bytes.get(1..).unwrap_or_default();
    let found = memchr::memmem::find(rest, MAGIC);
    1 + found.unwrap_or_else(|| rest.len().saturating_sub(MAGIC.len() - 1))
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn record(seq: u64, files: usize) -> Record {
        let file = |n: usize| StoredFile {
            id: FileId::from_parts(seq, [u8::try_from(n % 256).unwrap(); 10]),
            meta: FileMeta {
                field: Some("file".into()),
                filename: format!("{n}.bin"),
                bytes: 1,
                sha256: Some([7; 32]),
                content_type: None,
                stored_unix_ms: 1_000 + seq,
            },
        };
        Record { seq, files: (0..files).map(file).collect(), origin: None }
    }

    fn encoded(record: &Record) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        bytes
    }

    /// All records in `bytes`, skipping damage, as the reader does.
    fn read_all(mut bytes: &[u8]) -> Vec<Record> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            match decode(bytes) {
                Decoded::Record(record, used) => {
                    records.push(record);
                    bytes = &bytes[used..];
                }
                Decoded::Short(_) => bytes = &bytes[next_start(bytes)..],
                Decoded::Damaged(skip) => bytes = &bytes[skip..],
            }
        }
        records
    }

    proptest! {
        #[test]
        fn any_record_round_trips(seq: u64, names in proptest::collection::vec((any::<String>(), any::<u64>()), 0..5)) {
            let mut record = record(seq, names.len());
            for (file, (name, bytes)) in record.files.iter_mut().zip(names) {
                file.meta.filename = name;
                file.meta.bytes = bytes;
            }
            let bytes = encoded(&record);
            prop_assert_eq!(decode(&bytes), Decoded::Record(record, bytes.len()));
        }

        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>) {
            read_all(&bytes);
        }

        #[test]
        fn one_flipped_bit_costs_one_record(at in 0..1_000_usize, bit in 0..8_u8) {
            let records: Vec<Record> = (0..3).map(|n| record(n, 1)).collect();
            let parts: Vec<Vec<u8>> = records.iter().map(encoded).collect();
            let mut bytes = parts.concat();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let hit = if at < parts[0].len() { 0 } else if at < parts[0].len() + parts[1].len() { 1 } else { 2 };
            let expected: Vec<Record> = records.into_iter().enumerate().filter(|(n, _)| *n != hit).map(|(_, r)| r).collect();
            prop_assert_eq!(read_all(&bytes), expected);
        }
    }

    #[test]
    fn every_prefix_is_short() {
        let bytes = encoded(&record(1, 2));
        for length in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..length]), Decoded::Short(more) if more > length), "{length}");
        }
    }
}
