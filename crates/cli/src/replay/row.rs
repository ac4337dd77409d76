//! A row of a trace, whatever it was written in.

use std::io;

use heapline::watch::Reading;

/// The columns that a trace may have, in the order of [`set`].
pub(super) const COLUMNS: [&str; 7] =
    ["seconds", "allocated_bytes", "active_bytes", "resident_bytes", "rss_bytes", "limit_bytes", "in_flight"];

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Row {
    pub(super) reading: Reading,
    pub(super) limit_bytes: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Error {
    Read(io::Error),
    Malformed(String),
}

/// Puts a column's value into a row. A value that is not a number of bytes, pieces or seconds is refused.
pub(super) fn set(row: &mut Row, column: usize, value: f64) -> Result<(), Error> {
    /// Exactly representable, and far above any memory.
    const VALUE_MAX: f64 = 9.0e15;
    if column == 0 {
        if !value.is_finite() || value.abs() > VALUE_MAX {
            return Err(Error::Malformed("seconds must be a finite number".to_owned()));
        }
        row.reading.seconds = value;
        return Ok(());
    }
    if value.is_nan() {
        return Ok(());
    }
    if !(0.0..=VALUE_MAX).contains(&value) {
        return Err(Error::Malformed(format!("{} must be between 0 and {VALUE_MAX:e}, not {value}", COLUMNS[column])));
    }
    let bytes = Some(value as i64);
    match column {
        1 => row.reading.allocated_bytes = bytes,
        2 => row.reading.active_bytes = bytes,
        3 => row.reading.resident_bytes = bytes,
        4 => row.reading.rss_bytes = bytes,
        5 => row.limit_bytes = Some(value as u64).filter(|bytes| *bytes > 0),
        _ => row.reading.in_flight = Some(value as u64),
    }
    Ok(())
}
