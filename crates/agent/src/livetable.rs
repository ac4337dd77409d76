//! The live table: what jemalloc samples, kept by its own hooks in bounded, lock-free tables, in a file that outlives
//! the process.
//!
//! `layout` says where everything stands; `stacks`, `samples` and `peak` are its parts, `table` puts them
//! together for the hooks, `walk` makes a profile of them. These know no clock and no file. `mapping` and
//! `files` find the memory. One table serves the process, from the first start of the agent to the process's end.
//!
//! See docs/live-table.md for how it works, what it costs, and what it cannot do.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::jemalloc::hooks::{self, HookError};
use crate::jemalloc::{interval as sampler_interval, prof};
use crate::profile::model::Mapping;
use adopt::Surroundings;
use files::OwnFile;
use interval::Governor;
use layout::Sizes;
use table::{Identity, Table};

pub use adopt::{Adopted, End, Totals, check, read};
pub use files::PREDECESSORS_MAX;
pub use interval::samples_per_second_default;
#[doc(hidden)]
pub use specimen::specimen;
pub use table::Damage;

mod adopt;
mod atomic;
pub(crate) mod exit;
mod files;
mod interval;
mod layout;
mod mapping;
mod peak;
mod prefetch;
mod samples;
mod specimen;
mod stacks;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod walk;
mod weight;

/// Bytes of the table, in memory and on disk. Of the memory, only the pages that were used are resident.
pub const TABLE_BYTES: usize = 9_736_192;

/// Where profiles come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The live table.
    LiveTable,
    /// jemalloc's dumps.
    Dumps,
}

impl Source {
    /// All, for metrics.
    pub const ALL: [Source; 2] = [Self::LiveTable, Self::Dumps];

    /// In use now; `None` where jemalloc's profiler is not there.
    pub fn current() -> Option<Source> {
        if !prof::is_compiled_in() {
            return None;
        }
        Some(if current().is_some() { Self::LiveTable } else { Self::Dumps })
    }

    /// As metrics and `/doctor` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LiveTable => "live_table",
            Self::Dumps => "dumps",
        }
    }
}

/// How full the process's table is.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// Where it outlives the process; `None` where it does not.
    pub path: Option<PathBuf>,
    /// Stacks kept, and room for them.
    pub stacks: (u64, u64),
    /// Return addresses kept, and room for them.
    pub frames: (u64, u64),
    /// Live samples kept, and room for them.
    pub samples: (u64, u64),
    /// Samples taken since the table is there.
    pub sampled: u64,
    /// Samples that no profile shows for want of room.
    pub lost: u64,
    /// Stacks of which nothing lived and whose place was given to others.
    pub reused_stacks: u64,
    /// Ends of samples that were taken before the table was there, or lost.
    pub unknown_frees: u64,
    /// Samples a second are kept below about so many by a longer interval; `None`: they are not.
    pub samples_per_second_max: Option<u32>,
    /// Why it does not outlive the process, where `path` is `None`.
    pub memory_only: Option<String>,
}

/// How full the table is; `None` where there is none. Cost: a walk over the keys of live samples, 30 µs.
pub fn fill() -> Option<Fill> {
    let live = current()?;
    let (tally, sizes) = (live.table.tally(), Sizes::AGENT);
    Some(Fill {
        path: live.path().map(Path::to_owned),
        stacks: (tally.stacks_used, sizes.stacks as u64),
        frames: (tally.frames_used, sizes.frames as u64),
        samples: (live.table.samples.used() as u64, sizes.samples as u64),
        sampled: tally.sampled,
        lost: tally.lost(),
        reused_stacks: tally.reused_stacks,
        unknown_frees: tally.unknown_frees,
        samples_per_second_max: live.samples_per_second_max(),
        memory_only: live.memory_only.clone(),
    })
}

/// Live bytes by stack (return addresses, the leaf first, the allocator's included), estimated from the samples; `None`
/// where there is no table. Cost: 1 ms for 10,000 stacks of 40 frames.
pub fn live_stacks() -> Option<HashMap<Box<[u64]>, f64>> {
    let mut stacks = HashMap::new();
    for sample in current()?.table.survivors(0).samples {
        *stacks.entry(sample.stack).or_default() += sample.inuse.bytes;
    }
    Some(stacks)
}

