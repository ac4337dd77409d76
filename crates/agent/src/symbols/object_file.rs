//! An ELF file's own account of itself: where its code wants to stand, and its build id.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use object::Endianness;
use object::elf::{FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};

/// Builds ids are 20 bytes (SHA-1), or 16 or 8; more is not a build id.
const BUILD_ID_BYTES_MAX: usize = 64;
/// Segments are aligned to this at least, and `mmap` rounds offsets down to the page.
const PAGE_BYTES_MAX: u64 = 64 << 10;

/// The headers of an ELF file of this machine's word size.
#[derive(Debug, Default)]
pub(super) struct ObjectFile {
    code: Vec<Segment>,
    /// Lower-case hex; empty where the file has none.
    pub(super) build_id: String,
}

#[derive(Debug)]
struct Segment {
    file_offset: u64,
    file_bytes: u64,
    address: u64,
}

impl ObjectFile {
    /// Reads the headers; the rest of the file is not touched.
    ///
    /// `None` where it is not readable or no 64-bit ELF file.
    pub(super) fn open(path: &Path) -> Option<ObjectFile> {
        let cache = ReadCache::new(File::open(path).ok()?);
        ObjectFile::parse(&cache)
    }

    /// The address by the file's own numbering of the byte that a mapping of `file_offset` shows first.
    ///
    /// Not the offset itself: a linker may place a segment at an address that differs from its offset (rust-lld
    /// does), and mappings start at a page, segments anywhere.
    pub(super) fn address_of(&self, file_offset: u64) -> Option<u64> {
        let candidates = self.code.iter().filter(|segment| {
            let first_page = segment.file_offset.saturating_sub(PAGE_BYTES_MAX - 1);
            (first_page..segment.file_offset.saturating_add(segment.file_bytes)).contains(&file_offset)
        });
        let segment = candidates.min_by_key(|segment| segment.file_offset.abs_diff(file_offset))?;
        Some(file_offset.wrapping_sub(segment.file_offset).wrapping_add(segment.address))
    }

    pub(super) fn parse<'data>(data: impl ReadRef<'data>) -> Option<ObjectFile> {
        let header = FileHeader64::<Endianness>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let mut object = ObjectFile::default();
        for segment in header.program_headers(endian, data).ok()? {
            if segment.p_type(endian) == PT_LOAD && segment.p_flags(endian).0 & PF_X.0 != 0 {
                object.code.push(Segment {
                    file_offset: segment.p_offset(endian),
                    file_bytes: segment.p_filesz(endian),
                    address: segment.p_vaddr(endian),
                });
            }
            let Ok(Some(mut notes)) = segment.notes(endian, data) else { continue };
            while let Ok(Some(note)) = notes.next() {
                if note.n_type(endian) == NT_GNU_BUILD_ID && note.name() == b"GNU" && object.build_id.is_empty() {
                    object.build_id = hexadecimal(note.desc());
                }
            }
        }
        Some(object)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().take(BUILD_ID_BYTES_MAX).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(segments: &[(u64, u64, u64)]) -> ObjectFile {
        let segment = |&(file_offset, file_bytes, address)| Segment { file_offset, file_bytes, address };
        ObjectFile { code: segments.iter().map(segment).collect(), build_id: String::new() }
    }

    #[test]
    fn an_offset_becomes_the_linkers_address() {
        // GNU ld: the same; rust-lld: a page further, and not at the start of a page.
        assert_eq!(file(&[(0x26000, 0x155000, 0x26000)]).address_of(0x26000), Some(0x26000));
        assert_eq!(file(&[(0x5a3c0, 0x4e2000, 0x5b3c0)]).address_of(0x5a000), Some(0x5b000));
        assert_eq!(file(&[(0x5a3c0, 0x4e2000, 0x5b3c0)]).address_of(0x900_0000), None);
        assert_eq!(file(&[]).address_of(0), None);
    }

    #[test]
    fn this_program_has_code_and_what_is_no_elf_file_has_nothing() {
        let object = ObjectFile::open(Path::new("/proc/self/exe")).expect("a test is an ELF file");
        assert!(!object.code.is_empty());
        assert!(object.build_id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(ObjectFile::open(Path::new("/proc/self/maps")).is_none());
        assert!(ObjectFile::open(Path::new("/nowhere")).is_none());
    }
}
