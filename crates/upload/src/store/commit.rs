//! Commits forms, all or none, many at a time: one thread, one journal write and two syncs for whatever waits. Where
//! nothing is synced, whoever has forms to commit may do it in the thread's place.
//!
//! 1. names of the sealed files, unless a sync for an earlier batch took them along: fsync `spool/`, and before it `files/`
//!    where the names of a batch before are not synced there: a power cut must not keep that a name left the one and lose
//!    that it came to the other;
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

mod handover;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

pub use handover::{CommitError, Committer};
use handover::{Form, Request, Waiting, answer};

use super::{Directory, Sealed};
use crate::event::Event;
use crate::outbox::{Cursor, EventLog, Journal, Progress, Record, StoredFile};

/// Files in one batch; one form may be longer by itself.
const BATCH_FILES: usize = 256;
/// Memory of a batch's records that is kept; more, for a form of many long names, is given back.
const RECORDS_KEPT_BYTES_MAX: usize = 256 << 10;
/// What a file takes in `events.jsonl`, but for long names.
const LINE_BYTES: usize = 512;
/// Renames and lines are synced after so long without a new form, or when so many events, or this time, have come together.
const SETTLE_LULL: Duration = Duration::from_millis(20);
const SETTLE_EVENTS_MAX: u64 = 2048;
const SETTLE_TIME_MAX: Duration = Duration::from_millis(500);
/// How often a form that could not be finished is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A committed file whose further steps are not done.
#[derive(Debug)]
struct Unfinished {
    file: StoredFile,
    has_sidecar: bool,
}

/// Where events go once their files are visible.
#[derive(Debug)]
pub(super) enum Sink {
    /// Written at once, so the cursor follows the journal.
    EventLog(EventLog, Cursor),
    /// The publisher reads them from the journal.
    Publisher,
}

/// What there is to commit with: the committer thread's, and for a moment that of those who take its place.
#[derive(Debug)]
pub(super) struct Commits {
    directory: Arc<Directory>,
    journal: Journal,
    sink: Sink,
    progress: Arc<Progress>,
    /// One batch at most.
    unfinished: Vec<Unfinished>,
    /// The records of a batch, in memory that is kept for the next.
    records: Vec<u8>,
    /// Behind the last event whose rename and line are durable by themselves.
    settled_to: u64,
    /// When the first that is not was made visible.
    unsettled_since: Option<Instant>,
    /// An append could not be taken back: what the journal holds is unknown until the next start.
    uncertain: bool,
    /// The thread has ended: nothing more is committed.
    stopped: bool,
}

/// Starts the committer thread.
pub(super) fn start(commits: Commits) -> io::Result<(Committer, JoinHandle<()>)> {
    let commits = Arc::new(Mutex::new(commits));
    let (committer, queue) = Committer::to_thread(&commits);
    let thread = std::thread::Builder::new().name("store-commit".into()).spawn(move || run(&commits, &queue))?;
    Ok((committer, thread))
}

