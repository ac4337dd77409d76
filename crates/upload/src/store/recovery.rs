//! What an earlier process left unfinished is finished, before anything new begins.
//!
//! A crash can fall between any two steps of a commit. Each leaves one of these, and each has one answer:
//! a record torn or missing: the form was never committed, its spool files are swept · a whole record: its files are
//! renamed, whatever was renamed already · events not delivered by the cursor: delivered (again) · a torn line in
//! `events.jsonl`: dropped, and written whole. Doing it twice does no more than once.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::{Directory, FileId};
use crate::event::Event;
use crate::outbox::{Cursor, EventLog, Journal, Reader, Record, Segments};

/// Lines written to `events.jsonl` at once while catching up.
const CATCH_UP_BYTES: usize = 256 * 1024;

/// A journal to go on with, and where its events stand.
pub(super) struct Recovered {
    pub(super) journal: Journal,
    pub(super) cursor: Cursor,
}

/// What cannot be done, and why.
type Failure = (&'static str, io::Error);

/// Finishes what was committed, removes what was not.
pub(super) fn recover(directory: &Arc<Directory>) -> Result<Recovered, Failure> {
    let failed = |doing| move |source| (doing, source);
    let segments = Arc::new(Segments::list(directory).map_err(failed("list its outbox"))?);
    let cursor = Cursor::open(directory, &segments).map_err(failed("read the outbox cursor"))?;
    let (next_seq, tail_bytes) =
        finish_forms(directory, &segments, cursor.seq()).map_err(failed("finish its forms"))?;
    let journal = Journal::resume(directory, segments, next_seq, tail_bytes);
    let journal = journal.map_err(failed("cut a torn record off its journal"))?;
    directory.sweep_spool().map_err(failed("sweep its spool"))?;
    Ok(Recovered { journal, cursor })
}

/// Opens `events.jsonl` and writes what it lacks.
pub(super) fn event_log(directory: &Arc<Directory>, journal: &Journal, cursor: &mut Cursor) -> io::Result<EventLog> {
    let mut log = EventLog::open(directory)?;
    if cursor.seq() < journal.next_seq() {
        catch_up(&mut log, journal.segments(), cursor.seq())?;
        cursor.advance(journal.next_seq());
    }
    Ok(log)
}

/// Makes the files of every committed form visible; returns the next event's number and the last segment's length.
fn finish_forms(directory: &Directory, segments: &Arc<Segments>, from_seq: u64) -> io::Result<(u64, u64)> {
    let mut spooled: HashSet<FileId> = directory.spooled()?.into_iter().collect();
    let mut reader = Reader::new(Arc::clone(segments), from_seq);
    // A journal that lost its end in a power cut (`--durability none`) is behind its cursor: numbers are never reused.
    let mut next_seq = from_seq.max(segments.last().map_or(0, |segment| segment.first_seq));
    while let Some(record) = reader.next()? {
        next_seq = next_seq.max(record.end());
        for file in &record.files {
            if spooled.remove(&file.id) {
                directory.publish(&file.id, true)?;
            }
        }
    }
    directory.sync_files()?;
    Ok((next_seq, reader.tail_bytes()))
}

/// Writes the events from `from_seq` on that `events.jsonl` does not have yet. Its lines are in the journal's order,
/// so all up to its last line's are there.
fn catch_up(log: &mut EventLog, segments: &Arc<Segments>, from_seq: u64) -> io::Result<()> {
    let mut written_to = from_seq;
    if let Some(last_id) = log.last_id() {
        each_record(segments, from_seq, |record| {
            let place = record.files.iter().position(|file| file.id == last_id);
            written_to = place.map_or(written_to, |place| record.seq + place as u64 + 1);
            Ok(())
        })?;
    }
    let mut lines = Vec::new();
    each_record(segments, from_seq, |record| {
        for (seq, file) in (record.seq..).zip(&record.files) {
            if seq >= written_to {
                Event::new(&file.id, &file.meta).write_line(&mut lines)?;
            }
        }
        if lines.len() >= CATCH_UP_BYTES {
            log.append(&lines)?;
            lines.clear();
        }
        Ok(())
    })?;
    if lines.is_empty() { Ok(()) } else { log.append(&lines) }
}

fn each_record(
    segments: &Arc<Segments>,
    from_seq: u64,
    mut visit: impl FnMut(Record) -> io::Result<()>,
) -> io::Result<()> {
    let mut reader = Reader::new(Arc::clone(segments), from_seq);
    while let Some(record) = reader.next()? {
        if record.end() > from_seq {
            visit(record)?;
        }
    }
    Ok(())
}
