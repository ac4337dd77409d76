//! Call sites: samples of a profile added up by the frame that is the user's.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::held::Held;
use crate::profile::model::{Mapping, Profile, Sample};
use crate::symbols::owner::{self, Rank};
use crate::symbols::{AddressMap, Frame, Symbols};

/// Sites that are told apart, about 160 bytes each. What further ones hold is counted as one site without a name.
pub(crate) const SITES_MAX: usize = 1 << 14;
/// Frames of a culprit's stack that are shown.
const STACK_FRAMES_MAX: usize = 64;
/// Of the stacks without names, those that an address may be on and still tell where they come from: 1 of so many.
const TELLING_SHARE: u32 = 2;

/// The sites seen so far, by number.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    numbers: HashMap<Key, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Closures of one function share its name, so that their line tells them apart; the lines of other functions do
    /// not matter.
    Function { function: Arc<str>, file: Arc<str>, closure_line: u32 },
    /// A program without symbols: the hash of the addresses, which stay what they are while it runs.
    Unnamed { stack: u64 },
}

/// A profile by its sites.
#[derive(Debug, Default)]
pub(crate) struct Grouped {
    pub(crate) held: HashMap<u32, Held>,
    /// The stack that holds most at each site: the site's frame and those that called it come last.
    pub(super) largest: HashMap<u32, Largest>,
}

#[derive(Debug)]
pub(super) struct Largest {
    pub(super) bytes: f64,
    pub(super) site: Frame,
    pub(super) stack: Vec<Frame>,
}

impl Sites {
    /// Groups the live bytes of a profile. Its stacks may still have the allocator's frames.
    pub(crate) fn group(&mut self, profile: &Profile, symbols: &Symbols) -> Grouped {
        let mut grouped = Grouped::default();
        let mut unnamed = Vec::new();
        for sample in &profile.samples {
            let Some(at) = site_position(sample, symbols) else {
                unnamed.push(sample);
                continue;
            };
            let number = self.number(key(&at.frame));
            let stack = || frames(sample, symbols).skip(at.first_shown).take(STACK_FRAMES_MAX).cloned().collect();
            grouped.add(number, sample, profile.period_bytes, || (at.frame.clone(), stack()));
        }
        let seen = seen(&unnamed);
        for sample in &unnamed {
            let mut hasher = DefaultHasher::new();
            sample.stack.hash(&mut hasher);
            let number = self.number(Key::Unnamed { stack: hasher.finish() });
            grouped.add(number, sample, profile.period_bytes, || {
                let is_telling = |address: &&u64| {
                    let stacks = u32::try_from(unnamed.len()).unwrap_or(u32::MAX);
                    seen.get(*address).copied().unwrap_or(0) * TELLING_SHARE <= stacks.max(TELLING_SHARE)
                };
                let site = sample.stack.iter().find(is_telling).or(sample.stack.first()).copied().unwrap_or(0);
                let place = |&address: &u64| place(address.saturating_sub(1), &profile.mappings);
                let from = sample.stack.iter().position(|address| *address == site).unwrap_or(0);
                (place(&site), sample.stack[from..].iter().take(STACK_FRAMES_MAX).map(place).collect())
            });
        }
        grouped
    }

    /// The number of the site that a frame stands for.
    pub(super) fn of_frame(&mut self, frame: &Frame) -> u32 {
        self.number(key(frame))
    }

    fn number(&mut self, key: Key) -> u32 {
        if self.numbers.len() >= SITES_MAX && !self.numbers.contains_key(&key) {
            return u32::MAX;
        }
        let next = self.numbers.len() as u32;
        *self.numbers.entry(key).or_insert(next)
    }
}

impl Grouped {
    fn add(&mut self, number: u32, sample: &Sample, period_bytes: u64, describe: impl FnOnce() -> (Frame, Vec<Frame>)) {
        self.held.entry(number).or_default().add(sample.inuse, sample.alloc, period_bytes);
        if self.largest.get(&number).is_none_or(|largest| sample.inuse.bytes > largest.bytes) {
            let (site, stack) = describe();
            self.largest.insert(number, Largest { bytes: sample.inuse.bytes, site, stack });
        }
    }
}

