//! `outbox/keys.jsonl`: what keys stand for, a line each; a later line of a key is the one that counts.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::Entry;
use crate::store::Directory;

const NAME: &str = "keys.jsonl";
const NEW_NAME: &str = "keys.jsonl.new";
/// A longer file is written anew, with what is remembered.
const BYTES_MAX: u64 = 32 << 20;
/// Of a file that somebody else made longer, the rest is not read.
const READ_BYTES_MAX: u64 = 2 * BYTES_MAX;

#[derive(Debug)]
pub(super) struct Log {
    directory: Arc<Directory>,
    file: Option<File>,
    bytes: u64,
}

impl Log {
    /// The log, and what stands in it; a torn line is passed over.
    pub(super) fn open(directory: &Arc<Directory>) -> io::Result<(Self, Vec<Entry>)> {
        let log = Self { directory: Arc::clone(directory), file: None, bytes: 0 };
        let file = match open(directory, NAME, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((log, Vec::new())),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for line in BufReader::new(file.take(READ_BYTES_MAX)).split(b'\n') {
            entries.extend(serde_json::from_slice::<Entry>(&line?).ok());
        }
        Ok((log, entries))
    }

    /// Appends a line, as durably as the store promises.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(open(&self.directory, NAME, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND)?);
            self.directory.sync_fd(self.directory.outbox())?;
        }
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        // A line that was torn by a full disk ends here.
        line.insert(0, b'\n');
        self.bytes += line.len() as u64;
        file.write_all(&line)?;
        if entry.committed { Ok(()) } else { self.directory.sync_data(file) }
    }

    pub(super) fn is_long(&self) -> bool {
        self.bytes > BYTES_MAX
    }

    /// Writes the file anew. A store without keys gets none.
    pub(super) fn replace<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        if lines.is_empty() && self.file.is_none() {
            return Ok(());
        }
        let mut file = open(&self.directory, NEW_NAME, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all(&lines)?;
        self.directory.sync_data(&file)?;
        let outbox = self.directory.outbox();
        rustix::fs::renameat(outbox, NEW_NAME, outbox, NAME)?;
        self.directory.sync_fd(outbox)?;
        (self.file, self.bytes) = (None, lines.len() as u64);
        Ok(())
    }
}

fn open(directory: &Directory, name: &str, flags: OFlags) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::openat(directory.outbox(), name, flags | OFlags::CLOEXEC, mode)?.into())
}
