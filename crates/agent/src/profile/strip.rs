//! Drops the allocator's own frames from the leaf end of stacks, so that a profile starts where the program does.

use super::model::Profile;
use crate::symbols::{Symbols, names};

/// How deep in a stack an entry point of the allocator is looked for: jemalloc's own frames, a wrapper of the host's
/// and Rust's shims are 5 to 10.
const DEPTH_MAX: usize = 16;

/// Strips every stack by its symbols, then adds up those that became equal. A stack whose frames have no symbols
/// stays as it is.
pub(crate) fn strip_allocator(profile: &mut Profile, symbols: &Symbols) {
    for sample in &mut profile.samples {
        // Called by no one but the program, the last entry point ends the allocator's part of the stack.
        let entry = sample.stack.iter().take(DEPTH_MAX).rposition(|&return_address| {
            names::is_allocator(symbols.function(return_address.saturating_sub(1)))
        });
        let keep_from = entry.map_or(0, |entry| entry + 1).min(sample.stack.len().saturating_sub(1));
        if keep_from > 0 {
            sample.stack = sample.stack[keep_from..].into();
        }
    }
    profile.merge_equal_stacks();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{Count, Sample};
    use crate::symbols::{Frame, Location};

    fn symbols(names: &[(u64, &str)]) -> Symbols {
        let mut symbols = Symbols::default();
        for &(return_address, name) in names {
            let frame = Frame { function: name.into(), file: "".into(), line: 0 };
            symbols.insert(return_address - 1, Location { frames: [frame].into(), function_start: None });
        }
        symbols
    }

    #[test]
    fn a_stack_starts_at_the_caller_of_the_allocator() {
        let symbols = symbols(&[
            (10, "prof_backtrace_impl"),
            (11, "malloc"),
            (12, "<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::alloc"),
            (13, "__rustc::__rust_alloc"),
            (14, "__rustc::__rust_realloc"),
            (20, "shop::basket::add"),
            (21, "rd_strdup"),
            (22, "shop::main"),
        ]);
        let one = Count { objects: 1, bytes: 8 };
        let sample = |stack: &[u64]| Sample { stack: stack.into(), inuse: one, alloc: None };
        let mut profile = Profile {
            samples: vec![
                sample(&[10, 11, 12, 13, 20, 22]),
                sample(&[10, 11, 21, 22]),
                sample(&[10, 14, 20, 22]),
                sample(&[99, 98]),
                sample(&[10, 11]),
            ],
            ..Profile::default()
        };
        strip_allocator(&mut profile, &symbols);
        let stacks: Vec<_> = profile.samples.iter().map(|sample| (&*sample.stack, sample.inuse.objects)).collect();
        let expected: [(&[u64], i64); 4] = [(&[20, 22], 2), (&[21, 22], 1), (&[99, 98], 1), (&[11], 1)];
        assert_eq!(stacks, expected);
    }
}
