//! Small uploads that come at the same time are stored together, by one blocking thread that commits them, too: a
//! hand-over costs more than a file of 4 KiB does.
//!
//! Who comes while a group is stored waits for the next. So a group is as large as the load makes it, up to a few: the first
//! of it is answered with the last, and meanwhile nobody asks for more. A lone upload waits for nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, yield_now};

use super::transfer::Transfer;
use crate::http::answer;
use crate::http::{Refusal, Service};
use crate::store::repeats::Answer;

/// Uploads stored in one go: enough to share a commit, and so few that their clients are busy again while others are stored.
const GROUP_UPLOADS_MAX: usize = 8;

/// One in so many of the cores stores a group; the others are for the async workers and for what else there is to do.
const CORES_A_GROUP: usize = 2;

/// Where small uploads meet. Cheap to clone. Of each connection, no more than one waits here.
#[derive(Clone)]
pub(crate) struct Together {
    waiting: Arc<Mutex<Waiting>>,
    /// Groups under way at a time.
    groups_max: usize,
}

#[derive(Default)]
struct Waiting {
    uploads: VecDeque<Small>,
    groups: usize,
}

struct Small {
    transfer: Transfer,
    done: Done,
}

/// Who waits for an upload.
type Done = oneshot::Sender<Result<Answer, Refusal>>;

impl Together {
    /// Of a server on this machine.
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { waiting: Arc::default(), groups_max: cores.div_ceil(CORES_A_GROUP) }
    }

    /// Stores and commits a body of which nothing is left to be received. Where the caller goes away, it may be stored
    /// all the same.
    pub(super) async fn store(&self, service: &Arc<Service>, transfer: Transfer) -> Result<Answer, Refusal> {
        let (done, told) = oneshot::channel();
        if self.push(Small { transfer, done }) {
            let (together, service) = (self.clone(), Arc::clone(service));
            drop(tokio::spawn(async move {
                // Those whose bodies are here already come along.
                yield_now().await;
                together.store_waiting(service).await;
            }));
        }
        told.await.unwrap_or(Err(Refusal::Internal))
    }

    /// Stores group after group on one thread, until nothing waits.
    async fn store_waiting(self, service: Arc<Service>) {
        loop {
            let (together, service) = (self.clone(), Arc::clone(&service));
            let stored = spawn_blocking(move || {
                let runtime = Handle::current();
                while let Some(group) = together.next_group() {
                    let results = store_all(&service, group);
                    // From a worker, to wake those who wait is a matter of its own queue.
                    drop(runtime.spawn(async move { results.into_iter().for_each(tell) }));
                }
            });
            match stored.await {
                // All of that group are told by their lost senders.
                Err(error) if error.is_panic() => tracing::error!(%error, "a group of uploads is lost"),
                _ => return,
            }
        }
    }

    /// `true` where nobody will come for it yet.
    fn push(&self, upload: Small) -> bool {
        let mut waiting = self.locked();
        waiting.uploads.push_back(upload);
        let is_first = waiting.groups < self.groups_max;
        waiting.groups += usize::from(is_first);
        is_first
    }

    /// `None`, and one group less, where nothing waits.
    fn next_group(&self) -> Option<Vec<Small>> {
        let mut waiting = self.locked();
        if waiting.uploads.is_empty() {
            waiting.groups -= 1;
            return None;
        }
        let count = waiting.uploads.len().min(GROUP_UPLOADS_MAX);
        Some(waiting.uploads.drain(..count).collect())
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that went away is not told.
fn tell((done, result): (Done, Result<Answer, Refusal>)) {
    let _ = done.send(result);
}

/// Blocking.
fn store_all(service: &Service, group: Vec<Small>) -> Vec<(Done, Result<Answer, Refusal>)> {
    let mut results = Vec::with_capacity(group.len());
    let (mut uploads, mut waiting) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
    for Small { transfer, done } in group.into_iter().filter(|small| !small.done.is_closed()) {
        match transfer.store() {
            Ok(whole) => {
                uploads.push(whole);
                waiting.push(done);
            }
            Err(refusal) => results.push((done, Err(refusal))),
        }
    }
    results.extend(waiting.into_iter().zip(answer::commit_here(service, uploads)));
    results
}
