//! The flight recorder: what outlives the process besides its live table, and what was found of the processes before.
//!
//! `run` is this process's record, `journal` the processes that are gone, `shelf` the profiles (`entry` is one by its
//! name), `policy` says when one is taken, `autopsy` what a process that is gone suffered from, and `attend` does all of
//! it. See docs/flight-recorder.md.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};
use tokio::sync::watch;

use crate::config::Settings;
use crate::culprit::Report;
use crate::jemalloc::prof;
use crate::livetable::End;
use crate::memory::oom_kills;
use crate::profile::base::Base;
use crate::profile::profiler::{ProfileError, Profiler, Workshop};
use crate::state::State;
use crate::verdict::Verdict;
use entry::Entry;
use journal::{Ended, Found};
use policy::Reason;
use run::{Pulse, Run, RunFile};
use shelf::Shelf;

pub use journal::ENDED_MAX;
pub use policy::{FIRST_SECONDS, HEADROOM_SHARES, PERIOD_SECONDS, SPACING_SECONDS};
pub use shelf::{PROFILE_BYTES_MAX, PROFILES_BYTES_MAX, PROFILES_MAX};

pub(crate) mod attend;
mod autopsy;
pub(crate) mod entry;
pub(crate) mod journal;
mod policy;
pub(crate) mod run;
pub(crate) mod shelf;

/// All ways to end, for metrics.
pub(crate) const ENDS: [End; 4] = [End::Clean, End::Oom, End::Signal, End::Unknown];

/// How the names of files end that are being written.
const TEMPORARY: &str = "tmp";
/// How long a request waits for what earlier processes left to be read.
const SETTLING_MAX: Duration = Duration::from_secs(10);

/// Shared by whoever records and whoever asks.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// `None` where nothing can be written: then nothing is recorded.
    directory: Option<PathBuf>,
    token: String,
    run: Option<Arc<RunFile>>,
    found: OnceLock<Found>,
    /// `None` until it was looked for.
    settled: watch::Sender<Option<Settled>>,
    next_number: AtomicU64,
    metrics: Metrics,
}

/// What was found of earlier processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled {
    pub(crate) shelf: Option<Arc<Shelf>>,
    /// What grew in the process before.
    pub(crate) culprits: Option<Arc<Report>>,
}

/// Why there is no recorded profile. The text is for clients.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("nothing is recorded: the state directory cannot be used, see the log")]
    NoShelf,
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

#[derive(Debug)]
struct Metrics {
    restarts: IntCounterVec,
    failures: IntCounter,
    bytes: IntGauge,
}

impl Recorder {
    /// Says in the state directory that this process is there, and finds those that are gone. A few milliseconds.
    ///
    /// # Errors
    ///
    /// The metrics are malformed. A directory that cannot be used is logged, and nothing is recorded.
    pub(crate) fn start(settings: &Settings, live_table: Option<&Path>) -> Result<Arc<Recorder>, prometheus::Error> {
        let mut recorder = Recorder {
            directory: settings.state_dir.clone(),
            token: token().to_owned(),
            run: None,
            found: OnceLock::new(),
            settled: watch::Sender::new(None),
            next_number: AtomicU64::new(1),
            metrics: Metrics::new()?,
        };
        if let Some(directory) = &settings.state_dir {
            let run =
                recorder.adopt(directory).and_then(|()| RunFile::create(directory, this_run(settings, live_table)));
            match run {
                Ok(run) => recorder.run = Some(run),
                Err(error) => {
                    tracing::warn!(
                        directory = %directory.display(), %error,
                        "nothing is recorded: the state directory cannot be used"
                    );
                    recorder.directory = None;
                }
            }
        }
        Ok(Arc::new(recorder))
    }