/// Why there is no live table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveTableError {
    #[error("jemalloc's sample hooks cannot be used")]
    Hooks(#[from] HookError),
    #[error("no memory for the live table")]
    Memory(#[source] io::Error),
}

/// The process's table.
#[derive(Debug)]
pub(crate) struct LiveTable {
    table: Table<'static>,
    /// Zero in a child: the mapping is its parent's. `None` where a child has a copy.
    alive: Option<&'static AtomicU64>,
    started: Instant,
    /// The lock goes with it.
    file: Option<(OwnFile, PathBuf)>,
    /// Why there is no file.
    memory_only: Option<String>,
    predecessors: Vec<Adopted>,
    /// Keeps samples within their bound, where there is one and the interval can be changed.
    governor: Mutex<Option<Governor>>,
}

/// Why the last start ended without a table.
static REFUSED: Mutex<Option<String>> = Mutex::new(None);

static CURRENT: AtomicPtr<LiveTable> = AtomicPtr::new(std::ptr::null_mut());

/// The process's table, if it has one. In a child without `exec`, none.
pub(crate) fn current() -> Option<&'static LiveTable> {
    // SAFETY: null, or a table that was leaked on purpose in `start`.
    let live = unsafe { CURRENT.load(Ordering::Acquire).as_ref() }?;
    let is_child = live.alive.is_some_and(|alive| alive.load(Relaxed) == 0);
    (!is_child).then_some(live)
}

/// Why there is none, where one was wanted.
pub(crate) fn refused() -> Option<String> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Makes the process's table and hooks it into jemalloc, unless that was done before. What was sampled earlier is not
/// in it.
///
/// # Errors
///
/// This jemalloc has no such hooks or they serve somebody else, or there is no memory. Nothing is left behind.
pub(crate) fn start(state_dir: Option<&Path>, mappings: &[Mapping]) -> Result<&'static LiveTable, LiveTableError> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let made = make(state_dir, mappings);
    let refused = made.as_ref().err().map(|error| match error {
        LiveTableError::Hooks(source) => format!("{error}: {source}"),
        LiveTableError::Memory(source) => format!("{error}: {source}"),
    });
    *REFUSED.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    made
}

fn make(state_dir: Option<&Path>, mappings: &[Mapping]) -> Result<&'static LiveTable, LiveTableError> {
    if let Some(live) = current() {
        live.table.set_clean_end(false);
        return Ok(live);
    }
    hooks::check()?;
    let live = LiveTable::create(state_dir, mappings).map_err(LiveTableError::Memory)?;
    let live = Box::leak(Box::new(live));
    CURRENT.store(live, Ordering::Release);
    if let Err(error) = hooks::install() {
        CURRENT.store(std::ptr::null_mut(), Ordering::Release);
        live.table.set_clean_end(true);
        return Err(error.into());
    }
    Ok(live)
}

impl LiveTable {
    fn create(state_dir: Option<&Path>, mappings: &[Mapping]) -> io::Result<LiveTable> {
        let identity = identity(mappings);
        let mut live = match state_dir.map(|directory| LiveTable::in_file(directory, &identity)) {
            Some(Ok(live)) => live,
            Some(Err(error)) => {
                let directory = state_dir.unwrap_or(Path::new("")).display();
                tracing::warn!(
                    %directory, %error,
                    "the live table is kept in memory only: it will not outlive the process"
                );
                LiveTable::in_memory(&identity, format!("{directory}: {error}"))?
            }
            None => LiveTable::in_memory(&identity, "there is no state directory (HEAPLINE_STATE)".to_owned())?,
        };
        live.table.set_maps(&maps_text(mappings));
        live.started = Instant::now();
        Ok(live)
    }

    fn in_file(directory: &Path, identity: &Identity) -> io::Result<LiveTable> {
        let alive = mapping::wiped_on_fork()?;
        alive.store(1, Relaxed);
        let surroundings = Surroundings::read();
        let predecessors = files::sweep(directory);
        let predecessors = predecessors.iter().filter_map(|gone| adopt::adopt(&gone.path, &surroundings)).collect();
        let own = OwnFile::create(directory)?;
        let made = mapping::of_file(&own.file, Sizes::AGENT.words()).and_then(|words| {
            let table = Table::create(words, Sizes::AGENT, identity).ok_or(io::ErrorKind::InvalidData)?;
            Ok((table, own.finish()?))
        });
        match made {
            Ok((table, path)) => {
                let file = Some((own, path));
                Ok(LiveTable {
                    table,
                    alive: Some(alive),
                    started: Instant::now(),
                    file,
                    memory_only: None,
                    predecessors,
                    governor: Mutex::new(None),
                })
            }
            Err(error) => {
                own.discard();
                Err(error)
            }
        }
    }

