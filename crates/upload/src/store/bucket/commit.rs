//! The commit of a form: staged, recorded, published, told.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use object_store::path::Path;
use tokio::task::spawn_blocking;
use tracing::{debug, error, warn};

use super::Bucket;
use super::keeper::{SignOfLife, unix_ms};
use super::record::{FormRecord, Staged};
use crate::outbox::{Journal, Progress, Record, StoredFile};
use crate::store::{CommitError, Directory, FileId, Sealed, StoreError};

/// Files of one form that are sent, or completed, at the same time.
const FILES_AT_ONCE: usize = 4;
/// Forms whose record may be there or not, or whose files wait to be completed. Beyond it, forms are refused.
const UNSURE_FORMS_MAX: usize = 256;
/// Uploads to be aborted when the store answers again; what is beyond it waits for the sweep of old ones.
const LEFTOVERS_MAX: usize = 4_096;
/// What a form takes in the journal at least.
const RECORD_BYTES_MIN: usize = 512;

/// Commits forms to a bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct BucketCommitter {
    shared: Arc<Shared>,
}

/// Where the events of a visible form go.
#[derive(Debug)]
pub(in crate::store) enum Events {
    /// To the publisher, through the journal on this machine.
    Journal { journal: Arc<Mutex<Journal>>, progress: Arc<Progress> },
    /// To an object a form.
    Objects,
}

/// What requests and the keeper work on.
#[derive(Debug)]
pub(in crate::store) struct Shared {
    pub(super) bucket: Arc<Bucket>,
    pub(super) server: FileId,
    /// Of all processes that were or will be this server, this one.
    pub(super) process: FileId,
    pub(super) directory: Arc<Directory>,
    beaten: AtomicBool,
    events: Events,
    unsure: Mutex<BTreeMap<FileId, FormRecord>>,
    leftovers: Mutex<VecDeque<Staged>>,
    stopping: AtomicBool,
}

