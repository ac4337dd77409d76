//! What callers of the committer see of it: forms in, results out.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Commits;
use crate::store::bucket::{BucketCommitter, BucketError};
use crate::store::{Sealed, is_no_space};

/// Forms that may wait for the committer; further callers wait their turn without a place in memory.
const WAITING_FORMS_MAX: usize = 1024;
/// A wish to stop and a wish to look.
const OTHER_REQUESTS_MAX: usize = 2;

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
    /// To the thread that commits to a directory, or in its place.
    Thread {
        requests: SyncSender<Request>,
        room: Arc<Semaphore>,
        /// Gone with the thread.
        commits: Weak<Mutex<Commits>>,
    },
    Bucket(BucketCommitter),
}

impl Committer {
    pub(in crate::store) fn to_bucket(committer: BucketCommitter) -> Self {
        Self { route: Route::Bucket(committer) }
    }

    /// With the thread's end of the queue.
    pub(super) fn to_thread(commits: &Arc<Mutex<Commits>>) -> (Self, Receiver<Request>) {
        let (requests, queue) = sync_channel(WAITING_FORMS_MAX + OTHER_REQUESTS_MAX);
        let room = Arc::new(Semaphore::new(WAITING_FORMS_MAX));
        (Self { route: Route::Thread { requests, room, commits: Arc::downgrade(commits) } }, queue)
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
            Route::Thread { requests, room, .. } => commit_on_thread(requests, room, files).await,
            Route::Bucket(bucket) => bucket.commit(files).await,
        }
    }

    /// As [`commit`](Self::commit) for each of a few forms, each with a result of its own, by the calling thread: a hand-over
    /// costs more than a commit that waits for no sync. Blocking; not for a bucket.
    pub(crate) fn commit_here(&self, forms: Vec<Vec<Sealed>>) -> Vec<Result<(), CommitError>> {
        let count = forms.len();
        let refused = || vec![Err(CommitError::stopped()); count];
        let Route::Thread { requests, commits, .. } = &self.route else { return refused() };
        let Some(commits) = commits.upgrade() else { return refused() };
        let mut forms: Vec<_> = forms.into_iter().map(Form::new).collect();
        let (result, needs_the_thread) = match commits.lock() {
            Ok(mut commits) => {
                let result = commits.commit(&mut forms.iter_mut().collect::<Vec<_>>());
                (result, commits.has_work_left())
            }
            // Somebody panicked half-way: nobody knows how far.
            Err(_poisoned) => (Err(CommitError::stopped()), true),
        };
        if needs_the_thread {
            // No room means that it has enough to wake up for.
            let _ = requests.try_send(Request::Look);
        }
        results(forms, &result)
    }

    /// Lets the thread finish what waits, then end. Blocking.
    pub(crate) fn stop(&self) {
        match &self.route {
            Route::Thread { requests, room, .. } => {
                room.close();
                // An error means that it has ended already.
                let _ = requests.send(Request::Stop);
            }
            Route::Bucket(bucket) => bucket.stop(),
        }
    }
}

async fn commit_on_thread(
    requests: &SyncSender<Request>,
    room: &Arc<Semaphore>,
    files: Vec<Sealed>,
) -> Result<(), CommitError> {
    let room = Arc::clone(room).acquire_owned().await.map_err(|_| CommitError::stopped())?;
    let (answer, answered) = oneshot::channel();
    // Does not block: there are as many places as permits.
    let request = Request::Commit(Waiting { form: Form::new(files), answer, _room: room });
    requests.send(request).map_err(|_| CommitError::stopped())?;
    answered.await.map_err(|_| CommitError::stopped())?
}

#[derive(Debug)]
pub(super) enum Request {
    Commit(Waiting),
    /// Something is left to be done again.
    Look,
    Stop,
}

/// A form whose caller waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) form: Form,
    answer: oneshot::Sender<Result<(), CommitError>>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) struct Form {
    pub(super) files: Vec<Sealed>,
    /// Why it is not in its batch.
    pub(super) refused: Option<CommitError>,
}

impl Form {
    fn new(files: Vec<Sealed>) -> Self {
        Self { files, refused: None }
    }

    /// Files that are still armed are removed here, behind their form's failure.
    fn result(self, of_batch: &Result<(), CommitError>) -> Result<(), CommitError> {
        drop(self.files);
        self.refused.map_or_else(|| of_batch.clone(), Err)
    }
}

fn results(forms: Vec<Form>, of_batch: &Result<(), CommitError>) -> Vec<Result<(), CommitError>> {
    forms.into_iter().map(|form| form.result(of_batch)).collect()
}

/// Callers that went away are not told.
pub(super) fn answer(batch: Vec<Waiting>, result: &Result<(), CommitError>) {
    for Waiting { form, answer, _room } in batch {
        let _ = answer.send(form.result(result));
    }
}
