//! Whether there is room for an upload, asked before its body is.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{Directory, FileId};

/// The disk is asked again after so long; admitted lengths are counted meanwhile.
const DISK_ASKED_EVERY: Duration = Duration::from_millis(200);
/// The default reserve: this part of the file system, one in so many, and no more than so many bytes.
const RESERVE_SHARE: u64 = 100;
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// What may be filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomLimits {
    /// Bytes of all stored files; `None`: as many as the disk takes. Of a directory only: a bucket has quotas of its own.
    pub quota_bytes: Option<u64>,
    /// Bytes of the disk that uploads leave free, for the outbox and for whoever else lives there; `None`: 1% of it, 64 MiB at most.
    pub reserve_bytes: Option<u64>,
}

/// Why an upload is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Disk,
    Quota,
}

/// Shared by the requests.
#[derive(Debug)]
pub(crate) struct Room {
    limits: RoomLimits,
    directory: Arc<Directory>,
    disk: Mutex<Disk>,
    /// Bytes of stored files; for a moment at the start only of those that were counted already.
    stored_bytes: AtomicI64,
    /// Announced lengths of uploads in flight.
    coming_bytes: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Disk {
    asked: Option<Instant>,
    free_bytes: u64,
}

/// Room that an upload in flight has been promised.
#[derive(Debug)]
pub(crate) struct Promised {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    pub(super) fn new(directory: &Arc<Directory>, limits: RoomLimits) -> Arc<Self> {
        let room = Arc::new(Self {
            limits,
            directory: Arc::clone(directory),
            disk: Mutex::default(),
            stored_bytes: AtomicI64::new(0),
            coming_bytes: AtomicU64::new(0),
        });
        if limits.quota_bytes.is_some() {
            count_in_background(&room);
        }
        room
    }

    /// Promises room for a body of `bytes`; 0 where its length is not known.
    pub(crate) async fn promise(self: &Arc<Self>, bytes: u64) -> Result<Promised, Full> {
        if let Some(quota_bytes) = self.limits.quota_bytes {
            let used = self.stored_bytes().saturating_add(self.coming_bytes.load(Ordering::Relaxed));
            if used.saturating_add(bytes) > quota_bytes || used >= quota_bytes {
                return Err(Full::Quota);
            }
        }
        if self.limits.reserve_bytes != Some(0) {
            self.disk_has(bytes).await?;
        }
        self.coming_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Promised { room: Arc::clone(self), bytes })
    }

    /// Whether files of `bytes`, all here now, may be stored.
    pub(crate) fn quota_has(&self, bytes: u64) -> bool {
        self.limits.quota_bytes.is_none_or(|quota_bytes| self.stored_bytes().saturating_add(bytes) <= quota_bytes)
    }

    pub(crate) fn counts(&self) -> bool {
        self.limits.quota_bytes.is_some()
    }

    pub(crate) fn stored(&self, bytes: u64) {
        self.stored_bytes.fetch_add(signed(bytes), Ordering::Relaxed);
    }

    pub(crate) fn deleted(&self, bytes: u64) {
        self.stored_bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
    }

    fn stored_bytes(&self) -> u64 {
        u64::try_from(self.stored_bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    async fn disk_has(self: &Arc<Self>, bytes: u64) -> Result<(), Full> {
        if self.disk().asked.is_none_or(|asked| asked.elapsed() >= DISK_ASKED_EVERY) {
            let room = Arc::clone(self);
            let asked = spawn_blocking(move || room.ask_disk()).await;
            match asked.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                Ok(disk) => *self.disk() = disk,
                // The upload finds out what is wrong.
                Err(_) => return Ok(()),
            }
        }
        let mut disk = self.disk();
        match disk.free_bytes.checked_sub(bytes) {
            Some(left) if left > 0 => {
                disk.free_bytes = left;
                Ok(())
            }
            _ => Err(Full::Disk),
        }
    }

    /// What uploads may take of the disk now.
    fn ask_disk(&self) -> io::Result<Disk> {
        let stat = rustix::fs::fstatvfs(self.directory.root())?;
        let total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
        let default = (total_bytes / RESERVE_SHARE).min(RESERVE_BYTES_MAX);
        let reserve_bytes = self.limits.reserve_bytes.unwrap_or(default);
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(reserve_bytes);
        Ok(Disk { asked: Some(Instant::now()), free_bytes })
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        self.room.coming_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A million files take seconds, which nobody waits for: until then the quota is generous.
fn count_in_background(room: &Arc<Room>) {
    let counted = Arc::downgrade(room);
    let directory = Arc::clone(&room.directory);
    let Ok(started) = FileId::generate() else { return };
    let count = move || {
        let mut files = 0_u64;
        let walked = directory.each_file(|id, bytes| {
            // Later ones are counted when they are committed.
            if id < started
                && let Some(room) = counted.upgrade()
            {
                room.stored(bytes);
                files += 1;
            }
        });
        match walked {
            Ok(()) => info!(files, "counted the stored files for the quota"),
            Err(error) => warn!(%error, "the stored files cannot be counted; the quota counts from here on"),
        }
    };
    if let Err(error) = std::thread::Builder::new().name("store-count".into()).spawn(count) {
        warn!(%error, "the stored files are not counted; the quota counts from here on");
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
