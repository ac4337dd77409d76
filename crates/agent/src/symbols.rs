//! Names for addresses: function, file and line, inlined calls included.
//!
//! [`Symbols`] is what is known; [`resolve::Resolver`] finds out, on the profiler's thread only.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) mod names;
mod object_file;
pub(crate) mod resolve;

/// A function at a place in its source. Unknown parts are empty or 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) function: Arc<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
}

/// What stands at an address.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Location {
    /// The innermost inlined call first, the function that the machine knows last. Empty: nothing is known.
    pub(crate) frames: Box<[Frame]>,
    /// The first address of that function.
    pub(crate) function_start: Option<u64>,
}

/// Locations by address. Names that occur often are held once.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    locations: HashMap<u64, Location>,
    strings: HashSet<Arc<str>>,
    strings_bytes: usize,
}

impl Symbols {
    pub(crate) fn insert(&mut self, address: u64, location: Location) {
        self.locations.insert(address, location);
    }

    pub(crate) fn contains(&self, address: u64) -> bool {
        self.locations.contains_key(&address)
    }

    /// The frames at an address, the innermost first; none where nothing is known.
    pub(crate) fn frames(&self, address: u64) -> &[Frame] {
        self.locations.get(&address).map_or(&[], |location| &location.frames)
    }

    /// The frames of the address that called for memory: those of the standard library are left out where the
    /// program's follow.
    pub(crate) fn leaf_frames(&self, address: u64) -> &[Frame] {
        let frames = self.frames(address);
        let program = frames.iter().position(|frame| !names::is_standard_library(&frame.function));
        &frames[program.unwrap_or(0)..]
    }

    /// Whether all that stands at an address is the standard library.
    pub(crate) fn is_standard_library(&self, address: u64) -> bool {
        let frames = self.frames(address);
        !frames.is_empty() && frames.iter().all(|frame| names::is_standard_library(&frame.function))
    }

    /// The function that the machine executes at an address, or nothing.
    pub(crate) fn function(&self, address: u64) -> &str {
        self.frames(address).last().map_or("", |frame| &frame.function)
    }

    pub(crate) fn function_start(&self, address: u64) -> Option<u64> {
        self.locations.get(&address)?.function_start
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
        let frames: usize = self.locations.values().map(|location| location.frames.len()).sum();
        self.strings_bytes
            + self.strings.capacity() * STRING_BYTES
            + frames * size_of::<Frame>()
            + self.locations.capacity() * (size_of::<(u64, Location)>() + 1)
    }
}
