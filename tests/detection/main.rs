//! Runs Heapline and what people use today over the labelled corpus, and prints how good they are.

mod corpus;
mod cost;
mod labelled;
mod ours;
mod rivals;
mod score;
mod signs;

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use clap::Parser;
use corpus::{KINDS, Kind, Trace};
use labelled::Label;
use score::{Alarm, Fate, Score};

/// Detection on labelled traces: one trace of each kind a seed. docs/detection.md says which seeds were learned from.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds, from and up to but not including
    #[arg(long, value_name = "FROM..TO", default_value = "200..206", value_parser = seeds)]
    seeds: Range<u64>,

    /// Only kinds with this in their name
    #[arg(long, default_value = "")]
    kind: String,

    /// Heapline alone
    #[arg(long)]
    alone: bool,

    /// Prints each trace where Heapline was wrong
    #[arg(long)]
    wrong: bool,

    /// Prints the CSV of the traces instead
    #[arg(long)]
    csv: bool,

    /// Traces of a folder with `labels.csv` instead, such as one of those that `others/` writes
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,

    /// Prints what the detector weighs instead, for `learn.py`
    #[arg(long)]
    signs: bool,

    /// Prints what a sample and a look cost instead
    #[arg(long)]
    cost: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("detection: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    if arguments.cost {
        println!("{}", cost::HEADER);
        cost::lines().iter().for_each(|line| println!("{line}"));
        return Ok(());
    }
    let sources = arguments.sources()?;
    if arguments.signs {
        let mut out = io::stdout().lock();
        signs::header(&mut out)?;
        let written = |source: &Source| {
            let mut lines = Vec::new();
            signs::write(&source.trace()?, &source.name(), &source.kind(), &mut lines)?;
            Ok(lines)
        };
        return for_each(&sources, written, |lines: Vec<u8>| out.write_all(&lines));
    }
    if arguments.csv {
        return for_each(&sources, Source::trace, |trace| {
            print!("{}", trace.csv());
            Ok(())
        });
    }
    let mut score = Score::default();
    let mut others: Vec<Score> = rivals::RIVALS.iter().map(|_| Score::default()).collect();
    let mut fates: BTreeMap<String, (bool, Vec<Fate>)> = BTreeMap::new();
    for_each(
        &sources,
        |source| Case::hear(source, !arguments.alone),
        |case| {
            let fate = score.add(&case.trace, &case.alarms);
            fates.entry(case.kind.clone()).or_insert((case.leaks, Vec::new())).1.push(fate);
            if arguments.wrong && !fate.is_right() {
                println!("{}", case.story(fate));
            }
            for (score, alarms) in others.iter_mut().zip(&case.rivals) {
                score.add(&case.trace, alarms);
            }
            Ok(())
        },
    )?;
    println!("{}\n{}", Score::HEADER, score.line("Heapline"));
    if !arguments.alone {
        for (rival, score) in rivals::RIVALS.iter().zip(&others) {
            println!("{}", score.line(rival.name));
        }
    }
    println!("\n| Kind | Leaks | Right | Late or missed | False |\n|---|---|---|---|---|");
    for (kind, (leaks, fates)) in fates {
        let count = |wanted: &[Fate]| fates.iter().filter(|fate| wanted.contains(fate)).count();
        let (right, late) = (count(&[Fate::Found, Fate::Quiet]), count(&[Fate::Late, Fate::Missed]));
        let leaks = if leaks { "yes" } else { "no" };
        println!("| {kind} | {leaks} | {right} of {} | {late} | {} |", fates.len(), count(&[Fate::Cried]));
    }
    Ok(())
}

impl Arguments {
    fn sources(&self) -> io::Result<Vec<Source>> {
        let mut sources = Vec::new();
        if let Some(folder) = &self.from {
            let labels = labelled::labels(folder)?;
            sources.extend(labels.into_iter().map(|label| Source::File(folder.clone(), label)));
        } else {
            let seeds = self.seeds.clone();
            sources.extend(seeds.flat_map(|seed| KINDS.into_iter().map(move |kind| Source::Made(kind, seed))));
        }
        sources.retain(|source| source.kind().contains(&self.kind));
        Ok(sources)
    }
}

/// Where a trace comes from.
enum Source {
    Made(Kind, u64),
    File(PathBuf, Label),
}

impl Source {
    fn trace(&self) -> io::Result<Trace> {
        match self {
            Self::Made(kind, seed) => Ok(Trace::new(*kind, *seed)),
            Self::File(folder, label) => labelled::trace(folder, label),
        }
    }

    fn kind(&self) -> String {
        match self {
            Self::Made(kind, _) => format!("{kind:?}"),
            Self::File(_, label) => label.kind.clone(),
        }
    }

    fn leaks(&self) -> bool {
        match self {
            Self::Made(kind, _) => kind.leaks(),
            Self::File(_, label) => label.leak.is_some(),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Made(kind, seed) => format!("{kind:?} {seed}"),
            Self::File(folder, label) => {
                let folder = folder.file_name().map(Path::new).unwrap_or(folder);
                format!("{}/{}", folder.display(), label.file)
            }
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Made(kind, seed) => corpus::recipe::Recipe::new(*kind, *seed).words(),
            Self::File(..) => String::new(),
        }
    }
}

/// A trace without its rows, and what was said of it.
struct Case {
    kind: String,
    leaks: bool,
    name: String,
    words: String,
    trace: Trace,
    alarms: Vec<Alarm>,
    rivals: Vec<Vec<Alarm>>,
}

impl Case {
    fn hear(source: &Source, with_rivals: bool) -> io::Result<Self> {
        let mut trace = source.trace()?;
        let alarms = ours::alarms(&trace);
        let rivals = if with_rivals {
            let samples = rivals::samples(&trace);
            rivals::RIVALS.iter().map(|rival| rival.alarms(&trace, &samples)).collect()
        } else {
            Vec::new()
        };
        trace.rows = Vec::new();
        let leaks = source.leaks();
        Ok(Self { kind: source.kind(), leaks, name: source.name(), words: source.words(), trace, alarms, rivals })
    }

    fn story(&self, fate: Fate) -> String {
        let mut story = format!("{}: {fate:?}, {}", self.name, self.words);
        if let Some(leak) = &self.trace.leak {
            let share = leak.bytes_per_second * 86_400.0 / self.trace.limit_bytes as f64;
            story +=
                &format!("; leaks {share:.3}/day from {:.0} s, due {:.0} s", leak.onset_seconds, leak.deadline_seconds);
        }
        for alarm in self.alarms.iter().take(2) {
            story += &format!("\n    at {:.0} s: {}", alarm.seconds, alarm.note);
        }
        story
    }
}

/// Does `work` for every source, the cores sharing them, and hands the results on in order.
fn for_each<T: Send>(
    sources: &[Source],
    work: impl Fn(&Source) -> io::Result<T> + Sync,
    mut take: impl FnMut(T) -> io::Result<()>,
) -> io::Result<()> {
    /// Results that wait for their turn are bounded by this many sources.
    const AT_ONCE: usize = 64;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    for part in sources.chunks(AT_ONCE) {
        let next = AtomicUsize::new(0);
        let mut done: Vec<(usize, io::Result<T>)> = thread::scope(|scope| {
            let worker = || {
                let mut done = Vec::new();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(source) = part.get(place) else { return done };
                    done.push((place, work(source)));
                }
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker panicked")).collect()
        });
        done.sort_unstable_by_key(|(place, _)| *place);
        done.into_iter().try_for_each(|(_, result)| take(result?))?;
    }
    Ok(())
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is not two numbers such as 100..110"))
}
