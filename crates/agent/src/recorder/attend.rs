//! The recorder at work: on the admin server's runtime, with the profiler's thread for whatever blocks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::autopsy;
use super::entry::{Entry, end_id};
use super::journal::Ended;
use super::policy::{Look, Policy, Reason};
use super::run::{Pulse, short_evidence};
use super::shelf::Shelf;
use super::{Recorder, Settled};
use crate::alert::{Alerts, Change};
use crate::culprit::Report;
use crate::jemalloc::prof;
use crate::livetable::{self, Adopted, End};
use crate::profile::profiler::{Profiler, Workshop};
use crate::quantity::{format_bytes, format_seconds};
use crate::state::{Report as MemoryReport, State};
use crate::verdict::Verdict;

/// Between two looks at the state; each costs about 20 µs.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often processes that are gone are looked for, while another process looks for them.
const ADOPTION_ATTEMPTS_MAX: usize = 10;
/// How often the profiler's thread is asked to look back, where it is busy for all too long. Then nothing is recorded.
const SETTLING_ATTEMPTS_MAX: usize = 6;

/// Works until it is dropped.
pub(crate) async fn attend(
    recorder: Arc<Recorder>,
    profiler: Arc<Profiler>,
    state: Arc<State>,
    alerts: Option<Alerts>,
) {
    let started = Instant::now();
    let record = async {
        settle(&recorder, &profiler).await;
        record(&recorder, &profiler, &state, alerts, ticks(started)).await;
    };
    tokio::join!(pulse(&recorder, &state, ticks(started)), record);
}

/// Writes down how the process does, for the one after it.
async fn pulse(recorder: &Recorder, state: &State, mut ticks: Interval) {
    loop {
        ticks.tick().await;
        let report = state.report();
        let judgement = &report.outlook.judgement;
        let rss_bytes = state.reader.rss_bytes().ok();
        recorder.change(|pulse| {
            *pulse = Pulse {
                uptime_seconds: state.uptime_seconds(),
                verdict: judgement.verdict.name().to_owned(),
                evidence: short_evidence(&judgement.evidence),
                rss_bytes: rss_bytes.unwrap_or(pulse.rss_bytes),
                limit_bytes: report.limit.bytes,
                limit_source: report.limit.source.name().to_owned(),
                floor_bytes: report.floor_bytes,
                last_profile: pulse.last_profile.take(),
            }
        });
    }
}

async fn record(
    recorder: &Recorder,
    profiler: &Profiler,
    state: &State,
    mut alerts: Option<Alerts>,
    mut ticks: Interval,
) {
    let (mut policy, mut told) = (Policy::new(), Verdict::WarmingUp);
    loop {
        ticks.tick().await;
        let report = state.report();
        let look = look(state, &report);
        let mut recorded = None;
        if recorder.is_on()
            && prof::active()
            && let Some(reason) = policy.due(&look)
        {
            // A failure was counted and logged where it happened.
            recorded = recorder.take(profiler, reason, look.verdict).await.ok();
            policy.attempted(&look, recorded.is_some());
        }
        if look.verdict != told {
            if let Some(alerts) = &mut alerts {
                let profile = recorded.map(|entry| format!("/profiles/{}", entry.id));
                alerts.changed(Change { from: told, report, profile }, profiler).await;
            }
            told = look.verdict;
        }
    }
}

