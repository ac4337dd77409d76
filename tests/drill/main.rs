//! The story, told again in about five minutes: four upload services under the same load of curl, watched by a real
//! Prometheus and Alertmanager, beside a real Kafka. One table at the end, measured in this run.

mod entrant;
mod interrupt;
mod shape;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use heapline_tests::deadline;
use heapline_tests::gopprof::GoPprof;
use heapline_tests::kafka::{self, Kafka};
use heapline_tests::load::{self, Curl};
use heapline_tests::watch::{self, Watch};
use tempfile::TempDir;

use crate::entrant::Entrant;
use crate::interrupt::Interrupt;

/// How often a line tells how it stands.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// The contract's topic.
const TOPIC: &str = "statusNew";
const PARTITIONS: i32 = 6;

#[derive(Debug, Parser)]
#[command(name = "drill", about = "Four upload services under one load: which of them leaks, and who hears of it")]
struct Flags {
    /// How long the load lasts, in seconds. An alert takes some 220: a minute of warm-up, a minute of evidence, the
    /// verdict, and a minute that the rule waits.
    #[arg(long, default_value_t = 270)]
    seconds: u64,
    /// Uploads of 1.3 MB a second to each service. Each costs a leaking one 450 KB and four threads for good.
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    rate: f64,
}

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("drill: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs the drill; whether the story had its shape.
fn run(flags: &Flags) -> Result<bool, Box<dyn Error>> {
    let interrupt = Interrupt::install()?;
    let (kafka, watch, curl) = (kafka::Installation::find()?, watch::Installation::find()?, Curl::find()?);
    let pprof = GoPprof::find().inspect_err(|missing| eprintln!("drill: no culprit column: {missing}")).ok();

    println!("starting Kafka, four services, Prometheus and Alertmanager");
    let kafka = Kafka::start(&kafka)?;
    kafka.create_topic(TOPIC, PARTITIONS)?;
    let mut entrants = entrant::start_all(&kafka.address())?;
    let targets: Vec<_> = entrants.iter().map(Entrant::target).collect();
    let watch = Watch::start(&watch, &targets)?;

    let files = TempDir::with_prefix("heapline-drill-")?;
    let form = files.path().join("form.bin");
    load::write_form_file(&form)?;
    let begin = Instant::now();
    for entrant in &mut entrants {
        entrant.load(&curl, &form, Duration::from_secs_f64(1.0 / flags.rate))?;
    }
    println!("{} s of load: {} uploads of 1.3 MB a second to each\n", flags.seconds, flags.rate);

    let end = begin + Duration::from_secs(flags.seconds);
    let mut next = begin + PROGRESS_EVERY;
    while deadline::pace(next.min(end), || interrupt.came()) && next < end {
        println!("{:>4} s  {}", begin.elapsed().as_secs(), progress(&entrants));
        next += PROGRESS_EVERY;
    }
    if interrupt.came() {
        return Err("interrupted: everything is stopped".into());
    }

    let mut outcomes = Vec::new();
    for entrant in &mut entrants {
        outcomes.push(entrant.outcome(&watch, begin, pprof.as_ref())?);
    }
    println!("\n{}", table::render(&outcomes));
    let faults = shape::faults(&outcomes);
    for fault in &faults {
        println!("not the story's shape: {fault}");
    }
    if faults.is_empty() {
        println!("The story's shape holds: steep, less steep, flat, flat; alerts for the first two only.");
    }
    Ok(faults.is_empty())
}

fn progress(entrants: &[Entrant]) -> String {
    entrants.iter().map(Entrant::progress).collect::<Vec<_>>().join(" | ")
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=20.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is from 0.1 to 20 a second".to_owned()),
    }
}
