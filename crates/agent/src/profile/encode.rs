//! pprof's protocol buffer (google/pprof's `proto/profile.proto`), written by hand and gzipped.

mod message;

use std::collections::HashMap;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::compact::Compact;
use super::kind::Kind;
use super::model::Mapping;
use crate::symbols::Symbols;
use message::Message;

/// Bytes that are written before they are compressed and given up.
const CHUNK_BYTES: usize = 64 << 10;

/// A profile as `go tool pprof` and scrapers read it, gzipped.
///
/// Sample types in Go's order: `alloc_objects`, `alloc_space` where allocations are counted, then `inuse_objects`,
/// `inuse_space`. A location's address is the one of the call, the return address less 1; its lines are the calls
/// inlined there, the innermost first.
///
/// Cost: 10,000 stacks of 40 frames take 6 ms, most of it compression.
pub(crate) fn pprof(profile: &Compact, symbols: &Symbols, kind: Kind) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    protobuf(profile, symbols, kind, &mut gzip);
    gzip.finish().unwrap_or_default()
}

fn protobuf(profile: &Compact, symbols: &Symbols, kind: Kind, gzip: &mut GzEncoder<Vec<u8>>) {
    let has_alloc = profile.counts_allocations();
    let mut tables = Tables::new(profile, symbols);
    let mut out = Message(Vec::with_capacity(2 * CHUNK_BYTES));

    let types =
        [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];
    for (name, unit) in &types[if has_alloc { 0 } else { 2 }..] {
        out.message(1, &tables.value_type(name, unit));
    }
    let mut ids = Ids::default();
    for counted in &profile.samples {
        let alloc = counted.alloc.unwrap_or_default();
        let values = [alloc.objects, alloc.bytes, counted.inuse.objects, counted.inuse.bytes];
        // Rounded once, here; `as` saturates, far above what an address space holds.
        let values = values.map(|value| (value.round() as i64).cast_unsigned());
        tables.write_stack(profile.stack(counted), &mut ids);
        out.sample(ids.bytes(), &values[if has_alloc { 0 } else { 2 }..]);
        if out.0.len() >= CHUNK_BYTES {
            out.flush(gzip);
        }
    }
    tables.write_mappings(&mut out);
    out.0.extend_from_slice(&tables.locations.0);
    out.0.extend_from_slice(&tables.functions.0);
    out.int(9, profile.taken_unix_nanos);
    out.int(10, profile.duration_nanos);
    out.message(11, &tables.value_type("space", "bytes"));
    out.uint(12, profile.period_bytes);
    let default_type = match kind {
        Kind::Allocs if has_alloc => "alloc_space",
        Kind::Allocs | Kind::Heap => "inuse_space",
    };
    out.uint(14, tables.strings.index(default_type));
    for comment in &profile.comments {
        out.uint(13, tables.strings.index(comment));
    }
    for text in &tables.strings.texts {
        out.bytes(6, text.as_bytes());
    }
    out.flush(gzip);
}

/// What samples refer to by number, filled as they do.
struct Tables<'a> {
    symbols: &'a Symbols,
    strings: Strings<'a>,
    mappings: Vec<(&'a Mapping, Filled)>,
    return_addresses: &'a [u64],
    /// By number of the return address and whether it is a leaf, which shows fewer of the calls inlined there.
    location_ids: [Vec<Id>; 2],
    locations_written: u64,
    locations: Message,
    function_ids: HashMap<(&'a str, &'a str), u64>,
    functions: Message,
}

/// What is known of at least one address of a mapping.
#[derive(Clone, Copy, Default)]
struct Filled {
    functions: bool,
    filenames: bool,
    lines: bool,
    inlined: bool,
}