/// Those of one start come at the same moments, so that the thread wakes once for all of them.
fn ticks(started: Instant) -> Interval {
    let mut ticks = interval_at(started, LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

fn look(state: &State, report: &MemoryReport) -> Look {
    Look {
        seconds: state.uptime_seconds(),
        verdict: report.outlook.judgement.verdict,
        floor_bytes: report.floor_bytes as f64,
        rss_bytes: state.reader.rss_bytes().unwrap_or(0) as f64,
        limit_bytes: report.limit.bytes as f64,
    }
}

/// Finds what earlier processes left, and says in the log what became of the last one.
async fn settle(recorder: &Arc<Recorder>, profiler: &Profiler) {
    let mut ticks = ticks(Instant::now());
    for _ in 0..ADOPTION_ATTEMPTS_MAX {
        let Some(directory) = recorder.directory.as_deref().filter(|_| recorder.found.get().is_none()) else { break };
        ticks.tick().await;
        if let Err(error) = recorder.adopt(directory) {
            tracing::warn!(%error, "earlier processes cannot be looked for");
        }
    }
    let mut settled = Settled::default();
    for _ in 0..SETTLING_ATTEMPTS_MAX {
        let of = Arc::clone(recorder);
        if let Ok(found) = profiler.work(move |shop| Ok(look_back(&of, shop))).await {
            settled = found;
            break;
        }
    }
    if let Some(shelf) = &settled.shelf {
        recorder.metrics.bytes.set(i64::try_from(shelf.bytes()).unwrap_or(i64::MAX));
    }
    let culprits = settled.culprits.clone();
    recorder.settled.send_replace(Some(settled));
    if let Some(ended) = recorder.ended().first() {
        tell(ended, recorder.last_profile(ended), culprits.as_deref());
    }
}

fn look_back(recorder: &Recorder, shop: &mut Workshop) -> Settled {
    let Some(directory) = &recorder.directory else { return Settled::default() };
    let living = recorder.found.get().map_or(&[][..], |found| &found.living);
    let shelf = match Shelf::open(directory, &recorder.token, living) {
        Ok(shelf) => shelf,
        Err(error) => {
            tracing::warn!(%error, "no profiles are recorded");
            return Settled::default();
        }
    };
    for gone in livetable::current().map_or(&[][..], |live| live.predecessors()) {
        let name = gone.path.file_name().and_then(|name| name.to_str());
        let ended = recorder.ended().iter().find(|ended| ended.run.live_table.as_deref() == name);
        if let Some(ended) = ended {
            keep_last_heap(&shelf, gone, ended, shop);
        }
    }
    let culprits = recorder.ended().first().and_then(|ended| {
        let token = &ended.run.token;
        let of_it = shelf.entries().into_iter().filter(|entry| entry.token == *token);
        let ids: Vec<String> = of_it.map(|entry| entry.id).collect();
        let profiles = autopsy::chosen(&ids).filter_map(|id| {
            let (_, content) = shelf.read(id)?;
            Some(shop.with_names(&content, false).unwrap_or(content))
        });
        let profiles: Vec<Vec<u8>> = profiles.collect();
        autopsy::culprits(&profiles, ended.run.started_unix_seconds, ended.end == End::Oom)
    });
    Settled { shelf: Some(Arc::new(shelf)), culprits: culprits.map(Arc::new) }
}

/// Puts what a live table shows on the shelf, unless an earlier process did.
fn keep_last_heap(shelf: &Shelf, gone: &Adopted, ended: &Ended, shop: &mut Workshop) {
    let id = end_id(&ended.run.token);
    if shelf.entries().iter().any(|entry| entry.id == id) {
        return;
    }
    let Some(profile) = gone.profile(false) else { return };
    let taken_unix_millis = u64::try_from(profile.taken_unix_nanos / 1_000_000).unwrap_or(0);
    let reason = if ended.end == End::Oom { Reason::Headroom } else { Reason::Periodic };
    let verdict = gone.verdict.unwrap_or(Verdict::WarmingUp);
    let content = shop.pprof(profile, false);
    if let Err(error) = shelf.put(Entry::at_end(&ended.run.token, taken_unix_millis, reason, verdict), &content) {
        tracing::warn!(%error, "the last heap of an earlier process could not be kept");
    }
}

/// One line about the process before.
fn tell(ended: &Ended, last_profile: Option<String>, culprits: Option<&Report>) {
    let (run, pulse) = (&ended.run, &ended.run.pulse);
    let end = match ended.end {
        End::Clean => "by itself",
        End::Oom => "by an OOM kill",
        End::Signal => "by a signal or an abort",
        End::Unknown => "nobody knows how",
    };
    let mut words =
        format!("the process before (pid {}) ended {end} after {}", run.pid, format_seconds(pulse.uptime_seconds));
    if !pulse.verdict.is_empty() {
        words.push_str(&format!("; its memory was {}: {}", pulse.verdict, pulse.evidence));
    }
    if let Some(culprit) = culprits.and_then(|report| report.culprits.first()) {
        let grown = format_bytes(culprit.growth_bytes as f64);
        words.push_str(&format!("; {} ({}:{}) grew by {grown}", culprit.function, culprit.file, culprit.line));
    }
    if let Some(path) = last_profile {
        words.push_str(&format!("; its last profile is {path}"));
    }
    let end = ended.end.name();
    if ended.end == End::Clean {
        tracing::info!(end, "{words}");
    } else {
        tracing::warn!(end, "{words}");
    }
}
