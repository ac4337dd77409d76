//! The table at the end.

use std::iter;

use crate::entrant::Outcome;

const HEAD: [&str; 10] = [
    "service",
    "uploads",
    "RSS MiB",
    "slope MiB/h [95%]",
    "degrees",
    "verdict",
    "to limit",
    "alert",
    "delivered",
    "culprit",
];
/// What stands where nothing was measured or nothing is to be said.
const NONE: &str = "-";

/// The outcomes, a row each, in columns as wide as they need to be.
pub(crate) fn render(outcomes: &[Outcome]) -> String {
    let rows: Vec<[String; 10]> = iter::once(HEAD.map(str::to_owned)).chain(outcomes.iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(outcome: &Outcome) -> [String; 10] {
    let uploads = match outcome.failed {
        0 => outcome.stored.to_string(),
        failed => format!("{} ({failed} failed)", outcome.stored),
    };
    let slope = outcome.slope.map(|slope| {
        let [middle, low, high] = [slope.bytes_per_second, slope.low, slope.high].map(mib_an_hour);
        format!("{middle:.0} [{low:.0}, {high:.0}]")
    });
    [
        outcome.name.to_owned(),
        uploads,
        format!("{} -> {}", outcome.start_bytes >> 20, outcome.end_bytes >> 20),
        or_none(slope),
        or_none(outcome.degrees.map(|degrees| format!("{degrees:.1}"))),
        outcome.verdict.clone(),
        or_none(outcome.seconds_to_limit.map(duration)),
        or_none((!outcome.firing.is_empty()).then(|| outcome.firing.join(" "))),
        or_none(outcome.delivered_after.map(|after| format!("after {} s", after.as_secs()))),
        or_none(outcome.culprit.clone()),
    ]
}

fn or_none(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| NONE.to_owned())
}

fn mib_an_hour(bytes_per_second: f64) -> f64 {
    bytes_per_second * 3600.0 / f64::from(1 << 20)
}

fn duration(seconds: f64) -> String {
    if seconds < 7200.0 { format!("{:.0} min", seconds / 60.0) } else { format!("{:.1} h", seconds / 3600.0) }
}
