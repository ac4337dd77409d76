//! How far events were delivered: one small file. It may lag, so that an event is sent again; it never leads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tracing::warn;

use super::journal::Segments;
use crate::store::Directory;

const CURSOR_NAME: &str = "cursor";
/// Twenty digits, a space, eight hexadecimal digits of their CRC-32, a line feed.
const CURSOR_BYTES: usize = 30;

/// The number of the first event that is not delivered yet.
#[derive(Debug)]
pub(crate) struct Cursor {
    directory: Arc<Directory>,
    segments: Arc<Segments>,
    file: Option<File>,
    seq: u64,
    failing: bool,
}

impl Cursor {
    /// Reads the cursor; where it is missing or damaged, everything in the journal counts as undelivered.
    pub(crate) fn open(directory: &Arc<Directory>, segments: &Arc<Segments>) -> io::Result<Self> {
        let oldest = segments.holding(0).map_or(0, |segment| segment.first_seq);
        let file = match open(directory, OFlags::RDWR) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut bytes = [0; CURSOR_BYTES];
        let read = file.as_ref().and_then(|file| file.read_exact_at(&mut bytes, 0).ok());
        let seq = read.and_then(|()| parse(&bytes)).map_or(oldest, |seq| seq.max(oldest));
        let (directory, segments) = (Arc::clone(directory), Arc::clone(segments));
        Ok(Self { directory, segments, file, seq, failing: false })
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Every event before `seq` is delivered: notes it and removes the segments that are done. Not synced: a cursor
    /// that a power cut sets back costs events sent again. A failure costs the same, so it is logged, once.
    pub(crate) fn advance(&mut self, seq: u64) {
        self.seq = seq;
        let written = self.write(seq).and_then(|()| self.segments.release(seq));
        match written {
            Ok(()) => self.failing = false,
            Err(_) if self.failing => {}
            Err(error) => {
                self.failing = true;
                warn!(%error, "the outbox cursor lags; a restart would send events again");
            }
        }
    }

    fn write(&mut self, seq: u64) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.directory, OFlags::RDWR | OFlags::CREATE)?,
        };
        self.file.insert(file).write_all_at(text(seq).as_bytes(), 0)
    }
}

fn open(directory: &Directory, flags: OFlags) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::openat(directory.outbox(), CURSOR_NAME, flags | OFlags::CLOEXEC, mode)?.into())
}

pub(crate) fn text(seq: u64) -> String {
    let digits = format!("{seq:020}");
    let crc = crc32fast::hash(digits.as_bytes());
    format!("{digits} {crc:08x}\n")
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let seq = std::str::from_utf8(bytes).ok()?.get(..20)?.parse().ok()?;
    (text(seq).as_bytes() == bytes).then_some(seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips_and_damage_is_noticed(seq: u64, at in 0..CURSOR_BYTES, flip in 1..=255_u8) {
            let mut bytes = text(seq).into_bytes();
            prop_assert_eq!(bytes.len(), CURSOR_BYTES);
            prop_assert_eq!(parse(&bytes), Some(seq));
            bytes[at] ^= flip;
            prop_assert_eq!(parse(&bytes), None);
        }
    }
}
