//! The thread that takes profiles, one at a time, and what the admin routes ask of it.
//!
//! Dumping, parsing and reading debug information block and use memory in bursts. So they happen on one named
//! thread, outside every async runtime, in an arena of its own that is purged after each burst of jobs, and with its own
//! allocations kept out of the profiles.
//!
//! Measured (`make bench-agent`): after 20 symbolizations from scratch RSS is 2 MiB up, most of it code that was paged in;
//! without the arena 35 MiB stayed until decay took them. 10,000 stacks of 53 frames take 12 ms: 6 the walk, 5 the
//! encoding, 1 the rest.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::growth::{self, GrowthWatch};
pub(crate) use super::kind::Kind;
use super::live::View;
use super::model::Profile;
pub(crate) use super::query::{Query, Rendered};
use super::query::{capture, compact, render};
use super::refusal::NotTaken;
pub(crate) use super::refusal::ProfileError;
use super::{parse_maps, strip};
use crate::jemalloc::prof::{self, OwnArena};
use crate::symbols::Symbols;
use crate::symbols::resolve::{self, Resolver};

/// Differences (`seconds=N`) that wait for their second half at a time; each holds a profile meanwhile.
const WAITING_DELTAS_MAX: usize = 4;
/// How long either end of a difference, or a look-up of names, waits for a profile that is being taken.
const FLIGHT_WAIT: Duration = Duration::from_secs(10);
/// What a burst of work leaves behind goes back to the kernel when no other follows for so long: scrapers ask for `heap` and
/// `allocs` in one breath, and pages that were given back have to be made anew.
const PURGE_DELAY: Duration = Duration::from_millis(50);
/// Addresses looked up in one request.
const ADDRESSES_MAX: usize = 1 << 16;

/// A handle to the thread; dropping it ends the thread after the job at hand.
#[derive(Debug)]
pub(crate) struct Profiler {
    jobs: Option<SyncSender<Job>>,
    /// One permit: a job's, from before it is sent until it is answered, also if nobody waits for it any more.
    flight: Arc<Semaphore>,
    /// Held by who wants a profile at once.
    taking: Semaphore,
    waiting_deltas: Semaphore,
    metrics: Metrics,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
struct Metrics {
    durations: Histogram,
    failures: IntCounter,
}

enum Job {
    Take(Query, Reply<Rendered>),
    Capture {
        query: Query,
        reply: Reply<Profile>,
    },
    TakeSince(Box<Profile>, Query, Reply<Rendered>),
    Symbolize(Vec<u64>, Reply<Vec<(u64, String)>>),
    /// What another view of the heap wants done on the thread.
    Work(Box<dyn FnOnce(&mut Workshop) + Send>),
}

/// What the thread keeps between jobs.
pub(crate) struct Workshop {
    pub(crate) resolver: Resolver,
    pub(super) growth: GrowthWatch,
    metrics: Metrics,
}

#[derive(Debug)]
struct Reply<T> {
    to: oneshot::Sender<Result<T, ProfileError>>,
    flight: OwnedSemaphorePermit,
}

impl Profiler {
    /// Starts the thread, also where there is nothing to profile: it still names addresses.
    ///
    /// # Errors
    ///
    /// No thread, or the metrics are malformed.
    pub(crate) fn start() -> io::Result<Profiler> {
        let metrics = Metrics::new().map_err(io::Error::other)?;
        let (jobs, queue) = sync_channel(1);
        let on_thread = metrics.clone();
        let thread =
            std::thread::Builder::new().name("heapline-profile".into()).spawn(move || run(&queue, &on_thread))?;
        Ok(Profiler {
            jobs: Some(jobs),
            flight: Arc::new(Semaphore::new(1)),
            taking: Semaphore::new(1),
            waiting_deltas: Semaphore::new(WAITING_DELTAS_MAX),
            metrics,
            thread: Some(thread),
        })
    }

