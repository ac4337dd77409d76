//! `Idempotency-Key`: an upload that is sent again under its key gets the answer of the first, and stores nothing.
//!
//! What a key stands for is written down, with the answer, *before* its form is committed, and counts only if the form
//! then is: whether it is shows in the store. So there is no moment in which a crash could make two files of one key.
//!
//! With a directory, keys are remembered here; with a bucket, there, for all servers that share it.

mod log;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::bucket::{Claimed, Claims, Hold, Promise};
use super::{Directory, FileId, Sealed, StoreError, hex};
use log::Log;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Keys that are remembered, the latest.
pub const KEYS_MAX: usize = 10_000;
/// Bytes of their answers, in memory and on the disk.
pub const ANSWERS_BYTES_MAX: usize = 8 << 20;
/// How long a key is remembered.
pub const KEY_AGE_MS_MAX: u64 = 24 * 3600 * 1000;
const KEY_BYTES_MAX: usize = 255;

/// An answer to give again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The first file; it is in the store if the form was committed.
    pub(crate) first: FileId,
    /// The 201's body.
    pub(crate) body: String,
    pub(crate) repr_digest: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    key: String,
    fingerprint: String,
    unix_ms: u64,
    #[serde(flatten)]
    answer: Answer,
    /// Known to be committed; else the store knows.
    #[serde(default)]
    committed: bool,
}

/// The keys that this server knows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repeats {
    state: Arc<Mutex<State>>,
    claims: Option<Arc<Claims>>,
}

#[derive(Debug)]
struct State {
    entries: HashMap<String, Entry>,
    order: VecDeque<String>,
    answers_bytes: usize,
    running: HashSet<String>,
    log: Log,
}

/// Why a key cannot be taken.
#[derive(Debug)]
pub(crate) enum BadKey {
    /// Empty, too long, or not printable.
    Form,
    /// Its first request is not done.
    Running,
    /// Nobody can tell now.
    Unknown(StoreError),
}

/// A request's hold on its key.
#[derive(Debug)]
pub(crate) struct Claim {
    repeats: Repeats,
    key: String,
    known: Option<Entry>,
    /// With a bucket, and where nobody used the key before.
    hold: Option<Hold>,
}

/// What a request with a key turns out to be.
pub(crate) enum Turn {
    /// Nobody used the key before.
    First,
    /// Somebody did, for the `same` or not; it counts if that was `committed`.
    Used { answer: Answer, same: bool, committed: bool },
}

impl Repeats {
    /// Reads what is remembered in the store's directory. Blocking.
    ///
    /// # Errors
    /// Any of the file system's.
    pub(crate) fn open(directory: &Arc<Directory>, now_unix_ms: u64) -> io::Result<Self> {
        let (log, read) = Log::open(directory)?;
        let (entries, order, running) = (HashMap::new(), VecDeque::new(), HashSet::new());
        let mut state = State { entries, order, answers_bytes: 0, running, log };
        for entry in read {
            if now_unix_ms.saturating_sub(entry.unix_ms) < KEY_AGE_MS_MAX {
                state.remember(entry);
            }
        }
        state.compact()?;
        Ok(Self { state: Arc::new(Mutex::new(state)), claims: None })
    }

    /// With keys that the servers of a bucket share.
    pub(super) fn shared(self, claims: Arc<Claims>) -> Self {
        Self { claims: Some(claims), ..self }
    }

