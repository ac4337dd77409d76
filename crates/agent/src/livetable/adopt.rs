//! What a process left behind: how it ended, when, and its last profile.

use std::fs;
use std::ops::Add as _;
use std::path::{Path, PathBuf};

use super::files;
use super::table::{Damage, Identity, TICKS_PER_SECOND, Table};
use crate::memory::oom_kills;
use crate::profile::maps;
use crate::profile::model::{Mapping, Profile};
use crate::verdict::Verdict;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It stopped its agent, or exited.
    Clean,
    /// The kernel killed in its cgroup for want of memory.
    Oom,
    /// Within the same boot, without a word and without the kernel's: by a signal, or by its own abort.
    Signal,
    /// Nobody can tell: the machine was started anew, or the cgroup is another one.
    Unknown,
}

impl End {
    /// As `/memory` and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Oom => "oom",
            Self::Signal => "signal",
            Self::Unknown => "unknown",
        }
    }
}

/// A process that is gone, by the table that it left.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// How it ended.
    pub end: End,
    /// Its process number.
    pub pid: u64,
    /// When it started, in nanoseconds since 1970.
    pub started_unix_nanos: u64,
    /// From its agent's start to the last sign of life, at most 0.3 seconds before the end.
    pub uptime_seconds: f64,
    /// What its memory was doing; `None` where it ended before anything was said.
    pub verdict: Option<Verdict>,
    /// Of the program, in lower-case hex; empty where it had none.
    pub build_id: String,
    /// What it could not keep, and what its table says of itself.
    pub totals: Totals,
    /// Its table. It goes when younger ones come, see [`PREDECESSORS_MAX`](super::PREDECESSORS_MAX).
    pub path: PathBuf,
}

impl Adopted {
    /// Its heap at the end, or at its peak, by the addresses of then. Read from the file now: a process holds no
    /// profile of another in memory. `None` where the file is gone or there was no peak.
    pub(crate) fn profile(&self, at_peak: bool) -> Option<Profile> {
        let words = files::read(&self.path)?;
        let table = Table::open(&words).ok()?;
        let (walk, seconds) = if at_peak { table.at_last_peak()? } else { (table.walk(), self.uptime_seconds) };
        Some(Profile {
            period_bytes: table.period_bytes(),
            taken_unix_nanos: (self.started_unix_nanos as f64 + seconds * 1e9) as i64,
            duration_nanos: 0,
            mappings: mappings(&table.maps()),
            samples: walk.samples,
            has_allocations: !at_peak,
            comments: Vec::new(),
        })
    }
}

/// What a table adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Allocations sampled since the start.
    pub sampled: u64,
    /// Of these, freed since.
    pub freed: u64,
    /// Of these, not kept for want of room.
    pub lost: u64,
    /// Live samples in the table.
    pub live_samples: u64,
    /// Live samples whose stack cannot be read, and what cannot be as it says. More than one a thread is damage.
    pub without_stack: u64,
    /// Live bytes, an estimate from the samples.
    pub live_bytes: f64,
    /// Bytes ever allocated, an estimate from the samples.
    pub allocated_bytes: f64,
    /// Live bytes as the hooks counted them on.
    pub counted_live_bytes: u64,
    /// Stacks in the profile.
    pub stacks: u64,
}

/// What is known of the place where a process is looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) boot_id: String,
    /// How often the kernel has killed in this cgroup.
    pub(crate) cgroup_oom_kills: Option<u64>,
}

impl Surroundings {
    pub(crate) fn read() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { boot_id: boot_id.trim().to_owned(), cgroup_oom_kills: cgroup_oom_kills() }
    }

    fn end_of(&self, identity: &Identity, has_clean_end: bool) -> End {
        if has_clean_end {
            return End::Clean;
        }
        if identity.boot_id.is_empty() || identity.boot_id != self.boot_id {
            return End::Unknown;
        }
        match self.cgroup_oom_kills {
            Some(kills) if kills > identity.cgroup_oom_kills => End::Oom,
            // A count that fell is another cgroup's.
            Some(kills) if kills < identity.cgroup_oom_kills => End::Unknown,
            _ => End::Signal,
        }
    }
}

/// Reads the table that a process left in a file.
///
/// `None`, and one line in the log, where the file is no table, is cut off, or is damaged. Blocks; memory: twice
/// [`TABLE_BYTES`](super::TABLE_BYTES), for a moment.
pub fn read(path: &Path) -> Option<Adopted> {
    adopt(path, &Surroundings::read())
}

/// What the bytes of a table add up to. Pure; takes any bytes, bounded time, and memory of about twice their number.
///
/// # Errors
///
/// [`Damage`]: the bytes are no table, or not one whose word can be taken.
pub fn check(bytes: &[u8]) -> Result<Totals, Damage> {
    let words = files::words_of(bytes);
    totals(&Table::open(&words)?)
}

