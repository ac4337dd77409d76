//! Traces from a folder: CSV as `heapline replay` reads it, and `labels.csv` with what is true of each
//! (`file,kind,leak,onset,deadline,class,slope_bytes_per_second,limit_bytes`, times in seconds, empty where it does not leak).

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::corpus::{Kind, Leak, Row, Trace};

/// A line of `labels.csv`.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub(crate) file: String,
    pub(crate) kind: String,
    pub(crate) leak: Option<Leak>,
    limit_bytes: i64,
}

pub(crate) fn labels(folder: &Path) -> io::Result<Vec<Label>> {
    let text = fs::read_to_string(folder.join("labels.csv"))?;
    text.lines().skip(1).map(|line| label(line).ok_or_else(|| bad(line))).collect()
}

fn label(line: &str) -> Option<Label> {
    const CLASSES: [&str; 3] = ["climbing", "climbing_outside_allocator", "fragmenting"];
    let [file, kind, leaks, onset, deadline, class, slope, limit] =
        line.split(',').collect::<Vec<_>>().try_into().ok()?;
    let leak = if leaks == "1" {
        Some(Leak {
            onset_seconds: onset.parse().ok()?,
            deadline_seconds: deadline.parse().ok()?,
            class: CLASSES.into_iter().find(|known| *known == class)?,
            bytes_per_second: slope.parse().ok()?,
        })
    } else {
        None
    };
    Some(Label { file: file.to_owned(), kind: kind.to_owned(), leak, limit_bytes: limit.parse().ok()? })
}

/// The trace of a label. Its kind says only whether it leaks.
pub(crate) fn trace(folder: &Path, label: &Label) -> io::Result<Trace> {
    let text = fs::read_to_string(folder.join(&label.file))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let rows: Vec<Row> = lines.map(|line| row(&header, line).ok_or_else(|| bad(line))).collect::<io::Result<_>>()?;
    let span = rows.first().zip(rows.last()).map_or(0.0, |(first, last)| last.seconds - first.seconds);
    Ok(Trace {
        kind: if label.leak.is_some() { Kind::Steady } else { Kind::Noise },
        seed: 0,
        limit_bytes: label.limit_bytes,
        interval_seconds: span / rows.len().max(2) as f64,
        rows,
        leak: label.leak,
    })
}

fn row(header: &[&str], line: &str) -> Option<Row> {
    let values: Vec<&str> = line.split(',').collect();
    let value = |name: &str| values.get(header.iter().position(|column| *column == name)?)?.parse::<f64>().ok();
    let bytes = |name: &str| value(name).map(|bytes| bytes as i64);
    let seconds = value("seconds")?;
    Some(Row {
        seconds,
        at_seconds: seconds,
        allocated_bytes: bytes("allocated_bytes"),
        active_bytes: bytes("active_bytes"),
        resident_bytes: bytes("resident_bytes"),
        rss_bytes: bytes("rss_bytes"),
        in_flight: value("in_flight").map(|count| count as u64),
    })
}

fn bad(line: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not a label or a row: {line:?}"))
}