    /// Takes the key of a request, if it has one, until the claim is dropped.
    pub(crate) async fn claim(&self, headers: &HeaderMap, now_unix_ms: u64) -> Result<Option<Claim>, BadKey> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let printable = value.as_bytes().iter().all(|b| b.is_ascii_graphic() || *b == b' ');
        if value.is_empty() || value.len() > KEY_BYTES_MAX || !printable || values.next().is_some() {
            return Err(BadKey::Form);
        }
        let key = hex(&Sha256::digest(value.as_bytes()));
        let claim = self.claim_here(key, now_unix_ms)?;
        let Some(claims) = self.claims.clone().filter(|_| claim.known.is_none()) else { return Ok(Some(claim)) };
        // On a task of its own: a client that goes away meanwhile must not leave a key that nobody holds.
        let runtime = claims.runtime().clone();
        let claimed = runtime.spawn(async move { claim.share(&claims, now_unix_ms).await }).await;
        let claimed = claimed.map_err(|panic| BadKey::Unknown(unwritten(io::Error::other(panic))))?;
        claimed.map(Some)
    }

    fn claim_here(&self, key: String, now_unix_ms: u64) -> Result<Claim, BadKey> {
        let mut state = self.locked();
        if !state.running.insert(key.clone()) {
            return Err(BadKey::Running);
        }
        let known = state.entries.get(&key).filter(|entry| now_unix_ms.saturating_sub(entry.unix_ms) < KEY_AGE_MS_MAX);
        let known = known.cloned();
        Ok(Claim { repeats: self.clone(), key, known, hold: None })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Compares what came with what came first.
    pub(crate) fn turn(&self, fingerprint: &str) -> Turn {
        match &self.known {
            None => Turn::First,
            Some(Entry { answer, committed, fingerprint: before, .. }) => {
                Turn::Used { answer: answer.clone(), same: before == fingerprint, committed: *committed }
            }
        }
    }

    /// Writes down what the key will stand for once its form is committed; `false` where another server has the key.
    pub(crate) async fn promise(
        &mut self,
        fingerprint: String,
        answer: Answer,
        now_unix_ms: u64,
    ) -> Result<bool, StoreError> {
        if let (Some(hold), Some(claims)) = (&mut self.hold, &self.repeats.claims) {
            return claims.promise(hold, Promise { fingerprint, answer }).await;
        }
        let entry = Entry { key: self.key.clone(), fingerprint, unix_ms: now_unix_ms, answer, committed: false };
        self.write(entry).await.map_err(unwritten)?;
        Ok(true)
    }

    /// The form is committed.
    pub(crate) async fn keep(&mut self) -> Result<(), StoreError> {
        if let (Some(hold), Some(claims)) = (&mut self.hold, &self.repeats.claims) {
            claims.done(hold).await?;
            self.hold = None;
            return Ok(());
        }
        let entry = self.repeats.locked().entries.get(&self.key).cloned();
        match entry {
            Some(entry) => self.write(Entry { committed: true, ..entry }).await.map_err(unwritten),
            None => Ok(()),
        }
    }

    /// Asks for the key where all servers do.
    async fn share(mut self, claims: &Claims, now_unix_ms: u64) -> Result<Self, BadKey> {
        match claims.claim(&self.key, now_unix_ms).await.map_err(BadKey::Unknown)? {
            Claimed::Running => return Err(BadKey::Running),
            Claimed::Ours(hold) => self.hold = Some(hold),
            Claimed::Known(Promise { fingerprint, answer }) => {
                let (key, unix_ms) = (self.key.clone(), now_unix_ms);
                self.known = Some(Entry { key, fingerprint, unix_ms, answer, committed: true });
            }
        }
        Ok(self)
    }

    async fn write(&self, entry: Entry) -> io::Result<()> {
        let repeats = self.repeats.clone();
        let written = spawn_blocking(move || {
            let mut state = repeats.locked();
            state.log.append(&entry)?;
            state.remember(entry);
            if state.log.is_long() { state.compact() } else { Ok(()) }
        });
        written.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let (repeats, key) = (self.repeats.clone(), std::mem::take(&mut self.key));
        match (self.hold.take(), self.repeats.claims.clone()) {
            (Some(hold), Some(claims)) => {
                let runtime = claims.runtime().clone();
                // Taken here until it is given back there.
                runtime.spawn(async move {
                    claims.release(hold).await;
                    repeats.locked().running.remove(&key);
                });
            }
            _ => drop(repeats.locked().running.remove(&key)),
        }
    }
}

impl State {
    fn remember(&mut self, entry: Entry) {
        self.answers_bytes += entry.answer.body.len();
        match self.entries.insert(entry.key.clone(), entry.clone()) {
            Some(before) => self.answers_bytes -= before.answer.body.len(),
            None => self.order.push_back(entry.key),
        }
        while self.entries.len() > KEYS_MAX || self.answers_bytes > ANSWERS_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.answers_bytes -= entry.answer.body.len();
            }
        }
    }

    fn compact(&mut self) -> io::Result<()> {
        let entries = self.order.iter().filter_map(|key| self.entries.get(key));
        self.log.replace(entries)
    }
}

fn unwritten(source: io::Error) -> StoreError {
    StoreError::new("write down an Idempotency-Key", source)
}

/// What makes two uploads the same: where to, names, types, lengths and digests of the files.
pub(crate) fn fingerprint(target: &str, files: &[Sealed]) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(target.as_bytes());
    for meta in files.iter().map(Sealed::meta) {
        add(meta.field.as_deref().unwrap_or_default().as_bytes());
        add(meta.filename.as_bytes());
        add(meta.content_type.as_deref().unwrap_or_default().as_bytes());
        add(&meta.bytes.to_le_bytes());
        add(meta.sha256.as_ref().map_or(&[][..], |sha256| sha256));
    }
    hex(&hash.finalize())
}
