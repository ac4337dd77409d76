//! jemalloc's heap dump (`heap_v2`) as a stream.

use super::calls::Calls;
use super::feed::Feed;
use super::{DiffError, NAMES_BYTES_MAX, Sites};
use crate::profile::maps;
use crate::profile::model::{Count, Mapping};
use crate::symbols::resolve::Resolver;
use crate::symbols::{AddressMap, Frame};

/// Bytes that an address takes while names are looked up.
const ADDRESS_BYTES: usize = 160;
/// The most of the list of mapped libraries that is read.
const MAPS_BYTES_MAX: usize = 4 << 20;

/// What the first pass gathers.
#[derive(Default)]
pub(super) struct Names {
    period_bytes: u64,
    addresses: AddressMap<u32>,
    maps: Vec<u8>,
    line: usize,
}

/// The calls of a dump, by return address.
pub(super) struct TextCalls {
    calls: Calls,
    by_address: AddressMap<u32>,
}

impl Names {
    pub(super) fn read(&mut self, feed: &mut Feed<'_>) -> Result<(), DiffError> {
        let header = feed.line()?.and_then(|line| line.trim_ascii().strip_prefix(b"heap_v2/")).and_then(decimal);
        self.period_bytes = header.ok_or_else(|| DiffError::Malformed("its first line".to_owned()))?;
        self.line = 1;
        let mut is_maps = false;
        while let Some(line) = feed.line()? {
            self.line += 1;
            if is_maps {
                if self.maps.len() < MAPS_BYTES_MAX {
                    self.maps.extend_from_slice(line);
                    self.maps.push(b'\n');
                }
            } else if line == b"MAPPED_LIBRARIES:" {
                is_maps = true;
            } else if let Some(stack) = line.strip_prefix(b"@") {
                let addresses = &mut self.addresses;
                if !each_address(stack, |address| {
                    addresses.entry(address).or_default();
                }) {
                    return Err(malformed(self.line));
                }
                if addresses.len() * ADDRESS_BYTES > NAMES_BYTES_MAX {
                    return Err(DiffError::TooLarge("its addresses"));
                }
            }
        }
        Ok(())
    }

    /// Names by the files that the dump lists, where they are still there; else addresses, and the object's file.
    pub(super) fn resolve(mut self) -> TextCalls {
        let mappings = maps::parse(&String::from_utf8_lossy(&self.maps));
        let mut resolver = Resolver::default();
        let symbols = resolver.resolve(self.addresses.keys().map(|address| address.saturating_sub(1)), &mappings);
        let mut calls = Calls::new(self.period_bytes);
        for (&return_address, call) in &mut self.addresses {
            let address = return_address.saturating_sub(1);
            let known = symbols.frames(address);
            *call = calls.push(if known.is_empty() { [unknown(address, &mappings)].into() } else { known.into() });
        }
        TextCalls { calls, by_address: self.addresses }
    }
}

fn unknown(address: u64, mappings: &[Mapping]) -> Frame {
    let object = mappings.iter().find(|mapping| mapping.contains(address));
    let file = object.map_or("", |object| object.filename.as_str());
    Frame { function: format!("{address:#x}").into(), file: file.into(), line: 0 }
}

impl TextCalls {
    pub(super) fn into_read(self, seconds: f64) -> super::OneSide {
        self.calls.into_read(seconds)
    }
}

/// The second pass.
pub(super) fn samples(feed: &mut Feed<'_>, into: &mut TextCalls, sites: &mut Sites) -> Result<(), DiffError> {
    let TextCalls { calls, by_address } = into;
    let (mut stack, mut is_open, mut accumulates, mut number) = (Vec::new(), false, false, 0);
    while let Some(line) = feed.line()? {
        number += 1;
        let line = line.trim_ascii();
        if let Some(addresses) = line.strip_prefix(b"@") {
            stack.clear();
            each_address(addresses, |address| stack.extend(by_address.get(&address)));
            is_open = true;
        } else if let Some(counts) = line.strip_prefix(b"t*:") {
            let (inuse, alloc) = four_counts(counts).ok_or_else(|| malformed(number))?;
            if is_open {
                let alloc = accumulates.then(|| Count::unbiased(alloc, calls.period_bytes));
                let inuse = Count::unbiased(inuse, calls.period_bytes);
                calls.add(&stack, inuse, alloc, sites);
            } else {
                accumulates = alloc != Count::default();
            }
            is_open = false;
        } else if line == b"MAPPED_LIBRARIES:" {
            break;
        } else if number > 1 && !line.is_empty() && line[0] != b't' {
            return Err(malformed(number));
        }
    }
    if is_open { Err(malformed(number)) } else { Ok(()) }
}

fn malformed(line: usize) -> DiffError {
    DiffError::Malformed(format!("line {line}"))
}

/// Whether all words were addresses, `0x10` or `10`.
fn each_address(words: &[u8], mut each: impl FnMut(u64)) -> bool {
    for word in words.split(|&byte| byte == b' ').filter(|word| !word.is_empty()) {
        let digits = word.strip_prefix(b"0x").unwrap_or(word).trim_ascii_end();
        let mut value = 0_u64;
        for &digit in digits {
            let Some(digit) = char::from(digit).to_digit(16) else { return false };
            value = value << 4 | u64::from(digit);
        }
        if digits.is_empty() || digits.len() > 16 {
            return false;
        }
        each(value);
    }
    true
}

/// `13: 6688 [0: 0]`
fn four_counts(text: &[u8]) -> Option<(Count, Count)> {
    let mut words = text.split(|byte| matches!(byte, b' ' | b':' | b'[' | b']')).filter(|word| !word.is_empty());
    let mut number = || Some(decimal(words.next()?)? as f64);
    let inuse = Count { objects: number()?, bytes: number()?, ..Count::default() };
    let alloc = Count { objects: number()?, bytes: number()?, ..Count::default() };
    words.next().is_none().then_some((inuse, alloc))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}
