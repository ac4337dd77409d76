//! Names for addresses: function, file and line, inlined calls included.
//!
//! [`Symbols`] is what is known; [`resolve::Resolver`] finds out, on the profiler's thread only.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

mod debug_file;
mod dwarf;
mod names;
mod object_file;
pub(crate) mod object_state;
pub(crate) mod owner;
mod pages;
pub(crate) mod resolve;
mod symbol_table;
mod tail_calls;
mod unit_index;

/// A function at a place in its source. Unknown parts are empty or 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) function: Arc<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
}

impl Frame {
    /// Of Rust's own library. Line tables alone name an inlined call without its path: then its file tells.
    fn is_standard_library(&self) -> bool {
        owner::is_standard_library(&self.function)
            || !self.function.contains("::") && self.file.starts_with("/rustc/") && self.file.contains("/library/")
    }
}

/// What stands at an address.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Location {
    /// The innermost inlined call first, the function that the machine knows last. Empty: nothing is known.
    pub(crate) frames: Box<[Frame]>,
    /// The first address of that function.
    pub(crate) function_start: Option<u64>,
}

/// Whose code stands at an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The program, a library of its choice, or nobody knows.
    #[default]
    Program,
    /// An entry point of an allocator.
    Allocator,
    /// Rust's own library and nothing else.
    StandardLibrary,
}

/// A map by address. A profile looks hundreds of thousands up, and they come from this process alone: its hash is
/// one multiplication.
pub(crate) type AddressMap<T> = HashMap<u64, T, BuildHasherDefault<AddressHasher>>;

/// Locations by address. Names that occur often are held once.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    locations: AddressMap<(Location, Owner)>,
    strings: HashSet<Arc<str>>,
    strings_bytes: usize,
}

impl Symbols {
    pub(crate) fn insert(&mut self, address: u64, location: Location) {
        let owner = match location.frames.last() {
            Some(outermost) if owner::is_allocator(&outermost.function) => Owner::Allocator,
            Some(_) if location.frames.iter().all(Frame::is_standard_library) => Owner::StandardLibrary,
            _ => Owner::Program,
        };
        self.locations.insert(address, (location, owner));
    }

    /// Leaves the inlined calls at an address out.
    fn keep_outermost(&mut self, address: u64) {
        if let Some((location, _)) = self.locations.get_mut(&address)
            && let Some(outermost) = location.frames.last().cloned()
        {
            location.frames = [outermost].into();
        }
    }

    pub(crate) fn contains(&self, address: u64) -> bool {
        self.locations.contains_key(&address)
    }

    /// The frames at an address, the innermost first; none where nothing is known.
    pub(crate) fn frames(&self, address: u64) -> &[Frame] {
        self.locations.get(&address).map_or(&[], |(location, _)| &location.frames)
    }

    /// The frames of the address that called for memory: those of the standard library are left out where the
    /// program's follow.
    pub(crate) fn leaf_frames(&self, address: u64) -> &[Frame] {
        let frames = self.frames(address);
        let program = frames.iter().position(|frame| !frame.is_standard_library());
        &frames[program.unwrap_or(0)..]
    }

    pub(crate) fn owner(&self, address: u64) -> Owner {
        self.locations.get(&address).map_or(Owner::default(), |(_, owner)| *owner)
    }

    /// The function that the machine executes at an address, or nothing.
    pub(crate) fn function(&self, address: u64) -> &str {
        self.frames(address).last().map_or("", |frame| &frame.function)
    }

    pub(crate) fn function_start(&self, address: u64) -> Option<u64> {
        self.locations.get(&address)?.0.function_start
    }

    /// The one copy of a string.
    pub(crate) fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        self.strings_bytes += text.len();
        self.strings.insert(Arc::clone(&shared));
        shared
    }

    /// About the memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        /// An `Arc<str>`'s two counts, its place in the set, the allocator's rounding.
        const STRING_BYTES: usize = 56;
        let frames: usize = self.locations.values().map(|(location, _)| location.frames.len()).sum();
        self.strings_bytes
            + self.strings.capacity() * STRING_BYTES
            + frames * size_of::<Frame>()
            + self.locations.capacity() * (size_of::<(u64, (Location, Owner))>() + 1)
    }
}

/// Fibonacci hashing of one number.
#[derive(Debug, Default)]
pub(crate) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, address: u64) {
        let product = (self.0 ^ address).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The map takes its slot from the low bits, which a product hardly mixes.
        self.0 = product ^ product >> 32;
    }
}
