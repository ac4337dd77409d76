//! What `/culprits` and `heapline diff` say.

use std::fmt;

use serde::Serialize;

use super::growth::Ranking;
use super::site::Grouped;
use crate::quantity::format_seconds;
use crate::symbols::Frame;

/// Culprits told.
const CULPRITS_MAX: usize = 20;
/// Frames of a stack in the text for people.
const TEXT_FRAMES_MAX: usize = 8;

/// The JSON of `/culprits`; as text ([`fmt::Display`]) it is for people. Numbers are bytes, bytes per second and seconds.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `ok`, `flat` or `not_enough_evidence`.
    pub state: &'static str,
    /// The time compared.
    pub window_seconds: f64,
    /// The one that grows most beyond doubt first; empty unless `state` is `ok`.
    pub culprits: Vec<Culprit>,
}

/// A call site that grows. Bounds are of 95%.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct Culprit {
    /// From 1.
    pub rank: usize,
    pub function: String,
    pub file: String,
    pub line: u32,
    pub growth_bytes: i64,
    pub growth_low: i64,
    pub growth_high: i64,
    /// Since it grows as it does now; 0 where the time between two files is not known.
    pub growth_bytes_per_second: f64,
    /// Of the growth of all sites that grew, 0 to 1.
    pub share: f64,
    /// The stack that holds most at this site, the allocation first.
    pub stack: Vec<StackFrame>,
}

/// A call. Unknown parts are empty or 0.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct StackFrame {
    pub function: String,
    pub file: String,
    pub line: u32,
}

impl Report {
    pub(crate) fn new(ranking: &Ranking, newest: &Grouped) -> Report {
        let window_seconds = ranking.window_seconds;
        let named = ranking.culprits.iter().filter_map(|growth| Some((growth, newest.largest.get(&growth.site)?)));
        let culprits = named.take(CULPRITS_MAX).enumerate().map(|(place, (growth, largest))| Culprit {
            rank: place + 1,
            function: largest.site.function.to_string(),
            file: largest.site.file.to_string(),
            line: largest.site.line,
            growth_bytes: growth.bytes.round() as i64,
            growth_low: growth.low.round() as i64,
            growth_high: growth.high.round() as i64,
            growth_bytes_per_second: growth.bytes_per_second,
            share: (growth.bytes / ranking.grown_bytes.max(growth.bytes)).clamp(0.0, 1.0),
            stack: largest.stack.iter().map(StackFrame::from).collect(),
        });
        Report { state: ranking.state.name(), window_seconds, culprits: culprits.collect() }
    }
}

impl From<&Frame> for StackFrame {
    fn from(frame: &Frame) -> StackFrame {
        StackFrame { function: frame.function.to_string(), file: frame.file.to_string(), line: frame.line }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = format_seconds(self.window_seconds);
        match self.state {
            "ok" => writeln!(out, "What grew over {window}, beyond doubt, the surest first:")?,
            "flat" => return writeln!(out, "Nothing grows as a leak does: {window} looked at."),
            _ => return writeln!(out, "Not enough evidence yet: {window} looked at."),
        }
        for culprit in &self.culprits {
            writeln!(
                out,
                "\n{}. {} ({}:{})\n   {:+.1} MiB ({:.1} to {:.1}), {:.1} KiB/s, {:.0}% of the growth",
                culprit.rank,
                culprit.function,
                culprit.file,
                culprit.line,
                mib(culprit.growth_bytes),
                mib(culprit.growth_low),
                mib(culprit.growth_high),
                culprit.growth_bytes_per_second / 1024.0,
                culprit.share * 100.0
            )?;
            if culprit.line == 0 {
                writeln!(out, "   no line: the program was built without debug = 1 or line-tables-only, or stripped")?;
            }
            // One screen: the stack of the first, from the allocation to past the culprit.
            let shown = if culprit.rank == 1 { culprit.stack.as_slice() } else { &[] };
            let site = shown.iter().position(|frame| frame.function == culprit.function).unwrap_or(0);
            for frame in shown.iter().take(TEXT_FRAMES_MAX.max(site + 2)) {
                writeln!(out, "     {} {}:{}", frame.function, frame.file, frame.line)?;
            }
        }
        Ok(())
    }
}

fn mib(bytes: i64) -> f64 {
    bytes as f64 / 1_048_576.0
}
