//! Who this server is among those that share a bucket: an id that stays with its spool directory.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{Mode, OFlags};

use crate::store::{Directory, FileId};

const NAME: &str = "server";
const NEW_NAME: &str = "server.new";

/// The id in `outbox/server`, made where there is none or none that can be read.
pub(in crate::store) fn server_id(directory: &Directory) -> io::Result<FileId> {
    let mut text = String::new();
    let found = rustix::fs::openat(directory.outbox(), NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    if let Ok(file) = found {
        File::from(file).take(64).read_to_string(&mut text)?;
    }
    if let Some(id) = FileId::parse(text.trim()) {
        return Ok(id);
    }
    let id = FileId::generate()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(directory.outbox(), NEW_NAME, flags, Mode::RUSR | Mode::WUSR)?);
    writeln!(file, "{id}")?;
    file.sync_all()?;
    rustix::fs::renameat(directory.outbox(), NEW_NAME, directory.outbox(), NAME)?;
    rustix::fs::fsync(directory.outbox())?;
    Ok(id)
}
