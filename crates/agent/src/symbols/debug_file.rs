//! An object file whose sections are read a page at a time, and the files that belong to it: debug information that was
//! moved away, split DWARF.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use addr2line::gimli::{self, Dwarf, RunTimeEndian};
use object::Endianness;
use object::elf::{ELFCOMPRESS_ZLIB, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{CompressionHeader, FileHeader, SectionHeader};

use super::object_file::ObjectFile;
use super::pages::SectionReader;

/// A section that is compressed in the file is held in memory inflated, if something of it is needed; a larger one is
/// passed over.
const INFLATED_BYTES_MAX: u64 = 32 << 20;
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
    link: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Section {
    name: String,
    offset: u64,
    bytes: u64,
    /// If it is compressed: its size without.
    inflated_bytes: Option<u64>,
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
        let (mut sections, mut link) = (Vec::new(), None);
        for section in table.iter() {
            let Ok(name) = table.section_name(endian, section) else { continue };
            if name == b".gnu_debuglink"
                && let Ok(text) = section.data(endian, &cache)
            {
                // A file's name, then a checksum.
                link = text.split(|&byte| byte == 0).next().filter(|name| !name.is_empty()).map(<[u8]>::to_vec);
            }
            let Some((offset, bytes)) = section.file_range(endian) else { continue };
            let stored =
                Section { name: String::from_utf8_lossy(name).into_owned(), offset, bytes, inflated_bytes: None };
            match section.compression(endian, &cache) {
                Ok(None) => sections.push(stored),
                Ok(Some((compressed, offset, bytes))) if compressed.ch_type(endian) == ELFCOMPRESS_ZLIB => {
                    let inflated_bytes = Some(compressed.ch_size(endian));
                    sections.push(Section { offset, bytes, inflated_bytes, ..stored });
                }
                _ => {}
            }
        }
        let build_id = ObjectFile::parse(&cache).map(|object| object.build_id).unwrap_or_default();
        let endian = if endian == Endianness::Big { RunTimeEndian::Big } else { RunTimeEndian::Little };
        Some(DebugFile { file: Rc::new(file), sections, endian, build_id, link })
    }

    /// The file that holds this one's debug information: itself, or one found by build id or `.gnu_debuglink`.
    pub(super) fn with_debug_info(self, path: &Path) -> DebugFile {
        if self.has(".debug_info") {
            return self;
        }
        let fits = |other: &DebugFile| other.build_id == self.build_id && other.has(".debug_info");
        let found = self.candidates(path).iter().filter_map(|path| DebugFile::open(path)).find(fits);
        found.unwrap_or(self)
    }

    pub(super) fn build_id(&self) -> &str {
        &self.build_id
    }

    pub(super) fn debug_link(&self) -> Option<String> {
        self.link.as_deref().map(|link| String::from_utf8_lossy(link).into_owned())
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
        match section.inflated_bytes {
            None => stored,
            Some(bytes) if bytes <= INFLATED_BYTES_MAX => SectionReader::compressed(stored, bytes),
            Some(_) => SectionReader::empty(self.endian),
        }
    }

    pub(super) fn dwarf(&self) -> Option<Dwarf<SectionReader>> {
        Dwarf::load(|id| Ok::<_, gimli::Error>(self.section(id.name()))).ok()
    }

    /// The same of a `.dwo` file.
    pub(super) fn split_dwarf(&self) -> Option<Dwarf<SectionReader>> {
        let section = |id: gimli::SectionId| id.dwo_name().map_or_else(|| self.empty(), |name| self.section(name));
        Dwarf::load(|id| Ok::<_, gimli::Error>(section(id))).ok()
    }

    /// A `.dwp` file: many `.dwo` files in one.
    pub(super) fn package(&self) -> Option<gimli::DwarfPackage<SectionReader>> {
        let section = |id: gimli::SectionId| id.dwo_name().map_or_else(|| self.empty(), |name| self.section(name));
        gimli::DwarfPackage::load(|id| Ok::<_, gimli::Error>(section(id)), self.empty()).ok()
    }

    fn empty(&self) -> SectionReader {
        SectionReader::empty(self.endian)
    }

    fn candidates(&self, path: &Path) -> Vec<PathBuf> {
        let mut candidates = Vec::new();
        if let Some((directory, rest)) = self.build_id.split_at_checked(2) {
            candidates.push(format!("{SYSTEM_DEBUG}/.build-id/{directory}/{rest}.debug").into());
        }
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let link = self.link.as_deref().and_then(|link| str::from_utf8(link).ok());
        if let (Some(link), Some(directory)) = (link, real.parent()) {
            candidates.push(directory.join(link));
            candidates.push(directory.join(".debug").join(link));
            if let Ok(below) = directory.strip_prefix("/") {
                candidates.push(Path::new(SYSTEM_DEBUG).join(below).join(link));
            }
        }
        candidates
    }
}
