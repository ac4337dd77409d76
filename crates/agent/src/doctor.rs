//! Whether the agent can see what it claims to see, found out by trying.

mod coverage;
mod self_test;

use std::path::PathBuf;

use serde::Serialize;

use crate::admin::CONNECTIONS_MAX;
use crate::culprit;
use crate::history;
use crate::jemalloc::settings::{DecidedBy, Setting};
use crate::jemalloc::unwind::{self, Unwound};
use crate::jemalloc::{prof, settings};
use crate::livetable;
use crate::profile::profiler::{ProfileError, Profiler};
use crate::state::State;
use crate::symbols::object_state::{self, ObjectState};
use crate::symbols::resolve;

pub(crate) use coverage::Coverage;
pub(crate) use self_test::SelfTest;

/// The JSON of `/doctor`. Fields ending in `_bytes` and `_seconds` have that unit.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    /// Nothing is wrong.
    pub(crate) healthy: bool,
    /// What is wrong, and what to do about it, in words.
    pub(crate) problems: Vec<String>,
    pub(crate) sampling: Sampling,
    pub(crate) settings: Vec<Setting>,
    /// `None` where it was not wanted or nothing is sampled.
    pub(crate) self_test: Option<SelfTest>,
    /// Whether allocations of C libraries are seen; `None` without jemalloc.
    pub(crate) c_allocations_seen: Option<bool>,
    pub(crate) unwinder: Unwinder,
    pub(crate) symbols: ObjectState,
    /// How much of a profile has names; `null` where there is none.
    pub(crate) coverage: Option<Coverage>,
    pub(crate) limits: Vec<Limit>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Sampling {
    /// jemalloc was started with `prof:true`.
    pub(crate) available: bool,
    pub(crate) active: bool,
    /// Now; it is longer than at the start where samples would be more than `samples_per_second_max`.
    pub(crate) interval_bytes: Option<u64>,
    /// `null` where they are not bounded.
    pub(crate) samples_per_second_max: Option<u32>,
    /// Where profiles come from: `live_table`, `dumps` of jemalloc's, or `null` where there are none.
    pub(crate) source: Option<&'static str>,
    /// Why they come from dumps.
    pub(crate) source_reason: Option<String>,
    /// How full the live table is; `null` where it is not in use.
    pub(crate) table: Option<Table>,
    /// The host's setting (`PPROF`).
    pub(crate) wanted: bool,
}

/// Used and available places of the live table, and what it could not keep.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    /// The file that outlives the process; `null` where it is kept in memory only.
    pub(crate) path: Option<PathBuf>,
    /// Why it is in memory only.
    pub(crate) memory_only: Option<String>,
    pub(crate) stacks: (u64, u64),
    pub(crate) frames: (u64, u64),
    pub(crate) samples: (u64, u64),
    /// Taken since the start.
    pub(crate) sampled: u64,
    pub(crate) lost_samples: u64,
    /// Stacks of which nothing lived and that gave their place to others: their allocations are in no profile.
    pub(crate) reused_stacks: u64,
    /// Ends of samples that were taken before the table was there, or lost.
    pub(crate) unknown_frees: u64,
}

