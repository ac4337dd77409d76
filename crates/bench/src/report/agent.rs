//! The tables of what the agent costs.

use std::fmt::Write;

use super::median;
use crate::grown::{Axis, Step, Told};
use crate::load::Histogram;
use crate::pairs::{Pairs, Row, SLICES, Turn};
use crate::scrapes::Scrapes;

/// Normal quantile of a two-sided interval at 95%.
const Z: f64 = 1.96;

/// Each turn beside its reference, round by round.
pub(crate) fn pairs_table(pairs: &Pairs) -> String {
    let (load, rounds) = (&pairs.load, pairs.rows.first().map_or(0, |row| row.uploads_per_second.len()));
    let mut text = format!(
        "\n### {}\n\nForms of one file, {} connections, {rounds} rounds of {SLICES} slices of {} uploads each, in turn, in {}.\n\n\
         | | Throughput: median (95% interval of it) | least to most | CPU an upload: median (95%) | least to most | of all rounds together |\n\
         |---|---|---|---|---|---|\n",
        pairs.title,
        load.connections,
        pairs.uploads,
        load.dir.display(),
    );
    let row_of = |turn: Turn| pairs.rows.iter().find(|row| row.turn == turn);
    for row in &pairs.rows {
        let Some((name, reference)) = row.turn.beside() else { continue };
        let Some(reference) = row_of(reference) else { continue };
        let ratios = |of: fn(&Row) -> &Vec<f64>| {
            let mut ratios: Vec<f64> = of(row).iter().zip(of(reference)).map(|(one, other)| one / other).collect();
            ratios.sort_by(f64::total_cmp);
            let (low, high) = interval(&ratios);
            let (least, most) = (ratios.first().copied(), ratios.last().copied());
            let (least, most) = (least.unwrap_or(f64::NAN), most.unwrap_or(f64::NAN));
            format!("{:.3} ({low:.3} to {high:.3}) | {least:.2} to {most:.2}", median(ratios))
        };
        let cpu_in_all = |row: &Row| row.cpu_ms_per_upload.iter().sum::<f64>();
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {:.3} |",
            ratios(|row| &row.uploads_per_second),
            ratios(|row| &row.cpu_ms_per_upload),
            cpu_in_all(row) / cpu_in_all(reference),
        );
    }
    let absolute = |turn: Turn| {
        let row = row_of(turn);
        let column = |of: fn(&Row) -> &Vec<f64>| median(row.map_or(Vec::new(), |row| of(row).clone()));
        (column(|row| &row.uploads_per_second), column(|row| &row.cpu_ms_per_upload))
    };
    let ((with, with_ms), (without, without_ms)) = (absolute(Turn::With), absolute(Turn::Without));
    let _ = writeln!(
        text,
        "\nIn the medians {with:.0} uploads/s and {with_ms:.3} ms of CPU an upload with the agent, {without:.0} and {without_ms:.3} ms without."
    );
    for pulled in pairs.rows.iter().filter_map(|row| row.puller.as_ref()).flat_map(|puller| &puller.pulled) {
        let _ = writeln!(text, "`{}` meanwhile: {}.", pulled.target, times(&pulled.times));
    }
    text
}

pub(crate) fn scrapes_table(scrapes: &Scrapes) -> String {
    let load = &scrapes.load;
    let mut text = format!(
        "\n### {}\n\nForms of one file of {} bytes, {} connections, in {}. An answer each 10 ms, the two in turn, a connection \
         each.\n\n| | uploads/s | asked | times | p50 ms | p99 ms | most ms |\n|---|---|---|---|---|---|---|\n",
        scrapes.title,
        load.bytes,
        load.connections,
        load.dir.display(),
    );
    for row in &scrapes.rows {
        for pulled in &row.pulled {
            let ms = |share: f64| pulled.times.quantile(share).as_secs_f64() * 1e3;
            let _ = writeln!(
                text,
                "| {} | {:.0} | `{}` | {} | {:.2} | {:.2} | {:.1} |",
                row.level,
                median(row.uploads_per_second.clone()),
                pulled.target,
                pulled.times.count(),
                ms(0.5),
                ms(0.99),
                ms(1.0),
            );
        }
    }
    text
}

pub(crate) fn grown_table(axis: Axis, steps: &[Step]) -> String {
    let mut text = format!(
        "\n### {}\n\nRows: {}.\n\n| | stacks, samples kept | RSS with, without the agent, MiB | added: at first, after profiles, MiB | \
         at rest, % of a core | scrape p50, p99, ms | a look at what grows, ms of CPU | a profile, ms (CPU) | the first, ms | \
         jemalloc_pprof, ms |\n|---|---|---|---|---|---|---|---|---|---|\n",
        axis.title(),
        axis.unit(),
    );
    for Step { size, told } in steps {
        let _ = match told {
            Ok((on, out)) => writeln!(text, "| {size} {}", cells(on, out)),
            Err(error) => writeln!(text, "| {size} | not measured: {error} | | | | | | | | |"),
        };
    }
    text
}

fn cells(on: &Told, out: &Told) -> String {
    let of = |told: &Told, name: &str| median(told.get(name).cloned().unwrap_or_default());
    let with = |name: &str| of(on, name);
    let without = of(out, "rss_mib");
    let lost = if with("lost") > 0.0 { format!(" ({:.0} without room)", with("lost")) } else { String::new() };
    format!(
        "| {:.0}, {:.0}{lost} | {:.1}, {without:.1} | {:.1}, {:.1} | {:.2} | {:.2}, {:.2} | {:.2} | {:.1} ({:.1}) | {:.0} | {:.0} |",
        with("stacks"),
        with("samples"),
        with("rss_mib"),
        with("rss_mib") - without,
        with("rss_after_mib") - without,
        with("rest_cpu_percent"),
        with("scrape_median_ms"),
        with("scrape_p99_ms"),
        with("look_cpu_ms"),
        with("profile_ms"),
        with("profile_cpu_ms"),
        with("profile_cold_ms"),
        with("peer_ms"),
    )
}

fn times(times: &Histogram) -> String {
    let ms = |share: f64| times.quantile(share).as_secs_f64() * 1e3;
    format!("{} times, median {:.1} ms, most {:.1} ms", times.count(), ms(0.5), ms(1.0))
}

/// Between which values the median of the population is, by the ranks of those in a sample, sorted.
fn interval(sorted: &[f64]) -> (f64, f64) {
    let count = sorted.len() as f64;
    let reach = Z * count.sqrt() / 2.0;
    let low = (count / 2.0 - reach).floor().max(1.0) as usize;
    let high = (count / 2.0 + 1.0 + reach).ceil().min(count) as usize;
    let at = |rank: usize| sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN);
    (at(low), at(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between_the_ranks_of_its_interval() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(interval(&sorted), (40.0, 61.0));
        assert_eq!(interval(&sorted[..4]), (1.0, 4.0));
        assert!(interval(&[]).0.is_nan());
    }
}
