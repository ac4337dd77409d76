//! Labelled memory traces, made from a seed: what leaks, from when and how fast, and what only looks like it.
//!
//! A trace is a [`recipe::Recipe`] played by [`simulate::play`]: a process with a base, a warm-up, a cache, traffic, work in
//! flight, noise, and perhaps a leak, seen through jemalloc's statistics and RSS at some interval, with jitter and gaps.

pub mod noise;
pub mod recipe;
pub mod simulate;

pub use recipe::{KINDS, Kind};

/// One row of `heapline replay`'s CSV. `None` where the trace does not have the column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub seconds: f64,
    pub allocated_bytes: Option<i64>,
    pub active_bytes: Option<i64>,
    pub resident_bytes: Option<i64>,
    pub rss_bytes: i64,
    pub in_flight: Option<u64>,
}

/// What is true of a trace that leaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak {
    pub onset_seconds: f64,
    /// Mean over a day, or over the leak's life where that is shorter.
    pub bytes_per_second: f64,
    /// The verdict that names it.
    pub class: &'static str,
    /// By when it must be told.
    pub deadline_seconds: f64,
}

/// A trace and the truth about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub kind: Kind,
    pub seed: u64,
    pub limit_bytes: i64,
    pub interval_seconds: f64,
    pub rows: Vec<Row>,
    pub leak: Option<Leak>,
}

impl Trace {
    /// The trace of a kind and a seed, always the same.
    pub fn new(kind: Kind, seed: u64) -> Self {
        simulate::play(kind, seed, &recipe::Recipe::new(kind, seed))
    }

    /// As `heapline replay` reads it.
    pub fn csv(&self) -> String {
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
