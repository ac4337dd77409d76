//! The journal: committed forms in order, in segments `outbox/<first event number>.log`.
//!
//! A form is committed when its record is durable here, and stays until its events have been delivered. Records end
//! where [`Segments`] says; bytes behind that are an append under way, one that failed, or zeros written ahead.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::store::Directory;

/// A segment this long is followed by a new one; consumed segments are removed whole.
pub(crate) const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// All segments together, unless configured otherwise: about 800,000 waiting events. Beyond it, forms are refused.
pub(crate) const OUTBOX_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A segment is no more than one in so many of the bound: the last one stays when all of it is consumed.
const SEGMENTS_MIN: u64 = 8;
/// Zeros written at once ahead of the records, some 500 of them, where syncs count: an append into them changes neither
/// the file's length nor its blocks, so that its fdatasync needs no transaction of the file system.
const AHEAD_BYTES: u64 = 256 * 1024;
/// They are no more than one in so many of a segment.
const AHEAD_PARTS_MIN: u64 = 4;
/// They are written where the disk has so many times their room: what is left of a full one is for files and records.
const AHEAD_DISK_MULTIPLE: u64 = 16;

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
    /// Somebody still reads from this event on.
    held_from: AtomicU64,
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
        Ok(Self {
            directory: Arc::clone(directory),
            list: Mutex::new(list.into()),
            held_from: AtomicU64::new(u64::MAX),
        })
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

    /// Keeps the segments that hold something from event `seq` on, whatever is released.
    pub(crate) fn hold_from(&self, seq: u64) {
        self.held_from.store(seq, Ordering::Relaxed);
    }

    /// Removes the segments that hold nothing from event `seq` on; the last one stays.
    pub(crate) fn release(&self, seq: u64) -> io::Result<()> {
        let seq = seq.min(self.held_from.load(Ordering::Relaxed));
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
    /// Where the zeros end that were written ahead in it; no further than its records where there are none.
    ahead_to: u64,
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
        let (directory, active, ahead_to) = (Arc::clone(directory), None, 0);
        Ok(Self { directory, segments, active, ahead_to, next_seq, segment_bytes, outbox_bytes_max })
    }

    /// The same with another bound of all segments together.
    pub(crate) fn bounded(self, outbox_bytes_max: u64) -> Self {
        let segment_bytes = SEGMENT_BYTES.min(outbox_bytes_max / SEGMENTS_MIN);
        Self { segment_bytes, outbox_bytes_max, ..self }
    }

    #[cfg(test)]
    fn with_limits(self, segment_bytes: u64, outbox_bytes_max: u64) -> Self {
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
        let end_bytes = last.bytes + records.len() as u64;
        let written = active.write_all_at(records, last.bytes).and_then(|()| {
            let ahead_to = self.write_ahead(active, last, end_bytes);
            self.directory.sync_data(active).map(|()| ahead_to)
        });
        match written {
            Ok(ahead_to) => self.ahead_to = ahead_to,
            Err(source) => {
                // A sync of the shorter length makes sure that a power cut does not bring the records back.
                let undone = active.set_len(last.bytes).and_then(|()| self.directory.sync_data(active));
                self.ahead_to = 0;
                return Err(AppendError { source, uncertain: undone.is_err() });
            }
        }
        self.segments.set_last_bytes(end_bytes);
        self.next_seq = end;
        Ok(())
    }

    /// Where the records of the last segment end at `end_bytes` now and went beyond the zeros, writes more of these, within
    /// the bound of all segments; returns where they end.
    fn write_ahead(&self, active: &File, last: Segment, end_bytes: u64) -> u64 {
        if end_bytes <= self.ahead_to || !self.directory.syncs() {
            return self.ahead_to;
        }
        let used_bytes = self.segments.total_bytes() - last.bytes + end_bytes;
        let room_bytes = self.outbox_bytes_max.saturating_sub(used_bytes);
        let ahead_bytes = AHEAD_BYTES.min(self.segment_bytes / AHEAD_PARTS_MIN).min(room_bytes);
        if ahead_bytes == 0 || !self.directory.outbox_has_room(AHEAD_DISK_MULTIPLE * ahead_bytes) {
            return end_bytes;
        }
        let zeros = vec![0; usize::try_from(ahead_bytes).unwrap_or(0)];
        if active.write_all_at(&zeros, end_bytes).is_ok() {
            end_bytes + ahead_bytes
        } else {
            // Readers pass over zeros where this fails.
            let _ = active.set_len(end_bytes);
            end_bytes
        }
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
            full => {
                if let Some((full, active)) = full.zip(self.active.take()) {
                    // Readers pass over zeros where this fails.
                    let _ = active.set_len(full.bytes);
                }
                let fresh = Segment { first_seq: self.next_seq, bytes: 0 };
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
                let file = open(&self.directory, fresh.first_seq, flags)?;
                self.directory.sync_fd(self.directory.outbox())?;
                (self.active, self.ahead_to) = (Some(file), 0);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::outbox::Reader;
    use crate::outbox::record::Record;
    use crate::outbox::record::tests::record;
    use crate::store::Durability;

    const SEGMENT_BYTES: u64 = 1_000;

    fn directory(dir: &tempfile::TempDir) -> Arc<Directory> {
        Arc::new(Directory::open(dir.path(), Durability::None, 0).unwrap())
    }

    fn synced_directory(dir: &tempfile::TempDir) -> Arc<Directory> {
        Arc::new(Directory::open(dir.path(), Durability::Fsync, 0).unwrap())
    }

    fn journal(directory: &Arc<Directory>, outbox_bytes_max: u64) -> Journal {
        let segments = Arc::new(Segments::list(directory).unwrap());
        Journal::resume(directory, segments, 0, 0).unwrap().with_limits(SEGMENT_BYTES, outbox_bytes_max)
    }

    fn append(journal: &mut Journal, files: usize) -> Record {
        let (record, mut bytes) = (record(journal.next_seq(), files), Vec::new());
        record.encode(&mut bytes).unwrap();
        journal.append(&bytes, record.end()).unwrap();
        record
    }

    fn read_from(journal: &Journal, seq: u64) -> Vec<Record> {
        let mut reader = Reader::new(Arc::clone(journal.segments()), seq);
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    #[test]
    fn segments_follow_one_another_and_are_released_whole() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(&dir);
        let mut journal = journal(&directory, u64::MAX);
        let records: Vec<Record> = (0..50).map(|n| append(&mut journal, 1 + n % 3)).collect();
        assert_eq!(read_from(&journal, 0), records);
        let segments = Segments::list(&directory).unwrap();
        assert!(segments.locked().len() > 5);
        assert_eq!(*segments.locked(), *journal.segments().locked());

        let middle = &records[25];
        journal.segments().release(middle.seq).unwrap();
        let kept = read_from(&journal, middle.seq);
        assert_eq!(kept, records[records.len() - kept.len()..]);
        assert!(kept.len() >= 25 && kept.len() < 35, "{}", kept.len());
        journal.segments().release(journal.next_seq()).unwrap();
        assert_eq!(Segments::list(&directory).unwrap().locked().len(), 1);
        let record = append(&mut journal, 1);
        assert_eq!(read_from(&journal, record.seq).last(), Some(&record));
    }

    #[test]
    fn a_reader_sees_what_is_committed_later_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(&dir);
        let mut journal = journal(&directory, u64::MAX);
        let mut reader = Reader::new(Arc::clone(journal.segments()), 0);
        assert_eq!(reader.next().unwrap(), None);
        for _ in 0..20 {
            let record = append(&mut journal, 2);
            // An append under way: its bytes are in the file, not in the journal.
            let last = journal.segments().last().unwrap();
            open(&directory, last.first_seq, OFlags::WRONLY).unwrap().write_all_at(b"HLR1....", last.bytes).unwrap();
            assert_eq!(reader.next().unwrap(), Some(record));
            assert_eq!(reader.next().unwrap(), None);
        }
    }

    #[test]
    fn zeros_ahead_of_the_records_are_no_records() {
        let dir = tempfile::tempdir().unwrap();
        let directory = synced_directory(&dir);
        let file_bytes = |first_seq| open(&directory, first_seq, OFlags::RDONLY).unwrap().metadata().unwrap().len();
        let mut first = journal(&directory, u64::MAX).with_limits(16_000, u64::MAX);
        let mut records = vec![append(&mut first, 1)];
        let length = file_bytes(0);
        records.push(append(&mut first, 1));
        assert_eq!(file_bytes(0), length, "the second went into the zeros");
        records.extend((0..60).map(|n| append(&mut first, 1 + n % 3)));
        assert_eq!(read_from(&first, 0), records);

        let ends = |segments: &Segments| segments.locked().iter().map(|segment| segment.bytes).collect::<Vec<_>>();
        let known = ends(first.segments());
        let (next_seq, tail_bytes) = (first.next_seq(), *known.last().unwrap());
        drop(first);
        let segments = Arc::new(Segments::list(&directory).unwrap());
        let listed = ends(&segments);
        assert!(listed.len() > 1 && listed.last() > known.last(), "{listed:?}, {known:?}");
        assert_eq!(listed[..listed.len() - 1], known[..known.len() - 1], "a full segment keeps no zeros");
        let mut reader = Reader::new(Arc::clone(&segments), 0);
        assert_eq!(std::iter::from_fn(|| reader.next().unwrap()).collect::<Vec<_>>(), records);
        assert_eq!(reader.tail_bytes(), tail_bytes);

        let mut second = Journal::resume(&directory, segments, next_seq, tail_bytes).unwrap();
        records.push(append(&mut second, 2));
        assert_eq!(read_from(&second, 0), records);
    }

    /// Zeros took a journal beyond the bound of all segments, and the last room of a small disk.
    #[test]
    fn zeros_stay_within_the_bound() {
        const OUTBOX_BYTES_MAX: u64 = 20_000;
        let dir = tempfile::tempdir().unwrap();
        let directory = synced_directory(&dir);
        let mut journal = journal(&directory, OUTBOX_BYTES_MAX).with_limits(12_000, OUTBOX_BYTES_MAX);
        let file_bytes = || -> u64 {
            let files = std::fs::read_dir(dir.path().join("outbox")).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
        };
        while journal.has_room(1_000) {
            append(&mut journal, 1);
            assert!(file_bytes() <= OUTBOX_BYTES_MAX, "{} bytes", file_bytes());
        }
        assert!(journal.segments().total_bytes() > OUTBOX_BYTES_MAX / 2);
    }

    #[test]
    fn a_full_outbox_says_so_and_takes_more_when_some_is_consumed() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(&dir);
        let mut journal = journal(&directory, 4 * SEGMENT_BYTES);
        while journal.has_room(500) {
            append(&mut journal, 1);
        }
        assert!(journal.segments().total_bytes() > 3 * SEGMENT_BYTES);
        journal.segments().release(journal.next_seq()).unwrap();
        assert!(journal.has_room(500));
    }

    #[test]
    fn damage_in_the_middle_costs_its_record_only() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(&dir);
        let mut journal = journal(&directory, u64::MAX);
        let mut records: Vec<Record> = (0..20).map(|_| append(&mut journal, 1)).collect();
        open(&directory, 0, OFlags::WRONLY).unwrap().write_all_at(&[0xff; 40], 100).unwrap();
        records.remove(0);
        assert_eq!(read_from(&journal, 0), records);
    }
}
