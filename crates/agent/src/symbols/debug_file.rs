//! An object file whose sections are read a page at a time, and the files that belong to it: debug information that was
//! moved away, split DWARF.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use addr2line::gimli::{self, Dwarf, RunTimeEndian};
use flate2::read::ZlibDecoder;
use object::read::ReadCache;
use object::{CompressionFormat, Object, ObjectSection};

use super::pages::SectionReader;

/// A section that is compressed in the file is held in memory inflated; a larger one is passed over.
const INFLATED_BYTES_MAX: u64 = 32 << 20;
/// Where distributions keep debug information.
const SYSTEM_DEBUG: &str = "/usr/lib/debug";

/// Where things are in an object file.
#[derive(Debug)]
pub(super) struct DebugFile {
    file: Rc<File>,
    sections: Vec<Section>,
    endian: RunTimeEndian,
    build_id: Vec<u8>,
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
        let object = object::File::parse(&cache).ok()?;
        let sections = object.sections().filter_map(|section| {
            let range = section.compressed_file_range().ok()?;
            let inflated_bytes = match range.format {
                CompressionFormat::None => None,
                CompressionFormat::Zlib => Some(range.uncompressed_size),
                _ => return None,
            };
            let name = section.name().ok()?.to_owned();
            Some(Section { name, offset: range.offset, bytes: range.compressed_size, inflated_bytes })
        });
        let endian = if object.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let sections = sections.collect();
        let build_id = object.build_id().ok().flatten().unwrap_or_default().to_owned();
        let link = object.gnu_debuglink().ok().flatten().map(|(name, _)| name.to_owned());
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
            Some(bytes) if bytes <= INFLATED_BYTES_MAX => {
                let inflated = gimli::Reader::to_slice(&stored).ok().and_then(|stored| {
                    let mut inflated = Vec::new();
                    ZlibDecoder::new(&*stored).take(INFLATED_BYTES_MAX).read_to_end(&mut inflated).ok()?;
                    Some(inflated)
                });
                SectionReader::held(inflated.unwrap_or_default(), self.endian)
            }
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
        if self.build_id.len() > 1 {
            let hex: String = self.build_id.iter().map(|byte| format!("{byte:02x}")).collect();
            candidates.push(format!("{SYSTEM_DEBUG}/.build-id/{}/{}.debug", &hex[..2], &hex[2..]).into());
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
