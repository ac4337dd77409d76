//! What the detector weighs of each trace, for `learn.py`: a CSV line a rise.

use std::io::{self, Write};

use heapline::history::{History, Series};
use heapline::verdict::{SIGNS, Scales};

use crate::corpus::Trace;
use crate::ours;

/// Of a leak nothing is learned after this multiple of the time allowed.
const LATE: f64 = 1.6;

pub(crate) fn header(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "trace,kind,onset,deadline,class,seconds,window,{}", SIGNS.join(","))
}

/// One trace's lines. A trace without any has one without values, so that it is counted.
pub(crate) fn write(trace: &Trace, name: &str, kind: &str, out: &mut impl Write) -> io::Result<()> {
    let has_heap = trace.rows.iter().any(|row| row.allocated_bytes.is_some());
    let mut scales = Scales::new(if has_heap { Series::Live } else { Series::Rss });
    let mut history = History::new();
    let (onset, deadline, class) =
        trace.leak.map_or((f64::NAN, f64::NAN, ""), |leak| (leak.onset_seconds, leak.deadline_seconds, leak.class));
    let last = trace.leak.map_or(f64::INFINITY, |_| onset + LATE * (deadline - onset));
    let mut lines = 0;
    for row in trace.rows.iter().take_while(|row| row.at_seconds < last) {
        if !history.observe(&ours::reading(row).observation()) {
            continue;
        }
        for weighed in scales.look(&history, trace.limit_bytes as f64) {
            lines += 1;
            write!(
                out,
                "{name},{kind},{onset},{deadline},{class},{:.1},{:.0}",
                row.at_seconds, weighed.window_seconds
            )?;
            weighed.signs.iter().try_for_each(|sign| write!(out, ",{sign:.7}"))?;
            writeln!(out)?;
        }
    }
    if lines == 0 {
        writeln!(out, "{name},{kind},{onset},{deadline},{class},0,0{}", ",".repeat(SIGNS.len()))?;
    }
    Ok(())
}
