//! Load and comparison: `heapline-bench` alone prints the table; `load` and `floor` are its parts, usable by hand.

mod compare;
mod floor;
mod load;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Upload load, and Heapline beside a bare socket loop in alternating runs")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: compare::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Send uploads to a server and print what it took
    Load(load::Options),
    /// Serve as the floor: read and write the bytes, parse nothing but the head
    Floor(FloorOptions),
}

#[derive(Args)]
struct FloorOptions {
    /// Directory that receives the files
    #[arg(long)]
    dir: PathBuf,
    /// fdatasync each file before the answer
    #[arg(long)]
    sync: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Load(options)) => load::run(&options).map(|outcome| println!("{outcome}")),
        Some(Command::Floor(options)) => floor::serve(&options.dir, options.sync),
        None => compare::run(&cli.compare),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heapline-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
