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

pub mod bucket;
mod commit;
mod directory;
mod id;
mod meta;
mod open;
mod place;
mod recovery;
pub mod repeats;
mod room;
mod spool;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::task::spawn_blocking;

pub use commit::{CommitError, Committer};
pub use id::{FILE_ID_CHARS, FileId};
pub use meta::FileMeta;
pub use open::{open, open_bucket};
pub use place::{BadPlace, Place};
pub use room::RoomLimits;
pub use spool::{Sealed, SpoolFile};

pub(crate) use directory::{Directory, names};
pub(crate) use meta::hex;
pub(crate) use open::BucketWork;
pub(crate) use room::{Full, Promised, Room};

use crate::outbox::{KafkaOptions, OutboxHandle};
use bucket::{Bucket, BucketError, Object};
use repeats::Repeats;

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
    #[error("bucket {name} cannot be used")]
    Bucket { name: String, source: Box<StoreError> },
}

/// Why a file could not be written, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the quota, is full.
    #[error("no space left to {doing}")]
    NoSpace { doing: &'static str, source: io::Error },
    #[error("cannot {doing}")]
    Io { doing: &'static str, source: io::Error },
    /// The object store does not answer, or not now.
    #[error("the object store is away: cannot {doing}")]
    Away { doing: &'static str, source: Arc<BucketError> },
    /// The object store keeps other bytes than were sent.
    #[error("a checksum does not hold: cannot {doing}")]
    Damaged { doing: &'static str, source: Arc<BucketError> },
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

/// Files by id. Cheap to clone; every method blocks, so call it off the async workers.
#[derive(Debug, Clone)]
pub struct Store {
    directory: Arc<Directory>,
    bucket: Option<Arc<Bucket>>,
    room: Arc<Room>,
    repeats: Repeats,
}

impl Store {
    /// With other limits than the defaults. To be called once, before there are uploads: a quota counts what is stored,
    /// on a thread of its own.
    #[must_use]
    pub fn limited(self, limits: RoomLimits) -> Self {
        let room = Room::new(&self.directory, limits);
        Self { room, ..self }
    }

    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    pub(crate) fn repeats(&self) -> &Repeats {
        &self.repeats
    }

    /// Whether to seal a file waits for no disk and no network.
    pub(crate) fn seals_at_once(&self) -> bool {
        self.bucket.is_none() && !self.directory.syncs()
    }

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

    /// A committed file wherever it is, and its metadata. May be called on an async worker.
    pub(crate) async fn find(&self, id: FileId) -> Result<Option<(Content, FileMeta)>, StoreError> {
        if let Some(bucket) = &self.bucket {
            let found = bucket.find(&id).await?;
            return Ok(found.map(|object| {
                let meta = object.meta().clone();
                (Content::Object(object), meta)
            }));
        }
        let store = self.clone();
        let found = spawn_blocking(move || store.open(&id)).await;
        let found =
            found.unwrap_or_else(|panic| Err(StoreError::new("open a stored file", io::Error::other(panic))))?;
        Ok(found.map(|(file, meta)| (Content::File(file), meta)))
    }

    /// Deletes a committed file wherever it is, as [`delete`](Self::delete). May be called on an async worker.
    pub(crate) async fn remove(&self, id: FileId) -> Result<bool, StoreError> {
        if let Some(bucket) = &self.bucket {
            return bucket.delete(&id).await;
        }
        let store = self.clone();
        let deleted = spawn_blocking(move || {
            let bytes = if store.room.counts() { store.open(&id)?.map_or(0, |(_, meta)| meta.bytes) } else { 0 };
            store.delete(&id).inspect(|deleted| {
                if *deleted {
                    store.room.deleted(bytes)
                }
            })
        });
        let deleted = deleted.await;
        deleted.unwrap_or_else(|panic| Err(StoreError::new("delete a stored file", io::Error::other(panic))))
    }
}

/// The bytes of a committed file, not read yet.
pub(crate) enum Content {
    File(File),
    Object(Object),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::open::open_with;
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
