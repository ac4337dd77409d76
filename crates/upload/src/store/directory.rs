//! The directory's layout and the moves in it. Every path is relative to an open directory, so that a renamed or
//! remounted parent changes nothing under a running process.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::meta::{self, FileMeta, sidecar_name};
use super::{Durability, FileId, OpenError};

const DIR_MODE: u32 = 0o700;
const DELETED_SUFFIX: &str = ".deleted";

/// The open directory and the lock on it.
#[derive(Debug)]
pub(crate) struct Directory {
    root: OwnedFd,
    files: OwnedFd,
    spool: OwnedFd,
    /// Holds the flock as long as it is open.
    outbox: OwnedFd,
    durability: Durability,
    xattr_bytes_max: usize,
    /// Names made in `spool/` since the start, each counted when it is there.
    spool_names: AtomicU64,
    /// So many of them are synced, the first.
    spool_names_synced: AtomicU64,
}

/// The how-manieth name in `spool/` since the start somebody's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NthName(u64);

impl Directory {
    pub(crate) fn open(dir: &Path, durability: Durability, xattr_bytes_max: usize) -> Result<Self, OpenError> {
        let error = |doing| move |source| OpenError::Io { dir: dir.to_owned(), doing, source };
        let make = || {
            DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
            let root = open_dir(rustix::fs::CWD, dir)?;
            let [files, spool, outbox] = ["files", "spool", "outbox"].map(|name| make_dir(root.as_fd(), name));
            Ok((root, files?, spool?, outbox?))
        };
        let (root, files, spool, outbox) = make().map_err(error("make or open its directories"))?;
        match rustix::fs::flock(&outbox, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::InUse { dir: dir.to_owned() }),
            Err(errno) => return Err(error("lock it")(errno.into())),
        }
        let (spool_names, spool_names_synced) = (AtomicU64::new(0), AtomicU64::new(0));
        let directory =
            Self { root, files, spool, outbox, durability, xattr_bytes_max, spool_names, spool_names_synced };
        directory.one_file_system().map_err(error("rename between its directories"))?;
        directory.sync_fd(&directory.root).map_err(error("sync it"))?;
        // A new store's own name; a parent that may not be opened held it before us.
        if let Ok(parent) = open_dir(directory.root.as_fd(), Path::new("..")) {
            directory.sync_fd(parent).map_err(error("sync its parent"))?;
        }
        Ok(directory)
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn outbox(&self) -> BorrowedFd<'_> {
        self.outbox.as_fd()
    }

    /// Whether files could be made: the directories are still somebody's, and their mount takes writes. Asks the file
    /// system, so it may block.
    pub(crate) fn takes_writes(&self) -> bool {
        [&self.files, &self.spool, &self.outbox]
            .into_iter()
            .all(|dir| is_linked(dir) && rustix::fs::accessat(dir, ".", Access::WRITE_OK, AtFlags::empty()).is_ok())
    }

    /// Whether the file system that `outbox/` is on has so many bytes left; `false` where it does not say.
    pub(crate) fn outbox_has_room(&self, bytes: u64) -> bool {
        rustix::fs::fstatvfs(&self.outbox).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= bytes)
    }

    /// Whether a sync does anything.
    pub(crate) fn syncs(&self) -> bool {
        self.durability == Durability::Fsync
    }

    /// Data and size, as the durability promises.
    pub(crate) fn sync_data(&self, file: &File) -> io::Result<()> {
        match self.durability {
            Durability::Fsync => file.sync_data(),
            Durability::None => Ok(()),
        }
    }

    /// Names in a directory, or data and every attribute of a file.
    pub(crate) fn sync_fd(&self, fd: impl AsFd) -> io::Result<()> {
        match self.durability {
            Durability::Fsync => Ok(rustix::fs::fsync(fd)?),
            Durability::None => Ok(()),
        }
    }

    pub(super) fn create_spool(&self, id: &FileId) -> io::Result<(File, NthName)> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.spool, id.to_string(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok((file.into(), self.count_spool_name()))
    }

    fn count_spool_name(&self) -> NthName {
        NthName(self.spool_names.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// A sealed file, to be read.
    pub(super) fn open_spool(&self, id: &FileId) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.spool, id.to_string(), flags, Mode::empty())?.into())
    }

    /// Makes a spool file's bytes and metadata durable. fsync rather than fdatasync: an extended attribute is inode
    /// metadata that fdatasync may leave behind, and a new file's size makes both write the inode anyway.
    /// The sidecar's name, where the metadata is in one.
    pub(super) fn seal_spool(&self, id: &FileId, file: &File, meta: &FileMeta) -> io::Result<Option<NthName>> {
        let sync = |sidecar: &File| self.sync_fd(sidecar);
        let has_sidecar = meta::write(self.xattr_bytes_max, file, self.spool.as_fd(), id, meta, sync)?;
        self.sync_fd(file)?;
        Ok(has_sidecar.then(|| self.count_spool_name()))
    }

    /// Takes a spool file's content away; a name that is gone already is none.
    pub(super) fn empty_spool(&self, id: &FileId) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        ignore_missing(rustix::fs::openat(&self.spool, id.to_string(), flags, Mode::empty()).map(drop))
    }

    pub(super) fn remove_spool(&self, id: &FileId) -> io::Result<()> {
        ignore_missing(rustix::fs::unlinkat(&self.spool, sidecar_name(id), AtFlags::empty()))?;
        ignore_missing(rustix::fs::unlinkat(&self.spool, id.to_string(), AtFlags::empty()))
    }

    /// Makes a sealed file visible; done twice it is done once. `false` where it is neither here nor there: somebody
    /// took it away. The sidecar, where there may be one, goes first: a visible file has its metadata.
    pub(super) fn publish(&self, id: &FileId, may_have_sidecar: bool) -> io::Result<bool> {
        let name = id.to_string();
        if may_have_sidecar {
            let sidecar = sidecar_name(id);
            ignore_missing(rustix::fs::renameat(&self.spool, &sidecar, &self.files, &sidecar))?;
        }
        match rustix::fs::renameat(&self.spool, &name, &self.files, &name) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => {
                let is_in = |dir: &OwnedFd| rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
                // Still in `spool/`: it is `files/` that is gone.
                if is_in(&self.spool) { Err(Errno::NOENT.into()) } else { Ok(is_in(&self.files)) }
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// The names of sealed files, before the journal may speak of them.
    pub(super) fn sync_spool(&self) -> io::Result<()> {
        let names = self.spool_names.load(Ordering::Acquire);
        self.sync_fd(&self.spool)?;
        self.spool_names_synced.fetch_max(names, Ordering::AcqRel);
        Ok(())
    }

    /// Whether a sync that began after the name was there has ended.
    pub(super) fn has_synced(&self, name: NthName) -> bool {
        self.spool_names_synced.load(Ordering::Acquire) >= name.0
    }

    /// The names of published files. `spool/` needs no sync of its own: a name that stays behind there after a power
    /// cut is the same inode, and is renamed again or swept.
    pub(super) fn sync_files(&self) -> io::Result<()> {
        self.sync_fd(&self.files)
    }

    pub(super) fn open_file(&self, id: &FileId) -> io::Result<Option<(File, FileMeta)>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.files, id.to_string(), flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return self.files_are_there().map(|()| None),
            Err(errno) => return Err(errno.into()),
        };
        let meta = meta::read(&file, self.files.as_fd(), id)?;
        Ok(Some((file, meta)))
    }

    /// Through `spool/`, so that a crash between file and sidecar leaves work for the sweep and no orphan.
    pub(super) fn delete_file(&self, id: &FileId) -> io::Result<bool> {
        let doomed = format!("{id}{DELETED_SUFFIX}");
        match rustix::fs::renameat(&self.files, id.to_string(), &self.spool, &doomed) {
            Ok(()) => {}
            Err(Errno::NOENT) => return self.files_are_there().map(|()| false),
            Err(errno) => return Err(errno.into()),
        }
        self.finish_delete(id, &doomed)?;
        self.sync_files()?;
        // A name that stayed behind here when the file was published would bring it back after a power cut.
        self.sync_spool()?;
        Ok(true)
    }

    fn finish_delete(&self, id: &FileId, doomed: &str) -> io::Result<()> {
        ignore_missing(rustix::fs::unlinkat(&self.files, sidecar_name(id), AtFlags::empty()))?;
        ignore_missing(rustix::fs::unlinkat(&self.spool, doomed, AtFlags::empty()))
    }

    /// Ids of the files left in `spool/`.
    pub(super) fn spooled(&self) -> io::Result<Vec<FileId>> {
        Ok(names(&self.spool)?.iter().filter_map(|name| FileId::parse(name)).collect())
    }

    /// Every file in `files/` with its length, in no order.
    pub(super) fn each_file(&self, mut visit: impl FnMut(FileId, u64)) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.files)? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().ok().and_then(FileId::parse) else { continue };
            match rustix::fs::statat(&self.files, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => visit(id, u64::try_from(stat.st_size).unwrap_or(0)),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Empties `spool/`: what is still there was never committed, or was being deleted.
    pub(crate) fn sweep_spool(&self) -> io::Result<()> {
        for name in names(&self.spool)? {
            match name.strip_suffix(DELETED_SUFFIX).and_then(FileId::parse) {
                Some(id) => {
                    // A power cut can have kept both names of the rename.
                    ignore_missing(rustix::fs::unlinkat(&self.files, id.to_string(), AtFlags::empty()))?;
                    self.finish_delete(&id, &name)?;
                }
                None => ignore_missing(rustix::fs::unlinkat(&self.spool, &name, AtFlags::empty()))?,
            }
        }
        Ok(())
    }

    /// Where the directories were removed, that a file is not there says nothing of the file.
    fn files_are_there(&self) -> io::Result<()> {
        let all_linked = [&self.files, &self.spool].into_iter().all(is_linked);
        if all_linked { Ok(()) } else { Err(Errno::STALE.into()) }
    }

    fn one_file_system(&self) -> io::Result<()> {
        let device = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| stat.st_dev);
        if device(&self.spool)? == device(&self.files)? { Ok(()) } else { Err(Errno::XDEV.into()) }
    }
}

fn is_linked(dir: &OwnedFd) -> bool {
    rustix::fs::fstat(dir).is_ok_and(|stat| stat.st_nlink > 0)
}

/// Names in a directory, but `.` and `..`.
pub(crate) fn names(dir: impl AsFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn make_dir(root: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(root, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_dir(root, Path::new(name)),
        Err(errno) => Err(errno.into()),
    }
}

fn open_dir(parent: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn ignore_missing(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
