//! The journal: committed forms in order, in segments `outbox/<first event number>.log`.
//!
//! A form is committed when its record is durable here, and stays until its events have been delivered. Records end
//! where [`Segments`] says; bytes behind that are an append under way, or one that failed.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::store::Directory;

/// A segment this long is followed by a new one; consumed segments are removed whole.
pub(crate) const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// All segments together: about 800,000 waiting events. Beyond it, forms are refused.
pub(crate) const OUTBOX_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A journal file, up to the end of its last committed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) first_seq: u64,
    pub(crate) bytes: u64,
}

/// The journal's files, oldest first; shared by the writer, the reader and whoever consumes.
#[derive(Debug)]
pub(crate) struct Segments {
    directory: Arc<Directory>,
    list: Mutex<VecDeque<Segment>>,
}

impl Segments {
    /// What is in the directory, each file at its full length.
    pub(crate) fn list(directory: &Arc<Directory>) -> io::Result<Self> {
        let mut list = Vec::new();
        for name in crate::store::names(directory.outbox())? {
            let Some(first_seq) = name.strip_suffix(".log").and_then(|number| number.parse().ok()) else { continue };
            let bytes = open(directory, first_seq, OFlags::RDONLY)?.metadata()?.len();
            list.push(Segment { first_seq, bytes });
        }
        list.sort_by_key(|segment| segment.first_seq);
        Ok(Self { directory: Arc::clone(directory), list: Mutex::new(list.into()) })
    }

    /// The segment that holds event `seq`, or the oldest there is.
    pub(crate) fn holding(&self, seq: u64) -> Option<Segment> {
        let list = self.locked();
        list.iter().rev().find(|segment| segment.first_seq <= seq).or(list.front()).copied()
    }

    pub(crate) fn get(&self, first_seq: u64) -> Option<Segment> {
        self.locked().iter().find(|segment| segment.first_seq == first_seq).copied()
    }

    pub(crate) fn after(&self, first_seq: u64) -> Option<Segment> {
        self.locked().iter().find(|segment| segment.first_seq > first_seq).copied()
    }

    pub(crate) fn last(&self) -> Option<Segment> {
        self.locked().back().copied()
    }

    pub(crate) fn open(&self, first_seq: u64) -> io::Result<File> {
        open(&self.directory, first_seq, OFlags::RDONLY)
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.locked().iter().map(|segment| segment.bytes).sum()
    }

    /// Removes the segments that hold nothing from event `seq` on; the last one stays.
    pub(crate) fn release(&self, seq: u64) -> io::Result<()> {
        let mut list = self.locked();
        while let Some((oldest, next)) = list.front().copied().zip(list.get(1)) {
            if next.first_seq > seq {
                break;
            }
            rustix::fs::unlinkat(self.directory.outbox(), segment_name(oldest.first_seq), AtFlags::empty())?;
            list.pop_front();
        }
        Ok(())
    }

    fn set_last_bytes(&self, bytes: u64) {
        if let Some(last) = self.locked().back_mut() {
            last.bytes = bytes;
        }
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) struct AppendError {
    pub(crate) source: io::Error,
    /// The records could not be taken back: the next start will find them, or not.
    pub(crate) uncertain: bool,
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: Arc<Directory>,
    segments: Arc<Segments>,
    /// The last segment, open for writing; `None` until the first append.
    active: Option<File>,
    next_seq: u64,
    segment_bytes: u64,
    outbox_bytes_max: u64,
}

impl Journal {
    /// Goes on behind the last segment's first `tail_bytes`, cutting off what is torn behind them.
    pub(crate) fn resume(
        directory: &Arc<Directory>,
        segments: Arc<Segments>,
        next_seq: u64,
        tail_bytes: u64,
    ) -> io::Result<Self> {
        if let Some(last) = segments.last()
            && last.bytes > tail_bytes
        {
            let file = open(directory, last.first_seq, OFlags::WRONLY)?;
            file.set_len(tail_bytes)?;
            directory.sync_data(&file)?;
            segments.set_last_bytes(tail_bytes);
        }
        let (segment_bytes, outbox_bytes_max) = (SEGMENT_BYTES, OUTBOX_BYTES_MAX);
        Ok(Self { directory: Arc::clone(directory), segments, active: None, next_seq, segment_bytes, outbox_bytes_max })
    }

    #[cfg(test)]
    pub(crate) fn with_limits(self, segment_bytes: u64, outbox_bytes_max: u64) -> Self {
        Self { segment_bytes, outbox_bytes_max, ..self }
    }

    pub(crate) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// The number of the next event.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.segments.total_bytes() + bytes as u64 <= self.outbox_bytes_max
    }

    /// Appends whole records that end before event `end`: one write, one sync. When this returns, they are committed.
    pub(crate) fn append(&mut self, records: &[u8], end: u64) -> Result<(), AppendError> {
        let certain = |source| AppendError { source, uncertain: false };
        let last = self.last_segment().map_err(certain)?;
        let Some(active) = &self.active else { return Err(certain(io::Error::other("no journal segment"))) };
        let written = active.write_all_at(records, last.bytes).and_then(|()| self.directory.sync_data(active));
        if let Err(source) = written {
            // A sync of the shorter length makes sure that a power cut does not bring the records back.
            let undone = active.set_len(last.bytes).and_then(|()| self.directory.sync_data(active));
            return Err(AppendError { source, uncertain: undone.is_err() });
        }
        self.segments.set_last_bytes(last.bytes + records.len() as u64);
        self.next_seq = end;
        Ok(())
    }

    /// The segment to append to, opened, or made where there is none or the last is full.
    fn last_segment(&mut self) -> io::Result<Segment> {
        match self.segments.last() {
            Some(last) if last.bytes < self.segment_bytes => {
                if self.active.is_none() {
                    self.active = Some(open(&self.directory, last.first_seq, OFlags::WRONLY)?);
                }
                Ok(last)
            }
            _ => {
                let fresh = Segment { first_seq: self.next_seq, bytes: 0 };
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
                let file = open(&self.directory, fresh.first_seq, flags)?;
                self.directory.sync_fd(self.directory.outbox())?;
                self.active = Some(file);
                self.segments.locked().push_back(fresh);
                Ok(fresh)
            }
        }
    }
}

fn segment_name(first_seq: u64) -> String {
    format!("{first_seq:020}.log")
}

fn open(directory: &Directory, first_seq: u64, flags: OFlags) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::openat(directory.outbox(), segment_name(first_seq), flags | OFlags::CLOEXEC, mode)?.into())
}
