//! The text that Go's `runtime/pprof` writes for `debug=1`, for people and for tools that read the old form.

use std::fmt::Write;

use super::model::{Profile, Sample};
use crate::symbols::Symbols;

/// A profile as text, the stack with most live bytes first.
///
/// Counts are the sampler's, as in Go: a reader of this form scales them up by the period at the end of the first
/// line (written twice as large, which is the form's definition). [`encode::pprof`](super::encode::pprof) has the
/// estimates.
pub(crate) fn go_text(profile: &Profile, symbols: &Symbols) -> String {
    let mut samples: Vec<&Sample> = profile.samples.iter().collect();
    samples.sort_by(|one, other| other.inuse.bytes.total_cmp(&one.inuse.bytes));
    let mut records = String::new();
    let mut total = [0_i64; 4];
    for sample in samples {
        let counts = sampled(sample, profile.period_bytes);
        total.iter_mut().zip(counts).for_each(|(total, count)| *total = total.saturating_add(count));
        record(&mut records, sample, counts, symbols);
    }
    let [objects, bytes, alloc_objects, alloc_bytes] = total;
    let period = profile.period_bytes.saturating_mul(2);
    format!("heap profile: {objects}: {bytes} [{alloc_objects}: {alloc_bytes}] @ heap/{period}\n{records}")
}

fn sampled(sample: &Sample, period_bytes: u64) -> [i64; 4] {
    let inuse = sample.inuse.sampled(period_bytes);
    // The form always has four numbers; zeros say that allocations are not counted, as in jemalloc's own text.
    let alloc = sample.alloc.unwrap_or_default().sampled(period_bytes);
    [inuse.objects, inuse.bytes, alloc.objects, alloc.bytes].map(|number| number.round() as i64)
}

fn record(out: &mut String, sample: &Sample, counts: [i64; 4], symbols: &Symbols) {
    let [objects, bytes, alloc_objects, alloc_bytes] = counts;
    // Writing into a `String` does not fail.
    let _ = write!(out, "{objects}: {bytes} [{alloc_objects}: {alloc_bytes}] @");
    for address in &sample.stack {
        let _ = write!(out, " {address:#x}");
    }
    out.push('\n');
    for (depth, &return_address) in sample.stack.iter().enumerate() {
        let address = return_address.saturating_sub(1);
        let frames = if depth == 0 { symbols.leaf_frames(address) } else { symbols.frames(address) };
        let offset = symbols.function_start(address).map_or(0, |start| return_address.saturating_sub(start));
        if frames.is_empty() {
            let _ = writeln!(out, "#\t{return_address:#x}");
        }
        for frame in frames {
            let (function, file, line) = (&frame.function, &frame.file, frame.line);
            let _ = writeln!(out, "#\t{return_address:#x}\t{function}+{offset:#x}\t{file}:{line}");
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::Count;
    use crate::symbols::{Frame, Location};

    #[test]
    fn the_form_is_gos() {
        let mut symbols = Symbols::default();
        let frame = Frame { function: "shop::add".into(), file: "src/shop.rs".into(), line: 12 };
        symbols.insert(0x10ff, Location { frames: [frame].into(), function_start: Some(0x1000) });
        let period_bytes = 512 << 10;
        let sample = |stack: &[u64], objects, bytes| Sample {
            stack: stack.into(),
            inuse: Count::unbiased(Count { objects, bytes, ..Count::default() }, period_bytes),
            alloc: None,
        };
        let samples = vec![sample(&[0x1100], 1.0, 64.0), sample(&[0x1100, 0x2000], 2.0, 2_097_152.0)];
        let text = go_text(&Profile { period_bytes, samples, ..Profile::default() }, &symbols);
        assert_eq!(
            text,
            "heap profile: 3: 2097216 [0: 0] @ heap/1048576\n\
             2: 2097152 [0: 0] @ 0x1100 0x2000\n\
             #\t0x1100\tshop::add+0x100\tsrc/shop.rs:12\n\
             #\t0x2000\n\
             \n\
             1: 64 [0: 0] @ 0x1100\n\
             #\t0x1100\tshop::add+0x100\tsrc/shop.rs:12\n\
             \n"
        );
    }
}
