//! What is done beside the requests: a sign of life, what an earlier process left, and what a lost server left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::claims::Claims;
use super::commit::{BucketCommitter, Shared};
use super::keys::id_of;
use super::left;
use super::record::FormRecord;
use crate::store::{FileId, StoreError};

/// Between two signs of life.
const BEAT_INTERVAL: Duration = Duration::from_secs(10);
/// The same while the store is away: how soon its return is noticed.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// A server whose sign of life has been the same for so long, by the clock of who looks, is lost.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(30);
/// Unfinished uploads are abandoned when they are so old.
const ABANDONED_AFTER: Duration = Duration::from_secs(48 * 3600);
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// One of 256 shards of old keys is swept at a time: all of them in 21 hours.
const KEYS_SWEEP_INTERVAL: Duration = Duration::from_secs(300);
/// Rounds, a beat apart, in which what an earlier process left is cleared away. The store may still be at that process's
/// requests: a record may appear after the first look for one, and its uploads are not to be aborted.
const LEFT_ROUNDS: u32 = 3;
/// The first of them that aborts uploads.
const LEFT_SWEEPS_FROM: u32 = 1;
/// Servers that are watched, and records of one lost server that are taken over in one go.
pub(super) const SERVERS_MAX: usize = 1_000;
const ADOPTED_AT_ONCE: usize = 1_000;
/// Records taken over that wait for Kafka; no more are taken over meanwhile.
const ADOPTED_MAX: usize = 100_000;

pub(in crate::store) struct Keeper {
    shared: Arc<Shared>,
    claims: Arc<Claims>,
    /// What the process before left: ids in its spool, and forms that are in the journal.
    left: Left,
    /// Ids that begin with this process are later.
    started: FileId,
    /// Forms of an earlier process that this one has seen through.
    finished: HashSet<FileId>,
    signs: HashMap<FileId, Sign>,
    adopted: HashSet<Path>,
    swept: Option<Instant>,
    /// Rounds without a failure, up to [`LEFT_ROUNDS`].
    left_rounds: u32,
    keys_swept: Instant,
    keys_shard: u64,
    away: bool,
}

/// What a server writes down again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SignOfLife {
    pub(super) unix_ms: u64,
    /// Absent in what earlier versions wrote.
    #[serde(default)]
    pub(super) process: Option<FileId>,
}

/// What an earlier process of this server left behind on this machine.
#[derive(Debug, Default)]
pub(in crate::store) struct Left {
    pub(in crate::store) spooled: HashSet<FileId>,
    /// First files of the forms whose events the journal has.
    pub(in crate::store) journaled: HashSet<FileId>,
}

struct Sign {
    text: String,
    since: Instant,
}

impl Keeper {
    pub(in crate::store) fn new(committer: &BucketCommitter, claims: &Arc<Claims>, left: Left) -> Self {
        let now = unix_ms();
        Self {
            shared: Arc::clone(committer.shared()),
            claims: Arc::clone(claims),
            left,
            started: FileId::from_parts(now, [0; 10]),
            finished: HashSet::new(),
            signs: HashMap::new(),
            adopted: HashSet::new(),
            swept: None,
            left_rounds: 0,
            keys_swept: Instant::now(),
            // Servers that start one after another begin at different ones.
            keys_shard: now,
            away: false,
        }
    }

