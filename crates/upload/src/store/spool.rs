//! A file on its way in: written, sealed, then committed or dropped.

use std::fs::File;
use std::sync::Arc;

use tracing::warn;

use super::directory::NthName;
use super::{Directory, FileId, FileMeta, StoreError};

/// A file being written. Dropped before [`seal`](Self::seal), it is removed.
#[derive(Debug)]
pub struct SpoolFile {
    // Closed before the name is removed: fields drop in order, and the last close frees the blocks.
    file: File,
    nth_name: NthName,
    name: SpoolName,
}

/// A file whose bytes and metadata are durable, but not visible yet. Dropped uncommitted, it is removed.
#[derive(Debug)]
pub struct Sealed {
    meta: FileMeta,
    has_sidecar: bool,
    /// The sidecar's, where there is one: it came last.
    nth_name: NthName,
    name: SpoolName,
}

impl SpoolFile {
    pub(super) fn create(directory: &Arc<Directory>) -> Result<Self, StoreError> {
        let error = |source| StoreError::new("create a spool file", source);
        let id = FileId::generate().map_err(error)?;
        let (file, nth_name) = directory.create_spool(&id).map_err(error)?;
        Ok(Self { file, nth_name, name: SpoolName { directory: Arc::clone(directory), id, armed: true } })
    }

    #[must_use]
    pub fn id(&self) -> &FileId {
        &self.name.id
    }

    /// Write the content here, from offset 0.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes the metadata and syncs both as the durability promises. Blocks for the disk.
    ///
    /// # Errors
    /// Any of the file system's; the file is then removed.
    pub fn seal(self, meta: FileMeta) -> Result<Sealed, StoreError> {
        let sealed = self.name.directory.seal_spool(&self.name.id, &self.file, &meta);
        let sidecar = sealed.map_err(|source| StoreError::new("make an uploaded file durable", source))?;
        let (has_sidecar, nth_name) = (sidecar.is_some(), sidecar.unwrap_or(self.nth_name));
        Ok(Sealed { meta, has_sidecar, nth_name, name: self.name })
    }
}

impl Sealed {
    #[must_use]
    pub fn id(&self) -> &FileId {
        &self.name.id
    }

    #[must_use]
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// Whether the metadata is in a file of its own.
    pub(super) fn has_sidecar(&self) -> bool {
        self.has_sidecar
    }

    /// The last of its names in `spool/`.
    pub(super) fn nth_name(&self) -> NthName {
        self.nth_name
    }

    /// Gives its blocks back and leaves its name for the next start to find. Blocks for the disk.
    pub(super) fn keep_name(mut self) {
        self.disarm();
        let SpoolName { directory, id, .. } = &self.name;
        if let Err(error) = directory.empty_spool(id) {
            warn!(%id, %error, "a spool file keeps its bytes until it is settled or the next start");
        }
    }

    /// The journal speaks of the file, or may: from here on only recovery or the committer moves it.
    pub(super) fn disarm(&mut self) {
        self.name.armed = false;
    }
}

/// A name in `spool/` that is removed with its owner.
#[derive(Debug)]
struct SpoolName {
    directory: Arc<Directory>,
    id: FileId,
    armed: bool,
}

impl Drop for SpoolName {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (directory, id) = (Arc::clone(&self.directory), self.id);
        let remove = move || {
            if let Err(error) = directory.remove_spool(&id) {
                warn!(%id, %error, "a spool file stays until the next start");
            }
        };
        // Freeing a large file takes milliseconds: not on an async worker. Bounded by the uploads in flight.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