    /// Takes a profile. Within a tokio runtime with a timer.
    ///
    /// # Errors
    ///
    /// `Busy` while another one is being taken, or too many differences wait.
    pub(crate) async fn profile(&self, query: Query) -> Result<Rendered, ProfileError> {
        if !prof::is_compiled_in() {
            return Err(ProfileError::Disabled);
        }
        let Some(seconds) = query.seconds else {
            // One at a time; what the agent itself is at on the thread is waited for.
            let _taking = self.taking.try_acquire().map_err(|_| ProfileError::Busy)?;
            let permit = self.permit_soon().await?;
            return self.ask(permit, |reply| Job::Take(query, reply)).await;
        };
        let _waiting = self.waiting_deltas.try_acquire().map_err(|_| ProfileError::Busy)?;
        let permit = self.permit_soon().await?;
        let before = self.ask(permit, |reply| Job::Capture { query: query.clone(), reply }).await?;
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        let permit = self.permit_soon().await?;
        self.ask(permit, |reply| Job::TakeSince(Box::new(before), query, reply)).await
    }

    /// Takes a profile, or a difference over some seconds, and has it rendered on the thread.
    ///
    /// # Errors
    ///
    /// As [`Profiler::profile`].
    pub(crate) async fn view<T: Send + 'static>(
        &self,
        seconds: Option<u16>,
        render: impl FnOnce(&Profile, &Symbols) -> T + Send + 'static,
    ) -> Result<T, ProfileError> {
        if !prof::is_compiled_in() {
            return Err(ProfileError::Disabled);
        }
        let mut before = None;
        let mut _waiting = None;
        if let Some(seconds) = seconds {
            _waiting = Some(self.waiting_deltas.try_acquire().map_err(|_| ProfileError::Busy)?);
            before = Some(self.work(|shop| shop.capture()).await?);
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        }
        self.work(move |shop| {
            let mut profile = shop.capture()?;
            if let Some(before) = &before {
                profile = profile.delta(before);
            }
            let symbols = shop.resolver.resolve(profile.addresses(), &profile.mappings);
            strip::start_at_program(&mut profile, symbols);
            Ok(render(&profile, symbols))
        })
        .await
    }

    /// The functions at addresses as they stand in a profile's locations, in the order given. Those without a name
    /// are left out.
    ///
    /// # Errors
    ///
    /// `Busy` if a profile takes too long, or more than 65,536 addresses are given.
    pub(crate) async fn symbolize(&self, addresses: Vec<u64>) -> Result<Vec<(u64, String)>, ProfileError> {
        if addresses.len() > ADDRESSES_MAX {
            return Err(ProfileError::Failed(format!("more than {ADDRESSES_MAX} addresses")));
        }
        let permit = self.permit_soon().await?;
        self.ask(permit, |reply| Job::Symbolize(addresses, reply)).await
    }

    /// Does a piece of work on the thread, as soon as it is free. It must not wait for anything.
    ///
    /// # Errors
    ///
    /// `Busy` while another job takes too long, and what the work returns.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Workshop) -> Result<T, ProfileError> + Send + 'static,
    ) -> Result<T, ProfileError> {
        let permit = self.permit_soon().await?;
        self.ask(permit, |reply| Job::Work(Box::new(move |shop| reply.send(work(shop))))).await
    }

    /// `heap_profile_duration_seconds` and `heap_profile_failures_total`.
    pub(crate) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.metrics.durations.clone()), Box::new(self.metrics.failures.clone())]
    }

    async fn permit_soon(&self) -> Result<OwnedSemaphorePermit, ProfileError> {
        let permit = timeout(FLIGHT_WAIT, Arc::clone(&self.flight).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or(ProfileError::Busy)
    }

    async fn ask<T>(&self, permit: OwnedSemaphorePermit, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, ProfileError> {
        let ended = || ProfileError::Failed("the profiler gave no answer".to_owned());
        let (to, answer) = oneshot::channel();
        let job = job(Reply { to, flight: permit });
        // Only the holder of the permit sends, and the job before was taken: the queue of one has room.
        self.jobs.as_ref().ok_or_else(ended)?.try_send(job).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic was contained and logged where it happened.
            let _ = thread.join();
        }
    }
}

