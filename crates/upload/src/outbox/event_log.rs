//! `events.jsonl`: the events where there is no Kafka, one CloudEvents object a line.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use crate::store::{Directory, FileId};

const EVENT_LOG_NAME: &str = "events.jsonl";
const TAIL_CHUNK_BYTES: u64 = 64 * 1024;

/// The end of the file. Lines are in the journal's order, so the last line tells what is still to be written.
#[derive(Debug)]
pub(crate) struct EventLog {
    directory: Arc<Directory>,
    file: Option<File>,
    last_id: Option<FileId>,
    /// Cut off what is behind this before the next append: an earlier one failed half-way.
    whole_bytes: Option<u64>,
    /// Lines that are written and not synced, in case that fails. Bounded by how often the committer syncs.
    unsynced: Vec<u8>,
    /// They are to be written again first.
    unsynced_lost: bool,
}

impl EventLog {
    /// Opens the file where there is one, and drops a torn last line.
    pub(crate) fn open(directory: &Arc<Directory>) -> io::Result<Self> {
        let mut log = Self {
            directory: Arc::clone(directory),
            file: None,
            last_id: None,
            whole_bytes: None,
            unsynced: Vec::new(),
            unsynced_lost: false,
        };
        let file = match open(directory, OFlags::RDWR) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(log),
            Err(error) => return Err(error),
        };
        let (whole_bytes, last_line) = last_whole_line(&file)?;
        if file.metadata()?.len() > whole_bytes {
            file.set_len(whole_bytes)?;
            directory.sync_data(&file)?;
        }
        log.last_id = last_line.as_deref().and_then(id_of);
        log.file = Some(file);
        Ok(log)
    }

    /// The event in the last line.
    pub(crate) fn last_id(&self) -> Option<FileId> {
        self.last_id
    }

    /// Makes the file, and opens it, where that was not done.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let file = open(&self.directory, OFlags::RDWR | OFlags::CREATE)?;
            self.directory.sync_fd(self.directory.root())?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// Appends whole lines, durably; all or, where this fails, none in the end.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write(lines)?;
        self.sync()
    }

    /// Appends whole lines, all or none; durable with the next [`sync`](Self::sync).
    pub(crate) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_behind(lines)?;
        if self.directory.syncs() {
            self.unsynced.extend_from_slice(lines);
        }
        Ok(())
    }

    /// Makes the lines durable that were written since the last time. Where this fails they are not there in the end, and are
    /// written again with the next try: after a failed sync nobody knows what of them is on the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced_lost {
            let lines = std::mem::take(&mut self.unsynced);
            let written = self.write_behind(&lines);
            self.unsynced = lines;
            written?;
            self.unsynced_lost = false;
        }
        let Some(file) = &self.file else { return Ok(()) };
        if self.unsynced.is_empty() {
            return Ok(());
        }
        match self.directory.sync_data(file) {
            Ok(()) => {
                self.unsynced.clear();
                Ok(())
            }
            Err(error) => {
                let bytes = file.metadata().map_or(0, |meta| meta.len());
                let synced_bytes = bytes.saturating_sub(self.unsynced.len() as u64);
                if file.set_len(synced_bytes).is_err() {
                    self.whole_bytes = Some(synced_bytes);
                }
                self.unsynced_lost = true;
                Err(error)
            }
        }
    }

    fn write_behind(&mut self, lines: &[u8]) -> io::Result<()> {
        self.prepare()?;
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        if let Some(whole_bytes) = self.whole_bytes {
            file.set_len(whole_bytes)?;
            self.whole_bytes = None;
        }
        // Asked each time: an operator may have truncated the file meanwhile.
        let before_bytes = file.metadata()?.len();
        file.write_all(lines).inspect_err(|_| {
            if file.set_len(before_bytes).is_err() {
                self.whole_bytes = Some(before_bytes);
            }
        })
    }
}

fn open(directory: &Directory, flags: OFlags) -> io::Result<File> {
    let (flags, mode) = (flags | OFlags::APPEND | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    Ok(rustix::fs::openat(directory.root(), EVENT_LOG_NAME, flags, mode)?.into())
}

/// How long the whole lines are, and the last of them; reads backward, no further than that line.
fn last_whole_line(file: &File) -> io::Result<(u64, Option<Vec<u8>>)> {
    let mut tail = Vec::new();
    let mut start = file.metadata()?.len();
    loop {
        let ends: Vec<usize> = memchr::memrchr_iter(b'\n', &tail).take(2).collect();
        let whole_bytes = ends.first().map(|end| start + *end as u64 + 1);
        match (whole_bytes, &ends[..]) {
            (Some(whole_bytes), &[end, before]) => return Ok((whole_bytes, Some(tail[before + 1..end].to_vec()))),
            (Some(whole_bytes), &[end]) if start == 0 => return Ok((whole_bytes, Some(tail[..end].to_vec()))),
            (None, _) if start == 0 => return Ok((0, None)),
            _ => {}
        }
        let bytes = start.min(TAIL_CHUNK_BYTES);
        start -= bytes;
        let mut chunk = vec![0; usize::try_from(bytes).unwrap_or(0)];
        file.read_exact_at(&mut chunk, start)?;
        chunk.append(&mut tail);
        tail = chunk;
    }
}

fn id_of(line: &[u8]) -> Option<FileId> {
    #[derive(Deserialize)]
    struct Line {
        id: FileId,
    }
    serde_json::from_slice::<Line>(line).ok().map(|line| line.id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_whole_line_is_found_however_long_the_torn_one_is() {
        let long = "x".repeat(200_000);
        for (content, whole_bytes, line) in [
            ("", 0, None),
            ("torn", 0, None),
            (&*long, 0, None),
            ("a\n", 2, Some("a")),
            ("a\ntorn", 2, Some("a")),
            ("a\nbc\n", 5, Some("bc")),
            (&*format!("a\nbc\n{long}"), 5, Some("bc")),
            (&*format!("a\n{long}\ntorn"), 200_003, Some(&*long)),
            (&*format!("{long}\n"), 200_001, Some(&*long)),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            let expected = (whole_bytes, line.map(|line| line.as_bytes().to_vec()));
            assert!(last_whole_line(&file).unwrap() == expected, "{:.20}", content);
        }
    }
}
