//! Labelled memory traces, made from a seed: what leaks, from when and how fast, and what only looks like it.
//!
//! A trace is a [`recipe::Recipe`] played by [`simulate::play`]: a process with a base, a warm-up, a cache, traffic, work in
//! flight, noise, and perhaps a leak, seen through jemalloc's statistics and RSS at some interval, with jitter and gaps.

pub(crate) mod noise;
pub(crate) mod recipe;
pub(crate) mod simulate;

pub(crate) use recipe::{KINDS, Kind};

/// One row of `heapline replay`'s CSV. `None` where the trace does not have the column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    /// By the clock of the host, which may be set.
    pub(crate) seconds: f64,
    /// True time since the start.
    pub(crate) at_seconds: f64,
    pub(crate) allocated_bytes: Option<i64>,
    pub(crate) active_bytes: Option<i64>,
    pub(crate) resident_bytes: Option<i64>,
    pub(crate) rss_bytes: Option<i64>,
    pub(crate) in_flight: Option<u64>,
}

/// What is true of a trace that leaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Leak {
    pub(crate) onset_seconds: f64,
    /// Mean over a day, or over the leak's life where that is shorter.
    pub(crate) bytes_per_second: f64,
    /// The verdict that names it.
    pub(crate) class: &'static str,
    /// By when it must be told.
    pub(crate) deadline_seconds: f64,
}

/// A trace and the truth about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trace {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    pub(crate) limit_bytes: i64,
    pub(crate) interval_seconds: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) leak: Option<Leak>,
}

impl Trace {
    /// The trace of a kind and a seed, always the same.
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        simulate::play(kind, seed, &recipe::Recipe::new(kind, seed))
    }

    /// As `heapline replay` reads it: the columns that the trace has.
    pub(crate) fn csv(&self) -> String {
        use std::fmt::Write as _;
        type Column = (&'static str, fn(&Row) -> Option<i64>);
        let columns: [Column; 5] = [
            ("allocated_bytes", |row| row.allocated_bytes),
            ("active_bytes", |row| row.active_bytes),
            ("resident_bytes", |row| row.resident_bytes),
            ("rss_bytes", |row| row.rss_bytes),
            ("in_flight", |row| row.in_flight.and_then(|count| i64::try_from(count).ok())),
        ];
        let present = columns.iter().filter(|(_, of)| self.rows.iter().any(|row| of(row).is_some()));
        let present: Vec<&Column> = present.collect();
        let mut text = String::from("seconds,limit_bytes");
        present.iter().for_each(|(name, _)| text.extend([",", name]));
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "{:.3},{}", row.seconds, self.limit_bytes);
            for (_, of) in &present {
                text.push(',');
                if let Some(value) = of(row) {
                    let _ = write!(text, "{value}");
                }
            }
            text.push('\n');
        }
        text
    }
}