impl From<livetable::Fill> for Table {
    fn from(fill: livetable::Fill) -> Self {
        let livetable::Fill { path, memory_only, stacks, frames, samples, sampled, lost, reused_stacks, .. } = fill;
        Self {
            path,
            memory_only,
            stacks,
            frames,
            samples,
            sampled,
            lost_samples: lost,
            reused_stacks,
            unknown_frees: fill.unknown_frees,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Unwinder {
    pub(crate) name: &'static str,
    /// jemalloc's own, which unwinds what that one leaves to it.
    pub(crate) built_in: &'static str,
    /// Stacks unwound since the start.
    pub(crate) unwound: Unwound,
    pub(crate) depth_max: Option<u64>,
}

/// A bound of the agent or of the process.
#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
    pub(crate) source: &'static str,
}

/// Looks at everything; with `self_test`, leaks a MiB on purpose and looks for it.
///
/// # Errors
///
/// The profiler's thread is busy.
pub(crate) async fn examine(state: &State, profiler: &Profiler, self_test: bool) -> Result<Diagnosis, ProfileError> {
    let source = livetable::Source::current().filter(|_| state.pprof);
    let fill = livetable::fill();
    let sampling = Sampling {
        available: prof::is_compiled_in(),
        active: prof::active(),
        interval_bytes: prof::sample_interval_bytes(),
        source: source.map(livetable::Source::name),
        source_reason: livetable::refused().filter(|_| source == Some(livetable::Source::Dumps)),
        samples_per_second_max: fill.as_ref().and_then(|fill| fill.samples_per_second_max),
        table: fill.map(Table::from),
        wanted: state.pprof,
    };
    let self_test = if self_test && sampling.active { Some(self_test::run(profiler).await?) } else { None };
    let coverage = if source.is_some() { Some(coverage::measure(profiler).await?) } else { None };
    let (built_in, depth_max) = settings::unwinder();
    let name = if unwind::is_in_use() { unwind::NAME } else { built_in };
    let mut diagnosis = Diagnosis {
        healthy: true,
        problems: Vec::new(),
        sampling,
        settings: settings::settings(),
        self_test,
        c_allocations_seen: settings::serves_c(),
        unwinder: Unwinder { name, built_in, unwound: unwind::unwound(), depth_max },
        symbols: object_state::of_program_and_its_parts(),
        coverage,
        limits: limits(state),
    };
    diagnosis.problems = problems(&diagnosis);
    diagnosis.healthy = diagnosis.problems.is_empty();
    Ok(diagnosis)
}

fn limits(state: &State) -> Vec<Limit> {
    let memory = state.report().limit;
    let limit = |name, value: usize, source| Limit { name, value: value as u64, source };
    vec![
        Limit { name: "memory_limit_bytes", value: memory.bytes, source: memory.source.name() },
        limit("live_table_bytes", livetable::TABLE_BYTES, "built in"),
        limit("history_bytes", history::MEMORY_BYTES, "built in"),
        limit("symbol_cache_bytes", resolve::CACHE_BYTES_MAX, "built in"),
        limit("growth_moments", culprit::MOMENTS_MAX, "built in"),
        limit("growth_moments_bytes", culprit::MOMENTS_BYTES_MAX, "built in"),
        limit("call_sites", culprit::SITES_MAX, "built in"),
        limit("admin_connections", CONNECTIONS_MAX, "built in"),
    ]
}

fn problems(diagnosis: &Diagnosis) -> Vec<String> {
    let mut problems = Vec::new();
    let sampling = &diagnosis.sampling;
    if !sampling.available {
        let variable = diagnosis.settings.iter().find(|setting| setting.key == "prof");
        problems.push(match variable.map(|setting| (setting.decided_by, &setting.in_variable)) {
            Some((DecidedBy::Variable, Some(value))) => {
                format!("MALLOC_CONF says prof:{value}, which beats the program's own setting: nothing is sampled")
            }
            _ => "jemalloc was not started with prof:true: put heapline::use_jemalloc!() at the crate root".to_owned(),
        });
    } else if !sampling.active && sampling.wanted {
        problems.push("sampling was switched off (prof.active): profiles miss what is allocated now".to_owned());
    }
    if let Some(reason) = &sampling.source_reason {
        problems.push(format!(
            "no live table ({reason}): profiles are made from jemalloc's dumps, without allocations, ages and peak, and \
             nothing is left of them after a kill"
        ));
    }
    if let Some(reason) = sampling.table.as_ref().and_then(|table| table.memory_only.as_ref()) {
        problems
            .push(format!("the live table is kept in memory only ({reason}): after a kill there is no last profile"));
    }
    if sampling.table.as_ref().is_some_and(|table| table.lost_samples > 0) {
        problems.push("the live table was full: profiles miss some samples".to_owned());
    }
    if let Some(test) = &diagnosis.self_test {
        if !test.seen {
            problems.push("a leak made on purpose does not appear in a profile".to_owned());
        } else if !test.named {
            problems.push("a leak made on purpose appears without its function's name: see symbols".to_owned());
        }
    }
    if diagnosis.c_allocations_seen == Some(false) {
        problems.push("memory that C libraries allocate is not seen: jemalloc does not serve malloc".to_owned());
    }
    if diagnosis.symbols.line_tables && diagnosis.coverage.as_ref().is_some_and(Coverage::lacks_lines) {
        problems.push(
            "parts of the program were built without debug information: their functions have names and no lines; build \
             with debug = 1"
                .to_owned(),
        );
    }
    problems.extend(diagnosis.symbols.missing.iter().map(|missing| (*missing).to_owned()));
    problems
}
