//! Tables as Markdown: medians, and each figure's ratio to the floor of the same round.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::compare::{Figures, Table};
use crate::contender::Contender;
use crate::slow;

pub(crate) mod agent;

const BEGIN: &str = "<!-- written by make bench: begin -->";
const END: &str = "<!-- written by make bench: end -->";

/// What the figures were taken on.
pub(crate) fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map_or("", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let versions = [("rustc", "--version"), ("nginx", "-v"), ("go", "version")].map(|(program, flag)| {
        let output = Command::new(program).arg(flag).output();
        output.map_or_else(
            |_| format!("no {program}"),
            |output| {
                let text = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
            },
        )
    });
    format!(
        "Machine: {cores} cores, {}, Linux {}; {}. Client and server share the cores.\n",
        model.trim(),
        kernel.trim(),
        versions.join("; ")
    )
}

pub(crate) fn table(table: &Table) -> String {
    let scenario = &table.scenario;
    let mut text = format!(
        "\n### {}\n\n{} uploads a run, {} connections, {} rounds, in {}.\n\n\
         | | MB/s | uploads/s | of the floor (min–median–max) | CPU s/GB | of the floor | p50 ms | p99 ms | RSS peak / after 10 s, MB |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        scenario.title,
        scenario.uploads,
        scenario.connections,
        table.rows.iter().map(|row| row.figures.len()).max().unwrap_or(0),
        scenario.dir.display(),
    );
    let floor = table.rows.iter().find(|row| row.contender == Contender::Floor);
    let floor = floor.map_or(&[][..], |row| &row.figures);
    for row in &table.rows {
        let column = |of: fn(&Figures) -> f64| median(row.figures.iter().map(of).collect());
        let ratios = |of: fn(&Figures) -> f64| {
            let mut ratios: Vec<f64> = row.figures.iter().zip(floor).map(|(a, b)| of(a) / of(b)).collect();
            ratios.sort_by(f64::total_cmp);
            let (low, high) = (ratios.first().copied(), ratios.last().copied());
            format!("{:.2}–{:.2}–{:.2}", low.unwrap_or(f64::NAN), median(ratios), high.unwrap_or(f64::NAN))
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {} | {:.2} | {} | {:.1} | {:.1} | {:.0} / {:.0} |",
            row.contender.name(),
            column(|f| f.megabytes_per_second),
            column(|f| f.uploads_per_second),
            ratios(|f| f.megabytes_per_second),
            column(|f| f.cpu_seconds_per_gigabyte),
            ratios(|f| f.cpu_seconds_per_gigabyte),
            column(|f| f.p50_ms),
            column(|f| f.p99_ms),
            row.figures.iter().map(|f| f.rss_peak_megabytes).fold(0.0, f64::max),
            row.figures.last().map_or(f64::NAN, |f| f.rss_after_megabytes),
        );
    }
    for (contender, why) in &table.missing {
        let _ = writeln!(text, "\nNot measured: {} ({why}).", contender.name());
    }
    text
}

pub(crate) fn slow_table(title: &str, uploads: usize, rows: &[(Contender, io::Result<slow::Figures>)]) -> String {
    let mut text = format!(
        "\n### {title}\n\n| | RSS idle, MB | paused, MB | KiB an upload | peak, MB | after, MB |\n|---|---|---|---|---|---|\n"
    );
    for (contender, figures) in rows {
        let _ = match figures {
            Ok(f) => writeln!(
                text,
                "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                contender.name(),
                f.idle,
                f.paused,
                (f.paused - f.idle) * 1e6 / 1024.0 / uploads as f64,
                f.peak,
                f.after
            ),
            Err(error) => writeln!(text, "| {} | not measured: {error} | | | | |", contender.name()),
        };
    }
    text
}

/// Cost beside what grows: a row a table.
pub(crate) fn growth_table(title: &str, tables: &[Table]) -> String {
    let contenders: Vec<Contender> = tables.first().map_or(Vec::new(), |first| first.scenario.contenders.clone());
    let mut text = format!("\n### {title}\n\nEach: uploads/s, CPU ms an upload, RSS at its peak.\n\n| ");
    for contender in &contenders {
        let _ = write!(text, "| {} ", contender.name());
    }
    let _ = writeln!(text, "|\n|{}", "---|".repeat(contenders.len() + 1));
    for table in tables {
        let _ = write!(text, "| {} ", table.scenario.title);
        for contender in &contenders {
            let row = table.rows.iter().find(|row| row.contender == *contender);
            let column =
                |of: fn(&Figures) -> f64| median(row.map_or(Vec::new(), |row| row.figures.iter().map(of).collect()));
            let cpu_ms = column(|f| f.cpu_seconds_per_gigabyte) * table.scenario.bytes as f64 / 1e6;
            let (each, peak) = (column(|f| f.uploads_per_second), column(|f| f.rss_peak_megabytes));
            let _ = write!(text, "| {each:.0}, {cpu_ms:.3} ms, {peak:.0} MB ");
        }
        text.push_str("|\n");
    }
    text
}

pub(crate) fn start_table(table: &Table) -> String {
    let mut text = format!("\n### {}\n\n| | ms (min–median–max) |\n|---|---|\n", table.scenario.title);
    for row in &table.rows {
        let mut ms: Vec<f64> = row.figures.iter().map(|figures| figures.ready_ms).collect();
        ms.sort_by(f64::total_cmp);
        let (low, high) = (ms.first().copied(), ms.last().copied());
        let (low, high) = (low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN));
        let _ = writeln!(text, "| {} | {low:.1}–{:.1}–{high:.1} |", row.contender.name(), median(ms));
    }
    text
}

/// Puts a table where the file has its markers, in the place of the one with its title or behind the others.
pub(crate) fn replace(path: &Path, machine: &str, table: &str) -> io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let (Some((before, rest)), Some((_, after))) = (text.split_once(BEGIN), text.split_once(END)) else {
        return Err(io::Error::other(format!("{} has no markers", path.display())));
    };
    let tables = rest.split_once(END).map_or("", |(tables, _)| tables);
    std::fs::write(path, format!("{before}{BEGIN}\n{machine}{}{END}{after}", with_table(tables, table)))
}

fn with_table(tables: &str, table: &str) -> String {
    let title = |text: &str| text.trim_start().lines().next().unwrap_or_default().to_owned();
    let new = format!("\n{}\n", table.trim());
    let mut text = String::new();
    let mut is_new = true;
    for old in tables.split("\n### ").skip(1) {
        let old = format!("\n### {}\n", old.trim());
        let is_old = title(&old) == title(&new);
        is_new &= !is_old;
        text.push_str(if is_old { &new } else { &old });
    }
    if is_new {
        text.push_str(&new);
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_with_its_title() {
        let first = with_table("\nmachine\n", "\n### one\n\n| 1 |\n");
        let second = with_table(&first, "\n### two\n\n| 2 |\n");
        assert_eq!(second, "\n### one\n\n| 1 |\n\n### two\n\n| 2 |\n");
        assert_eq!(with_table(&second, "\n### one\n\n| 3 |\n"), "\n### one\n\n| 3 |\n\n### two\n\n| 2 |\n");
    }
}
