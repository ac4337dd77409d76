//! A program without an async runtime, watched by the agent.

use std::error::Error;
use std::io::{self, BufRead};

heapline::use_jemalloc!();

fn main() -> Result<(), Box<dyn Error>> {
    let agent = heapline::Agent::start(heapline::Config::default())?;
    println!("memory on http://{}/; lines are kept until the input ends", agent.admin_addr());
    let lines = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    println!("{} lines kept", lines.len());
    Ok(())
}
