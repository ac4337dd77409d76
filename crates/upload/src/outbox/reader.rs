//! Reads the journal in order, past damage, never beyond what is committed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tracing::warn;

use super::journal::Segments;
use super::record::{Decoded, Record, decode, next_start};

/// Read at once; a longer record takes its own length, once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A position in the journal. Its memory is one chunk, or one record where that is longer.
#[derive(Debug)]
pub(crate) struct Reader {
    segments: Arc<Segments>,
    current: Option<Current>,
    /// Records before this event are passed over by segment.
    from_seq: u64,
}

#[derive(Debug)]
struct Current {
    first_seq: u64,
    file: File,
    /// Bytes of the segment; from `used` on they are still to be decoded, and stand at `start` in the file.
    buffer: Vec<u8>,
    used: usize,
    start: u64,
    last_record_end: u64,
    /// Warned of, once a segment.
    damaged: bool,
}

impl Reader {
    /// Starts at the segment that holds event `from_seq`: the first records may still be before it.
    pub(crate) fn new(segments: Arc<Segments>, from_seq: u64) -> Self {
        Self { segments, current: None, from_seq }
    }

    /// The next committed record; `None` at the end, for now.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let next_segment = match &mut self.current {
                None => self.segments.holding(self.from_seq),
                Some(current) => {
                    let bytes = self.segments.get(current.first_seq).map_or(0, |segment| segment.bytes);
                    if let Some(record) = current.next(bytes)? {
                        return Ok(Some(record));
                    }
                    self.segments.after(current.first_seq)
                }
            };
            let Some(segment) = next_segment else { return Ok(None) };
            self.current = Some(Current::open(&self.segments, segment.first_seq)?);
        }
    }

    /// Where the last record ends in the segment read last, in bytes.
    pub(crate) fn tail_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.last_record_end)
    }
}

impl Current {
    fn open(segments: &Segments, first_seq: u64) -> io::Result<Self> {
        let file = segments.open(first_seq)?;
        Ok(Self { first_seq, file, buffer: Vec::new(), used: 0, start: 0, last_record_end: 0, damaged: false })
    }

    fn next(&mut self, segment_bytes: u64) -> io::Result<Option<Record>> {
        loop {
            let waiting = &self.buffer[self.used..];
            let read_to = self.start + waiting.len() as u64;
            let unread = usize::try_from(segment_bytes.saturating_sub(read_to)).unwrap_or(usize::MAX);
            if waiting.is_empty() && unread == 0 {
                return Ok(None);
            }
            match decode(waiting) {
                Decoded::Record(record, bytes) => {
                    self.advance(bytes);
                    self.last_record_end = self.start;
                    return Ok(Some(record));
                }
                Decoded::Short(bytes) if unread > 0 => {
                    let more = bytes.saturating_sub(waiting.len()).max(CHUNK_BYTES).min(unread);
                    self.read_more(more)?;
                }
                Decoded::Short(_) => self.skip(next_start(waiting)),
                Decoded::Damaged(bytes) => self.skip(bytes),
            }
        }
    }

    fn read_more(&mut self, bytes: usize) -> io::Result<()> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let (at, kept) = (self.start + self.buffer.len() as u64, self.buffer.len());
        self.buffer.resize(kept + bytes, 0);
        let read = self.file.read_exact_at(&mut self.buffer[kept..], at);
        read.inspect_err(|_| self.buffer.truncate(kept))
    }

    fn skip(&mut self, bytes: usize) {
        // Zeros are what the journal writes ahead of its records.
        let is_damage = self.buffer[self.used..self.used + bytes].iter().any(|byte| *byte != 0);
        if is_damage && !self.damaged {
            warn!(segment = self.first_seq, offset = self.start, "the journal is torn or damaged here");
        }
        self.damaged |= is_damage;
        self.advance(bytes);
    }

    fn advance(&mut self, bytes: usize) {
        self.used += bytes;
        self.start += bytes as u64;
    }
}
