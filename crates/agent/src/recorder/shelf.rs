//! Profiles on disk: bounded, whole or not there, found again by the next process.
//!
//! `profiles/<id>.<milliseconds since 1970>.<reason>.<verdict>.<CRC-32>.pb.gz` is pprof as `go tool pprof` reads it. All
//! that is known of a profile is its name, which it gets when its content is on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::Crc;
use rustix::fs::OFlags;

use super::TEMPORARY;
use super::entry::Entry;

/// Profiles kept by one process, those of earlier ones included.
pub const PROFILES_MAX: usize = 64;
/// Bytes that they take together.
pub const PROFILES_BYTES_MAX: u64 = 32 << 20;
/// The largest that is kept: 10,000 stacks of 40 frames take 0.5 MB.
pub const PROFILE_BYTES_MAX: u64 = 8 << 20;
/// Entries of the directory that are looked at.
const ENTRIES_MAX: usize = 4_096;
const DIRECTORY: &str = "profiles";

/// The shelf of one process.
#[derive(Debug)]
pub(crate) struct Shelf {
    directory: PathBuf,
    own: String,
    /// The oldest first.
    entries: Mutex<Vec<Entry>>,
}

impl Shelf {
    /// Finds what earlier processes left. What belongs to `living` ones is theirs. A file that is damaged or not of
    /// ours is passed over, with one log line. Reads each file: at most [`PROFILES_BYTES_MAX`] as a rule.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or read.
    pub(super) fn open(state: &Path, own: &str, living: &[String]) -> io::Result<Shelf> {
        let directory = state.join(DIRECTORY);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let mut entries = Vec::new();
        for entry in fs::read_dir(&directory)?.flatten().take(ENTRIES_MAX) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(profile) = Entry::parse(&name) else {
                foreign(&entry.path(), own, living);
                continue;
            };
            if living.contains(&profile.token) {
                continue;
            }
            match read(&entry.path()) {
                Ok(content) if crc(&content) == profile.crc => {
                    entries.push(Entry { bytes: content.len() as u64, ..profile });
                }
                Ok(_) => {
                    tracing::warn!(path = %entry.path().display(), "a recorded profile is damaged, and is passed over")
                }
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "a recorded profile cannot be read");
                }
            }
        }
        entries.sort_by(|one, other| (one.taken_unix_millis, &one.id).cmp(&(other.taken_unix_millis, &other.id)));
        let shelf = Shelf { directory, own: own.to_owned(), entries: Mutex::new(entries) };
        shelf.make_room(0);
        Ok(shelf)
    }

    /// What is there, the oldest first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    pub(crate) fn is_own(&self, entry: &Entry) -> bool {
        entry.token == self.own
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().iter().map(|entry| entry.bytes).sum()
    }

    /// A profile by its id. `None` where there is none; one that was damaged or removed meanwhile is forgotten.
    pub(crate) fn read(&self, id: &str) -> Option<(Entry, Vec<u8>)> {
        let entry = self.lock().iter().find(|entry| entry.id == id)?.clone();
        let path = self.directory.join(entry.file_name());
        match read(&path) {
            Ok(content) if crc(&content) == entry.crc => return Some((entry, content)),
            Ok(_) => tracing::warn!(path = %path.display(), "a recorded profile is damaged, and is passed over"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "a recorded profile cannot be read"),
        }
        self.lock().retain(|other| other.id != id);
        None
    }

    /// Keeps a profile; others make room. `entry.bytes` and `entry.crc` are filled in here.
    ///
    /// # Errors
    ///
    /// It is too large, or the disk is full or fails; nothing is left behind then.
    pub(super) fn put(&self, entry: Entry, content: &[u8]) -> io::Result<Entry> {
        is_bounded(content.len() as u64, PROFILE_BYTES_MAX)?;
        self.make_room(content.len() as u64);
        let entry = self.write(entry, content)?;
        let mut entries = self.lock();
        let place = entries.partition_point(|other| other.taken_unix_millis <= entry.taken_unix_millis);
        entries.insert(place, entry.clone());
        Ok(entry)
    }

    /// Puts the same profile in another form in the place of one.
    ///
    /// # Errors
    ///
    /// As [`Shelf::put`], or there is no room for what it has grown; then it stays as it is.
    pub(super) fn replace(&self, entry: &Entry, content: &[u8]) -> io::Result<()> {
        is_bounded(content.len() as u64, PROFILE_BYTES_MAX)?;
        is_bounded(self.bytes().saturating_sub(entry.bytes) + content.len() as u64, PROFILES_BYTES_MAX)?;
        let written = self.write(entry.clone(), content)?;
        let former = self.directory.join(entry.file_name());
        if written.crc != entry.crc
            && let Err(error) = fs::remove_file(&former)
        {
            // A later start finds both, of one id: they show the same.
            tracing::debug!(path = %former.display(), %error, "a profile without names cannot be removed");
        }
        if let Some(place) = self.lock().iter_mut().find(|other| other.id == entry.id) {
            *place = written;
        }
        Ok(())
    }

    fn write(&self, entry: Entry, content: &[u8]) -> io::Result<Entry> {
        let entry = Entry { bytes: content.len() as u64, crc: crc(content), ..entry };
        let path = self.directory.join(entry.file_name());
        let temporary = self.directory.join(format!("{}.{TEMPORARY}", entry.id));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        })();
        if let Err(error) = written {
            // Left behind, it is removed at a later start.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(entry)
    }

    /// Removes the least valuable until one more of so many bytes fits.
    fn make_room(&self, bytes: u64) {
        let mut entries = self.lock();
        while entries.len() >= PROFILES_MAX
            || entries.iter().map(|entry| entry.bytes).sum::<u64>() + bytes > PROFILES_BYTES_MAX
        {
            let Some(place) = super::entry::least_valuable(&entries, &self.own) else { return };
            let path = self.directory.join(entries.remove(place).file_name());
            if let Err(error) = fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "an old profile cannot be removed");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_bounded(bytes: u64, bytes_max: u64) -> io::Result<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, "the profile is too large to be kept"))
}

/// A temporary file of a process that is gone is removed; others are left alone.
fn foreign(path: &Path, own: &str, living: &[String]) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_suffix(TEMPORARY).and_then(|rest| rest.split('-').next()) {
        Some(token) if token != own && living.iter().all(|living| living != token) => {
            // It goes another time.
            let _ = fs::remove_file(path);
        }
        Some(_) => {}
        None => tracing::warn!(path = %path.display(), "this is no recorded profile, and is passed over"),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Neither a link to elsewhere nor a pipe that never ends.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mut content = Vec::new();
    file.take(PROFILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    Ok(content)
}

fn crc(content: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(content);
    crc.sum()
}

#[cfg(test)]
#[path = "shelf/tests.rs"]
mod tests;
