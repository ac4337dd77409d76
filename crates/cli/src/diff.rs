//! `heapline diff`: which call sites grew from one profile file to another.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use heapline::culprit::diff::{DiffError, Side};
use heapline::culprit::{self, Report};

use crate::{EXIT_DATA, EXIT_USAGE};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The earlier profile: pprof, gzipped or not, or jemalloc's text. A file that can be read twice
    before: PathBuf,

    /// The later one
    after: PathBuf,

    /// The shape of /culprits, or a page for people
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Text,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{}", path.display())]
    Profile { path: PathBuf, source: DiffError },
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

/// Compares, and tells on standard output; one line on standard error where that cannot be done.
pub(crate) fn exit(arguments: &Arguments) -> ExitCode {
    let failure = match compare(arguments).and_then(|report| print(&report, arguments.format)) {
        Ok(()) => return ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(Failure::Write(source)) if source.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let mut line = format!("heapline: {failure}");
    let mut cause = failure.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    eprintln!("{line}");
    ExitCode::from(if matches!(failure, Failure::Open { .. }) { EXIT_USAGE } else { EXIT_DATA })
}

fn compare(arguments: &Arguments) -> Result<Report, Failure> {
    let open = |path: &PathBuf| File::open(path).map_err(|source| Failure::Open { path: path.clone(), source });
    let (before, after) = (open(&arguments.before)?, open(&arguments.after)?);
    culprit::diff::diff(before, after).map_err(|(side, source)| {
        let path = if side == Side::Before { &arguments.before } else { &arguments.after };
        Failure::Profile { path: path.clone(), source }
    })
}

fn print(report: &Report, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(report).map_err(|error| Failure::Write(error.into()))? + "\n",
        Format::Text => report.to_string(),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Write)
}