    /// Whether anything is recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.directory.is_some()
    }

    /// Processes that ended, the newest first.
    pub(crate) fn ended(&self) -> &[Ended] {
        self.found.get().map_or(&[], |found| &found.journal.ended)
    }

    /// The path of a process's last profile, if it left one.
    pub(crate) fn last_profile(&self, ended: &Ended) -> Option<String> {
        let token = &ended.run.token;
        let settled = self.settled.borrow().clone();
        let id = match settled.and_then(|settled| settled.shelf) {
            Some(shelf) => shelf.entries().into_iter().rfind(|entry| entry.token == *token)?.id,
            // Not looked for yet: a process that ended without a word left its table.
            None if ended.end != End::Clean && ended.run.live_table.is_some() => entry::end_id(token),
            None => ended.run.pulse.last_profile.clone()?,
        };
        Some(format!("/profiles/{id}"))
    }

    /// What was found of earlier processes, as soon as it was. Nothing of it where that takes too long.
    pub(crate) async fn settled(&self) -> Settled {
        let mut settled = self.settled.subscribe();
        let found = tokio::time::timeout(SETTLING_MAX, settled.wait_for(Option::is_some)).await;
        found.ok().and_then(Result::ok).and_then(|found| found.clone()).unwrap_or_default()
    }

    /// A recorded profile, with names as far as they can be found.
    pub(crate) async fn read(&self, profiler: &Profiler, id: &str) -> Option<(Entry, Vec<u8>)> {
        let shelf = self.settled().await.shelf?;
        let (entry, content) = shelf.read(id)?;
        let (recorded, is_own) = (content.clone(), shelf.is_own(&entry));
        // Without the profiler's thread it is what it is: addresses and build ids, which pprof can work with.
        let named = profiler.work(move |shop| Ok(shop.with_names(&recorded, is_own))).await;
        Some((entry, named.ok().flatten().unwrap_or(content)))
    }

    /// A recorded profile to compare with.
    pub(crate) async fn base(&self, profiler: &Profiler, id: &str) -> Option<Base> {
        let (entry, content) = self.read(profiler, id).await?;
        Some(Base::new(content, entry.token == self.token))
    }

    /// Takes a profile and keeps it.
    ///
    /// # Errors
    ///
    /// See [`RecordError`]; what failed was logged and counted.
    pub(crate) async fn take(
        &self,
        profiler: &Profiler,
        reason: Reason,
        verdict: Verdict,
    ) -> Result<Entry, RecordError> {
        let shelf = self.settled().await.shelf.ok_or(RecordError::NoShelf)?;
        let number = self.next_number.fetch_add(1, Relaxed);
        let (token, failures, bytes) = (self.token.clone(), self.metrics.failures.clone(), self.metrics.bytes.clone());
        let kept = profiler.work(move |shop| {
            let profile = shop.capture()?;
            let taken_unix_millis = u64::try_from(profile.taken_unix_nanos / 1_000_000).unwrap_or(0);
            let content = if reason.wants_names(verdict) {
                name_first(&shelf, shop);
                shop.pprof(profile, true)
            } else {
                shop.pprof_without_names(profile)
            };
            let kept = shelf.put(Entry::new(&token, number, taken_unix_millis, reason, verdict), &content);
            bytes.set(i64::try_from(shelf.bytes()).unwrap_or(i64::MAX));
            kept.map_err(|error| {
                failures.inc();
                tracing::warn!(%error, "a profile could not be recorded");
                ProfileError::Failed("the profile could not be recorded, see the log".to_owned())
            })
        });
        let entry = kept.await?;
        self.change(|pulse| pulse.last_profile = Some(entry.id.clone()));
        Ok(entry)
    }

    /// Takes one since somebody asks for it.
    ///
    /// # Errors
    ///
    /// As [`Recorder::take`]; and where nothing is sampled.
    pub(crate) async fn take_now(
        &self,
        profiler: &Profiler,
        state: &State,
    ) -> Result<(Entry, Arc<Shelf>), RecordError> {
        if !prof::active() {
            return Err(ProfileError::Disabled.into());
        }
        let shelf = self.settled().await.shelf.ok_or(RecordError::NoShelf)?;
        let verdict = state.report().outlook.judgement.verdict;
        Ok((self.take(profiler, Reason::Request, verdict).await?, shelf))
    }

    /// Says that the process ended as it should.
    pub(crate) fn end(&self, uptime_seconds: f64) {
        if let Some(run) = &self.run {
            run.end(uptime_seconds);
        }
    }

    pub(crate) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let Metrics { restarts, failures, bytes } = &self.metrics;
        vec![Box::new(restarts.clone()), Box::new(failures.clone()), Box::new(bytes.clone())]
    }

    fn adopt(&self, directory: &Path) -> std::io::Result<()> {
        match journal::adopt(directory, &self.token) {
            Ok(found) => {
                for end in ENDS {
                    self.metrics.restarts.with_label_values(&[end.name()]).inc_by(found.journal.totals.of(end));
                }
                // Adopted once: the second would have nothing that the first had not.
                let _ = self.found.set(found);
                Ok(())
            }
            // Another process starts at the same moment, and looks; see `attend`.
            Err(error) if matches!(error.raw_os_error(), Some(11 | 13)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Pulse)) {
        if let Some(run) = &self.run
            && let Err(error) = run.change(|run| change(&mut run.pulse))
        {
            tracing::debug!(%error, "the record of this process cannot be written");
        }
    }
}

impl Metrics {
    fn new() -> Result<Metrics, prometheus::Error> {
        let restarts = Opts::new(
            "memory_restarts_total",
            "Earlier processes with this state directory, by how they ended; kept across restarts.",
        );
        let restarts = IntCounterVec::new(restarts, &["end"])?;
        for end in ENDS {
            restarts.with_label_values(&[end.name()]);
        }
        Ok(Metrics {
            restarts,
            failures: IntCounter::new("memory_recorder_failures_total", "Profiles that could not be recorded.")?,
            bytes: IntGauge::new("memory_recorder_bytes", "Bytes of recorded profiles on disk.")?,
        })
    }
}

/// Evidence of a climb is to outlive the program's next version: what it is compared with gets its names as well.
fn name_first(shelf: &Shelf, shop: &mut Workshop) {
    let Some(first) = shelf.entries().into_iter().find(|entry| shelf.is_own(entry)) else { return };
    let content = shelf.read(&first.id).and_then(|(_, content)| shop.with_names(&content, true));
    if let Some(content) = content
        && let Err(error) = shelf.replace(&first, &content)
    {
        tracing::debug!(%error, "the first recorded profile stays without names");
    }
}

/// This process's name for itself.
fn token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| format!("{:016x}", unix_time().as_nanos() as u64))
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn boot_id() -> String {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot_id.trim().to_owned()
}

fn this_run(settings: &Settings, live_table: Option<&Path>) -> Run {
    let live_table = live_table.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    Run {
        version: run::VERSION,
        token: token().to_owned(),
        pid: std::process::id(),
        started_unix_seconds: unix_time().as_secs_f64(),
        boot_id: boot_id(),
        service_version: settings.service_version.clone(),
        oom_kills: oom_kills::read(),
        live_table,
        has_ended: false,
        // Who is killed within its first second had just begun.
        pulse: Pulse { verdict: Verdict::WarmingUp.name().to_owned(), ..Pulse::default() },
    }
}
