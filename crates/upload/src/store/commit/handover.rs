//! What callers of the committer see of it: forms in, results out.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::store::bucket::{BucketCommitter, BucketError};
use crate::store::{Sealed, is_no_space};

/// Forms that may wait for the committer; further callers wait their turn without a place in memory.
const WAITING_FORMS_MAX: usize = 1024;

/// Why a form was not committed, or cannot be said to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Too many events wait for Kafka. Nothing was stored; try again later.
    #[error("the outbox is full")]
    OutboxFull,
    #[error("no space left to commit a form")]
    NoSpace { source: Arc<io::Error> },
    #[error("cannot commit a form")]
    Io { source: Arc<io::Error> },
    /// The object store does not answer, or not now; the form may still appear, whole.
    #[error("the object store is away")]
    Away { source: Arc<BucketError> },
    /// The object store keeps other bytes than were sent. Nothing was stored.
    #[error("the object store does not keep a form intact")]
    Damaged { source: Arc<BucketError> },
}

impl CommitError {
    pub(in crate::store) fn new(source: io::Error) -> Self {
        let no_space = is_no_space(&source);
        let source = Arc::new(source);
        if no_space { Self::NoSpace { source } } else { Self::Io { source } }
    }

    pub(in crate::store) fn stopped() -> Self {
        Self::new(io::Error::other("the store is shut down"))
    }
}

/// Hands forms to whoever commits them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    route: Route,
}

#[derive(Debug, Clone)]
enum Route {
    /// To the thread that commits to a directory.
    Thread {
        requests: SyncSender<Request>,
        room: Arc<Semaphore>,
    },
    Bucket(BucketCommitter),
}

impl Committer {
    pub(in crate::store) fn to_bucket(committer: BucketCommitter) -> Self {
        Self { route: Route::Bucket(committer) }
    }

    /// With the thread's end of the queue.
    pub(super) fn to_thread() -> (Self, Receiver<Request>) {
        let (requests, queue) = sync_channel(WAITING_FORMS_MAX + 1);
        let route = Route::Thread { requests, room: Arc::new(Semaphore::new(WAITING_FORMS_MAX)) };
        (Self { route }, queue)
    }

    /// Commits the files of one form, all or none. When this returns `Ok`, they are durable and visible, and their
    /// events are durable. A caller that goes away after the form was accepted changes nothing: it is committed whole.
    ///
    /// # Errors
    /// See [`CommitError`]; after `Io` and `NoSpace` the files may still appear, whole, if the disk failed in the
    /// middle; else they are removed.
    pub async fn commit(&self, files: Vec<Sealed>) -> Result<(), CommitError> {
        if files.is_empty() {
            return Ok(());
        }
        match &self.route {
            Route::Thread { requests, room } => {
                let results = commit_on_thread(requests, room, vec![files]).await?;
                results.into_iter().next().unwrap_or_else(|| Err(CommitError::stopped()))
            }
            Route::Bucket(bucket) => bucket.commit(files).await,
        }
    }

    /// As [`commit`](Self::commit) for each of a few forms, each with a result of its own, by one hand-over for all.
    pub(crate) async fn commit_each(&self, forms: Vec<Vec<Sealed>>) -> Vec<Result<(), CommitError>> {
        let count = forms.len();
        match &self.route {
            Route::Thread { requests, room } if count <= WAITING_FORMS_MAX => {
                let results = commit_on_thread(requests, room, forms).await;
                results.unwrap_or_else(|error| vec![Err(error); count])
            }
            _ => {
                let mut results = Vec::with_capacity(count);
                for files in forms {
                    results.push(self.commit(files).await);
                }
                results
            }
        }
    }

    /// Lets the thread finish what waits, then end. Blocking.
    pub(crate) fn stop(&self) {
        match &self.route {
            Route::Thread { requests, room } => {
                room.close();
                // An error means that it has ended already.
                let _ = requests.send(Request::Stop);
            }
            Route::Bucket(bucket) => bucket.stop(),
        }
    }
}

/// A result for each form, or an error for all.
async fn commit_on_thread(
    requests: &SyncSender<Request>,
    room: &Arc<Semaphore>,
    forms: Vec<Vec<Sealed>>,
) -> Result<Vec<Result<(), CommitError>>, CommitError> {
    let places = u32::try_from(forms.len()).map_err(|_| CommitError::stopped())?;
    let room = Arc::clone(room).acquire_many_owned(places).await.map_err(|_| CommitError::stopped())?;
    let (answer, answered) = oneshot::channel();
    let forms = forms.into_iter().map(|files| Form { files, refused: None }).collect();
    // Does not block: there are as many places as permits.
    let request = Request::Commit(Group { forms, answer, _room: room });
    requests.send(request).map_err(|_| CommitError::stopped())?;
    answered.await.map_err(|_| CommitError::stopped())
}

#[derive(Debug)]
pub(super) enum Request {
    Commit(Group),
    Stop,
}

/// Forms that came together and are answered together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) forms: Vec<Form>,
    answer: oneshot::Sender<Vec<Result<(), CommitError>>>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) struct Form {
    pub(super) files: Vec<Sealed>,
    /// Why it is not in its batch.
    pub(super) refused: Option<CommitError>,
}

impl Group {
    pub(super) fn files_count(&self) -> usize {
        self.forms.iter().map(|form| form.files.len()).sum()
    }
}

/// Callers that went away are not told; files still armed are removed here, behind their form's failure.
pub(super) fn answer(batch: Vec<Group>, result: &Result<(), CommitError>) {
    for group in batch {
        let results = group.forms.into_iter().map(|form| {
            drop(form.files);
            form.refused.map_or_else(|| result.clone(), Err)
        });
        let _ = group.answer.send(results.collect());
    }
}
