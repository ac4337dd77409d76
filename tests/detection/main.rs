//! Runs Heapline and what people use today over the labelled corpus, and prints how good they are.

mod corpus;
mod cost;
mod ours;
mod rivals;
mod score;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Parser;
use corpus::{KINDS, Kind, Trace};
use score::{Alarm, Fate, Score};

/// Detection on labelled traces: one trace of each kind a seed. Seeds below 200 were developed on, those from 200 on are for reports.
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

    /// Prints what a sample and a look cost instead
    #[arg(long)]
    cost: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.cost {
        println!("{}", cost::HEADER);
        cost::lines().iter().for_each(|line| println!("{line}"));
        return;
    }
    let cases: Vec<(Kind, u64)> = arguments
        .seeds
        .clone()
        .flat_map(|seed| KINDS.into_iter().map(move |kind| (kind, seed)))
        .filter(|(kind, _)| format!("{kind:?}").contains(&arguments.kind))
        .collect();
    if arguments.csv {
        cases.iter().for_each(|(kind, seed)| print!("{}", Trace::new(*kind, *seed).csv()));
        return;
    }
    let mut score = Score::default();
    let mut others: Vec<Score> = rivals::RIVALS.iter().map(|_| Score::default()).collect();
    let mut fates: BTreeMap<Kind, Vec<Fate>> = BTreeMap::new();
    for case in heard(&cases, !arguments.alone) {
        let fate = score.add(&case.trace, &case.alarms);
        fates.entry(case.trace.kind).or_default().push(fate);
        if arguments.wrong && !fate.is_right() {
            println!("{}", case.story(fate));
        }
        for (score, alarms) in others.iter_mut().zip(&case.rivals) {
            score.add(&case.trace, alarms);
        }
    }
    println!("{}\n{}", Score::HEADER, score.line("Heapline"));
    if !arguments.alone {
        for (rival, score) in rivals::RIVALS.iter().zip(&others) {
            println!("{}", score.line(rival.name));
        }
    }
    println!("\n| Kind | Leaks | Right | Late or missed | False |\n|---|---|---|---|---|");
    for (kind, fates) in fates {
        let count = |wanted: &[Fate]| fates.iter().filter(|fate| wanted.contains(fate)).count();
        let (right, late) = (count(&[Fate::Found, Fate::Quiet]), count(&[Fate::Late, Fate::Missed]));
        let leaks = if kind.leaks() { "yes" } else { "no" };
        println!("| {kind:?} | {leaks} | {right} of {} | {late} | {} |", fates.len(), count(&[Fate::Cried]));
    }
}

/// A trace without its rows, and what was said of it.
struct Case {
    trace: Trace,
    alarms: Vec<Alarm>,
    rivals: Vec<Vec<Alarm>>,
}

impl Case {
    fn hear(kind: Kind, seed: u64, with_rivals: bool) -> Self {
        let mut trace = Trace::new(kind, seed);
        let alarms = ours::alarms(&trace);
        let rivals = if with_rivals {
            let samples = rivals::samples(&trace);
            rivals::RIVALS.iter().map(|rival| rival.alarms(&trace, &samples)).collect()
        } else {
            Vec::new()
        };
        trace.rows = Vec::new();
        Self { trace, alarms, rivals }
    }

    fn story(&self, fate: Fate) -> String {
        let Trace { kind, seed, leak, .. } = &self.trace;
        let recipe = corpus::recipe::Recipe::new(*kind, *seed);
        let mut story = format!("{kind:?} {seed}: {fate:?}, {}", recipe.words());
        if let Some(leak) = leak {
            let share = leak.bytes_per_second * 86_400.0 / recipe.limit_bytes;
            story +=
                &format!("; leaks {share:.3}/day from {:.0} s, due {:.0} s", leak.onset_seconds, leak.deadline_seconds);
        }
        for alarm in self.alarms.iter().take(2) {
            story += &format!("\n    at {:.0} s: {}", alarm.seconds, alarm.note);
        }
        story
    }
}

/// Every case on its own, in order; the cores share them.
fn heard(cases: &[(Kind, u64)], with_rivals: bool) -> Vec<Case> {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut heard: Vec<(usize, Case)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut heard = Vec::new();
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some((kind, seed)) = cases.get(place) else { return heard };
                        heard.push((place, Case::hear(*kind, *seed, with_rivals)));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker panicked")).collect()
    });
    heard.sort_unstable_by_key(|(place, _)| *place);
    heard.into_iter().map(|(_, case)| case).collect()
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is not two numbers such as 100..110"))
}
