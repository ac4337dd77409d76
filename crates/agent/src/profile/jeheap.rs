//! jemalloc's own heap dump (`heap_v2`), as `prof.dump` writes it.
//!
//! ```text
//! heap_v2/524288
//!   t*: 28106: 56637512 [0: 0]
//!   t0: 352: 16777344 [0: 0]
//! @ 0x5f86da8 0x5f5a1dc 0x5f5a1f0
//!   t*: 13: 6688 [0: 0]
//!   t3: 13: 6688 [0: 0]
//! MAPPED_LIBRARIES:
//! 55d0c8a5b000-55d0c8f3d000 r-xp 0005a000 fe:01 1835122    /srv/server
//! ```
//!
//! A line `t*` under a stack holds live objects, live bytes and, with `prof_accum`, objects and bytes ever
//! allocated; all four are the sampler's (biased), and become estimates here.

use std::io::{self, BufRead, Read};

use super::maps;
use super::model::{Count, Profile, Sample};

/// The longest line that is read; jemalloc keeps at most 256 frames of 19 characters.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// The most stacks that are read. 41,000 are the most that was seen in the field.
const STACKS_MAX: usize = 1 << 18;
/// The most of the list of mapped libraries that is read.
const MAPS_BYTES_MAX: u64 = 4 << 20;

/// Why a text is not a heap dump.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JeheapError {
    #[error("the heap dump cannot be read")]
    Read(#[from] io::Error),
    #[error("not a heap_v2 dump")]
    Header,
    #[error("line {line} of the heap dump is malformed")]
    Line { line: usize },
    #[error("the heap dump has more than {STACKS_MAX} stacks")]
    Stacks,
}

/// Reads a dump. Memory: the profile and one line.
///
/// # Errors
///
/// The text is no dump, is cut off in the middle of a stack, or is larger than the bounds.
pub(crate) fn parse(mut reader: impl BufRead, taken_unix_nanos: i64) -> Result<Profile, JeheapError> {
    let mut lines = Lines { reader: &mut reader, text: Vec::with_capacity(4096), number: 0 };
    let header = lines.next()?.and_then(|line| line.strip_prefix(b"heap_v2/")).ok_or(JeheapError::Header)?;
    let period_bytes = decimal(header).ok_or(JeheapError::Header)?;
    let mut profile = Profile { period_bytes, taken_unix_nanos, ..Profile::default() };
    let mut accumulates = false;
    let mut open_stack: Option<Box<[u64]>> = None;
    let mut has_maps = false;
    while let Some(line) = lines.next()? {
        if let Some(frames) = line.strip_prefix(b"@") {
            let stack = addresses(frames);
            if open_stack.is_some() || stack.is_none() {
                return Err(lines.malformed());
            }
            open_stack = stack;
        } else if let Some(counts) = line.strip_prefix(b"t*:") {
            let Some((inuse, alloc)) = four_counts(counts) else { return Err(lines.malformed()) };
            let Some(stack) = open_stack.take() else {
                accumulates = alloc != Count::default();
                continue;
            };
            if profile.samples.len() == STACKS_MAX {
                return Err(JeheapError::Stacks);
            }
            let inuse = Count::unbiased(inuse, period_bytes);
            let alloc = accumulates.then(|| Count::unbiased(alloc, period_bytes));
            profile.samples.push(Sample { stack, inuse, alloc });
        } else if line == b"MAPPED_LIBRARIES:" {
            has_maps = true;
            break;
        } else if !line.is_empty() && line[0] != b't' {
            return Err(lines.malformed());
        }
    }
    if open_stack.is_some() {
        return Err(lines.malformed());
    }
    if has_maps {
        let mut text = Vec::new();
        reader.take(MAPS_BYTES_MAX).read_to_end(&mut text)?;
        profile.mappings = maps::parse(&String::from_utf8_lossy(&text));
    }
    Ok(profile)
}

struct Lines<'a, R> {
    reader: &'a mut R,
    text: Vec<u8>,
    number: usize,
}

impl<R: BufRead> Lines<'_, R> {
    /// The next line without the spaces around it, `None` at the end.
    fn next(&mut self) -> Result<Option<&[u8]>, JeheapError> {
        self.text.clear();
        self.number += 1;
        let read_bytes = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.text)?;
        if read_bytes as u64 == LINE_BYTES_MAX && self.text.last() != Some(&b'\n') {
            return Err(self.malformed());
        }
        Ok((read_bytes > 0).then(|| self.text.trim_ascii()))
    }

    fn malformed(&self) -> JeheapError {
        JeheapError::Line { line: self.number }
    }
}

fn addresses(frames: &[u8]) -> Option<Box<[u64]>> {
    let words = frames.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let stack: Option<Box<[u64]>> = words.map(hexadecimal).collect();
    stack.filter(|stack| !stack.is_empty())
}