    fn in_memory(identity: &Identity, why: String) -> io::Result<LiveTable> {
        let words = mapping::anonymous(Sizes::AGENT.words())?;
        let table = Table::create(words, Sizes::AGENT, identity).ok_or(io::ErrorKind::InvalidData)?;
        Ok(LiveTable {
            table,
            alive: None,
            started: Instant::now(),
            file: None,
            memory_only: Some(why),
            predecessors: Vec::new(),
            governor: Mutex::new(None),
        })
    }

    pub(crate) fn table(&self) -> &Table<'static> {
        &self.table
    }

    /// Where the table outlives the process; `None` where it does not.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(_, path)| path.as_path())
    }

    /// Tables of earlier processes that ended without a word, the newest first.
    pub(crate) fn predecessors(&self) -> &[Adopted] {
        &self.predecessors
    }

    /// Moves the table's clock on. It tells the age of samples, and after the process's end, when that was.
    pub(crate) fn tick(&self) {
        let ticks = self.started.elapsed().as_millis() / (1_000 / u128::from(table::TICKS_PER_SECOND));
        self.table.set_ticks(u64::try_from(ticks).unwrap_or(u64::MAX));
    }

    /// Has at most about so many samples taken a second from now on, as long as somebody [governs](LiveTable::govern);
    /// 0: as many as there are.
    pub(crate) fn bound_samples(&self, per_second_max: u32) {
        let can_be_bound = per_second_max > 0 && sampler_interval::can_be_set();
        let governor = can_be_bound.then(|| Governor::new(self.table.interval_lg(), per_second_max));
        *self.governor() = governor;
    }

    /// The bound on samples a second. `None` where there is none.
    pub(crate) fn samples_per_second_max(&self) -> Option<u32> {
        self.governor().as_ref().map(Governor::per_second_max)
    }

    /// Makes the interval as long as the bound on samples wants it. To be called some times a second.
    pub(crate) fn govern(&self) {
        let mut governor = self.governor();
        let Some(decided) = governor.as_mut() else { return };
        let Some(lg) = decided.look(self.started.elapsed().as_secs_f64(), self.table.ended()) else { return };
        if !self.draw_by(lg) {
            tracing::info!("jemalloc does not take another sampling interval: samples a second are not bounded");
            *governor = None;
        }
    }

    fn draw_by(&self, lg: u8) -> bool {
        let is_set = sampler_interval::set(lg);
        if is_set {
            self.table.set_interval_lg(lg);
        }
        is_set
    }

    fn governor(&self) -> MutexGuard<'_, Option<Governor>> {
        self.governor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says in the file that the process ended as it should.
    pub(crate) fn end(&self) {
        if let Some(governor) = self.governor().take() {
            self.draw_by(governor.least_lg());
        }
        self.tick();
        self.table.set_clean_end(true);
    }
}

fn identity(mappings: &[Mapping]) -> Identity {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Identity {
        pid: std::process::id().into(),
        start_unix_nanos: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
        period_bytes: prof::sample_interval_bytes().unwrap_or(1),
        boot_id: boot_id.trim().to_owned(),
        build_id: mappings.first().map(|program| program.build_id.clone()).unwrap_or_default(),
        cgroup_oom_kills: adopt::cgroup_oom_kills().unwrap_or(0),
    }
}

/// A line for each mapping: its build id or `-`, then what `/proc/<pid>/maps` has.
pub(crate) fn maps_text(mappings: &[Mapping]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for mapping in mappings {
        let build_id = if mapping.build_id.is_empty() { "-" } else { &mapping.build_id };
        let deleted = if mapping.is_deleted { " (deleted)" } else { "" };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{build_id} {:x}-{:x} r-xp {:x} 00:00 0 {}{deleted}",
            mapping.start_address, mapping.limit_address, mapping.file_offset, mapping.filename
        );
    }
    text
}
