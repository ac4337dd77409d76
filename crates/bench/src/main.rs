//! Load and comparison: `heapline-bench` alone prints the tables; its other commands are parts, usable by hand.

mod compare;
mod contender;
mod floor;
mod grown;
mod load;
mod pairs;
mod plan;
mod pulls;
mod report;
mod scrapes;
mod server;
mod slices;
mod slow;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Upload load, and Heapline beside its peers and a bare socket loop in alternating runs")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    plan: plan::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Send uploads to a server and print what it took
    Load(load::Options),
    /// Serve as the floor: read and write the bytes, parse nothing but the head
    Floor(FloorOptions),
    /// Serve as the floor that drops the bytes: what the load generator can do at most
    Null,
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
        Some(Command::Floor(FloorOptions { dir, sync })) => floor::serve(floor::Destination { dir: Some(dir), sync }),
        Some(Command::Null) => floor::serve(floor::Destination { dir: None, sync: false }),
        None => plan::run(&cli.plan),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heapline-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
