//! `make culprits [NAMES]`: the host programs, some at a time, and a table of what each was told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use heapline_tests::hosts::{HOSTS, Host, OUTSIDERS, Outcome, TELL_LIMIT, observe};
use heapline_tests::process::LaunchError;

/// Programs that run at a time, each at a hundredth of a core or two.
const AT_ONCE: usize = 24;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let is_asked =
        |host: &Host| asked.is_empty() || asked.iter().any(|name| [host.name, host.binary].contains(&name.as_str()));
    let hosts: Vec<Host> = HOSTS.into_iter().chain(OUTSIDERS).filter(is_asked).collect();
    println!(
        "| Program | Named first | Told `ok` | After s: one, all | Growth: first, last | Rate: first, last | Besides | |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = observe(host, TELL_LIMIT, false);
                    row(host, &outcome);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push(outcome);
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_default();
    let faultless =
        outcomes.iter().filter(|outcome| outcome.as_ref().is_ok_and(|outcome| outcome.faults().is_empty())).count();
    println!("\n{faultless} of {} as they should be", hosts.len());
    if faultless < hosts.len() {
        std::process::exit(1);
    }
}

fn row(host: &Host, outcome: &Result<Outcome, LaunchError>) {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return println!("| {} | {error} |", host.name),
    };
    let seconds = |after: Option<Duration>| after.map_or("-".to_owned(), |after| after.as_secs().to_string());
    let ratios = |ratios: Option<(f64, f64)>| ratios.map_or("-".to_owned(), |(a, b)| format!("{a:.2} {b:.2}"));
    let mut faults = outcome.faults();
    if outcome.is_named_by_age == Some(false) {
        faults.push("not by age".to_owned());
    }
    println!(
        "| {} | {} | {} of {} | {} {} | {} | {} | {} | {} |",
        host.name,
        if outcome.named.is_empty() { outcome.last["state"].as_str().unwrap_or_default() } else { &outcome.named },
        outcome.told,
        outcome.asked,
        seconds(outcome.told_after),
        seconds(outcome.all_told_after),
        ratios(outcome.growth_ratios),
        ratios(outcome.rate_ratios),
        outcome.besides.join(", "),
        if faults.is_empty() { "as it should be".to_owned() } else { faults.join("; ") },
    );
}
