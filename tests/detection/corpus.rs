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
    pub(crate) seconds: f64,
    pub(crate) allocated_bytes: Option<i64>,
    pub(crate) active_bytes: Option<i64>,
    pub(crate) resident_bytes: Option<i64>,
    pub(crate) rss_bytes: i64,
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

    /// As `heapline replay` reads it.
    pub(crate) fn csv(&self) -> String {
        use std::fmt::Write as _;
        let heap = self.rows.iter().any(|row| row.allocated_bytes.is_some());
        let work = self.rows.iter().any(|row| row.in_flight.is_some());
        let mut text = String::from("seconds");
        text.push_str(if heap { ",allocated_bytes,active_bytes,resident_bytes" } else { "" });
        text.push_str(",rss_bytes,limit_bytes");
        text.push_str(if work { ",in_flight\n" } else { "\n" });
        for row in &self.rows {
            let _ = write!(text, "{:.3}", row.seconds);
            if let (Some(allocated), Some(active), Some(resident)) =
                (row.allocated_bytes, row.active_bytes, row.resident_bytes)
            {
                let _ = write!(text, ",{allocated},{active},{resident}");
            }
            let _ = write!(text, ",{},{}", row.rss_bytes, self.limit_bytes);
            if let Some(count) = row.in_flight {
                let _ = write!(text, ",{count}");
            }
            text.push('\n');
        }
        text
    }
}
