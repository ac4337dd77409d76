//! Files as they come, and as they do not.

use std::io::Cursor;

use super::*;
use crate::profile::encode;
use crate::profile::model::{Count, Profile, Sample};
use crate::profile::profiler::Kind;
use crate::symbols::{Frame, Location, Symbols};

const MIB: f64 = 1_048_576.0;

/// A process's heap, in MiB: its addresses are its own.
fn heap(base: u64, seconds: i64, leak: f64, cache: f64) -> Vec<u8> {
    let mut symbols = Symbols::default();
    for (address, function, file) in [
        (1, "alloc::vec::Vec::push", "/rustc/1/library/alloc/src/vec.rs"),
        (2, "shop::leak", "src/shop.rs"),
        (3, "shop::cache", "src/shop.rs"),
        (4, "shop::main", "src/main.rs"),
    ] {
        let frame = Frame { function: function.into(), file: file.into(), line: 7 };
        symbols.insert(base + address, Location { frames: [frame].into(), function_start: None });
    }
    let sample = |stack: [u64; 3], mib: f64| Sample {
        stack: stack.iter().map(|address| base + address + 1).collect(),
        inuse: Count { objects: mib * 64.0, bytes: mib * MIB, ..Count::default() },
        alloc: Some(Count { objects: mib * 640.0, bytes: mib * 10.0 * MIB, ..Count::default() }),
    };
    let samples = vec![sample([1, 2, 4], leak), sample([1, 3, 4], cache)];
    let taken_unix_nanos = seconds * 1_000_000_000;
    let profile = Profile { period_bytes: 512 << 10, taken_unix_nanos, samples, ..Profile::default() };
    encode::pprof(&profile.into(), &symbols, Kind::Heap)
}

fn inflated(gzip: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    MultiGzDecoder::new(gzip).read_to_end(&mut raw).expect("gzip");
    raw
}

fn between(before: &[u8], after: &[u8]) -> Report {
    diff(Cursor::new(before), Cursor::new(after)).expect("two heaps")
}

#[test]
fn what_grew_is_named_across_processes_gzipped_or_not() {
    let (before, after) = (heap(0, 1_000, 20.0, 300.0), heap(4_096, 1_600, 140.0, 300.0));
    for (before, after) in [(before.clone(), after.clone()), (inflated(&before), inflated(&after))] {
        let report = between(&before, &after);
        assert_eq!((report.state, report.window_seconds), ("ok", 600.0));
        assert_eq!(report.culprits.len(), 1, "{report}");
        let culprit = &report.culprits[0];
        assert_eq!((culprit.function.as_str(), culprit.growth_bytes), ("shop::leak", 120 << 20));
        let stack: Vec<_> = culprit.stack.iter().map(|frame| frame.function.as_str()).collect();
        assert_eq!(stack, ["shop::leak", "shop::main"]);
    }
    let back = between(&after, &before);
    assert!(back.culprits.is_empty(), "{back}");
}

#[test]
fn jemallocs_text_is_compared_by_address_where_there_is_no_name() {
    let dump = |mib: usize| {
        let (objects, bytes) = (mib * 64, mib << 20);
        format!(
            "heap_v2/524288\n  t*: 9: 9 [0: 0]\n@ 0x1001 0x2001\n  t*: {objects}: {bytes} [0: 0]\n  t0: 1: 1 [0: 0]\n\
             @ 0x3001 0x2001\n  t*: 64: 1048576 [0: 0]\n\nMAPPED_LIBRARIES:\n1000-4000 r-xp 0 00:00 1 /srv/shop\n"
        )
    };
    let report = between(dump(1).as_bytes(), dump(9).as_bytes());
    assert_eq!(report.culprits.len(), 1, "{report}");
    let culprit = &report.culprits[0];
    assert_eq!((culprit.function.as_str(), culprit.file.as_str()), ("0x1000", "/srv/shop"));
}

#[test]
fn what_is_no_heap_is_refused_and_says_which() {
    let good = heap(0, 1, 1.0, 1.0);
    for (before, after, side, words) in [
        (&b"not a profile"[..], &good[..], Side::Before, "neither"),
        (&good, b"", Side::After, "inuse_space"),
        (&good, &good[..good.len() / 2], Side::After, "cannot be read"),
        (b"heap_v2/x\n", &good, Side::Before, "first line"),
        (&good, b"heap_v2/1\n@ 0xzz\n", Side::After, "line 2"),
        (&good, b"heap_v2/1\n@ 0x1\n", Side::After, "line 2"),
    ] {
        let (found, error) = diff(Cursor::new(before), Cursor::new(after)).expect_err("refused");
        assert!(found == side && error.to_string().contains(words), "{found:?} {error} {words}");
    }
}

/// Whatever is cut off or flipped, an answer comes and nothing panics.
#[test]
fn damaged_files_are_answered() {
    let (good, raw) = (heap(0, 1, 1.0, 1.0), inflated(&heap(0, 2, 9.0, 1.0)));
    for length in 0..raw.len() {
        let _ = diff(Cursor::new(&good), Cursor::new(&raw[..length]));
    }
    for place in 0..raw.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = raw.clone();
            damaged[place] ^= flip;
            let _ = diff(Cursor::new(&good), Cursor::new(damaged));
        }
    }
}
