//! `bench-agent` runs the subjects beside it in turn and prints one table: each figure with its peer of the same run.
//! `bench-agent profile load` runs only those parts.

mod table;

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use table::{PARTS, Part};

/// Settings of [`heapline::use_jemalloc!`] without the profiler.
const WITHOUT_PROFILER: &str = "prof:false,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
/// With it, and without anybody who listens to what it samples.
const WITHOUT_AGENT: &str =
    "prof:true,prof_active:true,lg_prof_sample:19,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

/// Pairs of the throughput's comparison.
const LOAD_ROUNDS: usize = 9;
const THREADS_ROUNDS: usize = 3;

/// Values by name, in the order in which they were measured. A peer's have its name before them.
type Figures = BTreeMap<String, Vec<f64>>;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let parts = PARTS.iter().filter(|part| wanted.is_empty() || wanted.iter().any(|name| name == part.name));
    for part in parts {
        let mut figures = Figures::new();
        if let Err(error) = measure(part, &mut figures) {
            eprintln!("bench-agent: {}: {error}", part.name);
            return ExitCode::FAILURE;
        }
        part.print(&figures);
    }
    ExitCode::SUCCESS
}

fn measure(part: &Part, figures: &mut Figures) -> io::Result<()> {
    match part.name {
        "load" => {
            for round in 0..LOAD_ROUNDS {
                // Whoever comes first meets a warmer or a colder machine: each in turn.
                let mut turns = ["on", "out", "again"];
                turns.rotate_left(round % 3);
                for turn in turns {
                    let program = if turn == "on" { "agent-on" } else { "agent-out" };
                    run(figures, turn, program, WITHOUT_PROFILER, &["load", "1.5"])?;
                }
            }
            ratio(figures, "load_ratio", "on_load_requests_per_second", "out_load_requests_per_second");
            ratio(figures, "load_ratio_same", "again_load_requests_per_second", "out_load_requests_per_second");
        }
        "idle" => {
            let mut out = Figures::new();
            thread::scope(|scope| {
                let peer = scope.spawn(|| run(&mut out, "out", "agent-out", WITHOUT_PROFILER, &["idle", "60"]));
                run(figures, "on", "agent-on", "", &["idle", "60"])?;
                peer.join().map_err(|_| io::Error::other("the peer's thread panicked"))?
            })?;
            figures.extend(out);
            difference(figures, "idle_rss_added_mib", "on_idle_rss_mib", "out_idle_rss_mib");
        }
        "threads" => {
            for _ in 0..THREADS_ROUNDS {
                run(figures, "out", "agent-out", WITHOUT_AGENT, &["threads"])?;
                run(figures, "on", "agent-on", "", &["threads"])?;
            }
            ratio(figures, "threads_ratio", "on_threads_pairs_per_second", "out_threads_pairs_per_second");
        }
        role => run(figures, "on", "agent-on", "", &[role, "2"])?,
    }
    Ok(())
}

/// Runs a subject and keeps what it tells.
fn run(figures: &mut Figures, prefix: &str, program: &str, malloc_conf: &str, arguments: &[&str]) -> io::Result<()> {
    let path = std::env::current_exe()?.with_file_name(program);
    let mut command = Command::new(path);
    command.args(arguments).stderr(Stdio::inherit()).env_remove("MALLOC_CONF").env_remove("PPROF");
    if program == "agent-out" {
        command.env("MALLOC_CONF", malloc_conf);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{program} {arguments:?}: {}", output.status)));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((name, value)) = line.split_once(' ')
            && let Ok(value) = value.parse()
        {
            figures.entry(format!("{prefix}_{name}")).or_default().push(value);
        }
    }
    Ok(())
}

fn ratio(figures: &mut Figures, name: &str, one: &str, other: &str) {
    pairwise(figures, name, one, other, |one, other| one / other);
}

fn difference(figures: &mut Figures, name: &str, one: &str, other: &str) {
    pairwise(figures, name, one, other, |one, other| one - other);
}

fn pairwise(figures: &mut Figures, name: &str, one: &str, other: &str, by: fn(f64, f64) -> f64) {
    let of = |name: &str| figures.get(name).cloned().unwrap_or_default();
    let values = of(one).into_iter().zip(of(other)).map(|(one, other)| by(one, other)).collect();
    figures.insert(name.to_owned(), values);
}
