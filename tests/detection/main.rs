//! Runs detectors over the labelled corpus and prints how good they are.

mod corpus;
mod ours;
mod score;

use std::collections::BTreeMap;

use corpus::{KINDS, Trace};
use score::{Fate, Score};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: u64| arguments.get(place).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (from, to) = (number(0, 0), number(1, 2));
    let filter = arguments.get(2).cloned().unwrap_or_default();
    let mut score = Score::default();
    let mut fates: BTreeMap<_, Vec<Fate>> = BTreeMap::new();
    for seed in from..to {
        for kind in KINDS.into_iter().filter(|kind| format!("{kind:?}").contains(&filter)) {
            let trace = Trace::new(kind, seed);
            let alarms = ours::alarms(&trace);
            let fate = score.add(&trace, &alarms);
            fates.entry(kind).or_default().push(fate);
            if let (Some(l), Some(a)) = (trace.leak, alarms.iter().find(|a| a.seconds >= trace.leak.map_or(0.0, |l| l.onset_seconds))) && let Some((lo, hi)) = a.interval && (lo > l.bytes_per_second || hi < l.bytes_per_second) {
                println!("UNCOVERED {kind:?} {seed} {:.3} in {:.3} {:.3} {:.3} {}", l.bytes_per_second / trace.limit_bytes as f64 * 86400.0, lo / l.bytes_per_second, a.bytes_per_second.unwrap_or(0.0) / l.bytes_per_second, hi / l.bytes_per_second, a.note);
            }
            if arguments.len() > 3 || !matches!(fate, Fate::Found | Fate::Quiet) {
                let r = corpus::recipe::Recipe::new(kind, seed);
                if let (Some(l), Some(a)) = (trace.leak, alarms.iter().find(|a| a.seconds >= trace.leak.map_or(0.0, |l| l.onset_seconds))) {
                    println!("RATIO {kind:?} {seed} {:.2} rate {:.2} every {} noise {:?} {:.4} rsso {} wave {} onset {:.0}", (a.seconds - l.onset_seconds) / (l.deadline_seconds - l.onset_seconds), l.bytes_per_second / trace.limit_bytes as f64 * 86400.0, r.interval_seconds, r.colour, r.noise, r.rss_only, r.wave, l.onset_seconds);
                    continue;
                }
                println!("{kind:?} {seed} {fate:?} {:?} every {} noise {:?} {:.4} wave {:.2} work {:.2} {} rsso {} n {}", trace.leak.map(|l| (l.onset_seconds.round(), l.bytes_per_second / trace.limit_bytes as f64 * 86400.0, (l.deadline_seconds-l.onset_seconds).round())), r.interval_seconds, r.colour, r.noise, r.wave, r.work, r.work_known, r.rss_only, trace.rows.len());
                println!("   warm {:.2} {:.0} cache {:.2} {:.0} {:.0} saw {:.2} {:.0} batch {:.2} {:.0} {:.0} phase {:.2} steps {:?}", r.warm_up, r.warm_up_seconds, r.cache, r.cache_seconds, r.cache_start_seconds, r.sawtooth, r.sawtooth_seconds, r.batch, r.batch_every_seconds, r.batch_seconds, r.phase, r.steps);
                for alarm in alarms.iter().take(3) {
                    println!("   at {:.0} {:?} {:?} {} slope {:?}", alarm.seconds, trace.leak.map(|l| alarm.seconds - l.onset_seconds), alarm.class, alarm.note, trace.leak.map(|l| alarm.bytes_per_second.unwrap_or(0.0) / l.bytes_per_second));
                }
            }
        }
    }
    for (kind, fates) in fates {
        println!("{kind:?}: {}", fates.iter().map(|fate| format!("{fate:?}")).collect::<Vec<_>>().join(" "));
    }
    println!("{}\n{}\nearly {}", Score::HEADER, score.line("Heapline"), score.early);
}
