//! Drops the allocator's own frames, and the standard library's that called it, from the leaf end of stacks: a
//! profile starts where the program does, as Go's does above `runtime`.

use super::compact::Compact;
use super::model::Profile;
use crate::symbols::{Owner, Symbols};

/// How deep in a stack an entry point of the allocator is looked for: jemalloc's own frames, a wrapper of the host's
/// and Rust's shims are 5 to 10.
const DEPTH_MAX: usize = 16;

/// Strips every stack by its symbols, then adds up those that became equal. A stack whose frames have no symbols
/// stays as it is.
pub(crate) fn start_at_program(profile: &mut Profile, symbols: &Symbols) {
    let mut compact = Compact::from(std::mem::take(profile));
    compact_at_program(&mut compact, symbols);
    *profile = compact.into_profile();
}

/// The same of a compact profile.
pub(super) fn compact_at_program(profile: &mut Compact, symbols: &Symbols) {
    let owners: Vec<Owner> = profile.addresses().map(|address| symbols.owner(address)).collect();
    let owner = |number: &u32| owners[*number as usize];
    let leaves_to_drop = |stack: &[u32]| {
        let leaves = &stack[..stack.len().min(DEPTH_MAX)];
        // Called by no one but the program, the last entry point ends the allocator's part of the stack.
        let entry = leaves.iter().rposition(|number| owner(number) == Owner::Allocator);
        let caller = entry.map_or(0, |entry| entry + 1).min(stack.len().saturating_sub(1));
        let program = stack[caller..].iter().position(|number| owner(number) != Owner::StandardLibrary);
        // A stack of nothing but the library (a thread's own start) is kept whole.
        caller + program.unwrap_or(0)
    };
    // Most stacks have the leaves of the one before, which say all where the program begins among them.
    let mut last: Option<([u32; DEPTH_MAX], usize)> = None;
    profile.drop_leaves(|stack| {
        let leaves = stack.first_chunk();
        if let Some((last_leaves, dropped)) = &last
            && leaves == Some(last_leaves)
        {
            return *dropped;
        }
        let dropped = leaves_to_drop(stack);
        let program_is_among =
            |leaves: &&[u32; DEPTH_MAX]| leaves.get(dropped).is_some_and(|number| owner(number) == Owner::Program);
        last = leaves.filter(program_is_among).map(|leaves| (*leaves, dropped));
        dropped
    });
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
    fn a_stack_starts_where_the_program_calls_for_memory() {
        let symbols = symbols(&[
            (10, "prof_backtrace_impl"),
            (11, "malloc"),
            (12, "<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::alloc"),
            (13, "__rustc::__rust_alloc"),
            (14, "__rustc::__rust_realloc"),
            (15, "alloc::raw_vec::RawVec::grow_one"),
            (16, "std::thread::start"),
            (20, "shop::basket::add"),
            (21, "rd_strdup"),
            (22, "shop::main"),
        ]);
        let one = Count { objects: 1.0, bytes: 8.0, ..Count::default() };
        let sample = |stack: &[u64]| Sample { stack: stack.into(), inuse: one, alloc: None };
        let mut profile = Profile {
            samples: vec![
                sample(&[10, 11, 12, 13, 20, 22]),
                sample(&[10, 11, 21, 22]),
                sample(&[10, 14, 15, 20, 15, 22]),
                sample(&[10, 11, 16, 15]),
                sample(&[99, 98]),
                sample(&[10, 11]),
            ],
            ..Profile::default()
        };
        start_at_program(&mut profile, &symbols);
        let stacks: Vec<_> = profile.samples.iter().map(|sample| (&*sample.stack, sample.inuse.objects)).collect();
        let expected: [(&[u64], f64); 6] = [
            (&[20, 22], 1.0),
            (&[21, 22], 1.0),
            (&[20, 15, 22], 1.0),
            (&[16, 15], 1.0),
            (&[99, 98], 1.0),
            (&[11], 1.0),
        ];
        assert_eq!(stacks, expected);
    }
    #[test]
    fn what_is_left_of_a_stack_does_not_depend_on_the_one_before() {
        let symbols = symbols(&[(10, "malloc"), (11, "alloc::raw_vec::RawVec::grow_one"), (20, "a::b"), (21, "c::d")]);
        // Runs of the same owner, around sixteen long: entry points and the program's first frame on either side of it.
        let runs = |number: u64| {
            [(10, number % 19), (11, number / 19 % 19), (20, number / 361 % 3), (11, number % 2), (21, 1)]
        };
        let stack = |number| runs(number).iter().flat_map(|&(address, times)| vec![address; times as usize]).collect();
        let one = Count { objects: 1.0, bytes: 8.0, ..Count::default() };
        let samples: Vec<Sample> =
            (0..1_083).map(|number| Sample { stack: stack(number), inuse: one, alloc: None }).collect();
        let left_of = |samples: &[Sample]| {
            let mut profile = Profile { samples: samples.to_vec(), ..Profile::default() };
            start_at_program(&mut profile, &symbols);
            profile.samples
        };
        let mut alone: Vec<Sample> = samples.iter().flat_map(|sample| left_of(std::slice::from_ref(sample))).collect();
        let mut merged = Profile { samples: std::mem::take(&mut alone), ..Profile::default() };
        merged.merge_equal_stacks();
        assert_eq!(left_of(&samples), merged.samples);
    }
}
