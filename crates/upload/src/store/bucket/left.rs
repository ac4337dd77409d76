//! `outbox/left`: ids of the files that earlier processes had in flight, until their uploads are swept. The spool says as
//! much, but it is emptied at the start, and a process may be killed again before it reached the bucket.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::store::{Directory, FileId};

const NAME: &str = "left";
const NEW_NAME: &str = "left.new";
/// About 40,000 ids; the sweep of old uploads takes care of more.
const BYTES_MAX: u64 = 1 << 20;

/// Adds `spooled` to what is written down, and returns all of it.
pub(in crate::store) fn remember(directory: &Directory, spooled: HashSet<FileId>) -> io::Result<HashSet<FileId>> {
    let mut left = spooled;
    match rustix::fs::openat(directory.outbox(), NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => {
            for line in BufReader::new(File::from(file).take(BYTES_MAX)).lines() {
                left.extend(FileId::parse(line?.trim()));
            }
        }
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    if !left.is_empty() {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(directory.outbox(), NEW_NAME, flags, mode)?);
        let lines: String = left.iter().map(|id| format!("{id}\n")).collect();
        file.write_all(lines.as_bytes())?;
        rustix::fs::renameat(directory.outbox(), NEW_NAME, directory.outbox(), NAME)?;
    }
    Ok(left)
}

/// The uploads of all of them are swept.
pub(in crate::store) fn forget(directory: &Directory) -> io::Result<()> {
    match rustix::fs::unlinkat(directory.outbox(), NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