fn key(frame: &Frame) -> Key {
    let is_closure = frame.function.ends_with("{{closure}}");
    Key::Function {
        function: Arc::clone(&frame.function),
        file: Arc::clone(&frame.file),
        closure_line: if is_closure { frame.line } else { 0 },
    }
}

/// How many of some stacks each address is on.
fn seen(samples: &[&Sample]) -> AddressMap<u32> {
    let mut seen = AddressMap::default();
    for sample in samples {
        let mut addresses = sample.stack.to_vec();
        addresses.sort_unstable();
        addresses.dedup();
        for address in addresses {
            *seen.entry(address).or_insert(0) += 1;
        }
    }
    seen
}

/// `program+0x1234`, which `addr2line` and the like take with a copy of the program that has its symbols.
fn place(address: u64, mappings: &[Mapping]) -> Frame {
    let mapping = mappings.iter().find(|mapping| mapping.contains(address));
    let (function, file) = match mapping {
        Some(mapping) => {
            let offset = address - mapping.start_address + mapping.file_offset;
            let object = mapping.filename.rsplit('/').next().unwrap_or_default();
            (format!("{object}+{offset:#x}"), mapping.filename.as_str())
        }
        None => (format!("{address:#x}"), ""),
    };
    Frame { function: function.into(), file: file.into(), line: 0 }
}

struct Position {
    frame: Frame,
    /// How many frames of the allocator and the standard library are left out at the leaf.
    first_shown: usize,
}

/// Of what has no name at all.
pub(super) fn unnamed() -> Frame {
    Frame { function: "".into(), file: "".into(), line: 0 }
}

/// The best frame of a stack, the one nearest to the allocation among equals.
fn site_position(sample: &Sample, symbols: &Symbols) -> Option<Position> {
    let mut best: Option<(Rank, &Frame)> = None;
    let mut first_shown = None;
    for (depth, frame) in frames(sample, symbols).enumerate() {
        let rank = owner::rank(frame);
        if rank != Rank::Nothing && first_shown.is_none() {
            first_shown = Some(depth);
        }
        if rank != Rank::Nothing && best.is_none_or(|(best, _)| rank > best) {
            best = Some((rank, frame));
        }
        if rank == Rank::User {
            break;
        }
    }
    best.map(|(_, frame)| Position { frame: frame.clone(), first_shown: first_shown.unwrap_or(0) })
}

