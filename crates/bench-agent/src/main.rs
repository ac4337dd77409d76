//! `bench-agent` runs the subjects beside it in turn and prints one table: each figure with its peer of the same run.
//! `bench-agent profile load` runs only those parts.

mod table;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;

use table::{PARTS, Part};

/// Settings of [`heapline::use_jemalloc!`] without the profiler.
const WITHOUT_PROFILER: &str = "prof:false,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
/// With it, and without anybody who listens to what it samples.
const WITHOUT_AGENT: &str =
    "prof:true,prof_active:true,lg_prof_sample:19,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

/// Pairs of the throughput's comparisons.
const LOAD_ROUNDS: usize = 15;
/// Turns that each program has in a round, one after the other with the others'.
const TURNS: usize = 8;
/// Seconds that a turn takes.
const TURN_SECONDS: &str = "0.1";
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
        role @ ("load" | "service") => {
            compare(figures, role)?;
            let rate = format!("{role}_requests_per_second");
            for (name, one) in [("ratio", "on"), ("ratio_same", "again")] {
                ratio(figures, &format!("{role}_{name}"), &format!("{one}_{rate}"), &format!("out_{rate}"));
            }
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

/// Two programs without the agent and one with it, which work in turns. The first round is for warmth and is not kept.
fn compare(figures: &mut Figures, role: &str) -> io::Result<()> {
    let start = |(name, program)| Subject::start(name, program, role);
    let mut subjects: Vec<Subject> = [("on", "agent-on"), ("out", "agent-out"), ("again", "agent-out")]
        .into_iter()
        .map(start)
        .collect::<io::Result<_>>()?;
    for round in 0..=LOAD_ROUNDS {
        let mut rates = [0.0; 3];
        for turn in 0..TURNS {
            // Whoever comes first meets a warmer or a colder machine: each in turn.
            for place in 0..subjects.len() {
                let place = (place + turn + round) % subjects.len();
                rates[place] += subjects[place].turn(figures)? / TURNS as f64;
            }
        }
        for (subject, rate) in subjects.iter().zip(rates).filter(|_| round > 0) {
            figures.entry(format!("{}_{role}_requests_per_second", subject.name)).or_default().push(rate);
        }
    }
    Ok(())
}

/// A program that works when it is told to.
struct Subject {
    name: &'static str,
    turns: ChildStdin,
    told: BufReader<ChildStdout>,
    child: Child,
}

impl Subject {
    fn start(name: &'static str, program: &str, role: &str) -> io::Result<Subject> {
        let mut child = command(program, WITHOUT_PROFILER)?
            .args([role, TURN_SECONDS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (turns, told) = pipes.ok_or_else(|| io::Error::other("no pipe to a subject"))?;
        Ok(Subject { name, turns, told: BufReader::new(told), child })
    }

    /// One turn; requests a second in it.
    fn turn(&mut self, figures: &mut Figures) -> io::Result<f64> {
        self.turns.write_all(b"\n")?;
        loop {
            let mut line = String::new();
            if self.told.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("{} ended", self.name)));
            }
            let told = line.trim_end().split_once(' ');
            let Some((figure, value)) = told.and_then(|(name, value)| Some((name, value.parse().ok()?))) else {
                continue;
            };
            if figure.ends_with("requests_per_second") {
                return Ok(value);
            }
            figures.entry(format!("{}_{figure}", self.name)).or_default().push(value);
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It has no more turns: it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(program: &str, malloc_conf: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name(program));
    command.stderr(Stdio::inherit()).env_remove("MALLOC_CONF").env_remove("PPROF");
    if program == "agent-out" {
        command.env("MALLOC_CONF", malloc_conf);
    }
    Ok(command)
}

/// Runs a subject and keeps what it tells.
fn run(figures: &mut Figures, prefix: &str, program: &str, malloc_conf: &str, arguments: &[&str]) -> io::Result<()> {
    let output = command(program, malloc_conf)?.args(arguments).output()?;
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
