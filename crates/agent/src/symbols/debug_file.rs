//! An object file whose sections are read a page at a time, and the files that belong to it: debug information that was
//! moved away, split DWARF.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use addr2line::gimli::{self, Dwarf, RunTimeEndian};
use object::Endianness;
use object::elf::{ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{CompressionHeader, FileHeader, SectionHeader};

use super::object_file::ObjectFile;
use super::pages::{Compressed, Form, SectionReader};

/// Sections that are compressed in the file are held in memory inflated once something of them is needed; debug information
/// that takes more than this, all its sections together, is not used.
pub(super) const INFLATED_BYTES_MAX: u64 = 64 << 20;
/// The sections that names and lines are read from.
const NEEDED: [gimli::SectionId; 10] = [
    gimli::SectionId::DebugAbbrev,
    gimli::SectionId::DebugAddr,
    gimli::SectionId::DebugInfo,
    gimli::SectionId::DebugLine,
    gimli::SectionId::DebugLineStr,
    gimli::SectionId::DebugRanges,
    gimli::SectionId::DebugRngLists,
    gimli::SectionId::DebugStr,
    gimli::SectionId::DebugStrOffsets,
    gimli::SectionId::DebugTypes,
];
/// Read at a time for a checksum.
const CHECKSUM_BYTES: usize = 64 << 10;
/// Where distributions keep debug information.
const SYSTEM_DEBUG: &str = "/usr/lib/debug";

/// Where things are in an object file.
#[derive(Debug)]
pub(super) struct DebugFile {
    file: Rc<File>,
    sections: Vec<Section>,
    endian: RunTimeEndian,
    /// Lower-case hex; empty where there is none.
    build_id: String,
    link: Option<Link>,
    /// The file whose debug information this one holds.
    program: Option<Box<DebugFile>>,
}

/// `.gnu_debuglink`: where debug information was moved to.
#[derive(Debug)]
struct Link {
    name: Vec<u8>,
    /// CRC-32 of that file.
    checksum: u32,
}

#[derive(Debug)]
struct Section {
    name: String,
    offset: u64,
    bytes: u64,
    compressed: Option<Compressed>,
}

impl DebugFile {
    /// Reads the headers.
    pub(super) fn open(path: &Path) -> Option<DebugFile> {
        let file = File::open(path).ok()?;
        let cache = ReadCache::new(file.try_clone().ok()?);
        // Not `object::File`, which would read all symbols.
        let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        let table = header.sections(endian, &cache).ok()?;
        // A damaged header may name more than there is.
        let file_bytes = file.metadata().ok()?.len();
        let (mut sections, mut link) = (Vec::new(), None);
        for section in table.iter() {
            let Ok(name) = table.section_name(endian, section) else { continue };
            if name == b".gnu_debuglink"
                && let Ok(data) = section.data(endian, &cache)
            {
                link = Link::parse(data);
            }
            let Some((offset, bytes)) = section.file_range(endian) else { continue };
            let name = String::from_utf8_lossy(name).into_owned();
            let (offset, bytes, compressed) = match section.compression(endian, &cache) {
                Ok(None) => (offset, bytes, None),
                Ok(Some((header, offset, bytes))) => {
                    let form = match header.ch_type(endian) {
                        ELFCOMPRESS_ZLIB => Form::Zlib,
                        ELFCOMPRESS_ZSTD => Form::Zstd,
                        _ => Form::Unknown,
                    };
                    (offset, bytes, Some(Compressed { form, inflated_bytes: header.ch_size(endian) }))
                }
                Err(_) => continue,
            };
            let bytes = bytes.min(file_bytes.saturating_sub(offset));
            sections.push(Section { name, offset, bytes, compressed });
        }
        let build_id = ObjectFile::parse(&cache).map(|object| object.build_id).unwrap_or_default();
        let endian = if endian == Endianness::Big { RunTimeEndian::Big } else { RunTimeEndian::Little };
        Some(DebugFile { file: Rc::new(file), sections, endian, build_id, link, program: None })
    }

    /// The file that holds this one's debug information: itself, or one found by build id or `.gnu_debuglink`.
    pub(super) fn with_debug_info(self, path: &Path) -> DebugFile {
        self.with_debug_info_below(path, Path::new(SYSTEM_DEBUG))
    }

    fn with_debug_info_below(self, path: &Path, system: &Path) -> DebugFile {
        if self.has(".debug_info") {
            return self;
        }
        let candidates = self.candidates(path, system);
        let mut found = candidates.iter().filter_map(|path| DebugFile::open(path));
        match found.find(|other| self.is_completed_by(other)) {
            Some(found) => DebugFile { program: Some(Box::new(self)), ..found },
            None => self,
        }
    }

    /// Whether a file has the debug information of this program and of no other build of it.
    fn is_completed_by(&self, other: &DebugFile) -> bool {
        if !other.has(".debug_info") {
            return false;
        }
        if !self.build_id.is_empty() {
            return other.build_id == self.build_id;
        }
        self.link.as_ref().is_some_and(|link| other.checksum().is_ok_and(|checksum| checksum == link.checksum))
    }

    /// CRC-32 of the whole file.
    fn checksum(&self) -> io::Result<u32> {
        let mut rest = File::try_clone(&self.file)?;
        io::Seek::rewind(&mut rest)?;
        let (mut crc, mut buffer) = (flate2::Crc::new(), vec![0; CHECKSUM_BYTES]);
        loop {
            match rest.read(&mut buffer)? {
                0 => return Ok(crc.sum()),
                count => crc.update(&buffer[..count]),
            }
        }
    }

    /// The file of the two that has the better table of symbols.
    pub(super) fn with_symbols(&self) -> &DebugFile {
        match &self.program {
            Some(program) if !self.has(".symtab") && (program.has(".symtab") || !self.has(".dynsym")) => program,
            _ => self,
        }
    }

    /// Whether its debug information is compressed in a way that is not read, or is too much to be held.
    pub(super) fn is_beyond_reading(&self) -> bool {
        let needed = |section: &&Section| {
            NEEDED.iter().any(|id| id.name() == section.name || id.dwo_name() == Some(&*section.name))
        };
        let compressed = self.sections.iter().filter(needed).filter_map(|section| section.compressed);
        let (mut inflated_bytes, mut is_unknown) = (0_u64, false);
        for section in compressed {
            inflated_bytes = inflated_bytes.saturating_add(section.inflated_bytes);
            is_unknown |= section.form == Form::Unknown;
        }
        is_unknown || inflated_bytes > INFLATED_BYTES_MAX
    }

    pub(super) fn build_id(&self) -> &str {
        &self.build_id
    }

    pub(super) fn debug_link(&self) -> Option<String> {
        self.link.as_ref().map(|link| String::from_utf8_lossy(&link.name).into_owned())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.sections.iter().any(|section| section.name == name && section.bytes > 0)
    }

    /// A section, empty where there is none.
    pub(super) fn section(&self, name: &str) -> SectionReader {
        let Some(section) = self.sections.iter().find(|section| section.name == name) else {
            return SectionReader::empty(self.endian);
        };
        let stored = SectionReader::paged(self.file.clone(), section.offset, section.bytes, self.endian);
        match section.compressed {
            None => stored,
            Some(compressed) => SectionReader::compressed(stored, compressed),
        }
    }

    pub(super) fn dwarf(&self) -> Option<Dwarf<SectionReader>> {
        self.load(|id| Some(id.name()))
    }

    /// The same of a `.dwo` file.
    pub(super) fn split_dwarf(&self) -> Option<Dwarf<SectionReader>> {
        self.load(|id| id.dwo_name())
    }

    /// A `.dwp` file: many `.dwo` files in one.
    pub(super) fn package(&self) -> Option<gimli::DwarfPackage<SectionReader>> {
        if self.is_beyond_reading() {
            return None;
        }
        let section = |id: gimli::SectionId| id.dwo_name().map_or_else(|| self.empty(), |name| self.section(name));
        gimli::DwarfPackage::load(|id| Ok::<_, gimli::Error>(section(id)), self.empty()).ok()
    }

    fn load(&self, name: impl Fn(gimli::SectionId) -> Option<&'static str>) -> Option<Dwarf<SectionReader>> {
        if self.is_beyond_reading() {
            return None;
        }
        let section = |id: gimli::SectionId| {
            let name = name(id).filter(|_| NEEDED.contains(&id));
            name.map_or_else(|| self.empty(), |name| self.section(name))
        };
        Dwarf::load(|id| Ok::<_, gimli::Error>(section(id))).ok()
    }

    fn empty(&self) -> SectionReader {
        SectionReader::empty(self.endian)
    }

    fn candidates(&self, path: &Path, system: &Path) -> Vec<PathBuf> {
        let mut candidates = Vec::new();
        if let Some((directory, rest)) = self.build_id.split_at_checked(2) {
            candidates.push(system.join(".build-id").join(directory).join(format!("{rest}.debug")));
        }
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let link = self.link.as_ref().and_then(|link| str::from_utf8(&link.name).ok());
        if let (Some(link), Some(directory)) = (link, real.parent()) {
            candidates.push(directory.join(link));
            candidates.push(directory.join(".debug").join(link));
            if let Ok(below) = directory.strip_prefix("/") {
                candidates.push(system.join(below).join(link));
            }
        }
        candidates
    }
}

impl Link {
    /// A file's name, zeros up to a multiple of four bytes, a checksum.
    fn parse(data: &[u8]) -> Option<Link> {
        let name = data.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())?;
        let checksum = data.get((name.len() + 1).next_multiple_of(4)..)?.first_chunk()?;
        Some(Link { name: name.to_vec(), checksum: u32::from_ne_bytes(*checksum) })
    }
}
