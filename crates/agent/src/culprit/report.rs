//! What `/culprits` and `heapline diff` say.

use std::fmt;

use serde::Serialize;

use super::growth::Ranking;
use super::site::Grouped;
use crate::quantity::format_seconds;
use crate::symbols::Frame;
use crate::symbols::owner::{self, Rank};

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

impl StackFrame {
    fn is_users(&self) -> bool {
        let (function, file) = (self.function.as_str().into(), self.file.as_str().into());
        owner::rank(&Frame { function, file, line: self.line }) == Rank::User
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
                "\n{}. {}{}\n   {:+.1} MiB ({:.1} to {:.1}), {:.1} KiB/s, {:.0}% of the growth",
                culprit.rank,
                culprit.function,
                place(&culprit.file, culprit.line).map_or(String::new(), |place| format!(" ({place})")),
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
            // What called the outermost function of the program's is the same everywhere.
            let outermost = shown.iter().rposition(StackFrame::is_users).map_or(shown.len(), |place| place + 1);
            for frame in shown.iter().take(TEXT_FRAMES_MAX.max(site + 2).min(outermost)) {
                let place = place(short(&frame.file), frame.line).map_or(String::new(), |place| format!(" {place}"));
                writeln!(out, "     {}{place}", frame.function)?;
            }
        }
        Ok(())
    }
}

/// Without a line it is the file, or nothing.
fn place(file: &str, line: u32) -> Option<String> {
    match (file, line) {
        ("", _) => None,
        (file, 0) => Some(file.to_owned()),
        (file, line) => Some(format!("{file}:{line}")),
    }
}

/// The file without where cargo and rustc keep those of others: the crate with its version, or the library.
fn short(file: &str) -> &str {
    let below = |place: &str| Some(file.split_once(place)?.1.split_once('/')?.1);
    below("/registry/src/").or_else(|| below("/rustc/")).unwrap_or(file)
}

fn mib(bytes: i64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_with_the_programs_outermost_function() {
        let frame =
            |function: &str, file: &str, line| StackFrame { function: function.into(), file: file.into(), line };
        let culprit = Culprit {
            rank: 1,
            function: "shop::keep".into(),
            file: "src/keep.rs".into(),
            line: 7,
            growth_bytes: 3 << 20,
            growth_low: 2 << 20,
            growth_high: 4 << 20,
            growth_bytes_per_second: 2048.0,
            share: 1.0,
            stack: vec![
                frame("bytes::BytesMut::reserve", "/c/registry/src/index-1/bytes-1.12.2/src/bytes_mut.rs", 9),
                frame("shop::keep", "src/keep.rs", 7),
                frame("core::iter::Iterator::fold", "/rustc/0123/library/core/src/iter/fold.rs", 8),
                frame("shop::main", "src/main.rs", 5),
                frame("std::rt::lang_start", "/rustc/0123/library/std/src/rt.rs", 206),
            ],
        };
        let report = Report { state: "ok", window_seconds: 125.0, culprits: vec![culprit] };
        assert_eq!(
            report.to_string(),
            "What grew over 2 min 5 s, beyond doubt, the surest first:\n\n\
             1. shop::keep (src/keep.rs:7)\n   +3.0 MiB (2.0 to 4.0), 2.0 KiB/s, 100% of the growth\n     \
             bytes::BytesMut::reserve bytes-1.12.2/src/bytes_mut.rs:9\n     \
             shop::keep src/keep.rs:7\n     \
             core::iter::Iterator::fold library/core/src/iter/fold.rs:8\n     \
             shop::main src/main.rs:5\n"
        );
    }
}
