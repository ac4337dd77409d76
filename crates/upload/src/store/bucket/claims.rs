//! Which request an `Idempotency-Key` belongs to, for every server of a bucket: one object a key.
//!
//! ```text
//! (nothing) ─► running ─► running, with what it will stand for ─► done           24 hours later: as if nothing
//!                 └──────────────► free (its request failed) ─► running …
//! ```
//!
//! Each arrow is a conditional write, so of two servers one makes it, and a server that was taken for lost and comes back
//! finds its key gone before it commits. A running key is another's as long as the process that runs it gives signs of
//! life; after that, whether its form was committed shows in the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tracing::{debug, warn};

use super::commit::{Shared, locked};
use super::conditional::{Found, Put};
use super::keeper::{LOST_AFTER, SERVERS_MAX, SignOfLife};
use super::record::FormRecord;
use crate::store::repeats::{Answer, KEY_AGE_MS_MAX};
use crate::store::{FileId, StoreError};

/// Keys whose release failed and is tried again; more stay taken until this process ends.
const DOUBTFUL_MAX: usize = 4_096;
/// A key's object is deleted so long after its last write: an hour behind the key's end, for clocks that differ.
const OBJECT_AGE_MAX: Duration = Duration::from_millis(KEY_AGE_MS_MAX + 3_600_000);
/// Objects that one sweep of one shard looks at.
const SWEPT_MAX: usize = 100_000;
/// Shards of keys, by the first two characters of their digests.
const SHARDS: u64 = 256;
/// S3 deletes as many in one request.
const DELETED_AT_ONCE: usize = 1_000;

/// The keys of a bucket, as this server sees them.
#[derive(Debug)]
pub(in crate::store) struct Claims {
    shared: Arc<Shared>,
    /// Signs of life of servers whose keys were asked for, and since when they are the same.
    seen: Mutex<HashMap<FileId, (SignOfLife, Instant)>>,
    conditions: OnceCell<bool>,
    doubtful: Mutex<VecDeque<Hold>>,
}

/// What a key is to a request.
pub(in crate::store) enum Claimed {
    Ours(Hold),
    /// Its first request is not done.
    Running,
    Known(Promise),
}

/// A request's hold on its key.
#[derive(Debug, Clone)]
pub(in crate::store) struct Hold {
    key: Path,
    object: KeyObject,
    /// `None` where the answer to the first write was lost.
    version: Option<UpdateVersion>,
}

/// What a key stands for once its form is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Promise {
    pub(in crate::store) fingerprint: String,
    #[serde(flatten)]
    pub(in crate::store) answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyObject {
    unix_ms: u64,
    server: FileId,
    process: FileId,
    request: FileId,
    state: State,
    promise: Option<Promise>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Running,
    Free,
    Done,
}

