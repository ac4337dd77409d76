//! Functions that gave their frame up: their last act was to call another one, and it took their place on the stack.
//!
//! `fn copy(name: &CStr) { strdup(name) }` becomes a jump, and a walk of the stack finds `strdup` called by whoever called
//! `copy`. But the call that stands before the caller's return address says whom it called. Where that is not who
//! is found there, the one called is put back between the two. Of several that gave way one after the other, the
//! first is found.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::owner::{self, Rank};
use super::resolve::Resolver;
use super::{AddressMap, Symbols};
use crate::profile::model::{Mapping, Profile};

/// Calls remembered, 24 bytes each. Beyond it all are forgotten, and read again as they are met.
const CALLS_MAX: usize = 1 << 15;
/// The longest direct call, bytes.
const CALL_BYTES_MAX: usize = 5;

/// What calls in this process's code call, by return address; `None` where the call does not say it.
#[derive(Debug, Default)]
pub(super) struct TailCalls {
    memory: Option<File>,
    called: AddressMap<Option<u64>>,
}

impl Resolver {
    /// Looks up the names of a profile of this process, and puts back into its stacks the functions that gave their frame
    /// up, from the allocation to the first frame that is the program's own. Cost: a system call for each address that
    /// is met for the first time.
    pub(crate) fn resolve_revealed(&mut self, profile: &mut Profile) -> &Symbols {
        self.resolve(profile.addresses(), &profile.mappings);
        let mut tail_calls = std::mem::take(&mut self.tail_calls);
        let mut hidden: Vec<u64> = Vec::new();
        let symbols = &self.symbols;
        for sample in &profile.samples {
            let found = hidden_frames(&sample.stack, symbols, |address| tail_calls.called(address, &profile.mappings));
            hidden.extend(found.map(|(_, function)| function));
        }
        if !hidden.is_empty() {
            self.resolve(hidden.iter().copied(), &profile.mappings);
            // What is inlined at a function's first instruction has no part in its last call. No call stands there.
            hidden.iter().for_each(|function| self.symbols.keep_outermost(*function));
            let symbols = &self.symbols;
            for sample in &mut profile.samples {
                let called = |address| tail_calls.called(address, &profile.mappings);
                // By the symbol table, so that no other bytes that look like a call are taken for one.
                let found: Vec<(usize, u64)> = hidden_frames(&sample.stack, symbols, called)
                    .filter(|(_, function)| symbols.function_start(*function) == Some(*function))
                    .collect();
                if !found.is_empty() {
                    let mut stack = sample.stack.to_vec();
                    // Stacks are of return addresses, which are one further than what is looked up.
                    found.iter().rev().for_each(|(place, function)| stack.insert(*place, function + 1));
                    sample.stack = stack.into();
                }
            }
        }
        self.tail_calls = tail_calls;
        &self.symbols
    }
}

impl TailCalls {
    fn called(&mut self, return_address: u64, mappings: &[Mapping]) -> Option<u64> {
        if let Some(known) = self.called.get(&return_address) {
            return *known;
        }
        if self.called.len() >= CALLS_MAX {
            self.called.clear();
        }
        let is_code = |address| mappings.iter().any(|mapping| mapping.contains(address));
        let start = return_address.saturating_sub(CALL_BYTES_MAX as u64);
        let called = if is_code(start) && is_code(return_address) {
            self.read(start).and_then(|code| target(code, return_address)).filter(|target| is_code(*target))
        } else {
            None
        };
        self.called.insert(return_address, called);
        called
    }

    /// A hardened process may not read its own memory this way: then nothing is put back.
    fn read(&mut self, address: u64) -> Option<[u8; CALL_BYTES_MAX]> {
        if self.memory.is_none() {
            self.memory = File::open("/proc/self/mem").ok();
        }
        let mut code = [0; CALL_BYTES_MAX];
        self.memory.as_ref()?.read_exact_at(&mut code, address).ok()?;
        Some(code)
    }
}

/// Whom the direct call that ends `code` calls.
fn target(code: [u8; CALL_BYTES_MAX], return_address: u64) -> Option<u64> {
    let [first, a, b, c, d] = code;
    if cfg!(target_arch = "x86_64") {
        // call rel32
        (first == 0xe8).then(|| return_address.wrapping_add_signed(i32::from_le_bytes([a, b, c, d]).into()))
    } else if cfg!(target_arch = "aarch64") {
        // bl imm26
        let word = u32::from_le_bytes([a, b, c, d]);
        let offset = i64::from((word << 6).cast_signed() >> 6) * 4;
        (word >> 26 == 0b10_0101).then(|| return_address.wrapping_sub(4).wrapping_add_signed(offset))
    } else {
        None
    }
}

/// Where in a stack another function should stand than the one that is called there, and which; from the leaf to the
/// program's own.
fn hidden_frames(
    stack: &[u64],
    symbols: &Symbols,
    mut called: impl FnMut(u64) -> Option<u64>,
) -> impl Iterator<Item = (usize, u64)> {
    let own = stack.iter().position(|&address| {
        symbols.frames(address.saturating_sub(1)).iter().any(|frame| owner::rank(frame) == Rank::User)
    });
    let end = own.map_or(stack.len(), |place| place + 1);
    (1..end).filter_map(move |place| {
        let inner = symbols.function_start(stack[place - 1].saturating_sub(1))?;
        called(stack[place]).filter(|&function| function != inner).map(|function| (place, function))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::{Frame, Location};

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_direct_call_says_whom_it_calls() {
        assert_eq!(target([0xe8, 0x10, 0, 0, 0], 0x1000), Some(0x1010));
        assert_eq!(target([0xe8, 0xf0, 0xff, 0xff, 0xff], 0x1000), Some(0xff0));
        assert_eq!(target([0x48, 0x89, 0xe5, 0xff, 0xd0], 0x1000), None, "an indirect call");
    }

    #[test]
    fn what_is_called_and_is_not_there_is_missing() {
        let mut symbols = Symbols::default();
        for (return_address, function, start) in
            [(0x110, "malloc", 0x100), (0x210, "shop::run", 0x200), (0x310, "shop::main", 0x300)]
        {
            let frame = Frame { function: function.into(), file: "src/main.rs".into(), line: 1 };
            let location = Location { frames: [frame].into(), function_start: Some(start) };
            symbols.insert(return_address - 1, location);
        }
        let stack = [0x110, 0x210, 0x310];
        let hidden = |called: fn(u64) -> Option<u64>| hidden_frames(&stack, &symbols, called).collect::<Vec<_>>();
        // `run` called `copy`, which ended with `malloc`; what called the program's own function does not matter.
        assert_eq!(hidden(|address| Some(if address == 0x210 { 0x400 } else { 0x500 })), [(1, 0x400)]);
        assert_eq!(hidden(|_| Some(0x100)), []);
        assert_eq!(hidden(|_| None), []);
    }
}
