//! Runs Heapline and what people use today over the labelled corpus, and prints how good they are.

mod corpus;
mod ours;
mod rivals;
mod score;

use std::collections::BTreeMap;
use std::ops::Range;

use clap::Parser;
use corpus::{KINDS, Kind, Trace};
use score::{Fate, Score};

/// Detection on labelled traces: one trace of each kind a seed. Seeds below 100 were developed on, those above are for reports.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds, from and up to but not including
    #[arg(long, value_name = "FROM..TO", default_value = "100..110", value_parser = seeds)]
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
}

fn main() {
    let arguments = Arguments::parse();
    let mut score = Score::default();
    let mut others: Vec<Score> = rivals::RIVALS.iter().map(|_| Score::default()).collect();
    let mut fates: BTreeMap<Kind, Vec<Fate>> = BTreeMap::new();
    for seed in arguments.seeds.clone() {
        for kind in KINDS.into_iter().filter(|kind| format!("{kind:?}").contains(&arguments.kind)) {
            let trace = Trace::new(kind, seed);
            if arguments.csv {
                print!("{}", trace.csv());
                continue;
            }
            let alarms = ours::alarms(&trace);
            let fate = score.add(&trace, &alarms);
            fates.entry(kind).or_default().push(fate);
            if arguments.wrong && !fate.is_right() {
                println!("{kind:?} {seed}: {fate:?}, every {} s, {:?}", trace.interval_seconds, trace.leak);
                alarms.iter().take(2).for_each(|alarm| println!("    at {:.0} s: {}", alarm.seconds, alarm.note));
            }
            if !arguments.alone {
                let samples = rivals::samples(&trace);
                for (rival, score) in rivals::RIVALS.iter().zip(&mut others) {
                    score.add(&trace, &rival.alarms(&trace, &samples));
                }
            }
        }
    }
    if arguments.csv {
        return;
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

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is not two numbers such as 100..110"))
}
