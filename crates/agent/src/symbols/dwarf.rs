//! Functions, inlined calls and lines of given addresses, from DWARF, holding one unit at a time.
//!
//! A table of all functions would serve any address quickly and takes tens of megabytes. A heap profile asks once, for
//! some hundred addresses: the units are passed over, and those that hold an address are walked.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use addr2line::gimli::{self, AttributeValue, DebuggingInformationEntry, DwLang, Dwarf, Reader, Unit, UnitRef};

use super::debug_file::DebugFile;
use super::pages::SectionReader;
use super::unit_index::UnitIndex;

/// Calls inlined into one another that are kept of one address.
const INLINED_MAX: usize = 64;
/// References followed from a function to its name.
const REFERENCES_MAX: usize = 8;

/// A call at an address, as DWARF has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Call {
    /// Mangled where DWARF has that.
    pub(super) name: String,
    pub(super) language: Option<DwLang>,
    pub(super) file: Rc<str>,
    pub(super) line: u32,
}

/// The calls at sorted addresses, the innermost first. `index` is empty at first, and the same file's from then on.
pub(super) fn calls(
    file: &DebugFile,
    split: &Split,
    addresses: &[u64],
    index: &mut Option<UnitIndex>,
) -> Vec<Vec<Call>> {
    let mut calls = vec![Vec::new(); addresses.len()];
    let Some(dwarf) = file.dwarf() else { return calls };
    let index = index.get_or_insert_with(|| UnitIndex::of(&dwarf));
    // Damaged debug information costs the names of what it describes, nothing else.
    for offset in index.units(addresses) {
        let Ok(header) = dwarf.debug_info.header_from_offset(offset) else { continue };
        let Ok(unit) = dwarf.unit(header) else { continue };
        let inside = inside(dwarf.unit_ranges(&unit), addresses);
        if !inside.is_empty() {
            let _ = describe(&dwarf, &unit, split, addresses, &inside, &mut calls);
        }
    }
    calls
}

/// Where split DWARF is: in a package beside the program, or in files of their own.
#[derive(Default)]
pub(super) struct Split {
    package: Option<gimli::DwarfPackage<SectionReader>>,
    /// Of the program.
    directory: PathBuf,
}

impl Split {
    /// Looks for `program.dwp`.
    pub(super) fn beside(path: &Path) -> Split {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut name = real.clone().into_os_string();
        name.push(".dwp");
        let file = DebugFile::open(Path::new(&name));
        let directory = real.parent().map(Path::to_owned).unwrap_or_default();
        Split { package: file.and_then(|file| file.package()), directory }
    }

    /// Whether the debug information of some unit was moved away and is not there.
    pub(super) fn is_incomplete(&self, file: &DebugFile) -> bool {
        let Some(dwarf) = file.dwarf() else { return false };
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            let Ok(unit) = dwarf.unit(header) else { continue };
            if unit.dwo_id.is_some() && self.load(&dwarf, &unit).is_none() {
                return true;
            }
        }
        false
    }

    fn load(&self, dwarf: &Dwarf<SectionReader>, unit: &Unit<SectionReader>) -> Option<Dwarf<SectionReader>> {
        let id = unit.dwo_id?;
        if let Some(package) = &self.package
            && let Ok(Some(found)) = package.find_cu(id, dwarf)
        {
            return Some(found);
        }
        let mut path = PathBuf::new();
        if let Some(directory) = &unit.comp_dir {
            path.push(&*directory.to_string_lossy().ok()?);
        }
        let name = dwarf.attr_string(unit, unit.dwo_name().ok()??).ok()?;
        path.push(&*name.to_string_lossy().ok()?);
        // Where it was built, else where it was carried to with the program.
        let beside = || DebugFile::open(&self.directory.join(path.file_name()?));
        let mut split = DebugFile::open(&path).or_else(beside)?.split_dwarf()?;
        split.make_dwo(dwarf);
        Some(split)
    }
}

