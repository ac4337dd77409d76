//! The program and the libraries it was linked with, as they stand in memory: these stay for as long as it runs.

use std::fs;
use std::io;
use std::ops::Range;

use super::frames;
use super::memory::Memory;
use super::steps::{Step, Steps};

/// Mapped files looked at.
const FILES_MAX: usize = 1024;
/// Program headers and entries of the dynamic section that are looked at in each.
const HEADERS_MAX: u64 = 64;
const DYNAMIC_MAX: u64 = 512;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const EXECUTABLE: u32 = 1;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;

#[derive(Debug)]
pub(super) struct Objects(Vec<Object>);

/// Where an object has its code, and the table of its functions' call frame information (`.eh_frame_hdr`).
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) code: Vec<Range<u64>>,
    pub(super) frames_header: u64,
    name: Vec<u8>,
    needs: Vec<Vec<u8>>,
}

impl Objects {
    /// # Errors
    ///
    /// /proc cannot be read.
    pub(super) fn find() -> io::Result<Objects> {
        let memory = Memory::open()?;
        let program = fs::read_link("/proc/self/exe")?;
        let program = program.to_string_lossy();
        let maps = fs::read_to_string("/proc/self/maps")?;
        let (mut kept, mut others) = (Vec::new(), Vec::new());
        for (start, path) in maps.lines().filter_map(first_mapping).take(FILES_MAX) {
            // A file that is no object, or an object that is not understood, is left to the built-in unwinder.
            if let Ok(object) = Object::read(&memory, start) {
                if path == program { kept.push(object) } else { others.push(object) }
            }
        }
        let mut next = 0;
        while let Some(object) = kept.get(next) {
            let needed: Vec<Vec<u8>> = object.needs.clone();
            let (mut found, rest) = others.into_iter().partition(|other: &Object| needed.contains(&other.name));
            kept.append(&mut found);
            others = rest;
            next += 1;
        }
        Ok(Objects(kept))
    }

    /// Learns the addresses that are wanted.
    pub(super) fn learn(&self, steps: &Steps) {
        let wanted = steps.take_wanted();
        let Ok(memory) = Memory::open() else { return };
        for return_address in wanted {
            let call = return_address - 1;
            let object = self.0.iter().find(|object| object.code.iter().any(|code| code.contains(&call)));
            let step = object.and_then(|object| frames::step(&memory, object, call));
            steps.insert(return_address, step.unwrap_or(Step::Unknown));
        }
    }
}

impl Object {
    /// From its first mapping, which has the headers.
    fn read(memory: &Memory, start: u64) -> io::Result<Object> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let header: [u8; 64] = memory.read(start)?;
        // ELF, 64 bits, little-endian, x86-64.
        if header[..6] != *b"\x7fELF\x02\x01" || header[18..20] != [62, 0] {
            return Err(invalid());
        }
        let (first, entry_bytes) = (word(&header, 32), u64::from(header[54]));
        let count = u64::from(u16::from_le_bytes([header[56], header[57]])).min(HEADERS_MAX);
        let mut segments = Vec::new();
        for index in 0..count {
            let segment: [u8; 56] = memory.read(start + first + index * entry_bytes)?;
            let kind = word(&segment, 0);
            let (offset, address, bytes) = (word(&segment, 8), word(&segment, 16), word(&segment, 40));
            segments.push((kind as u32, (kind >> 32) as u32, offset, address, bytes));
        }
        let mut loads = segments.iter().filter(|segment| segment.0 == PT_LOAD);
        let lowest = loads.find(|segment| segment.2 == 0).ok_or_else(invalid)?.3;
        let bias = start.wrapping_sub(lowest);
        let place =
            |kind| segments.iter().find(|segment| segment.0 == kind).map(|segment| segment.3.wrapping_add(bias));
        let is_code = |segment: &&(u32, u32, u64, u64, u64)| segment.0 == PT_LOAD && segment.1 & EXECUTABLE != 0;
        let code = segments.iter().filter(is_code).map(|&(_, _, _, address, bytes)| {
            let start = address.wrapping_add(bias);
            start..start.saturating_add(bytes)
        });
        let mut object = Object {
            code: code.collect(),
            frames_header: place(PT_GNU_EH_FRAME).ok_or_else(invalid)?,
            ..Object::default()
        };
        if let Some(dynamic) = place(PT_DYNAMIC) {
            object.read_dynamic(memory, dynamic, bias)?;
        }
        Ok(object)
    }

    fn read_dynamic(&mut self, memory: &Memory, dynamic: u64, bias: u64) -> io::Result<()> {
        let (mut name, mut needs, mut texts) = (None, Vec::new(), 0);
        for index in 0..DYNAMIC_MAX {
            let entry: [u8; 16] = memory.read(dynamic + index * 16)?;
            let value = word(&entry, 8);
            match word(&entry, 0) {
                0 => break,
                DT_NEEDED => needs.push(value),
                DT_SONAME => name = Some(value),
                // glibc puts the address in memory in its place, others leave what the file has.
                DT_STRTAB => texts = if value < bias { value.wrapping_add(bias) } else { value },
                _ => {}
            }
        }
        let text = |offset: u64| memory.text(texts.wrapping_add(offset));
        self.name = name.map(text).transpose()?.unwrap_or_default();
        self.needs = needs.into_iter().map(text).collect::<io::Result<_>>()?;
        Ok(())
    }
}

/// Start and path of a mapping of a file from its beginning.
fn first_mapping(line: &str) -> Option<(u64, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let path = &rest[rest.find('/')?..];
    // Of a device, not even the first bytes are looked at.
    let is_of_object = rest.starts_with('r') && rest.as_bytes().get(3) == Some(&b'p');
    let offset = rest.split(' ').nth(1).filter(|_| is_of_object)?;
    let (start, _) = range.split_once('-')?;
    (u64::from_str_radix(offset, 16).ok()? == 0).then_some((u64::from_str_radix(start, 16).ok()?, path))
}

/// The eight bytes at a place.
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