impl Claims {
    pub(in crate::store) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        let (shared, seen, conditions) = (Arc::clone(shared), Mutex::default(), OnceCell::new());
        Arc::new(Self { shared, seen, conditions, doubtful: Mutex::default() })
    }

    /// Where its work is done.
    pub(in crate::store) fn runtime(&self) -> &Handle {
        &self.shared.bucket.runtime
    }

    /// Takes a key by its digest. No other request of this process may be at the same key meanwhile.
    pub(in crate::store) async fn claim(&self, digest: &str, now_unix_ms: u64) -> Result<Claimed, StoreError> {
        // Others tell by it whether this process lives.
        if !self.shared.has_beaten() {
            self.shared.beat().await?;
        }
        let request = FileId::generate().map_err(|source| StoreError::new("name a request", source))?;
        let (server, process) = (self.shared.server, self.shared.process);
        let object = KeyObject { unix_ms: now_unix_ms, server, process, request, state: State::Running, promise: None };
        let mut hold = Hold { key: self.shared.bucket.keys.claim(digest), object, version: None };
        let found = if self.keeps_conditions().await? {
            match self.write(&mut hold).await {
                Ok(Put::Written(_)) => return Ok(Claimed::Ours(hold)),
                Ok(Put::Other(found)) => found,
                Err(error) => {
                    self.doubt(hold);
                    return Err(error);
                }
            }
        } else {
            self.shared.bucket.read_version(&hold.key).await?
        };
        if let Some(Found { content, version }) = found {
            hold.version = Some(version);
            // Whatever is no key's object counts for nothing.
            if let Ok(object) = serde_json::from_slice::<KeyObject>(&content)
                && now_unix_ms.saturating_sub(object.unix_ms) < KEY_AGE_MS_MAX
            {
                match self.judge(object).await? {
                    Verdict::Free => {}
                    Verdict::Running => return Ok(Claimed::Running),
                    Verdict::Known(promise) => return Ok(Claimed::Known(promise)),
                }
            }
        }
        match self.write(&mut hold).await {
            Ok(Put::Written(_)) => Ok(Claimed::Ours(hold)),
            // Somebody was faster.
            Ok(Put::Other(_)) => Ok(Claimed::Running),
            Err(error) => {
                self.doubt(hold);
                Err(error)
            }
        }
    }

    /// Writes down what the key will stand for; `false` where it is another's by now.
    pub(in crate::store) async fn promise(&self, hold: &mut Hold, promise: Promise) -> Result<bool, StoreError> {
        hold.object.promise = Some(promise);
        Ok(matches!(self.write(hold).await?, Put::Written(_)))
    }

    /// The form is committed.
    pub(in crate::store) async fn done(&self, hold: &mut Hold) -> Result<(), StoreError> {
        hold.object.state = State::Done;
        self.write(hold).await.map(drop)
    }

    /// Gives a key back whose request failed.
    pub(in crate::store) async fn release(&self, mut hold: Hold) {
        if let Err(error) = self.free(&mut hold).await {
            debug!(%error, "a key is given back later");
            self.doubt(hold);
        }
    }

    /// Gives back what could not be given back before, oldest first, until the store fails.
    pub(super) async fn settle(&self) {
        loop {
            let Some(mut hold) = locked(&self.doubtful).pop_front() else { return };
            if self.free(&mut hold).await.is_err() {
                return self.doubt(hold);
            }
        }
    }

    /// Deletes what is too old of one shard, of which there are 256.
    pub(super) async fn sweep(&self, shard: u64) -> Result<(), StoreError> {
        const DOING: &str = "sweep old keys";
        let bucket = &self.shared.bucket;
        let oldest = super::keeper::unix_ms().saturating_sub(OBJECT_AGE_MAX.as_millis() as u64);
        let mut listed = bucket.s3.list(Some(&bucket.keys.claim_shard(shard % SHARDS))).take(SWEPT_MAX);
        let mut doomed = Vec::new();
        while let Some(entry) = listed.next().await {
            let entry = bucket.heard(DOING, entry)?;
            if u64::try_from(entry.last_modified.timestamp_millis()).is_ok_and(|modified| modified < oldest) {
                doomed.push(entry.location);
            }
        }
        for some in doomed.chunks(DELETED_AT_ONCE) {
            let keys: Vec<_> = some.iter().cloned().map(Ok).collect();
            let mut answers = bucket.s3.delete_stream(stream::iter(keys).boxed());
            while let Some(answer) = answers.next().await {
                bucket.optional(DOING, answer)?;
            }
        }
        Ok(())
    }

    async fn free(&self, hold: &mut Hold) -> Result<(), StoreError> {
        hold.object.state = State::Free;
        if hold.version.is_none() {
            let Some(found) = self.shared.bucket.read_version(&hold.key).await? else { return Ok(()) };
            let object = serde_json::from_slice::<KeyObject>(&found.content).ok();
            if object.is_none_or(|object| object.request != hold.object.request) {
                return Ok(());
            }
            hold.version = Some(found.version);
        }
        // On any other version the key is another's.
        self.write(hold).await.map(drop)
    }

    async fn judge(&self, found: KeyObject) -> Result<Verdict, StoreError> {
        let Some(promise) = found.promise.clone() else {
            let running = found.state == State::Running && self.is_alive(&found).await?;
            return Ok(if running { Verdict::Running } else { Verdict::Free });
        };
        if found.state == State::Done {
            return Ok(Verdict::Known(promise));
        }
        if found.state == State::Running && self.is_alive(&found).await? {
            return Ok(Verdict::Running);
        }
        self.outcome(&found.server, promise).await
    }

    /// What became of a form whose request is over, one way or the other.
    async fn outcome(&self, server: &FileId, promise: Promise) -> Result<Verdict, StoreError> {
        let (bucket, first) = (&self.shared.bucket, promise.answer.first);
        if self.shared.is_unsure_of(&first) {
            return Ok(Verdict::Running);
        }
        let record = bucket.read_small(&bucket.keys.record(server, &first)).await?;
        let record = record.and_then(|json| serde_json::from_slice::<FormRecord>(&json).ok());
        if record.is_none() {
            return Ok(if bucket.find(&first).await?.is_some() { Verdict::Known(promise) } else { Verdict::Free });
        }
        // Committed. Whoever takes over from its server makes it visible.
        for staged in record.iter().flat_map(|record| &record.files) {
            if bucket.find(&staged.file.id).await?.is_none() {
                return Ok(Verdict::Running);
            }
        }
        Ok(Verdict::Known(promise))
    }

    /// Whether the process that runs a request is there. Our own would hold the key itself.
    async fn is_alive(&self, found: &KeyObject) -> Result<bool, StoreError> {
        if found.server == self.shared.server {
            return Ok(false);
        }
        let bucket = &self.shared.bucket;
        let Some(sign) = bucket.read_small(&bucket.keys.server(&found.server)).await? else { return Ok(false) };
        let Ok(sign) = serde_json::from_slice::<SignOfLife>(&sign) else { return Ok(false) };
        if sign.process != Some(found.process) {
            return Ok(false);
        }
        let mut seen = locked(&self.seen);
        if seen.len() >= SERVERS_MAX {
            seen.clear();
        }
        let (known, since) = seen.entry(found.server).or_insert_with(|| (sign.clone(), Instant::now()));
        if *known != sign {
            (*known, *since) = (sign, Instant::now());
        }
        Ok(since.elapsed() < LOST_AFTER)
    }

    /// Writes the object over the version that is known; the new version is known then.
    async fn write(&self, hold: &mut Hold) -> Result<Put, StoreError> {
        let json = serde_json::to_vec(&hold.object);
        let json = json.map_err(|error| StoreError::new("write down an Idempotency-Key", error.into()))?;
        let put = if self.keeps_conditions().await? {
            self.shared.bucket.put_if(&hold.key, json, hold.version.clone()).await?
        } else {
            Put::Written(self.shared.bucket.put_over(&hold.key, json).await?)
        };
        if let Put::Written(version) = &put {
            hold.version = Some(version.clone());
        }
        Ok(put)
    }

    async fn keeps_conditions(&self) -> Result<bool, StoreError> {
        let asked = self.conditions.get_or_try_init(|| async {
            let keeps = self.shared.bucket.keeps_conditions().await?;
            if !keeps {
                warn!("the object store ignores conditions: an Idempotency-Key that reaches two servers at once is stored twice");
            }
            Ok(keeps)
        });
        asked.await.copied()
    }

    fn doubt(&self, hold: Hold) {
        let mut doubtful = self.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        if doubtful.len() < DOUBTFUL_MAX {
            doubtful.push_back(hold);
        }
    }
}

enum Verdict {
    Free,
    Running,
    Known(Promise),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Servers of different versions read each other's objects.
    #[test]
    fn a_keys_object_reads_as_it_is_written() {
        let id = |n| FileId::from_parts(n, [3; 10]);
        let answer = Answer { first: id(4), body: "{\"files\":[]}".into(), repr_digest: None };
        let promise = Some(Promise { fingerprint: "ab".into(), answer });
        let (server, process, request) = (id(1), id(2), id(3));
        let object = KeyObject { unix_ms: 5, server, process, request, state: State::Done, promise };
        let json = serde_json::to_string(&object).unwrap();
        assert!(json.contains("\"state\":\"done\"") && json.contains("\"fingerprint\":\"ab\""), "{json}");
        assert_eq!(serde_json::from_str::<KeyObject>(&json).unwrap(), object);
        // A sign of life of a server that knows nothing of processes.
        assert_eq!(serde_json::from_str::<SignOfLife>("{\"unix_ms\":7}\n").unwrap().process, None);
    }
}
