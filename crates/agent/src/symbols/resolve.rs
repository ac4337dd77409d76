//! Finds the names of addresses in this process, from the files that are mapped into it.
//!
//! DWARF gives functions, inlined calls, files and lines; where it has nothing, the symbol table names
//! the function, and where that was stripped, the dynamic symbols do. The program itself is read through
//! `/proc/self/exe`, so that a file put in its place on disk does not matter; a library whose file is gone stays
//! without names.

use std::path::{Path, PathBuf};

use super::debug_file::DebugFile;
use super::dwarf::{self, Call, Split};
use super::object_file::ObjectFile;
use super::symbol_table::{self, Symbol};
use super::tail_calls::TailCalls;
use super::unit_index::UnitIndex;
use super::{Frame, Location, Symbols, names, owner};
use crate::profile::model::Mapping;

/// What the cache of names may hold between two runs. One that grew beyond it is emptied.
pub(crate) const CACHE_BYTES_MAX: usize = 2 << 20;
/// Objects of which it is kept where their units' code is: at most 512 KiB each, and 100 KiB of most.
const INDEXED_OBJECTS_MAX: usize = 4;
pub(super) const PROGRAM: &str = "/proc/self/exe";

/// A bounded cache of names, and the way to fill it. Blocks and reads files: for a thread that may.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    pub(super) symbols: Symbols,
    /// Where the files stood that the cache is about.
    objects: Vec<(u64, String)>,
    /// By where an object stands. Kept for the first [`INDEXED_OBJECTS_MAX`].
    indexes: Vec<(u64, Option<UnitIndex>)>,
    pub(super) tail_calls: TailCalls,
}

