//! The thread that watches: jemalloc's statistics five times a second, at rest once; RSS once a second, a judgement
//! every ten.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::history::{Observation, Series};
use crate::jemalloc::{prof, unwind};
use crate::livetable;
use crate::memory::{HeapBytes, Limit, MemoryReader, cgroup, process};
use crate::state::{Report, State};
use crate::verdict::{Judgement, Verdict};
use crate::watch::Watch;

/// Floors need many looks: the minimum of ten seconds tells a leak far smaller than single looks do. A look costs 40 µs
/// while its code and data are in the processor's caches and was measured at 120 µs after a sleep.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// RSS moves more slowly and costs a system call.
const LOOKS_PER_RSS: u32 = 5;

/// Looks in a row without a sample, and without work that came or went, after which a process is at rest. Then the thread wakes
/// for RSS only: to wake costs more than to look.
const LOOKS_TO_REST: u32 = 10;

/// A cgroup's limit can be changed while the process runs: once a minute.
const LOOKS_PER_LIMIT: u32 = 300;

/// The running thread; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Takes a first look, so that the state is whole, and starts to watch.
    pub(crate) fn start(settings: &Settings) -> io::Result<(Self, Arc<State>)> {
        let started = Instant::now();
        let limits = Limits { configured: settings.memory_limit_bytes, host: process::host_memory_bytes()? };
        let reader = MemoryReader::new()?;
        let sample = reader.sample()?;
        let limit = limits.read();
        let mut watch = Watch::new(if sample.heap.is_some() { Series::Live } else { Series::Rss });
        watch.observe(&observation(0.0, sample.heap, Some(sample.rss_bytes), 0));
        let report = Report {
            limit,
            floor_bytes: watch.floor_bytes().unwrap_or_default(),
            outlook: watch.judge(0.0, sample.equation(), limit),
        };
        let state = Arc::new(State::new(started, reader, settings.readiness.clone(), settings.pprof, report));

        let (stop, stopped) = sync_channel(0);
        let shared = state.clone();
        let thread = thread::Builder::new()
            .name("heapline-sample".to_owned())
            .spawn(move || run(&shared, watch, limits, &stopped))?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, state))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn run(state: &State, mut watch: Watch, limits: Limits, stopped: &Receiver<()>) {
    let mut told = Verdict::WarmingUp;
    if let Some(live) = livetable::current() {
        live.table().set_verdict(told);
    }
    let mut seen = None;
    let mut due = Instant::now();
    let mut pace = Pace::default();
    loop {
        let looks = pace.advance();
        // A process that was stopped or starved gets no burst of looks to catch up.
        due = (due + LOOK_INTERVAL * looks).max(Instant::now());
        match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(live) = livetable::current() {
            live.tick();
            live.govern();
        }
        unwind::learn();
        let rss_is_due = pace.is_at(LOOKS_PER_RSS);
        // While nothing of any size comes or goes, live bytes stay what they are.
        let turnover = livetable::current().map(|live| (live.table().turnover(), state.work.count()));
        let is_quiet = turnover.is_some() && turnover == seen && prof::active();
        pace.saw(is_quiet);
        if is_quiet && !rss_is_due {
            continue;
        }
        seen = turnover;
        let seconds = state.uptime_seconds();
        // What cannot be read leaves a gap, which the history bears.
        let rss_bytes = if rss_is_due { state.reader.rss_bytes().ok() } else { None };
        let observation = observation(seconds, state.reader.heap(), rss_bytes, state.work.count());
        let floor_is_complete = watch.observe(&observation);

        if pace.is_at(LOOKS_PER_LIMIT) {
            let limit = limits.read();
            state.update(|report| report.limit = limit);
        }
        if rss_is_due && let Some(floor_bytes) = watch.floor_bytes() {
            state.update(|report| report.floor_bytes = floor_bytes);
        }
        if floor_is_complete && let Ok(sample) = state.sample() {
            let outlook = watch.judge(seconds, sample.equation(), state.report().limit);
            if outlook.judgement.verdict != told {
                told = outlook.judgement.verdict;
                if let Some(live) = livetable::current() {
                    live.table().set_verdict(told);
                }
                tell(&outlook.judgement);
            }
            state.update(|report| report.outlook = outlook);
        }
    }
}

/// Which look is next: each, or at rest those at which RSS is due.
#[derive(Debug, Default)]
struct Pace {
    look: u64,
    quiet_looks: u32,
}

impl Pace {
    /// Goes on to the next look; returns how many that is further.
    fn advance(&mut self) -> u32 {
        let since_rss = (self.look % u64::from(LOOKS_PER_RSS)) as u32;
        let looks = if self.quiet_looks < LOOKS_TO_REST { 1 } else { LOOKS_PER_RSS - since_rss };
        self.look += u64::from(looks);
        looks
    }

    fn is_at(&self, every: u32) -> bool {
        self.look.is_multiple_of(every.into())
    }

    fn saw(&mut self, is_quiet: bool) {
        self.quiet_looks = if is_quiet { self.quiet_looks.saturating_add(1) } else { 0 };
    }
}

/// One log line at a change of verdict.
fn tell(judgement: &Judgement) {
    let verdict = judgement.verdict.name();
    let evidence = &judgement.evidence;
    if judgement.verdict.is_climb() || judgement.verdict == Verdict::NearLimit {
        tracing::warn!(verdict, "memory is {verdict}: {evidence}");
    } else {
        tracing::info!(verdict, "memory is {verdict}: {evidence}");
    }
}

fn observation(seconds: f64, heap: Option<HeapBytes>, rss_bytes: Option<u64>, in_flight: u64) -> Observation {
    let rss_bytes = rss_bytes.map(signed);
    Observation {
        seconds,
        live_bytes: heap.map(|heap| signed(heap.allocated)),
        slack_bytes: heap.map(|heap| signed(heap.active) - signed(heap.allocated)),
        outside_bytes: heap.zip(rss_bytes).map(|(heap, rss)| rss - signed(heap.resident)),
        rss_bytes,
        in_flight: Some(in_flight),
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What may limit the process besides its cgroup.
struct Limits {
    configured: Option<u64>,
    host: u64,
}

impl Limits {
    fn read(&self) -> Limit {
        let cgroup = if self.configured.is_none() { cgroup::read_limit_bytes() } else { None };
        cgroup::effective(self.configured, cgroup, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_rest_one_look_a_second_and_none_for_rss_is_left_out() {
        let mut pace = Pace::default();
        let mut looks_at = |quiet: bool, count: usize| -> Vec<u64> {
            let look = |_| {
                pace.advance();
                pace.saw(quiet);
                pace.look
            };
            (0..count).map(look).collect()
        };
        assert_eq!(looks_at(false, 3), [1, 2, 3]);
        assert_eq!(looks_at(true, 10), (4..=13).collect::<Vec<_>>());
        assert_eq!(looks_at(true, 4), [15, 20, 25, 30]);
        assert_eq!(looks_at(false, 1), [35]);
        assert_eq!(looks_at(false, 3), [36, 37, 38]);
        assert!(LOOKS_PER_LIMIT.is_multiple_of(LOOKS_PER_RSS));
    }
}
