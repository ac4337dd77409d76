//! The store: a directory that holds whole files only, however the process ends.
//!
//! ```text
//! files/<id>      the content, exactly the uploaded bytes      spool/<id>   in flight, swept at the next start
//! outbox/         journal of committed forms and their events  events.jsonl the events, where there is no Kafka
//! ```
//!
//! A file is written to `spool/`, sealed (metadata, fsync) and committed with the other files of its form: one journal
//! record is the commit point, the renames into `files/` follow it, and recovery finishes what a crash cut off.
//! `heapline/` is the agent's. Nothing else is in the directory; one process holds it at a time.

mod commit;
mod directory;
mod id;
mod meta;
mod recovery;
mod spool;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

pub(crate) use commit::Committed;
pub use commit::{CommitError, Committer};
pub use id::{FILE_ID_CHARS, FileId};
pub use meta::FileMeta;
pub use spool::{Sealed, SpoolFile};

pub(crate) use directory::{Directory, names};
pub(crate) use meta::hex;

use crate::outbox::{KafkaOptions, Metrics, OutboxHandle, Progress, Publisher};
use commit::{Commits, Sink};
use meta::XATTR_BYTES_MAX;
use recovery::Recovered;

/// What a 201 promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// File, name and event outlive a power cut. Costs the disk's sync time, shared by the uploads that wait together.
    #[default]
    Fsync,
    /// They outlive the process, killed or not, but not the machine.
    None,
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Made with mode 0700 where it is missing.
    pub dir: PathBuf,
    pub durability: Durability,
    /// Where events go; `None`: to `events.jsonl` in the store.
    pub kafka: Option<KafkaOptions>,
}

