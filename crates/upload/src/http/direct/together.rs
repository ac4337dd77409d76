//! Small uploads that come at the same time are stored together: a hand-over to a blocking thread and one to the
//! committer cost more than a file of 4 KiB does.
//!
//! Who comes while a group is stored waits for the next. So a group is as large as the load makes it, and a lone upload
//! waits for nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, yield_now};

use super::transfer::Transfer;
use crate::http::answer;
use crate::http::{Refusal, Service};
use crate::store::Sealed;
use crate::store::repeats::Answer;

/// Uploads stored in one go: what comes late waits for no more than these.
const GROUP_UPLOADS_MAX: usize = 64;

/// Groups under way at a time: one is written while another is committed.
const GROUPS_MAX: usize = 2;

/// Where small uploads meet. Cheap to clone. Of each connection, no more than one waits here.
#[derive(Clone, Default)]
pub(crate) struct Together {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    uploads: VecDeque<Small>,
    groups: usize,
}

struct Small {
    transfer: Transfer,
    done: oneshot::Sender<Result<Answer, Refusal>>,
}

/// An upload whose files are written, and what is to be said of it.
struct Written {
    files: Vec<Sealed>,
    bytes: u64,
    answer: Answer,
    done: oneshot::Sender<Result<Answer, Refusal>>,
}

impl Together {
    /// Stores and commits a body of which nothing is left to be received. Where the caller goes away, it may be stored
    /// all the same.
    pub(super) async fn store(&self, service: &Arc<Service>, transfer: Transfer) -> Result<Answer, Refusal> {
        let (done, told) = oneshot::channel();
        if self.push(Small { transfer, done }) {
            let (together, service) = (self.clone(), Arc::clone(service));
            drop(tokio::spawn(async move {
                // Those whose bodies are here already come along.
                yield_now().await;
                while let Some(group) = together.next_group() {
                    store_group(&service, group).await;
                }
            }));
        }
        told.await.unwrap_or(Err(Refusal::Internal))
    }

    /// `true` where nobody will come for it yet.
    fn push(&self, upload: Small) -> bool {
        let mut waiting = self.locked();
        waiting.uploads.push_back(upload);
        let is_first = waiting.groups < GROUPS_MAX;
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

/// Tells each of the group what came of it.
async fn store_group(service: &Arc<Service>, group: Vec<Small>) {
    let written = spawn_blocking(move || group.into_iter().filter_map(Small::write).collect::<Vec<_>>()).await;
    // After a panic all are told by their lost senders.
    let Ok(written) = written.inspect_err(|error| tracing::error!(%error, "a group of uploads is lost")) else {
        return;
    };
    let (mut forms, mut waiting) = (Vec::with_capacity(written.len()), Vec::with_capacity(written.len()));
    for Written { files, bytes, answer, done } in written {
        if service.store.room().quota_has(bytes) {
            forms.push(files);
            waiting.push((bytes, answer, done));
        } else {
            let _ = done.send(Err(Refusal::QuotaFull));
        }
    }
    let results = service.committer.commit_each(forms).await;
    for (result, (bytes, answer, done)) in results.into_iter().zip(waiting) {
        let stored = result.map(|()| {
            service.store.room().stored(bytes);
            answer
        });
        // A client that went away is not told.
        let _ = done.send(stored.map_err(Refusal::from));
    }
}

impl Small {
    /// `None` where nobody waits for it, or where its end is told already. Blocking.
    fn write(self) -> Option<Written> {
        let Self { transfer, done } = self;
        if done.is_closed() {
            return None;
        }
        let sealed = transfer.store().and_then(|(target, files)| {
            let answer = answer::answer(target, &files).ok_or(Refusal::NoFile)?;
            Ok((files, answer))
        });
        match sealed {
            Ok((files, answer)) => {
                let bytes = files.iter().map(|file| file.meta().bytes).sum();
                Some(Written { files, bytes, answer, done })
            }
            Err(refusal) => {
                let _ = done.send(Err(refusal));
                None
            }
        }
    }
}
