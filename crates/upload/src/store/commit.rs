//! Commits forms, all or none, many at a time: one thread, one journal write and two syncs for whatever waits.
//!
//! 1. names of the sealed files: fsync `spool/`, and before it `files/` where the names of a batch before are not synced
//!    there: a power cut must not keep that a name left the one and lose that it came to the other;
//! 2. one record a form in the journal, fdatasync: **the commit point**;
//! 3. renames into `files/`, and without Kafka the lines of `events.jsonl`;
//! 4. the answers;
//! 5. in the next lull, or when enough has come together, fsync of `files/` and of `events.jsonl`.
//!
//! Only behind the last step are the journal's records done with: what a power cut takes back of the third, they say again.
//!
//! An error before the commit point undoes the form: its files are removed. An error behind it cannot be undone
//! honestly: the form is answered as failed (the client may send it again, and then has it twice), nothing further is
//! committed, and the rest of its steps are tried again, each second, before each batch, and at the next start.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{error, info, warn};

use super::bucket::{BucketCommitter, BucketError};
use super::{Directory, Sealed, is_no_space};
use crate::event::Event;
use crate::outbox::{Cursor, EventLog, Journal, Progress, Record, StoredFile};

/// Forms that may wait for the committer; further callers wait their turn without a place in memory.
const WAITING_FORMS_MAX: usize = 1024;
/// Files in one batch; one form may be longer by itself.
const BATCH_FILES: usize = 256;
/// Renames and lines are synced after so long without a new form, or when so many events, or this time, have come together.
const SETTLE_LULL: Duration = Duration::from_millis(20);
const SETTLE_EVENTS_MAX: u64 = 2048;
const SETTLE_TIME_MAX: Duration = Duration::from_millis(500);
/// How often a form that could not be finished is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

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
    pub(super) fn new(source: io::Error) -> Self {
        let no_space = is_no_space(&source);
        let source = Arc::new(source);
        if no_space { Self::NoSpace { source } } else { Self::Io { source } }
    }

    pub(super) fn stopped() -> Self {
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
    pub(super) fn to_bucket(committer: BucketCommitter) -> Self {
        Self { route: Route::Bucket(committer) }
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
        let (requests, room) = match &self.route {
            Route::Thread { requests, room } => (requests, room),
            Route::Bucket(bucket) => return bucket.commit(files).await,
        };
        let room = Arc::clone(room).acquire_owned().await.map_err(|_| CommitError::stopped())?;
        let (answer, answered) = oneshot::channel();
        // Does not block: there are as many places as permits.
        let request = Request::Commit(Form { files, answer, _room: room });
        requests.send(request).map_err(|_| CommitError::stopped())?;
        answered.await.unwrap_or_else(|_| Err(CommitError::stopped()))
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

#[derive(Debug)]
enum Request {
    Commit(Form),
    Stop,
}

#[derive(Debug)]
struct Form {
    files: Vec<Sealed>,
    answer: oneshot::Sender<Result<(), CommitError>>,
    _room: OwnedSemaphorePermit,
}

/// Where events go once their files are visible.
pub(super) enum Sink {
    /// Written at once, so the cursor follows the journal.
    EventLog(EventLog, Cursor),
    /// The publisher reads them from the journal.
    Publisher,
}

/// The committer thread's state.
pub(super) struct Commits {
    directory: Arc<Directory>,
    journal: Journal,
    sink: Sink,
    progress: Arc<Progress>,
    /// Committed files whose further steps are not done: one batch at most.
    unfinished: Vec<StoredFile>,
    /// Behind the last event whose rename and line are durable by themselves.
    settled_to: u64,
    /// When the first that is not was made visible.
    unsettled_since: Option<Instant>,
    /// An append could not be taken back: what the journal holds is unknown until the next start.
    uncertain: bool,
}

/// Starts the committer thread.
pub(super) fn start(commits: Commits) -> io::Result<(Committer, JoinHandle<()>)> {
    let (requests, queue) = sync_channel(WAITING_FORMS_MAX + 1);
    let thread = std::thread::Builder::new().name("store-commit".into()).spawn(move || commits.run(&queue))?;
    let route = Route::Thread { requests, room: Arc::new(Semaphore::new(WAITING_FORMS_MAX)) };
    Ok((Committer { route }, thread))
}

impl Commits {
    pub(super) fn new(directory: &Arc<Directory>, journal: Journal, sink: Sink, progress: &Arc<Progress>) -> Self {
        let (directory, progress) = (Arc::clone(directory), Arc::clone(progress));
        let (unfinished, settled_to) = (Vec::new(), journal.next_seq());
        Self { directory, journal, sink, progress, unfinished, settled_to, unsettled_since: None, uncertain: false }
    }

    fn run(mut self, queue: &Receiver<Request>) {
        let _duty = self.progress.on_duty();
        let mut stopping = false;
        while !stopping {
            let first = match self.unsettled_since {
                _ if !self.unfinished.is_empty() || self.progress.is_stuck() => queue.recv_timeout(RETRY_INTERVAL),
                Some(_) => queue.recv_timeout(SETTLE_LULL),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(Request::Commit(form)) => stopping = self.commit_with_those_waiting(form, queue),
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => stopping = true,
                // A failure was logged when it began.
                Err(RecvTimeoutError::Timeout) => drop(self.finish().and_then(|()| self.settle())),
            }
        }
        while let Ok(Request::Commit(form)) = queue.try_recv() {
            self.commit_with_those_waiting(form, queue);
        }
        if let Err(error) = self.settle() {
            warn!(%error, "renames and events are not synced; the next start does it");
        }
    }

    /// Commits a batch; `true` where the wish to stop was among what waited.
    fn commit_with_those_waiting(&mut self, first: Form, queue: &Receiver<Request>) -> bool {
        let mut stopping = false;
        let mut files = first.files.len();
        let mut batch = vec![first];
        while files < BATCH_FILES {
            match queue.try_recv() {
                Ok(Request::Commit(form)) => {
                    files += form.files.len();
                    batch.push(form);
                }
                Ok(Request::Stop) => stopping = true,
                Err(_) => break,
            }
        }
        self.commit(batch);
        stopping
    }

    fn commit(&mut self, batch: Vec<Form>) {
        if let Err(error) = self.ready_for_more() {
            return answer(batch, &Err(CommitError::new(error)));
        }
        let (mut records, mut end) = (Vec::new(), self.journal.next_seq());
        let mut accepted = Vec::with_capacity(batch.len());
        for form in batch {
            match self.add_record(&form, &mut end, &mut records) {
                Ok(()) => accepted.push(form),
                Err(error) => answer(vec![form], &Err(error)),
            }
        }
        if accepted.is_empty() {
            return;
        }
        let result = self.append_and_finish(&mut accepted, &records, end);
        answer(accepted, &result.map_err(CommitError::new));
    }

    fn ready_for_more(&mut self) -> io::Result<()> {
        if self.uncertain {
            return Err(io::Error::other("the journal could not be repaired; a restart will"));
        }
        self.finish()?;
        self.sink.prepare()?;
        let overdue = self.unsettled_since.is_some_and(|since| since.elapsed() >= SETTLE_TIME_MAX);
        if overdue || self.journal.next_seq() - self.settled_to >= SETTLE_EVENTS_MAX || self.progress.is_stuck() {
            self.settle()?;
        }
        // Else a power cut could keep that a name left `spool/` and lose that it came to `files/`.
        if self.unsettled_since.is_some() {
            self.directory.sync_files()?;
        }
        self.directory.sync_spool()
    }

    fn add_record(&self, form: &Form, end: &mut u64, records: &mut Vec<u8>) -> Result<(), CommitError> {
        let files = form.files.iter().map(|sealed| StoredFile { id: *sealed.id(), meta: sealed.meta().clone() });
        let record = Record { seq: *end, files: files.collect(), origin: None };
        let before_bytes = records.len();
        record.encode(records).map_err(CommitError::new)?;
        if !self.journal.has_room(records.len()) {
            records.truncate(before_bytes);
            self.progress.full();
            return Err(CommitError::OutboxFull);
        }
        *end = record.end();
        Ok(())
    }

    fn append_and_finish(&mut self, forms: &mut [Form], records: &[u8], end: u64) -> io::Result<()> {
        let appended = self.journal.append(records, end);
        let uncertain = appended.as_ref().is_err_and(|error| error.uncertain);
        if appended.is_ok() || uncertain {
            forms.iter_mut().flat_map(|form| &mut form.files).for_each(Sealed::disarm);
        }
        if let Err(failed) = appended {
            if uncertain {
                error!(error = %failed.source, "the journal cannot be repaired: nothing is accepted until a restart");
                self.uncertain = true;
                self.progress.stuck(true);
            }
            return Err(failed.source);
        }
        self.progress.journaled(end);
        let files = forms.iter().flat_map(|form| &form.files);
        self.unfinished = files.map(|sealed| StoredFile { id: *sealed.id(), meta: sealed.meta().clone() }).collect();
        self.finish().inspect_err(|error| error!(%error, "a committed form cannot be finished yet"))
    }

    /// What follows the commit point and comes before the answers; may be done again from its start.
    fn finish(&mut self) -> io::Result<()> {
        if self.unfinished.is_empty() {
            return Ok(());
        }
        let finished = self.make_visible().and_then(|all| self.sink.take(&self.unfinished).map(|()| all));
        let all_visible = finished.inspect_err(|_| self.progress.stuck(true))?;
        self.unfinished.clear();
        self.unsettled_since.get_or_insert_with(Instant::now);
        if matches!(self.sink, Sink::EventLog(..)) {
            // Delivered; what a power cut takes back of it is in the journal until it is settled.
            let end = self.journal.next_seq();
            self.progress.consumed(end, None);
            self.progress.ready(end);
        }
        if !self.directory.syncs() {
            // Nothing to wait for.
            self.settle()?;
        }
        if all_visible { Ok(()) } else { Err(io::Error::new(io::ErrorKind::NotFound, "a spool file was taken away")) }
    }

    /// Makes renames and lines durable by themselves, and lets go of the journal's records of them.
    fn settle(&mut self) -> io::Result<()> {
        if self.unsettled_since.is_none() || !self.unfinished.is_empty() {
            return Ok(());
        }
        let end = self.journal.next_seq();
        let settled = self.directory.sync_files().and_then(|()| self.sink.settle(end));
        settled.inspect_err(|_| self.progress.stuck(true))?;
        (self.settled_to, self.unsettled_since) = (end, None);
        self.progress.ready(end);
        if self.progress.is_stuck() && !self.uncertain {
            info!("committed forms are finished");
            self.progress.stuck(false);
        }
        Ok(())
    }

    /// `false` where a file is gone that nobody but us should have touched: trying again would not bring it back.
    fn make_visible(&self) -> io::Result<bool> {
        let mut all = true;
        for file in &self.unfinished {
            all &= self.directory.publish(&file.id)?;
        }
        Ok(all)
    }
}

impl Sink {
    /// What can fail for want of a descriptor or a name is done before the commit point, where a failure undoes the form.
    fn prepare(&mut self) -> io::Result<()> {
        let Self::EventLog(log, _) = self else { return Ok(()) };
        log.prepare()
    }

    fn take(&mut self, files: &[StoredFile]) -> io::Result<()> {
        let Self::EventLog(log, _) = self else { return Ok(()) };
        let mut lines = Vec::new();
        for file in files {
            Event::new(&file.id, &file.meta).write_line(&mut lines)?;
        }
        log.write(&lines)
    }

    fn settle(&mut self, end: u64) -> io::Result<()> {
        if let Self::EventLog(log, cursor) = self {
            log.sync()?;
            cursor.advance(end);
        }
        Ok(())
    }
}

/// Callers that went away are not told; files still armed are removed here, behind their form's failure.
fn answer(forms: Vec<Form>, result: &Result<(), CommitError>) {
    for form in forms {
        drop(form.files);
        let _ = form.answer.send(result.clone());
    }
}