    /// Until `stop` changes.
    pub(in crate::store) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let interval = match self.round().await {
                Ok(()) => {
                    if std::mem::take(&mut self.away) {
                        info!("the object store answers again");
                    }
                    BEAT_INTERVAL
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.away, true) {
                        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                        warn!(%error, cause, "the object store fails");
                    }
                    PROBE_INTERVAL
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    pub(in crate::store) async fn beat(&self) -> Result<(), StoreError> {
        self.shared.beat().await
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        self.beat().await?;
        let is_clearing = self.left_rounds < LEFT_ROUNDS;
        if is_clearing {
            self.finish_own().await?;
        }
        self.shared.settle_unsure().await?;
        self.shared.abort_leftovers().await;
        self.claims.settle().await;
        self.adopt().await?;
        let is_due = self.swept.is_none_or(|at| at.elapsed() >= SWEEP_INTERVAL);
        if is_due || (is_clearing && self.left_rounds >= LEFT_SWEEPS_FROM) {
            self.sweep().await?;
        }
        if self.keys_swept.elapsed() >= KEYS_SWEEP_INTERVAL {
            self.claims.sweep(self.keys_shard).await?;
            self.keys_swept = Instant::now();
            self.keys_shard = self.keys_shard.wrapping_add(1);
        }
        if is_clearing {
            self.left_rounds += 1;
            if self.left_rounds == LEFT_ROUNDS {
                self.forget_left().await;
            }
        }
        Ok(())
    }

    /// Finishes the forms that an earlier process of this server committed and did not see through.
    async fn finish_own(&mut self) -> Result<(), StoreError> {
        for key in self.records(&self.shared.server, usize::MAX).await? {
            let Some(first) = id_of(&key) else { continue };
            // A later one is a request's of this process.
            let is_left = first < self.started && !self.left.journaled.contains(&first);
            if is_left && !self.finished.contains(&first) && !self.shared.is_unsure_of(&first) {
                self.finish(&key).await?;
                self.finished.insert(first);
            }
        }
        Ok(())
    }

    /// Takes over what lost servers committed and did not see through.
    async fn adopt(&mut self) -> Result<(), StoreError> {
        let bucket = Arc::clone(&self.shared.bucket);
        let listed = bucket.s3.list_with_delimiter(Some(&bucket.keys.outbox())).await;
        let listed = bucket.heard("list the servers' records", listed)?;
        let servers: Vec<FileId> = listed.common_prefixes.iter().filter_map(id_of).take(SERVERS_MAX).collect();
        self.signs.retain(|server, _| servers.contains(server));
        let own = self.shared.server;
        for server in servers.into_iter().filter(|server| *server != own) {
            let sign = bucket.read_small(&bucket.keys.server(&server)).await?;
            let text = String::from_utf8_lossy(&sign.unwrap_or_default()).into_owned();
            let known = self.signs.entry(server).or_insert_with(|| Sign { text: text.clone(), since: Instant::now() });
            if known.text != text {
                *known = Sign { text, since: Instant::now() };
            }
            if known.since.elapsed() >= LOST_AFTER {
                self.adopt_from(&server).await?;
            }
        }
        Ok(())
    }

    async fn adopt_from(&mut self, server: &FileId) -> Result<(), StoreError> {
        let keys = self.records(server, ADOPTED_AT_ONCE).await?;
        let mut taken = 0;
        for key in keys {
            if self.adopted.len() < ADOPTED_MAX && !self.adopted.contains(&key) {
                self.finish(&key).await?;
                self.adopted.insert(key);
                taken += 1;
            }
        }
        if taken > 0 {
            info!(%server, forms = taken, "took over what a lost server had not delivered");
        }
        Ok(())
    }

    async fn finish(&self, key: &Path) -> Result<(), StoreError> {
        let Some(json) = self.shared.bucket.read_small(key).await? else { return Ok(()) };
        match serde_json::from_slice::<FormRecord>(&json) {
            Ok(record) => drop(self.shared.finish(key, &record).await?),
            Err(error) => warn!(%key, %error, "an object is no record of a form; it is left alone"),
        }
        Ok(())
    }

    async fn records(&self, server: &FileId, max: usize) -> Result<Vec<Path>, StoreError> {
        let bucket = &self.shared.bucket;
        let mut listed = bucket.s3.list(Some(&bucket.keys.outbox_of(server))).take(max);
        let mut keys = Vec::new();
        while let Some(entry) = listed.next().await {
            keys.push(bucket.heard("list records", entry)?.location);
        }
        Ok(keys)
    }

    /// Aborts the uploads that nobody will finish: those of this server's last process once its requests have ended, and
    /// any that are too old.
    async fn sweep(&mut self) -> Result<(), StoreError> {
        let old = unix_ms().saturating_sub(u64::try_from(ABANDONED_AFTER.as_millis()).unwrap_or(u64::MAX));
        let old = FileId::from_parts(old, [0; 10]);
        let with_left = self.left_rounds >= LEFT_SWEEPS_FROM;
        let doomed = |id: &FileId| *id < old || (with_left && self.left.spooled.contains(id));
        let aborted = self.shared.bucket.sweep_uploads(doomed).await?;
        if aborted > 0 {
            info!(uploads = aborted, "aborted uploads that nobody will finish");
        }
        self.swept = Some(Instant::now());
        Ok(())
    }

    async fn forget_left(&mut self) {
        self.left = Left::default();
        self.finished = HashSet::new();
        let shared = Arc::clone(&self.shared);
        let forgot = spawn_blocking(move || left::forget(&shared.directory)).await;
        if !matches!(forgot, Ok(Ok(()))) {
            warn!("what is swept cannot be forgotten; the next start sweeps it again");
        }
    }
}

pub(super) fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
