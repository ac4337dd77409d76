//! Small uploads that come at the same time are stored together, by a thread that commits them, too: a hand-over costs
//! more than a file of 4 KiB does.
//!
//! Who comes while a group is stored waits for the next. So a group is as large as the load makes it, up to a few: the
//! first of it is answered with the last, and meanwhile nobody asks for more. A lone upload waits for nobody.
//!
//! The threads are few and for nothing else. A burst leaves dozens of tokio's blocking threads, which take turns: each
//! group would be stored by the one that was idle for longest, with cold caches.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread, available_parallelism, park_timeout};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::transfer::Transfer;
use crate::http::answer;
use crate::http::{Refusal, Service};
use crate::store::repeats::Answer;

/// Uploads stored in one go: enough to share a commit, and so few that their clients are busy again while others are stored.
const GROUP_UPLOADS_MAX: usize = 8;

/// One in so many of the cores stores groups; the others are for the async workers and for what else there is to do.
const CORES_A_THREAD: usize = 2;

/// A thread that had nothing to store for so long ends.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);

/// Where small uploads meet. Cheap to clone. Of each connection, no more than one waits here.
#[derive(Clone)]
pub(crate) struct Together {
    meeting: Arc<Mutex<Meeting>>,
    threads_max: usize,
}

#[derive(Default)]
struct Meeting {
    waiting: VecDeque<Small>,
    threads: usize,
    /// Threads that nobody has given work to, the one that was busy last at the end.
    idle: Vec<Thread>,
}

struct Small {
    service: Arc<Service>,
    transfer: Transfer,
    done: Done,
}

/// Who waits for an upload.
type Done = oneshot::Sender<Result<Answer, Refusal>>;

/// What is to be done for those that wait.
enum Call {
    /// A thread that stores comes to them.
    None,
    Wake(Thread),
    Start,
}

impl Together {
    /// Of a server on this machine.
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { meeting: Arc::default(), threads_max: cores.div_ceil(CORES_A_THREAD) }
    }

    /// Stores and commits a body of which nothing is left to be received. Where the caller goes away, it may be stored
    /// all the same.
    pub(super) async fn store(&self, service: &Arc<Service>, transfer: Transfer) -> Result<Answer, Refusal> {
        let (done, told) = oneshot::channel();
        match self.push(Small { service: Arc::clone(service), transfer, done }) {
            Call::None => {}
            Call::Wake(thread) => thread.unpark(),
            Call::Start => self.start(),
        }
        told.await.unwrap_or(Err(Refusal::Internal))
    }

    fn push(&self, upload: Small) -> Call {
        let mut meeting = self.locked();
        meeting.waiting.push_back(upload);
        if let Some(thread) = meeting.idle.pop() {
            return Call::Wake(thread);
        }
        if meeting.threads < self.threads_max {
            meeting.threads += 1;
            return Call::Start;
        }
        Call::None
    }

    fn start(&self) {
        let (together, runtime) = (self.clone(), Handle::current());
        let started = thread::Builder::new().name("store-small".into()).spawn(move || together.run(&runtime));
        if let Err(error) = started {
            tracing::error!(%error, "no thread to store small uploads with");
            let mut meeting = self.locked();
            meeting.threads -= 1;
            if meeting.threads == 0 {
                // Nobody would come for them. Their callers are told by their lost senders.
                meeting.waiting.clear();
            }
        }
    }

    /// Stores group after group, with the runtime at hand as for any blocking thread of it.
    fn run(&self, runtime: &Handle) {
        let _context = runtime.enter();
        while let Some(group) = self.next_group() {
            match catch_unwind(AssertUnwindSafe(|| store_all(group))) {
                // From a worker, to wake those who wait is a matter of its own queue.
                Ok(results) => drop(runtime.spawn(async move { results.into_iter().for_each(tell) })),
                // The panic hook has said why; all of that group are told by their lost senders.
                Err(_) => tracing::error!("a group of uploads is lost"),
            }
        }
    }

    /// `None`, and one thread less, where nothing came for long.
    fn next_group(&self) -> Option<Vec<Small>> {
        loop {
            let mut meeting = self.locked();
            if !meeting.waiting.is_empty() {
                let count = meeting.waiting.len().min(GROUP_UPLOADS_MAX);
                return Some(meeting.waiting.drain(..count).collect());
            }
            meeting.idle.push(thread::current());
            drop(meeting);
            if !self.is_called(Instant::now() + IDLE_TIME_MAX) {
                return None;
            }
        }
    }

    /// Waits to be taken from those that are idle; `false`, and one thread less, where nobody did until then.
    fn is_called(&self, until: Instant) -> bool {
        let own = thread::current().id();
        loop {
            park_timeout(until.saturating_duration_since(Instant::now()));
            let mut meeting = self.locked();
            let Some(place) = meeting.idle.iter().position(|thread| thread.id() == own) else { return true };
            if Instant::now() >= until {
                meeting.idle.remove(place);
                meeting.threads -= 1;
                return false;
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that went away is not told.
fn tell((done, result): (Done, Result<Answer, Refusal>)) {
    let _ = done.send(result);
}

/// Blocking.
fn store_all(group: Vec<Small>) -> Vec<(Done, Result<Answer, Refusal>)> {
    let Some(service) = group.first().map(|small| Arc::clone(&small.service)) else { return Vec::new() };
    let mut results = Vec::with_capacity(group.len());
    let (mut uploads, mut waiting) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
    for Small { transfer, done, .. } in group.into_iter().filter(|small| !small.done.is_closed()) {
        match transfer.store() {
            Ok(whole) => {
                uploads.push(whole);
                waiting.push(done);
            }
            Err(refusal) => results.push((done, Err(refusal))),
        }
    }
    results.extend(waiting.into_iter().zip(answer::commit_here(&service, uploads)));
    results
}