impl BucketCommitter {
    pub(in crate::store) fn new(
        bucket: Arc<Bucket>,
        server: FileId,
        directory: Arc<Directory>,
        events: Events,
    ) -> io::Result<Self> {
        let (unsure, leftovers, stopping) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let (process, beaten) = (FileId::generate()?, AtomicBool::new(false));
        let shared = Shared { bucket, server, process, directory, beaten, events, unsure, leftovers, stopping };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(in crate::store) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// As [`Committer::commit`](crate::store::Committer::commit). Goes on where the caller goes away.
    pub(crate) async fn commit(&self, files: Vec<Sealed>) -> Result<(), CommitError> {
        let shared = Arc::clone(&self.shared);
        let committed = self.shared.bucket.runtime.spawn(async move { shared.commit(files).await });
        committed.await.unwrap_or_else(|_| Err(CommitError::stopped()))
    }

    pub(in crate::store) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// A sign of life: an object that is never the same twice.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let sign = SignOfLife { unix_ms: unix_ms(), process: Some(self.process) };
        let sign = serde_json::to_vec(&sign).map_err(|error| StoreError::new("give a sign of life", error.into()))?;
        let beaten = self.bucket.put(&self.bucket.keys.server(&self.server), sign).await;
        beaten.inspect_err(|_| self.bucket.refuses_us())?;
        self.beaten.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the sign of life is this process's.
    pub(super) fn has_beaten(&self) -> bool {
        self.beaten.load(Ordering::Relaxed)
    }

    async fn commit(&self, files: Vec<Sealed>) -> Result<(), CommitError> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(CommitError::stopped());
        }
        self.has_room()?;
        let begun = Mutex::default();
        let record = match self.stage(&files, &begun).await {
            Ok(files) => FormRecord { files },
            Err(error) => {
                self.leave(begun.into_inner().unwrap_or_else(PoisonError::into_inner), files).await;
                return Err(error.into());
            }
        };
        let Some(first) = record.files.first().map(|staged| staged.file.id) else { return Ok(()) };
        let key = self.bucket.keys.record(&self.server, &first);
        let json = serde_json::to_vec(&record).map_err(|error| CommitError::new(error.into()))?;
        if let Err(error) = self.bucket.put(&key, json).await {
            match error {
                // It may have arrived all the same: the keeper finds out.
                StoreError::Away { .. } => {
                    self.unsure().insert(first, record);
                    keep_names(files).await;
                }
                _ => self.leave(record.files, files).await,
            }
            return Err(error.into());
        }
        match self.finish(&key, &record).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(CommitError::new(io::Error::other("an upload was aborted by somebody else"))),
            Err(error) => {
                error!(%error, "a committed form cannot be finished yet");
                self.unsure().insert(first, record);
                Err(error.into())
            }
        }
    }

    /// Everything behind the commit point, events included; may be done again from its start. `false` where a file is
    /// not there although all was done.
    pub(super) async fn finish(&self, key: &Path, record: &FormRecord) -> Result<bool, StoreError> {
        let publishing: Vec<_> = record.files.iter().map(|staged| self.bucket.publish(staged)).collect();
        let mut published = stream::iter(publishing).buffer_unordered(FILES_AT_ONCE);
        let mut all = true;
        while let Some(visible) = published.next().await {
            all &= visible?;
        }
        drop(published);
        self.tell(key, record).await?;
        Ok(all)
    }

    async fn tell(&self, key: &Path, record: &FormRecord) -> Result<(), StoreError> {
        const DOING: &str = "write an event";
        match &self.events {
            Events::Objects => {
                let Some(first) = record.files.first() else { return Ok(()) };
                let lines = record.event_lines().map_err(|error| StoreError::new(DOING, error.into()))?;
                self.bucket.put(&self.bucket.keys.events(&first.file.id), lines).await?;
                self.bucket.remove(key).await
            }
            Events::Journal { journal, progress } => {
                let (journal, progress) = (Arc::clone(journal), Arc::clone(progress));
                let (files, origin) = (record.stored(), Some(key.to_string()));
                let appended = spawn_blocking(move || append(&journal, &progress, files, origin)).await;
                let appended = appended.unwrap_or_else(|panic| Err(io::Error::other(panic)));
                appended.map_err(|source| StoreError::new(DOING, source))
            }
        }
    }

    /// Sends every file. `begun` hears of what is to be aborted where one fails.
    async fn stage(&self, files: &[Sealed], begun: &Mutex<Vec<Staged>>) -> Result<Vec<Staged>, StoreError> {
        let staging: Vec<_> = files.iter().map(|sealed| self.stage_one(sealed, begun)).collect();
        let mut staging = stream::iter(staging).buffered(FILES_AT_ONCE);
        let mut staged = Vec::with_capacity(files.len());
        while let Some(one) = staging.next().await {
            staged.push(one?);
        }
        Ok(staged)
    }

    async fn stage_one(&self, sealed: &Sealed, begun: &Mutex<Vec<Staged>>) -> Result<Staged, StoreError> {
        let (directory, id) = (Arc::clone(&self.directory), *sealed.id());
        let opened = spawn_blocking(move || directory.open_spool(&id)).await;
        let opened = opened.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let spool = opened.map_err(|source| StoreError::new("read a spool file", source))?;
        self.bucket.stage(spool, StoredFile { id, meta: sealed.meta().clone() }, begun).await
    }

    fn has_room(&self) -> Result<(), CommitError> {
        if self.unsure().len() >= UNSURE_FORMS_MAX {
            return Err(CommitError::OutboxFull);
        }
        match &self.events {
            Events::Journal { journal, .. } if !locked(journal).has_room(RECORD_BYTES_MIN) => {
                Err(CommitError::OutboxFull)
            }
            _ => Ok(()),
        }
    }

    /// Aborts uploads that no record speaks of, now or when the store answers. Until then their names stay in the spool:
    /// were this process killed, its next start would know them by these.
    async fn leave(&self, staged: Vec<Staged>, mut files: Vec<Sealed>) {
        let left = self.queue(staged);
        files.retain(|sealed| left.contains(sealed.id()));
        keep_names(files).await;
        if self.bucket.is_reachable() {
            self.abort_leftovers().await;
        }
    }

    /// Those for which there is room.
    fn queue(&self, staged: Vec<Staged>) -> HashSet<FileId> {
        let mut leftovers = locked(&self.leftovers);
        let room = LEFTOVERS_MAX.saturating_sub(leftovers.len());
        let queued: Vec<Staged> = staged.into_iter().take(room).collect();
        let ids = queued.iter().map(|staged| staged.file.id).collect();
        leftovers.extend(queued);
        ids
    }

    /// Aborts what requests could not, oldest first, until the store fails.
    pub(super) async fn abort_leftovers(&self) {
        loop {
            let Some(staged) = locked(&self.leftovers).pop_front() else { return };
            if let Err(error) = self.bucket.abandon(&staged).await {
                debug!(id = %staged.file.id, %error, "an upload waits to be aborted");
                self.queue(vec![staged]);
                return;
            }
            self.drop_names(vec![staged]).await;
        }
    }

    /// Nothing of these files waits in the bucket any more.
    async fn drop_names(&self, settled: Vec<Staged>) {
        let directory = Arc::clone(&self.directory);
        let dropping = spawn_blocking(move || {
            for Staged { file, .. } in settled {
                if let Err(error) = directory.remove_spool(&file.id) {
                    warn!(id = %file.id, %error, "a spool file stays until the next start");
                }
            }
        });
        drop(dropping.await);
    }

    /// Finds out what became of forms whose record may be there, and finishes or leaves them.
    pub(super) async fn settle_unsure(&self) -> Result<(), StoreError> {
        let forms: Vec<(FileId, FormRecord)> = self.unsure().iter().map(|(id, form)| (*id, form.clone())).collect();
        for (first, record) in forms {
            let key = self.bucket.keys.record(&self.server, &first);
            if self.bucket.read_small(&key).await?.is_some() {
                self.finish(&key, &record).await?;
                self.drop_names(record.files).await;
            } else {
                // Their names were kept.
                self.leave(record.files, Vec::new()).await;
            }
            self.unsure().remove(&first);
        }
        Ok(())
    }

    pub(super) fn is_unsure_of(&self, first: &FileId) -> bool {
        self.unsure().contains_key(first)
    }

    fn unsure(&self) -> MutexGuard<'_, BTreeMap<FileId, FormRecord>> {
        locked(&self.unsure)
    }
}

/// Frees the disk and keeps the names in the spool.
async fn keep_names(files: Vec<Sealed>) {
    drop(spawn_blocking(move || files.into_iter().for_each(Sealed::keep_name)).await);
}

/// To the end of the journal. Not synced: the record in the bucket is what outlives this machine.
fn append(
    journal: &Mutex<Journal>,
    progress: &Progress,
    files: Vec<StoredFile>,
    origin: Option<String>,
) -> io::Result<()> {
    let mut journal = locked(journal);
    let record = Record { seq: journal.next_seq(), files, origin };
    let mut bytes = Vec::new();
    record.encode(&mut bytes)?;
    if !journal.has_room(bytes.len()) {
        return Err(io::Error::other("the outbox is full"));
    }
    journal.append(&bytes, record.end()).map_err(|failed| failed.source)?;
    progress.journaled(record.end());
    progress.ready(record.end());
    Ok(())
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
