//! `heapline replay`: a trace through the agent's own watch.

mod csv;
mod query_range;
mod row;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use heapline::history::Series;
use heapline::memory::{Limit, LimitSource, process};
use heapline::quantity;
use heapline::verdict::Verdict;
use heapline::watch::{Reading, Watch};
use serde::Serialize;

use crate::{EXIT_DATA, EXIT_USAGE};
use row::Row;

/// Input is read in pieces of this size.
const BUFFER_BYTES: usize = 256 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// CSV with a header naming any of seconds, allocated_bytes, active_bytes, resident_bytes, rss_bytes, limit_bytes and
    /// in_flight (seconds, and allocated_bytes or rss_bytes, are required), or the JSON of Prometheus' query_range; - reads
    /// standard input
    trace: PathBuf,

    /// Memory at which the process would be killed, e.g. 2GiB [default: the column limit_bytes, else this host's memory]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    limit: Option<u64>,

    /// Says the state every so often, too, e.g. 1h, by the trace's time [default: only changes of verdict]
    #[arg(long, value_name = "DURATION", value_parser = quantity::parse_duration)]
    every: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("cannot open {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("cannot tell this host's memory, give --limit: {source}")]
    Host { source: io::Error },
    #[error("cannot write the answer: {source}")]
    Write { source: io::Error },
}

impl ReplayError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Open { .. } | Self::Host { .. } => EXIT_USAGE,
            Self::Read { .. } | Self::Malformed { .. } | Self::Write { .. } => EXIT_DATA,
        }
    }
}

/// Replays a trace to standard output; what went wrong is one line.
pub(crate) fn exit(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heapline: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), ReplayError> {
    let path = &arguments.trace;
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|source| ReplayError::Open { path: path.clone(), source })?)
    };
    let host = process::host_memory_bytes();
    let limit = match (arguments.limit, host) {
        (Some(bytes), _) => Limit { bytes, source: LimitSource::Configured },
        (None, Ok(bytes)) => Limit { bytes, source: LimitSource::Host },
        (None, Err(source)) => return Err(ReplayError::Host { source }),
    };
    let output = BufWriter::new(io::stdout().lock());
    let mut teller = Teller { watch: None, limit, every: arguments.every, told: None, due_seconds: 0.0, output };
    let told = tell(path, BufReader::with_capacity(BUFFER_BYTES, input), &mut teller);
    match told.and_then(|()| teller.output.flush().map_err(|source| ReplayError::Write { source })) {
        // Whoever reads has seen enough.
        Err(ReplayError::Write { source }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn tell<W: Write>(path: &Path, mut input: impl BufRead, teller: &mut Teller<W>) -> Result<(), ReplayError> {
    let failed = |error: row::Error| match error {
        row::Error::Read(source) => ReplayError::Read { path: path.to_owned(), source },
        row::Error::Malformed(reason) => ReplayError::Malformed { path: path.to_owned(), reason },
    };
    let start = input.fill_buf().map_err(|source| ReplayError::Read { path: path.to_owned(), source })?;
    if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        for row in query_range::rows(input).map_err(failed)? {
            teller.take(&row)?;
        }
        return Ok(());
    }
    let mut lines = csv::Lines::open(input).map_err(failed)?;
    while let Some(row) = lines.next().map_err(failed)? {
        teller.take(&row)?;
    }
    Ok(())
}

/// Watches, and says what changes.
struct Teller<W> {
    watch: Option<Watch>,
    /// Where the rows have none, or the one that was asked for.
    limit: Limit,
    every: Option<Duration>,
    told: Option<Verdict>,
    due_seconds: f64,
    output: W,
}

#[derive(Serialize)]
struct Line<'a> {
    seconds: f64,
    verdict: &'a str,
    slope_bytes_per_second: Option<f64>,
    slope_low: Option<f64>,
    slope_high: Option<f64>,
    time_to_limit_seconds: Option<f64>,
    evidence: &'a str,
}

impl<W: Write> Teller<W> {
    fn take(&mut self, row: &Row) -> Result<(), ReplayError> {
        let limit = match row.limit_bytes {
            Some(bytes) if self.limit.source == LimitSource::Host => Limit { bytes, source: LimitSource::Cgroup },
            _ => self.limit,
        };
        let reading = &row.reading;
        let series = if reading.allocated_bytes.is_some() { Series::Live } else { Series::Rss };
        let watch = self.watch.get_or_insert_with(|| Watch::new(series));
        let verdict = match watch.read(reading, limit) {
            Some(verdict) => verdict,
            None if self.told.is_none() => Verdict::WarmingUp,
            None => return Ok(()),
        };
        if self.told == Some(verdict) && !self.every.is_some_and(|_| reading.seconds >= self.due_seconds) {
            return Ok(());
        }
        self.told = Some(verdict);
        if let Some(every) = self.every {
            self.due_seconds = reading.seconds + every.as_secs_f64();
        }
        say(&mut self.output, watch, verdict, reading, limit).map_err(|source| ReplayError::Write { source })
    }
}

fn say(output: &mut impl Write, watch: &Watch, verdict: Verdict, reading: &Reading, limit: Limit) -> io::Result<()> {
    let judgement = watch.outlook(reading.seconds, reading.equation(), limit).judgement;
    let slope = judgement.slope.map(|slope| slope.estimate);
    let line = Line {
        seconds: reading.seconds,
        verdict: verdict.name(),
        slope_bytes_per_second: slope.map(|slope| slope.bytes_per_second),
        slope_low: slope.map(|slope| slope.low),
        slope_high: slope.map(|slope| slope.high),
        time_to_limit_seconds: judgement.time_to_limit.map(|time| time.seconds).filter(|seconds| seconds.is_finite()),
        evidence: &judgement.evidence,
    };
    serde_json::to_writer(&mut *output, &line)?;
    output.write_all(b"\n")
}

fn size(text: &str) -> Result<u64, String> {
    match quantity::parse_size(text) {
        Ok(0) => Err("a limit is more than 0 bytes".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}
