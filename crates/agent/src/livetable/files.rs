//! Tables in the state directory: each process has one of its own, and holds a lock on it for as long as it lives.
//!
//! The lock is a record lock of `fcntl`: it ends with the process, however that ends, and no child inherits it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};

use super::layout::Sizes;
use super::table::Table;

/// Tables of processes that ended without a word that are kept, the newest ones.
pub const PREDECESSORS_MAX: usize = 2;
/// Entries of the state directory that are looked at.
const ENTRIES_MAX: usize = 1_000;
/// A file that never became a table is an accident's after this time.
const UNFINISHED_MAX: Duration = Duration::from_secs(3_600);

const FINISHED: &str = "table";
const UNFINISHED: &str = "new";

/// The file of this process: locked, empty, and under a name that nobody looks for yet.
#[derive(Debug)]
pub(super) struct OwnFile {
    /// Closing it would end the lock.
    pub(super) file: File,
    unfinished: PathBuf,
}

/// A table that a process left behind without saying that it ended.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) path: PathBuf,
    pub(crate) start_unix_nanos: u64,
}

impl OwnFile {
    /// # Errors
    ///
    /// The directory cannot be made or written.
    pub(super) fn create(directory: &Path) -> io::Result<OwnFile> {
        // Directories above it are anybody's, and get the usual rights.
        if let Some(above) = directory.parent() {
            fs::create_dir_all(above)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // The time tells processes apart that have the same number, each in its own container.
        let unfinished = directory.join(format!("live-{}-{nanos:x}.{UNFINISHED}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&unfinished)?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(OwnFile { file, unfinished })
    }

    /// Gives the file the name under which it is found after the process's end.
    pub(super) fn finish(&self) -> io::Result<PathBuf> {
        let finished = self.unfinished.with_extension(FINISHED);
        fs::rename(&self.unfinished, &finished)?;
        Ok(finished)
    }

    pub(super) fn discard(self) {
        // Left behind, it goes at a later start.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// Looks through the tables of processes that are gone, removes those that ended well and all but the newest few of
/// the others, and returns these, the newest first.
///
/// Not to be called by a process that has a table in the directory: to open a file and close it ends one's own lock.
pub(super) fn sweep(directory: &Path) -> Vec<Predecessor> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut predecessors = Vec::new();
    for entry in entries.flatten().take(ENTRIES_MAX) {
        let path = entry.path();
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("live-"));
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some(FINISHED) if is_ours => predecessors.extend(examine(path)),
            Some(UNFINISHED) if is_ours => {
                let age =
                    entry.metadata().and_then(|data| data.modified()).map(|time| time.elapsed().unwrap_or_default());
                if age.is_ok_and(|age| age > UNFINISHED_MAX) {
                    remove(&path);
                }
            }
            _ => {}
        }
    }
    predecessors.sort_by_key(|predecessor| std::cmp::Reverse(predecessor.start_unix_nanos));
    for surplus in predecessors.drain(PREDECESSORS_MAX.min(predecessors.len())..) {
        remove(&surplus.path);
    }
    predecessors
}

/// The words of a table in a file. `None`, and a log line, where the file is none.
pub(crate) fn read(path: &Path) -> Option<Vec<AtomicU64>> {
    let words = open(path, false).and_then(|file| words(&file));
    match words.map(|words| (Table::open(&words).err(), words)) {
        Ok((None, words)) => Some(words),
        Ok((Some(damage), _)) => {
            tracing::warn!(path = %path.display(), %damage, "a live table is not used");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a live table cannot be read");
            None
        }
    }
}

/// A table whose process is gone and did not say so. What is of no use is removed.
fn examine(path: PathBuf) -> Option<Predecessor> {
    let file = match open(&path, true) {
        Ok(file) => file,
        // Another process removed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a live table cannot be opened, and is left alone");
            return None;
        }
    };
    // Held by a process that lives. Shared: others may look at the same time.
    fcntl_lock(&file, FlockOperation::NonBlockingLockShared).ok()?;
    let refusal = match words(&file) {
        Ok(words) => match Table::open(&words) {
            Ok(table) if !table.has_clean_end() => {
                let start_unix_nanos = table.identity().start_unix_nanos;
                return Some(Predecessor { path, start_unix_nanos });
            }
            Ok(_) => None,
            Err(damage) => Some(damage.to_string()),
        },
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = refusal {
        tracing::warn!(path = %path.display(), why, "a live table is of no use, and is removed");
    }
    remove(&path);
    None
}

/// A regular file and nothing else: a link may lead anywhere, and a pipe would keep its reader waiting.
fn open(path: &Path, for_lock: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(for_lock).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

fn words(file: &File) -> io::Result<Vec<AtomicU64>> {
    let bytes_max = Sizes::AGENT.bytes() as u64;
    // No larger than a table is: the rest of a file that is no table need not be read.
    if file.metadata()?.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than a live table"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(words_of(&bytes))
}

/// A last word that is cut off is left out.
pub(super) fn words_of(bytes: &[u8]) -> Vec<AtomicU64> {
    let words = bytes.chunks_exact(size_of::<u64>()).map(|word| {
        let mut whole = [0; size_of::<u64>()];
        whole.copy_from_slice(word);
        AtomicU64::new(u64::from_ne_bytes(whole))
    });
    words.collect()
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "an old live table cannot be removed");
    }
}