/// `13: 6688 [0: 0]`
fn four_counts(text: &[u8]) -> Option<(Count, Count)> {
    let mut numbers = text
        .split(|byte| matches!(byte, b' ' | b':' | b'[' | b']'))
        .filter(|word| !word.is_empty())
        .map(|word| decimal(word).map(|number| number as f64));
    let mut count = || Some(Count { objects: numbers.next()??, bytes: numbers.next()??, ..Count::default() });
    let counts = (count()?, count()?);
    numbers.next().is_none().then_some(counts)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

fn hexadecimal(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"0x").unwrap_or(word);
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| Some(value << 4 | u64::from(char::from(digit).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DUMP: &str = "heap_v2/524288
  t*: 12: 8390656 [0: 0]
  t0: 2: 8388608 [0: 0] tokio-runtime-worker
  t7: 10: 2048 [0: 0]
@ 0x1001 0x2002 0xffff7f0000003003
  t*: 2: 8388608 [0: 0]
  t0: 2: 8388608 [0: 0]
@ 0x4004
  t*: 10: 2048 [0: 0]
  t7: 10: 2048 [0: 0]

MAPPED_LIBRARIES:
55d0c8a5b000-55d0c8f3d000 r-xp 0005a000 fe:01 1835122    /srv/server
";

    #[test]
    fn a_dump_becomes_a_profile_of_estimates() {
        let profile = parse(DUMP.as_bytes(), 42).unwrap();
        assert_eq!((profile.period_bytes, profile.taken_unix_nanos), (524_288, 42));
        assert_eq!(&*profile.samples[0].stack, [0x1001, 0x2002, 0xffff_7f00_0000_3003]);
        // 1 - exp(-8) = 0.99966 and 1 - exp(-204.8 / 524288) = 3.9055e-4
        let rounded = |sample: &Sample| (sample.inuse.objects.round(), sample.inuse.bytes.round());
        assert_eq!(rounded(&profile.samples[0]), (2.0, 8_391_423.0));
        assert_eq!(rounded(&profile.samples[1]), (25_605.0, 5_243_904.0));
        assert!(!profile.counts_allocations());
        assert_eq!(profile.mappings[0].filename, "/srv/server");
    }

    #[test]
    fn accumulated_counts_are_kept_also_where_nothing_is_live() {
        let text =
            "heap_v2/1024\n  t*: 1: 64 [3: 1000000]\n@ 0x1\n  t*: 0: 0 [2: 999936]\n@ 0x2\n  t*: 1: 64 [1: 64]\n";
        let profile = parse(text.as_bytes(), 0).unwrap();
        assert_eq!(profile.samples[0].inuse, Count::default());
        assert_eq!(profile.samples[0].alloc, Some(Count { objects: 2.0, bytes: 999_936.0, ..Count::default() }));
        assert_eq!(profile.samples[1].alloc, Some(profile.samples[1].inuse));
    }

    #[test]
    fn malformed_dumps_are_refused() {
        let long_line = format!("heap_v2/1024\n@{}\n", " 0x1".repeat(30_000));
        for (text, expected) in [
            ("", "not a heap_v2 dump"),
            ("heap profile: 1: 2 [3: 4] @ heap/1024\n", "not a heap_v2 dump"),
            ("heap_v2/x\n", "not a heap_v2 dump"),
            ("heap_v2/1\n@ 0x1\n@ 0x2\n", "line 3 of the heap dump is malformed"),
            ("heap_v2/1\n@ 0x1\n  t*: 1: 2 [0: 0", "ok"),
            ("heap_v2/1\n@ 0x1\n", "line 3 of the heap dump is malformed"),
            ("heap_v2/1\n@\n  t*: 1: 2 [0: 0]\n", "line 2 of the heap dump is malformed"),
            ("heap_v2/1\n@ 0xzz\n  t*: 1: 2 [0: 0]\n", "line 2 of the heap dump is malformed"),
            ("heap_v2/1\n@ 0x1\n  t*: 1: 2 [0]\n", "line 3 of the heap dump is malformed"),
            ("heap_v2/1\n@ 0x1\n  t*: 1: -2 [0: 0]\n", "line 3 of the heap dump is malformed"),
            ("heap_v2/1\n@ 0x1\n  t*: 1: 99999999999999999999 [0: 0]\n", "line 3 of the heap dump is malformed"),
            ("heap_v2/1\nsomething\n", "line 2 of the heap dump is malformed"),
            (&long_line, "line 2 of the heap dump is malformed"),
        ] {
            let answer = parse(text.as_bytes(), 0).map_or_else(|error| error.to_string(), |_| "ok".to_owned());
            assert_eq!(answer, expected, "{:.60}", text);
        }
    }
}