impl<T> Reply<T> {
    /// Answers, unless nobody waits any more. Whoever gets the answer may ask again at once.
    fn send(self, outcome: Result<T, ProfileError>) {
        drop(self.flight);
        let _ = self.to.send(outcome);
    }
}

impl Metrics {
    fn new() -> Result<Metrics, prometheus::Error> {
        let durations = HistogramOpts::new(
            "heap_profile_duration_seconds",
            "Time spent on a heap profile, or on one end of a difference, without the wait in between.",
        )
        .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        Ok(Metrics {
            durations: Histogram::with_opts(durations)?,
            failures: IntCounter::new("heap_profile_failures_total", "Heap profiles that could not be taken.")?,
        })
    }
}

fn run(queue: &Receiver<Job>, metrics: &Metrics) {
    prof::exclude_this_thread();
    let arena = OwnArena::bind_this_thread();
    let mut shop =
        Workshop { resolver: Resolver::default(), growth: GrowthWatch::new(Instant::now()), metrics: metrics.clone() };
    let mut is_purged = true;
    loop {
        let look_due = shop.growth.due_in(Instant::now());
        let job = match queue.recv_timeout(if is_purged { look_due } else { look_due.min(PURGE_DELAY) }) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) if is_purged => None,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(arena) = &arena {
                    arena.purge();
                }
                is_purged = true;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // Debug information is input from outside: a panic over it ends the job and not the thread.
        let outcome = catch_unwind(AssertUnwindSafe(|| match job {
            Some(job) => perform(job, &mut shop),
            None => growth::look(&mut shop),
        }));
        if outcome.is_err() {
            metrics.failures.inc();
            shop.resolver = Resolver::default();
        }
        shop.resolver.trim();
        is_purged = false;
    }
}

fn perform(job: Job, shop: &mut Workshop) {
    let (resolver, metrics) = (&mut shop.resolver, &shop.metrics);
    match job {
        Job::Work(work) => work(shop),
        Job::Take(query, reply) => {
            let rendered = metrics.observe(|| render(compact(query.gc, query.view)?, &query, resolver));
            reply.send(rendered);
        }
        Job::Capture { query, reply } => {
            reply.send(metrics.observe(|| capture(query.gc, query.view)));
        }
        Job::TakeSince(before, query, reply) => {
            let rendered =
                metrics.observe(|| render(capture(query.gc, query.view)?.delta(&before).into(), &query, resolver));
            reply.send(rendered);
        }
        Job::Symbolize(addresses, reply) => {
            reply.send(symbolize(&addresses, resolver));
        }
    }
}

impl Workshop {
    /// The heap now; counted and timed as a profile.
    pub(crate) fn capture(&self) -> Result<Profile, ProfileError> {
        self.metrics.observe(|| capture(false, View::Now))
    }
}

impl Metrics {
    fn observe<T>(&self, work: impl FnOnce() -> Result<T, NotTaken>) -> Result<T, ProfileError> {
        let started = Instant::now();
        let outcome = work();
        outcome.inspect(|_| self.durations.observe(started.elapsed().as_secs_f64())).map_err(
            |not_taken| match not_taken {
                NotTaken::Refused(refused) => refused,
                NotTaken::Failed(error) => {
                    self.failures.inc();
                    tracing::warn!(error = &error as &dyn std::error::Error, "no heap profile");
                    ProfileError::Failed("the heap profile could not be taken, see the log".to_owned())
                }
            },
        )
    }
}

fn symbolize(addresses: &[u64], resolver: &mut Resolver) -> Result<Vec<(u64, String)>, ProfileError> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| {
        tracing::warn!(%error, "no list of mapped files");
        ProfileError::Failed("the list of mapped files cannot be read".to_owned())
    })?;
    let mut mappings = parse_maps(&maps);
    resolve::identify(&mut mappings);
    let symbols = resolver.resolve(addresses.iter().copied(), &mappings);
    let named = addresses.iter().map(|&address| (address, symbols.function(address).to_owned()));
    Ok(named.filter(|(_, name)| !name.is_empty()).collect())
}