impl<'a> Tables<'a> {
    fn new(profile: &'a Compact, symbols: &'a Symbols) -> Tables<'a> {
        let return_addresses = profile.return_addresses();
        let ids = || vec![Id::NONE; return_addresses.len()];
        let mut strings = Strings { numbers: HashMap::new(), texts: Vec::new() };
        strings.index(""); // is number 0 by definition
        Tables {
            symbols,
            strings,
            mappings: profile.mappings.iter().map(|mapping| (mapping, Filled::default())).collect(),
            return_addresses,
            location_ids: [ids(), ids()],
            locations_written: 0,
            locations: Message::default(),
            function_ids: HashMap::new(),
            functions: Message::default(),
        }
    }

    fn value_type(&mut self, name: &'a str, unit: &'a str) -> Message {
        let mut value_type = Message::default();
        value_type.uint(1, self.strings.index(name));
        value_type.uint(2, self.strings.index(unit));
        value_type
    }

    fn write_stack(&mut self, stack: &[u32], ids: &mut Ids) {
        ids.begin(stack.len());
        let Some((&leaf, mut callers)) = stack.split_first() else { return };
        ids.push(self.location(leaf, true));
        loop {
            // The bulk, without a look at anything but the numbers.
            callers = &callers[ids.push_known(callers, &self.location_ids[0])..];
            let Some((&unknown, rest)) = callers.split_first() else { return };
            ids.push(self.location(unknown, false));
            callers = rest;
        }
    }

    fn location(&mut self, number: u32, is_leaf: bool) -> Id {
        match self.location_ids[usize::from(is_leaf)][number as usize] {
            Id::NONE => self.new_location(number as usize, is_leaf),
            id => id,
        }
    }

    #[cold]
    fn new_location(&mut self, number: usize, is_leaf: bool) -> Id {
        self.locations_written += 1;
        let id = self.locations_written;
        let written = Id::of(id);
        self.location_ids[usize::from(is_leaf)][number] = written;
        let symbols = self.symbols;
        let address = self.return_addresses[number].saturating_sub(1);
        let mapping = self.mappings.iter().position(|(mapping, _)| mapping.contains(address));
        let frames = if is_leaf { symbols.leaf_frames(address) } else { symbols.frames(address) };
        let mut location = Message::default();
        location.uint(1, id);
        location.uint(2, mapping.map_or(0, |index| index as u64 + 1));
        location.uint(3, address);
        for frame in frames {
            let mut line = Message::default();
            line.uint(1, self.function(&frame.function, &frame.file));
            line.uint(2, u64::from(frame.line));
            location.message(4, &line);
        }
        self.locations.message(4, &location);
        if let Some((_, filled)) = mapping.map(|index| &mut self.mappings[index]) {
            filled.functions |= frames.iter().any(|frame| !frame.function.is_empty());
            filled.filenames |= frames.iter().any(|frame| !frame.file.is_empty());
            filled.lines |= frames.iter().any(|frame| frame.line > 0);
            filled.inlined |= frames.len() > 1;
        }
        written
    }

    fn function(&mut self, name: &'a str, file: &'a str) -> u64 {
        let next = self.function_ids.len() as u64 + 1;
        let id = *self.function_ids.entry((name, file)).or_insert(next);
        if id == next {
            let mut function = Message::default();
            function.uint(1, id);
            function.uint(2, self.strings.index(name));
            // No system_name (3): pprof takes one that equals the name for mangled C++ and drops all in `<>`.
            function.uint(4, self.strings.index(file));
            self.functions.message(5, &function);
        }
        id
    }

    fn write_mappings(&mut self, out: &mut Message) {
        for (index, &(mapping, filled)) in self.mappings.iter().enumerate() {
            let mut message = Message::default();
            message.uint(1, index as u64 + 1);
            message.uint(2, mapping.start_address);
            message.uint(3, mapping.limit_address);
            message.uint(4, mapping.file_offset);
            message.uint(5, self.strings.index(&mapping.filename));
            message.uint(6, self.strings.index(&mapping.build_id));
            message.uint(7, u64::from(filled.functions));
            message.uint(8, u64::from(filled.filenames));
            message.uint(9, u64::from(filled.lines));
            message.uint(10, u64::from(filled.inlined));
            out.message(3, &message);
        }
    }
}

struct Strings<'a> {
    numbers: HashMap<&'a str, u64>,
    texts: Vec<&'a str>,
}

impl<'a> Strings<'a> {
    fn index(&mut self, text: &'a str) -> u64 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u64 - 1
        })
    }
}