/// The numbers of the addresses that lie in one of some ranges.
fn inside(ranges: gimli::Result<gimli::RangeIter<SectionReader>>, addresses: &[u64]) -> Vec<usize> {
    let mut numbers = Vec::new();
    let Ok(mut ranges) = ranges else { return numbers };
    while let Ok(Some(range)) = ranges.next() {
        let from = addresses.partition_point(|&address| address < range.begin);
        let to = addresses.partition_point(|&address| address < range.end);
        numbers.extend(from..to.max(from));
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A function or an inlined call that an address is in.
struct Scope {
    name: String,
    /// Where the inlined call stands in its caller.
    call_file: u64,
    call_line: u32,
}

fn describe(
    dwarf: &Dwarf<SectionReader>,
    skeleton: &Unit<SectionReader>,
    split: &Split,
    addresses: &[u64],
    numbers: &[usize],
    calls: &mut [Vec<Call>],
) -> gimli::Result<()> {
    let places = places(dwarf, skeleton, addresses, numbers)?;
    let loaded = split.load(dwarf, skeleton).and_then(|dwo| {
        let header = dwo.units().next().ok()??;
        let mut unit = dwo.unit(header).ok()?;
        unit.copy_relocated_attributes(skeleton);
        (unit.dwo_id == skeleton.dwo_id).then_some((dwo, unit))
    });
    let (dwarf, unit) = loaded.as_ref().map_or((dwarf, skeleton), |(dwo, unit)| (dwo, unit));
    let language = language(unit);
    let scopes = scopes(unit.unit_ref(dwarf), addresses, numbers)?;
    let mut files = Files::default();
    for ((&number, mut scopes), place) in numbers.iter().zip(scopes).zip(places) {
        let lines = unit.line_program.as_ref().map_or(skeleton, |_| unit);
        let (mut file, mut line) = place;
        let mut found = Vec::new();
        scopes.truncate(INLINED_MAX);
        for scope in scopes.into_iter().rev() {
            let path = files.path(dwarf, lines, skeleton, file);
            found.push(Call { name: scope.name, language, file: path, line });
            (file, line) = (Some(scope.call_file), scope.call_line);
        }
        if found.is_empty() && line > 0 {
            found.push(Call { file: files.path(dwarf, lines, skeleton, file), line, ..Call::default() });
        }
        calls[number] = found;
    }
    Ok(())
}

/// The scopes of each address, the outermost first.
fn scopes(unit: UnitRef<'_, SectionReader>, addresses: &[u64], numbers: &[usize]) -> gimli::Result<Vec<Vec<Scope>>> {
    let mut scopes: Vec<Vec<Scope>> = numbers.iter().map(|_| Vec::new()).collect();
    let wanted: Vec<u64> = numbers.iter().map(|&number| addresses[number]).collect();
    let mut entries = unit.entries_raw(None)?;
    let mut entry = DebuggingInformationEntry::null();
    // Of the function at hand, which no address is in: the calls inlined there are passed over unread, as most of a
    // unit is.
    let mut passed_depth = isize::MAX;
    while !entries.is_empty() {
        let (offset, depth) = (entries.next_offset(), entries.next_depth());
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        entries.skip_attributes(abbreviation.attributes())?;
        if depth <= passed_depth {
            passed_depth = isize::MAX;
        }
        let is_inlined = match abbreviation.tag() {
            gimli::DW_TAG_subprogram => false,
            gimli::DW_TAG_inlined_subroutine if passed_depth == isize::MAX => true,
            _ => continue,
        };
        unit.entries_raw(Some(offset))?.read_entry(&mut entry)?;
        let entry = &entry;
        let inside = inside(unit.die_ranges(entry), &wanted);
        if inside.is_empty() {
            passed_depth = passed_depth.min(depth);
            continue;
        }
        passed_depth = isize::MAX;
        let number = |name| entry.attr(name).and_then(gimli::Attribute::udata_value).unwrap_or(0);
        let call_file = match entry.attr_value(gimli::DW_AT_call_file) {
            Some(AttributeValue::FileIndex(index)) => index,
            _ => number(gimli::DW_AT_call_file),
        };
        let call_line = u32::try_from(number(gimli::DW_AT_call_line)).unwrap_or(0);
        let name = name(unit, entry, REFERENCES_MAX).unwrap_or_default();
        for place in inside {
            if !is_inlined {
                scopes[place].clear();
            }
            scopes[place].push(Scope { name: name.clone(), call_file, call_line });
        }
    }
    Ok(scopes)
}

/// The linkage name, else the plain one, of an entry or of what it refers to.
fn name(
    unit: UnitRef<'_, SectionReader>,
    entry: &DebuggingInformationEntry<SectionReader>,
    references: usize,
) -> Option<String> {
    for attribute in [gimli::DW_AT_linkage_name, gimli::DW_AT_MIPS_linkage_name, gimli::DW_AT_name] {
        let text = entry.attr_value(attribute).and_then(|value| unit.attr_string(value).ok());
        // A name alone lacks the path that a reference may have.
        let is_plain = attribute == gimli::DW_AT_name;
        if let Some(text) = text {
            let own = text.to_string_lossy().ok()?.into_owned();
            return if is_plain { referred(unit, entry, references).or(Some(own)) } else { Some(own) };
        }
    }
    referred(unit, entry, references)
}

fn referred(
    unit: UnitRef<'_, SectionReader>,
    entry: &DebuggingInformationEntry<SectionReader>,
    references: usize,
) -> Option<String> {
    let references = references.checked_sub(1)?;
    let origin = entry.attr_value(gimli::DW_AT_abstract_origin);
    match origin.or_else(|| entry.attr_value(gimli::DW_AT_specification))? {
        AttributeValue::UnitRef(offset) => name(unit, &unit.entry(offset).ok()?, references),
        AttributeValue::DebugInfoRef(offset) => {
            let mut units = unit.dwarf.units();
            let mut holder = None;
            while let Ok(Some(header)) = units.next() {
                if offset.to_unit_offset(&header).is_some() {
                    holder = Some(header);
                    break;
                }
            }
            let header = holder?;
            let at = offset.to_unit_offset(&header)?;
            let other = unit.dwarf.unit(header).ok()?;
            let other = other.unit_ref(unit.dwarf);
            name(other, &other.entry(at).ok()?, references)
        }
        _ => None,
    }
}

/// File and line of each address, by one pass over the unit's line program.
fn places(
    dwarf: &Dwarf<SectionReader>,
    unit: &Unit<SectionReader>,
    addresses: &[u64],
    numbers: &[usize],
) -> gimli::Result<Vec<(Option<u64>, u32)>> {
    let _ = dwarf;
    let mut places = vec![(None, 0); numbers.len()];
    let Some(program) = unit.line_program.clone() else { return Ok(places) };
    let wanted: Vec<u64> = numbers.iter().map(|&number| addresses[number]).collect();
    let mut rows = program.rows();
    let mut before: Option<(u64, u64, u32)> = None;
    while let Some((_, row)) = rows.next_row()? {
        if let Some((start, file, line)) = before {
            let from = wanted.partition_point(|&address| address < start);
            let to = wanted.partition_point(|&address| address < row.address());
            for place in places.get_mut(from..to).unwrap_or_default() {
                *place = (Some(file), line);
            }
        }
        let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0));
        before = (!row.end_sequence()).then(|| (row.address(), row.file_index(), line));
    }
    Ok(places)
}