fn frames<'a>(sample: &'a Sample, symbols: &'a Symbols) -> impl Iterator<Item = &'a Frame> {
    sample.stack.iter().flat_map(|return_address| symbols.frames(return_address.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::Count;
    use crate::symbols::Location;

    fn symbols(names: &[(u64, &str, &str, u32)]) -> Symbols {
        let mut symbols = Symbols::default();
        for &(return_address, function, file, line) in names {
            let frame = Frame { function: function.into(), file: file.into(), line };
            symbols.insert(return_address - 1, Location { frames: [frame].into(), function_start: None });
        }
        symbols
    }

    fn profile(stacks: &[(&[u64], f64)]) -> Profile {
        let sample = |&(stack, bytes): &(&[u64], f64)| Sample {
            stack: stack.into(),
            inuse: Count { objects: 1.0, bytes, ..Count::default() },
            alloc: None,
        };
        Profile { period_bytes: 512 << 10, samples: stacks.iter().map(sample).collect(), ..Profile::default() }
    }

    #[test]
    fn bytes_go_to_the_users_frame_through_libraries_c_and_holes() {
        const TOKIO: &str = "/c/registry/src/i/tokio-1/src/x.rs";
        let symbols = symbols(&[
            (10, "malloc", "", 0),
            (11, "alloc::vec::Vec::push", "/rustc/1/library/alloc/src/vec.rs", 9),
            (12, "serde_json::de::parse", "/c/registry/src/i/serde_json-1/src/de.rs", 9),
            (13, "rd_kafka_new", "rdkafka.c", 9),
            (20, "shop::parse", "src/main.rs", 40),
            (21, "shop::parse", "src/main.rs", 41),
            (22, "shop::send::{{closure}}", "src/main.rs", 50),
            (23, "shop::send::{{closure}}", "src/main.rs", 60),
            (30, "tokio::runtime::run", TOKIO, 7),
            (31, "shop::main", "src/main.rs", 5),
            (40, "worker::pool::grow", "/c/registry/src/i/worker-1/src/lib.rs", 7),
        ]);
        let mut sites = Sites::default();
        let grouped = sites.group(
            &profile(&[
                (&[10, 11, 12, 20, 30, 31], 1.0),
                (&[10, 12, 21, 30, 31], 2.0),
                (&[10, 13, 99, 22, 30, 31], 4.0),
                (&[10, 11, 23, 30, 31], 8.0),
                (&[10, 11, 40, 30], 16.0),
                (&[10, 13], 32.0),
                (&[98], 64.0),
            ]),
            &symbols,
        );
        let mut named: Vec<_> = grouped
            .held
            .iter()
            .map(|(number, held)| {
                let largest = grouped.largest.get(number);
                (held.bytes, largest.map_or("", |largest| &largest.site.function), largest.map(|l| l.site.line))
            })
            .collect();
        named.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert_eq!(
            named,
            [
                (3.0, "shop::parse", Some(41)),
                (4.0, "shop::send::{{closure}}", Some(50)),
                (8.0, "shop::send::{{closure}}", Some(60)),
                (16.0, "worker::pool::grow", Some(7)),
                (32.0, "rd_kafka_new", Some(9)),
                (64.0, "0x61", Some(0)),
            ]
        );
        let stack: Vec<_> =
            grouped.largest.values().find(|largest| largest.site.line == 50).expect("there").stack.iter().collect();
        assert_eq!(&*stack[0].function, "rd_kafka_new");
        assert_eq!(stack.len(), 4, "the address without a name is left out");
    }

    #[test]
    fn sites_beyond_the_bound_are_one() {
        let mut sites = Sites::default();
        let mut numbers: Vec<u32> = Vec::new();
        for line in 0..SITES_MAX as u32 + 2 {
            let frame = Frame { function: "shop::{{closure}}".into(), file: "".into(), line };
            numbers.push(sites.number(key(&frame)));
        }
        assert_eq!(numbers[SITES_MAX - 1], SITES_MAX as u32 - 1);
        assert_eq!(numbers[SITES_MAX..], [u32::MAX, u32::MAX]);
    }

    /// A stripped program: what can be said is where in which file, and each stack is a site of its own.
    #[test]
    fn stacks_without_names_are_told_by_the_address_that_others_do_not_share() {
        let mut profile = profile(&[(&[0x1010, 0x1020, 0x1f00], 8.0), (&[0x1010, 0x1030, 0x1f00], 16.0)]);
        let program = Mapping { start_address: 0x1000, limit_address: 0x2000, ..Mapping::default() };
        profile.mappings = vec![Mapping { file_offset: 0x400, filename: "/srv/shop".to_owned(), ..program }];
        let mut sites = Sites::default();
        let grouped = sites.group(&profile, &Symbols::default());
        let mut named: Vec<_> = grouped
            .largest
            .values()
            .map(|largest| (&*largest.site.function, &*largest.site.file, largest.stack.len()))
            .collect();
        named.sort_unstable();
        assert_eq!(named, [("shop+0x41f", "/srv/shop", 2), ("shop+0x42f", "/srv/shop", 2)]);
        let again = sites.group(&profile, &Symbols::default());
        assert_eq!(grouped.held, again.held);
    }
}
