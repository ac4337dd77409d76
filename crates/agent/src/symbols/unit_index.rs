//! Which units of a file's debug information may describe an address.
//!
//! To open a unit takes its abbreviations and its list of files. Where there are hundreds and a profile has one address
//! that is new, that is nearly all of the work, so it is done once for a file and what it yields is kept.

use addr2line::gimli::{DebugInfoOffset, Dwarf};

use super::pages::SectionReader;

/// Places kept of one file, 16 bytes each. Of a file with more, each unit is opened each time.
const PLACES_MAX: usize = 1 << 15;
/// Parts of one unit that stand closer together than this are one place: what lies between costs a needless look.
const GAP_BYTES_MAX: u64 = 4 << 10;

/// Where the units' code is.
#[derive(Debug, Default)]
pub(crate) struct UnitIndex {
    /// By `begin`. Empty if there are too many.
    places: Vec<Place>,
    /// The units in the order of the file; empty if the places are known.
    unplaced: Vec<u32>,
    bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    begin: u64,
    bytes: u32,
    unit: u32,
}

impl UnitIndex {
    /// By the table of ranges, and by the units themselves where that has nothing.
    pub(super) fn of(dwarf: &Dwarf<SectionReader>) -> UnitIndex {
        let mut index = UnitIndex::default();
        let mut listed = Vec::new();
        let mut headers = dwarf.debug_aranges.headers();
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = u32::try_from(header.debug_info_offset().0) else { continue };
            let (mut entries, mut ranges) = (header.entries(), Vec::new());
            while let Ok(Some(entry)) = entries.next() {
                ranges.push((entry.range().begin, entry.range().end));
            }
            if !ranges.is_empty() {
                index.add(unit, ranges);
                listed.push(unit);
            }
        }
        listed.sort_unstable();
        let mut units = dwarf.units();
        let mut all = Vec::new();
        while let Ok(Some(header)) = units.next() {
            let Some(Ok(offset)) = header.debug_info_offset().map(|offset| u32::try_from(offset.0)) else { continue };
            all.push(offset);
            if listed.binary_search(&offset).is_ok() {
                continue;
            }
            let Ok(unit) = dwarf.unit(header) else { continue };
            let Ok(mut found) = dwarf.unit_ranges(&unit) else { continue };
            let mut ranges = Vec::new();
            while let Ok(Some(range)) = found.next() {
                ranges.push((range.begin, range.end));
            }
            index.add(offset, ranges);
        }
        if index.places.len() > PLACES_MAX {
            return UnitIndex { unplaced: all, ..UnitIndex::default() };
        }
        index.places.sort_unstable();
        index.places.shrink_to_fit();
        index
    }

    /// The units that may describe one of some sorted addresses, each once, in the order of the file.
    pub(super) fn units(&self, addresses: &[u64]) -> Vec<DebugInfoOffset> {
        let mut units = self.unplaced.clone();
        for &address in addresses {
            let first = self.places.partition_point(|place| place.begin < address.saturating_sub(self.bytes_max));
            let near = self.places[first..].iter().take_while(|place| place.begin <= address);
            units.extend(near.filter(|place| address - place.begin < place.bytes.into()).map(|place| place.unit));
        }
        units.sort_unstable();
        units.dedup();
        units.into_iter().map(|unit| DebugInfoOffset(unit as usize)).collect()
    }

    fn add(&mut self, unit: u32, mut ranges: Vec<(u64, u64)>) {
        ranges.sort_unstable();
        let mut ranges = ranges.into_iter().filter(|(begin, end)| begin < end);
        let Some(mut place) = ranges.next() else { return };
        for (begin, end) in ranges {
            if begin.saturating_sub(place.1) < GAP_BYTES_MAX {
                place.1 = place.1.max(end);
            } else {
                self.push(unit, place);
                place = (begin, end);
            }
        }
        self.push(unit, place);
    }

    /// One too many says that there are too many.
    fn push(&mut self, unit: u32, (begin, end): (u64, u64)) {
        let bytes = u32::try_from(end - begin).unwrap_or(u32::MAX);
        self.bytes_max = self.bytes_max.max(bytes.into());
        if self.places.len() <= PLACES_MAX {
            self.places.push(Place { begin, bytes, unit });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(index: &UnitIndex, addresses: &[u64]) -> Vec<usize> {
        index.units(addresses).into_iter().map(|offset| offset.0).collect()
    }

    #[test]
    fn an_address_is_looked_for_in_each_unit_that_may_have_it() {
        let mut index = UnitIndex::default();
        index.add(70, vec![(0x90_000, 0x90_100), (0x10_000, 0x10_010), (0x10_020, 0x10_030), (5, 5)]);
        index.add(7, vec![(0x10_018, 0x10_028)]);
        index.add(9, Vec::new());
        index.places.sort_unstable();
        assert_eq!(index.places.len(), 3);
        assert_eq!(units(&index, &[0x10_000]), [70]);
        assert_eq!(units(&index, &[0x10_01f, 0x10_020]), [7, 70]);
        assert_eq!(units(&index, &[0xffff, 0x10_030, 0x8ffff, 0x90_100]), [0; 0]);
        assert_eq!(units(&index, &[0x90_0ff]), [70]);
    }

    #[test]
    fn of_too_many_places_no_more_than_the_bound_is_held() {
        let mut index = UnitIndex::default();
        index.add(1, (0..PLACES_MAX as u64 * 2).map(|place| (place << 20, (place << 20) + 1)).collect());
        assert_eq!(index.places.len(), PLACES_MAX + 1);
    }
}