/// Paths of a unit's files, each made once.
#[derive(Default)]
struct Files {
    paths: Vec<(u64, Rc<str>)>,
}

impl Files {
    fn path(
        &mut self,
        dwarf: &Dwarf<SectionReader>,
        unit: &Unit<SectionReader>,
        skeleton: &Unit<SectionReader>,
        index: Option<u64>,
    ) -> Rc<str> {
        let Some(index) = index else { return "".into() };
        if let Some((_, path)) = self.paths.iter().find(|(known, _)| *known == index) {
            return path.clone();
        }
        let path: Rc<str> = path(dwarf, unit, skeleton, index).unwrap_or_default().into();
        self.paths.push((index, path.clone()));
        path
    }
}

fn path(
    dwarf: &Dwarf<SectionReader>,
    unit: &Unit<SectionReader>,
    skeleton: &Unit<SectionReader>,
    index: u64,
) -> Option<String> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(index)?;
    let mut path = match unit.comp_dir.as_ref().or(skeleton.comp_dir.as_ref()) {
        Some(directory) => directory.to_string_lossy().ok()?.into_owned(),
        None => String::new(),
    };
    let mut push = |value| {
        let part = dwarf.attr_string(unit, value).ok()?;
        let part = part.to_string_lossy().ok()?;
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(&part);
        Some(())
    };
    // Directory 0 is the unit's own.
    if file.directory_index() != 0
        && let Some(directory) = file.directory(header)
    {
        push(directory)?;
    }
    push(file.path_name())?;
    Some(path)
}

fn language(unit: &Unit<SectionReader>) -> Option<DwLang> {
    let mut entries = unit.entries();
    let root = entries.next_dfs().ok()??;
    match root.attr_value(gimli::DW_AT_language)? {
        AttributeValue::Language(language) => Some(language),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::symbols::names;

    /// addr2line, which holds all tables, is asked about some thousand places of this very program.
    #[test]
    fn addr2line_says_the_same() {
        let path = Path::new("/proc/self/exe");
        let file = DebugFile::open(path).unwrap();
        let loader = addr2line::Loader::new(path).unwrap();
        let text = loader.get_section_range(b".text").unwrap();
        let addresses: Vec<u64> = (text.begin..text.end).step_by(1_999).collect();
        let found = calls(&file, &Split::default(), &addresses, &mut None);
        let (mut compared, mut different) = (0, Vec::new());
        for (&address, calls) in addresses.iter().zip(&found) {
            let mut expected = Vec::new();
            if let Ok(mut frames) = loader.find_frames(address) {
                while let Ok(Some(frame)) = frames.next() {
                    let function = frame.function.as_ref();
                    let name = function.and_then(|function| function.raw_name().ok()).unwrap_or_default();
                    let location = frame.location.as_ref();
                    let line = location.and_then(|location| location.line).unwrap_or(0);
                    let file = location.and_then(|location| location.file).unwrap_or_default();
                    expected.push((
                        names::readable(&name, frame.function.as_ref().and_then(|f| f.language)),
                        file.to_owned(),
                        line,
                    ));
                }
            }
            let own: Vec<_> =
                calls.iter().map(|c| (names::readable(&c.name, c.language), c.file.to_string(), c.line)).collect();
            compared += 1;
            if own != expected {
                different.push((address, own, expected));
            }
        }
        assert!(compared > 500, "{compared}");
        // Overlapping ranges of merged functions may be told either way.
        assert!(
            different.len() * 500 <= compared,
            "{} of {compared}: {:#?}",
            different.len(),
            &different[..different.len().min(4)]
        );
    }
}