impl Resolver {
    /// Looks up the addresses that are not known yet. Addresses, not return addresses: a caller that has the latter
    /// subtracts 1, for the call to be meant and not what follows it.
    ///
    /// An object is opened when an address in it has to be looked up, and closed before this returns. Measured with
    /// a program of 44 MB: 13 MiB of memory for a moment for a whole profile's addresses; 1 MiB stays. Nothing when all is
    /// known.
    pub(crate) fn resolve(&mut self, addresses: impl Iterator<Item = u64>, mappings: &[Mapping]) -> &Symbols {
        self.forget_what_moved(mappings);
        let mut unknown: Vec<u64> = addresses.filter(|&address| !self.symbols.contains(address)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let mut rest = unknown.as_slice();
        let mut in_order: Vec<&Mapping> = mappings.iter().collect();
        in_order.sort_unstable_by_key(|mapping| mapping.start_address);
        for mapping in in_order {
            rest = &rest[rest.partition_point(|&address| address < mapping.start_address)..];
            let (inside, after) = rest.split_at(rest.partition_point(|&address| address < mapping.limit_address));
            rest = after;
            if !inside.is_empty() {
                self.resolve_in(mapping, inside);
            }
        }
        for address in unknown {
            if !self.symbols.contains(address) {
                self.symbols.insert(address, Location::default());
            }
        }
        &self.symbols
    }

    /// Empties the cache if it is larger than [`CACHE_BYTES_MAX`].
    pub(crate) fn trim(&mut self) {
        if self.symbols.memory_bytes() > CACHE_BYTES_MAX {
            self.symbols = Symbols::default();
        }
    }

    fn resolve_in(&mut self, mapping: &Mapping, addresses: &[u64]) {
        let Some(path) = path(mapping) else { return };
        let Some(first) = ObjectFile::open(&path).and_then(|object| object.address_of(mapping.file_offset)) else {
            return;
        };
        let Some(file) = DebugFile::open(&path) else {
            tracing::debug!(file = %mapping.filename, "no symbols");
            return;
        };
        let bias = mapping.start_address.wrapping_sub(first);
        let probes: Vec<u64> = addresses.iter().map(|address| address.wrapping_sub(bias)).collect();
        let file = file.with_debug_info(&path);
        let functions = symbol_table::functions(&file, &probes);
        let mut unkept = None;
        let calls = dwarf::calls(&file, &Split::beside(&path), &probes, self.index(mapping).unwrap_or(&mut unkept));
        for ((&address, calls), symbol) in addresses.iter().zip(calls).zip(functions) {
            let location = self.location(&calls, symbol, bias);
            self.symbols.insert(address, location);
        }
    }

    fn index(&mut self, mapping: &Mapping) -> Option<&mut Option<UnitIndex>> {
        let known = self.indexes.iter().position(|(start, _)| *start == mapping.start_address);
        if known.is_none() && self.indexes.len() < INDEXED_OBJECTS_MAX {
            self.indexes.push((mapping.start_address, None));
        }
        let place = known.unwrap_or(self.indexes.len().checked_sub(1)?);
        let (start, index) = self.indexes.get_mut(place)?;
        (*start == mapping.start_address).then_some(index)
    }

    fn location(&mut self, calls: &[Call], symbol: Option<Symbol>, bias: u64) -> Location {
        let mut frames: Vec<Frame> = calls
            .iter()
            .map(|call| Frame {
                function: self.symbols.intern(&names::readable(&call.name, call.language)),
                file: self.symbols.intern(&call.file),
                line: call.line,
            })
            .collect();
        if let Some(symbol) = &symbol {
            let name = || names::readable(&symbol.name, None);
            match frames.last_mut() {
                None => frames.push(Frame {
                    function: self.symbols.intern(&name()),
                    file: self.symbols.intern(""),
                    line: 0,
                }),
                // Line tables alone name an async function `{async_fn#0}`; its symbol has the path.
                Some(outermost) if !outermost.function.contains("::") => {
                    let name = name();
                    // glibc's debug information says `__GI___strdup` of what its symbol table calls `strdup`.
                    let is_plainer = outermost.function.starts_with('_') && !name.starts_with('_');
                    if outermost.function.is_empty() || name.contains("::") || is_plainer {
                        outermost.function = self.symbols.intern(&name);
                    }
                }
                Some(_) => {}
            }
        }
        // An allocator inlined into its caller is no part of the program's own calls.
        let inlined = frames.len().saturating_sub(1);
        if let Some(entry) = frames[..inlined].iter().rposition(|frame| owner::is_allocator(&frame.function)) {
            frames.drain(..=entry);
        }
        Location {
            frames: frames.into_boxed_slice(),
            function_start: symbol.map(|symbol| symbol.start.wrapping_add(bias)),
        }
    }

    /// A library that was unloaded may have left its addresses to another.
    fn forget_what_moved(&mut self, mappings: &[Mapping]) {
        let is_there = |(start, file): &(u64, String)| {
            mappings.iter().any(|mapping| mapping.start_address == *start && mapping.filename == *file)
        };
        if !self.objects.iter().all(is_there) {
            self.symbols = Symbols::default();
            self.indexes.clear();
            self.tail_calls = TailCalls::default();
        }
        self.objects = mappings.iter().map(|mapping| (mapping.start_address, mapping.filename.clone())).collect();
    }
}

/// Puts the program's own mapping first and fills the build ids in, which takes the files' headers.
pub(crate) fn identify(mappings: &mut [Mapping]) {
    mappings.sort_by_cached_key(|mapping| (!is_program(mapping), mapping.start_address));
    for mapping in mappings {
        if let Some(object) = path(mapping).and_then(|path| ObjectFile::open(&path)) {
            mapping.build_id = object.build_id;
        }
    }
}

/// Those of another process's mappings whose file, as it is here and now, is the one that was mapped there.
pub(crate) fn unchanged(mappings: &[Mapping]) -> Vec<Mapping> {
    let is_unchanged = |mapping: &&Mapping| {
        let here = path(mapping).and_then(|path| ObjectFile::open(&path));
        here.is_some_and(|object| !object.build_id.is_empty() && object.build_id == mapping.build_id)
    };
    mappings.iter().filter(is_unchanged).cloned().collect()
}

/// Where the file can be read that is mapped, if it still can.
fn path(mapping: &Mapping) -> Option<PathBuf> {
    if is_program(mapping) {
        return Some(PROGRAM.into());
    }
    (!mapping.is_deleted && mapping.filename.starts_with('/')).then(|| PathBuf::from(&mapping.filename))
}

fn is_program(mapping: &Mapping) -> bool {
    let Ok(program) = std::fs::read_link(PROGRAM) else { return false };
    let gone = || program.to_str().and_then(|program| program.strip_suffix(" (deleted)"));
    program == Path::new(&mapping.filename) || gone().is_some_and(|program| program == mapping.filename)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::parse_maps;

    fn own_mappings() -> Vec<Mapping> {
        let mut mappings = parse_maps(&std::fs::read_to_string("/proc/self/maps").expect("this is Linux"));
        identify(&mut mappings);
        mappings
    }

    #[inline(never)]
    fn a_function_with_a_name() -> u64 {
        std::hint::black_box(7)
    }

    #[test]
    fn own_functions_and_the_c_librarys_have_names() {
        let mappings = own_mappings();
        let own = a_function_with_a_name as fn() -> u64 as usize as u64;
        assert!(mappings[0].contains(own), "the program is first");
        let mut resolver = Resolver::default();
        let symbols = resolver.resolve([own, 1].into_iter(), &mappings);
        let frames = symbols.frames(own);
        assert_eq!(symbols.function(own), "heapline::symbols::resolve::tests::a_function_with_a_name");
        let outermost = &frames[frames.len() - 1];
        assert!(outermost.file.ends_with("symbols/resolve.rs") && outermost.line > 0, "{frames:?}");
        assert_eq!(symbols.function_start(own), Some(own));
        assert!(symbols.frames(1).is_empty() && symbols.contains(1));
    }

    #[test]
    fn names_of_an_unloaded_library_are_forgotten() {
        let mut mappings = own_mappings();
        let gone = Mapping { start_address: 4096, limit_address: 8192, ..Mapping::default() };
        mappings.push(gone);
        let mut resolver = Resolver::default();
        resolver.resolve([4097].into_iter(), &mappings);
        mappings.pop();
        assert!(!resolver.resolve([].into_iter(), &mappings).contains(4097));
    }

    #[test]
    fn the_cache_is_emptied_beyond_its_bound() {
        let mut resolver = Resolver::default();
        resolver.resolve(0..100, &[]);
        resolver.trim();
        assert!(resolver.symbols.contains(5));
        resolver.resolve(0..100_000, &[]);
        assert!(resolver.symbols.memory_bytes() > CACHE_BYTES_MAX);
        resolver.trim();
        assert!(!resolver.symbols.contains(5) && resolver.symbols.memory_bytes() < 4096);
    }
}