/// The number of a location as it is written: there are some hundred, and half a million references to them.
///
/// Its varint from the lowest byte on; in the highest one, how many bytes these are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Id(u64);

impl Id {
    const NONE: Id = Id(0);

    fn of(number: u64) -> Id {
        // Seven bytes hold 2^49 locations; numbers of addresses have 32 bits.
        let (mut varint, mut shift, mut rest) = (0, 0, number & ((1 << 49) - 1));
        while rest >= 0x80 {
            varint |= (rest & 0x7f | 0x80) << shift;
            (shift, rest) = (shift + 8, rest >> 7);
        }
        Id(varint | rest << shift | (shift / 8 + 1) << 56)
    }
}

/// The locations of one stack, as they are written.
#[derive(Default)]
struct Ids {
    buffer: Vec<u8>,
    len: usize,
}

impl Ids {
    /// Starts anew, with room for so many.
    fn begin(&mut self, count: usize) {
        if self.buffer.len() < count * size_of::<Id>() {
            self.buffer.resize(count * size_of::<Id>(), 0);
        }
        self.len = 0;
    }

    fn push(&mut self, id: Id) {
        self.push_known(&[0], &[id]);
    }

    /// Up to the first that has none; returns how many.
    fn push_known(&mut self, numbers: &[u32], ids: &[Id]) -> usize {
        let mut len = self.len;
        let mut known = 0;
        for &number in numbers {
            let id = ids[number as usize];
            let Some(place) = self.buffer.get_mut(len..len + size_of::<Id>()).filter(|_| id != Id::NONE) else { break };
            // All eight bytes: the next takes back what is too much, and no branch depends on a length.
            place.copy_from_slice(&id.0.to_le_bytes());
            len += (id.0 >> 56) as usize;
            known += 1;
        }
        self.len = len;
        known
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

#[cfg(test)]
#[path = "../../tests/profile/pprof.rs"]
mod decoder;

#[cfg(test)]
mod tests {
    use super::decoder::Decoded;
    use super::*;
    use crate::profile::jeheap;
    use crate::profile::model::{Count, Profile, Sample};
    use crate::symbols::{Frame, Location};

    const DUMP: &str = "heap_v2/1024
  t*: 13: 1066624 [0: 0]
@ 0x1010 0x1020 0x7f000010
  t*: 3: 3072 [0: 0]
@ 0x1030 0x1020 0x9999
  t*: 10: 10485760 [0: 0]

MAPPED_LIBRARIES:
1000-2000 r-xp 00005000 fe:01 1    /srv/shop
7f000000-7f001000 r-xp 00000000 fe:01 2    /lib/libc.so.6
";

    fn symbols() -> Symbols {
        let mut symbols = Symbols::default();
        let frame = |function: &str, file: &str, line| Frame { function: function.into(), file: file.into(), line };
        let mut insert = |return_address: u64, frames: &[Frame]| {
            symbols.insert(return_address - 1, Location { frames: frames.into(), function_start: None });
        };
        insert(0x1010, &[frame("alloc::vec::Vec::push", "vec.rs", 9), frame("shop::add", "shop.rs", 5)]);
        insert(0x1020, &[frame("shop::inlined", "shop.rs", 7), frame("shop::main", "shop.rs", 20)]);
        insert(0x1030, &[frame("rd_strdup", "", 0)]);
        symbols
    }

    #[test]
    fn a_dump_becomes_a_profile_that_an_independent_reader_understands() {
        let mut profile = jeheap::parse(DUMP.as_bytes(), 1_700_000_000_000_000_123).expect("a dump");
        profile.mappings[0].build_id = "c0ffee".to_owned();
        let decoded = Decoded::from_gzip(&pprof(&profile.into(), &symbols(), Kind::Heap));

        assert_eq!(decoded.sample_types, ["inuse_objects/count", "inuse_space/bytes"]);
        assert_eq!((decoded.period_type.as_str(), decoded.period), ("space/bytes", 1024));
        assert_eq!((decoded.time_nanos, decoded.duration_nanos), (1_700_000_000_000_000_123, 0));
        assert_eq!(decoded.default_sample_type, "inuse_space");

        // Three objects of 1 KiB at 1 / (1 - exp(-1)) = 1.582 each; a megabyte stands for itself.
        let values: Vec<_> = decoded.samples.iter().map(|sample| sample.values.as_slice()).collect();
        assert_eq!(values, [[5, 4860], [10, 10_485_760]]);
        assert_eq!(decoded.functions(&decoded.samples[0]), ["shop::add", "shop::inlined", "shop::main"]);
        assert_eq!(decoded.functions(&decoded.samples[1]), ["rd_strdup", "shop::inlined", "shop::main"]);

        let leaf = &decoded.locations[&decoded.samples[0].location_ids[0]];
        assert_eq!((leaf.address, leaf.mapping_id), (0x100f, 1));
        assert_eq!(leaf.lines, [("shop::add".to_owned(), "shop.rs".to_owned(), 5)]);
        let library = &decoded.locations[&decoded.samples[0].location_ids[2]];
        assert_eq!((library.address, library.mapping_id, library.lines.len()), (0x7f00_000f, 2, 0));
        let nowhere = &decoded.locations[&decoded.samples[1].location_ids[2]];
        assert_eq!((nowhere.address, nowhere.mapping_id), (0x9998, 0));

        let [program, libc] = &decoded.mappings[..] else { panic!("{:?}", decoded.mappings) };
        assert_eq!((program.start, program.limit, program.offset), (0x1000, 0x2000, 0x5000));
        assert_eq!((program.filename.as_str(), program.build_id.as_str()), ("/srv/shop", "c0ffee"));
        assert_eq!((program.has, libc.has), ([true; 4], [false; 4]));
    }

    #[test]
    fn four_types_where_allocations_are_counted_and_negative_values_in_a_difference() {
        let sample = Sample {
            stack: [0x1010].into(),
            inuse: Count { objects: -2.0, bytes: -2048.4, ..Count::default() },
            alloc: Some(Count { objects: 7.0, bytes: 7168.0, ..Count::default() }),
        };
        let profile = Profile { duration_nanos: 5, samples: vec![sample], ..Profile::default() };
        for (kind, default) in [(Kind::Heap, "inuse_space"), (Kind::Allocs, "alloc_space")] {
            let decoded = Decoded::from_gzip(&pprof(&profile.clone().into(), &symbols(), kind));
            let types = ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"];
            assert_eq!(decoded.sample_types, types);
            assert_eq!(decoded.samples[0].values, [7, 7168, -2, -2048]);
            assert_eq!((decoded.default_sample_type.as_str(), decoded.duration_nanos), (default, 5));
        }
    }

    #[test]
    fn stacks_of_many_addresses_are_what_they_were() {
        // Numbers of one, two and three bytes, each known and new by turns, and a leaf that is a caller elsewhere.
        let stack = |index: u64| (0..index % 5).map(|depth| 1 + (index * 31 + depth * 7_919) % 40_000).collect();
        let sample = |index| Sample {
            stack: stack(index),
            inuse: Count { objects: 1.0, bytes: index as f64, ..Count::default() },
            alloc: None,
        };
        let samples: Vec<Sample> = (0..20_000).map(sample).collect();
        let profile = Profile { samples: samples.clone(), ..Profile::default() };
        let decoded = Decoded::from_gzip(&pprof(&profile.into(), &Symbols::default(), Kind::Heap));
        assert!(decoded.locations.len() > 1 << 14);
        for (sample, decoded_sample) in samples.iter().zip(&decoded.samples) {
            let addresses = decoded_sample.location_ids.iter().map(|id| decoded.locations[id].address + 1);
            assert_eq!(addresses.collect::<Vec<_>>(), *sample.stack);
            assert_eq!(decoded_sample.values, [1, sample.inuse.bytes as i64]);
        }
    }

    #[test]
    fn an_empty_heap_is_a_profile_too() {
        let decoded = Decoded::from_gzip(&pprof(&Compact::default(), &Symbols::default(), Kind::Allocs));
        assert!(decoded.samples.is_empty());
        assert_eq!(decoded.default_sample_type, "inuse_space");
    }
}