pub(crate) fn adopt(path: &Path, surroundings: &Surroundings) -> Option<Adopted> {
    let words = files::read(path)?;
    let table = Table::open(&words).ok()?;
    let totals = match totals(&table) {
        Ok(totals) => totals,
        Err(damage) => {
            tracing::warn!(path = %path.display(), %damage, "a live table is not used");
            return None;
        }
    };
    let identity = table.identity();
    Some(Adopted {
        end: surroundings.end_of(&identity, table.has_clean_end()),
        pid: identity.pid,
        started_unix_nanos: identity.start_unix_nanos,
        uptime_seconds: table.ticks() as f64 / TICKS_PER_SECOND as f64,
        verdict: table.verdict(),
        build_id: identity.build_id.clone(),
        totals,
        path: path.to_owned(),
    })
}

fn totals(table: &Table<'_>) -> Result<Totals, Damage> {
    let walk = table.walk();
    let tally = table.tally();
    let allocated = walk.samples.iter().filter_map(|sample| sample.alloc);
    let totals = Totals {
        sampled: tally.sampled,
        freed: tally.freed,
        lost: tally.lost(),
        live_samples: walk.live_samples as u64,
        without_stack: walk.without_stack as u64,
        live_bytes: walk.samples.iter().map(|sample| sample.inuse.bytes).fold(0.0, f64::add),
        allocated_bytes: allocated.map(|count| count.bytes).fold(0.0, f64::add),
        counted_live_bytes: tally.live_bytes,
        stacks: walk.samples.len() as u64,
    };
    if totals.without_stack > damage_max(totals.live_samples) {
        return Err(Damage::Contents(totals.without_stack));
    }
    Ok(totals)
}

/// Live samples that may lack their stack in a table that is whole: threads that were killed in the middle of a hook. Of
/// a young table's few samples most must have theirs.
fn damage_max(live_samples: u64) -> u64 {
    (64 + live_samples / 100).min(2 + live_samples)
}

/// The inverse of [`maps_text`](super::maps_text).
fn mappings(text: &str) -> Vec<Mapping> {
    let lines = text.lines().filter_map(|line| {
        let (build_id, line) = line.split_once(' ')?;
        let mut mapping = maps::parse(line).pop()?;
        if build_id != "-" {
            mapping.build_id = build_id.to_owned();
        }
        Some(mapping)
    });
    lines.collect()
}

/// In the process's own cgroup, v1 or v2; in a container that is the container's.
pub(crate) fn cgroup_oom_kills() -> Option<u64> {
    oom_kills::read().first().map(|level| level.kills)
}

#[cfg(test)]
mod tests {
    use super::super::specimen::specimen;
    use super::*;

    #[test]
    fn how_it_ended() {
        let boot_id = || "this boot".to_owned();
        let here = |kills| Surroundings { boot_id: boot_id(), cgroup_oom_kills: kills };
        let identity = Identity { boot_id: boot_id(), cgroup_oom_kills: 2, ..Identity::default() };
        assert_eq!(here(Some(3)).end_of(&identity, true), End::Clean);
        assert_eq!(here(Some(3)).end_of(&identity, false), End::Oom);
        assert_eq!(here(Some(2)).end_of(&identity, false), End::Signal);
        assert_eq!(here(Some(0)).end_of(&identity, false), End::Unknown);
        assert_eq!(here(None).end_of(&identity, false), End::Signal);
        let earlier = Identity { boot_id: "an earlier boot".to_owned(), ..identity.clone() };
        assert_eq!(here(Some(3)).end_of(&earlier, false), End::Unknown);
    }

    /// A process was killed young, and its file was overwritten: its two dozen samples without a stack were fewer than the
    /// 64 that were borne, and it was taken for an empty heap.
    #[test]
    fn a_young_table_of_noise_is_refused() {
        const HEADER_BYTES: usize = 4096;
        let mut bytes = specimen();
        let mut noise = 1_u64;
        for word in bytes[HEADER_BYTES..].chunks_exact_mut(8).filter(|word| word.iter().any(|byte| *byte != 0)) {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&noise.to_ne_bytes());
        }
        assert!(matches!(check(&bytes), Err(Damage::Contents(bad)) if bad < 64));
    }

    #[test]
    fn mappings_come_back() {
        let mapping = |start_address, filename: &str, build_id: &str| Mapping {
            start_address,
            limit_address: start_address + 4096,
            file_offset: 8192,
            filename: filename.to_owned(),
            is_deleted: build_id.is_empty(),
            build_id: build_id.to_owned(),
        };
        let all = [mapping(1 << 20, "/srv/a program", "c0ffee"), mapping(1 << 16, "/lib/libc.so.6", "")];
        assert_eq!(mappings(&super::super::maps_text(&all)), all);
        assert!(mappings("nonsense\n- \n\n- 12-x r-xp").is_empty());
    }
}