fn run(commits: &Mutex<Commits>, queue: &Receiver<Request>) {
    // A panic of somebody else's ends this thread, too, and is noticed by that.
    let Ok(progress) = commits.lock().map(|commits| Arc::clone(&commits.progress)) else { return };
    let _duty = progress.on_duty();
    let mut stopping = false;
    while !stopping {
        let Ok(wait_max) = commits.lock().map(|commits| commits.wait_max()) else { return };
        let first = match wait_max {
            Some(wait_max) => queue.recv_timeout(wait_max),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let Ok(mut commits) = commits.lock() else { return };
        match first {
            Ok(Request::Commit(form)) => stopping = commits.commit_with_those_waiting(form, queue),
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => stopping = true,
            // Its turn is after a while.
            Ok(Request::Look) => {}
            // A failure was logged when it began.
            Err(RecvTimeoutError::Timeout) => drop(commits.finish().and_then(|()| commits.settle())),
        }
    }
    let Ok(mut commits) = commits.lock() else { return };
    while let Ok(request) = queue.try_recv() {
        if let Request::Commit(form) = request {
            commits.commit_with_those_waiting(form, queue);
        }
    }
    if let Err(error) = commits.settle() {
        warn!(%error, "renames and events are not synced; the next start does it");
    }
    commits.stopped = true;
}

impl Commits {
    pub(super) fn new(directory: &Arc<Directory>, journal: Journal, sink: Sink, progress: &Arc<Progress>) -> Self {
        let (directory, progress) = (Arc::clone(directory), Arc::clone(progress));
        let (unfinished, records, settled_to) = (Vec::new(), Vec::new(), journal.next_seq());
        let (unsettled_since, uncertain, stopped) = (None, false, false);
        Self {
            directory,
            journal,
            sink,
            progress,
            unfinished,
            records,
            settled_to,
            unsettled_since,
            uncertain,
            stopped,
        }
    }

    /// How long the thread may wait for a form before something else is to be done.
    fn wait_max(&self) -> Option<Duration> {
        match self.unsettled_since {
            _ if self.has_work_left() => Some(RETRY_INTERVAL),
            Some(_) => Some(SETTLE_LULL),
            None => None,
        }
    }

    /// Whether something failed that is to be tried again.
    fn has_work_left(&self) -> bool {
        !self.unfinished.is_empty() || self.progress.is_stuck()
    }

    /// Commits a batch; `true` where the wish to stop was among what waited.
    fn commit_with_those_waiting(&mut self, first: Waiting, queue: &Receiver<Request>) -> bool {
        let mut stopping = false;
        let mut files = first.form.files.len();
        let mut batch = vec![first];
        while files < BATCH_FILES {
            match queue.try_recv() {
                Ok(Request::Commit(waiting)) => {
                    files += waiting.form.files.len();
                    batch.push(waiting);
                }
                Ok(Request::Stop) => stopping = true,
                Ok(Request::Look) => {}
                Err(_) => break,
            }
        }
        let result = self.commit(&mut batch.iter_mut().map(|waiting| &mut waiting.form).collect::<Vec<_>>());
        answer(batch, &result);
        stopping
    }

    /// What is said to all forms but those that were refused by themselves.
    fn commit(&mut self, forms: &mut [&mut Form]) -> Result<(), CommitError> {
        if self.stopped {
            return Err(CommitError::stopped());
        }
        self.ready_for_more().and_then(|()| self.sync_names(forms)).map_err(CommitError::new)?;
        let (mut records, mut end) = (std::mem::take(&mut self.records), self.journal.next_seq());
        records.clear();
        let mut files = Vec::new();
        for form in &mut *forms {
            form.refused = self.add_record(form, &mut end, &mut records, &mut files).err();
        }
        let result = if files.is_empty() { Ok(()) } else { self.append_and_finish(forms, &records, end, files) };
        if records.capacity() <= RECORDS_KEPT_BYTES_MAX {
            self.records = records;
        }
        result.map_err(CommitError::new)
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
        Ok(())
    }

    /// The names of sealed files, before the journal speaks of them.
    fn sync_names(&self, forms: &[&mut Form]) -> io::Result<()> {
        let last = forms.iter().flat_map(|form| &form.files).map(Sealed::nth_name).max();
        if last.is_none_or(|name| self.directory.has_synced(name)) {
            return Ok(());
        }
        // Else a power cut could keep that a name left `spool/` and lose that it came to `files/`.
        if self.unsettled_since.is_some() {
            self.directory.sync_files()?;
        }
        self.directory.sync_spool()
    }

    fn add_record(
        &self,
        form: &Form,
        end: &mut u64,
        records: &mut Vec<u8>,
        unfinished: &mut Vec<Unfinished>,
    ) -> Result<(), CommitError> {
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
        let files = record.files.into_iter().zip(&form.files);
        unfinished.extend(files.map(|(file, sealed)| Unfinished { file, has_sidecar: sealed.has_sidecar() }));
        Ok(())
    }

    fn append_and_finish(
        &mut self,
        forms: &mut [&mut Form],
        records: &[u8],
        end: u64,
        files: Vec<Unfinished>,
    ) -> io::Result<()> {
        let appended = self.journal.append(records, end);
        let uncertain = appended.as_ref().is_err_and(|error| error.uncertain);
        if appended.is_ok() || uncertain {
            let committed = forms.iter_mut().filter(|form| form.refused.is_none());
            committed.flat_map(|form| &mut form.files).for_each(Sealed::disarm);
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
        self.unfinished = files;
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
            all &= self.directory.publish(&file.file.id, file.has_sidecar)?;
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

    fn take(&mut self, files: &[Unfinished]) -> io::Result<()> {
        let Self::EventLog(log, _) = self else { return Ok(()) };
        let mut lines = Vec::with_capacity(files.len() * LINE_BYTES);
        for Unfinished { file, .. } in files {
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