/// An open store, recovered and swept.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub committer: Committer,
    pub outbox: OutboxHandle,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("store {} is in use by another process", dir.display())]
    InUse { dir: PathBuf },
    #[error("store {}: cannot {doing}", dir.display())]
    Io { dir: PathBuf, doing: &'static str, source: io::Error },
    #[error("Kafka producer settings are refused")]
    Kafka(#[source] rdkafka::error::KafkaError),
}

/// Why a file could not be written, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the quota, is full.
    #[error("no space left to {doing}")]
    NoSpace { doing: &'static str, source: io::Error },
    #[error("cannot {doing}")]
    Io { doing: &'static str, source: io::Error },
}

impl StoreError {
    pub(crate) fn new(doing: &'static str, source: io::Error) -> Self {
        if is_no_space(&source) { Self::NoSpace { doing, source } } else { Self::Io { doing, source } }
    }
}

/// Whether an error of any file call means a full disk or quota (507).
#[must_use]
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Opens, recovers and sweeps a store, and starts its committer and publisher threads. Blocking; time is proportional
/// to what an earlier process left unfinished, not to what is stored.
///
/// # Errors
/// Where the directory cannot be used, another process holds it, or the Kafka settings make no sense. A broker that
/// is away is no error.
pub fn open(options: Options) -> Result<Opened, OpenError> {
    open_with(options, XATTR_BYTES_MAX)
}

fn open_with(options: Options, xattr_bytes_max: usize) -> Result<Opened, OpenError> {
    let Options { dir, durability, kafka } = options;
    let directory = Arc::new(Directory::open(&dir, durability, xattr_bytes_max)?);
    let failed = |doing| {
        let dir = dir.clone();
        move |source| OpenError::Io { dir, doing, source }
    };
    let recovered = recovery::recover(&directory).map_err(|(doing, source)| failed(doing)(source))?;
    let Recovered { journal, mut cursor } = recovered;
    let metrics = Metrics::new().map_err(|error| failed("name its metrics")(io::Error::other(error)))?;
    let progress = Arc::new(Progress::new(cursor.seq(), journal.next_seq()));
    let (sink, publisher) = match kafka {
        None => {
            let log = recovery::event_log(&directory, &journal, &mut cursor);
            let log = log.map_err(failed("catch up events.jsonl"))?;
            progress.consumed(cursor.seq(), None);
            (Sink::EventLog(log, cursor), None)
        }
        Some(kafka) => {
            let publisher = Publisher::new(&directory, journal.segments(), cursor, kafka, &progress, &metrics);
            (Sink::Publisher, Some(publisher.map_err(OpenError::Kafka)?))
        }
    };
    let commits = Commits::new(&directory, journal, sink, &progress);
    let (committer, committer_thread) = commit::start(commits).map_err(failed("start the committer"))?;
    let publisher_thread = publisher.map(Publisher::spawn).transpose().map_err(failed("start the publisher"))?;
    let outbox = OutboxHandle {
        directory: Arc::clone(&directory),
        progress,
        metrics,
        committer: committer.clone(),
        committer_thread,
        publisher_thread,
    };
    Ok(Opened { store: Store { directory }, committer, outbox })
}

/// Files by id. Cheap to clone; every method blocks, so call it off the async workers.
#[derive(Debug, Clone)]
pub struct Store {
    directory: Arc<Directory>,
}

impl Store {
    /// Starts a file under a new id.
    ///
    /// # Errors
    /// Any of the file system's.
    pub fn create(&self) -> Result<SpoolFile, StoreError> {
        SpoolFile::create(&self.directory)
    }

    /// A committed file, open for reading, and its metadata; `None` where there is none of that id.
    ///
    /// # Errors
    /// Any of the file system's but "not found".
    pub fn open(&self, id: &FileId) -> Result<Option<(File, FileMeta)>, StoreError> {
        self.directory.open_file(id).map_err(|source| StoreError::new("open a stored file", source))
    }

    /// Deletes a committed file, durably; `false` where there is none of that id. Readers that have it open go on.
    ///
    /// # Errors
    /// Any of the file system's but "not found"; the file may then be gone, or not.
    pub fn delete(&self, id: &FileId) -> Result<bool, StoreError> {
        self.directory.delete_file(id).map_err(|source| StoreError::new("delete a stored file", source))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;
    use std::path::Path;

    /// A store on a file system without user attributes.
    fn without_xattrs(dir: &Path) -> Opened {
        open_with(Options { dir: dir.to_owned(), durability: Durability::Fsync, kafka: None }, 0).unwrap()
    }

    fn seal(store: &Store, filename: &str) -> (FileMeta, Sealed) {
        let spool = store.create().unwrap();
        spool.file().write_all(b"abc").unwrap();
        let (sha256, content_type) = (Some([1; 32]), None);
        let (field, filename, bytes) = (None, filename.to_owned(), 3);
        let meta = FileMeta { field, filename, bytes, sha256, content_type, stored_unix_ms: 1 };
        (meta.clone(), spool.seal(meta).unwrap())
    }

    fn names(dir: &Path, of: &str) -> Vec<String> {
        let mut names = directory::names(File::open(dir.join(of)).unwrap()).unwrap();
        names.sort();
        names
    }

    #[test]
    fn sidecars_take_the_place_of_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let opened = without_xattrs(dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (_, dropped) = seal(&opened.store, "dropped");
        assert_eq!(names(dir.path(), "spool").len(), 2);
        drop(dropped);
        let (meta, sealed) = seal(&opened.store, "kept");
        let id = *sealed.id();
        runtime.block_on(opened.committer.commit(vec![sealed])).unwrap();
        assert_eq!(opened.store.open(&id).unwrap().unwrap().1, meta);
        assert_eq!(names(dir.path(), "files"), [format!(".{id}.json"), id.to_string()]);
        assert_eq!(names(dir.path(), "spool"), [""; 0]);
        opened.outbox.shutdown();
        drop((opened.store, opened.committer));

        // Where attributes work again, the sidecar still speaks for its file, and goes with it.
        let opened = open(Options { dir: dir.path().to_owned(), durability: Durability::Fsync, kafka: None }).unwrap();
        assert_eq!(opened.store.open(&id).unwrap().unwrap().1, meta);
        assert!(opened.store.delete(&id).unwrap());
        assert_eq!(names(dir.path(), "files"), [""; 0]);
    }

    #[test]
    fn a_sidecar_that_was_renamed_before_a_crash_is_joined_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let opened = without_xattrs(dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (meta, sealed) = seal(&opened.store, "kept");
        let id = *sealed.id();
        runtime.block_on(opened.committer.commit(vec![sealed])).unwrap();
        opened.outbox.shutdown();
        drop((opened.store, opened.committer));
        let name = id.to_string();
        std::fs::rename(dir.path().join("files").join(&name), dir.path().join("spool").join(&name)).unwrap();
        let opened = without_xattrs(dir.path());
        assert_eq!(opened.store.open(&id).unwrap().unwrap().1, meta);
    }
}
