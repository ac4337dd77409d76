//! `heapline`: the agent's pure cores over files.

mod diff;
mod replay;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The command line was not understood (EX_USAGE).
const EXIT_USAGE: u8 = 64;

/// The input was not understood (EX_DATAERR).
const EXIT_DATA: u8 = 65;

#[derive(Debug, Parser)]
#[command(name = "heapline", version, about = "Heap profiles, compared as the Heapline agent compares them")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ranks the call sites that grew from one heap profile to another: pprof, gzipped or not, or jemalloc's heap_v2 text
    Diff(diff::Arguments),
    /// Says what the agent would have said of a recorded trace, and when: one JSON object a line at each change of verdict
    Replay(replay::Arguments),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if error.use_stderr() {
                eprintln!("{}", first_line(&error.to_string()));
                return ExitCode::from(EXIT_USAGE);
            }
            // --help or --version; where it cannot be written there is nobody to tell.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    match arguments.command {
        Command::Diff(arguments) => diff::exit(&arguments),
        Command::Replay(arguments) => replay::exit(&arguments),
    }
}

/// clap adds usage and hints below; one clear line is what is promised.
fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().trim_end_matches(':').to_owned();
    // A missing argument is named on the second line.
    match lines.next() {
        Some(second) if second.starts_with('<') || second.starts_with("--") => format!("heapline: {first}: {second}"),
        _ => format!("heapline: {first}"),
    }
}
