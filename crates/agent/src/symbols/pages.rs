//! Debug information read a page at a time: a DWARF reader that holds a bounded part of a file, however large it is.
//!
//! Mapping the file would be faster, but the pages touched count as resident, and a file that is cut off meanwhile
//! kills the process. Reading gives an error.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use addr2line::gimli::{self, Error, ReaderOffsetId, RunTimeEndian};
use flate2::read::ZlibDecoder;
use ruzstd::decoding::StreamingDecoder;

const PAGE_BYTES: u64 = 16 << 10;
/// Pages of one section in memory: 256 KiB, and a dozen sections are read.
const PAGES_MAX: usize = 16;
/// The longest name, mangled: those of futures take some thousand bytes.
const NAME_BYTES_MAX: usize = 1 << 20;

/// How a section is compressed in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compressed {
    pub(super) form: Form,
    /// What it takes without; the caller's bound.
    pub(super) inflated_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Zlib,
    Zstd,
    Unknown,
}

impl Compressed {
    /// As much as there is up to a damage.
    fn inflated(self, stored: SectionReader) -> Vec<u8> {
        let Compressed { form, inflated_bytes } = self;
        let mut inflated = Vec::with_capacity(usize::try_from(inflated_bytes).unwrap_or_default());
        let _ = match form {
            Form::Zlib => ZlibDecoder::new(stored).take(inflated_bytes).read_to_end(&mut inflated),
            Form::Zstd => match StreamingDecoder::new(stored) {
                Ok(decoder) => decoder.take(inflated_bytes).read_to_end(&mut inflated),
                Err(_) => Ok(0),
            },
            Form::Unknown => Ok(0),
        };
        inflated
    }
}

/// The bytes of a section.
#[derive(Debug)]
enum Bytes {
    /// A part of a file.
    Paged {
        file: Rc<File>,
        offset: u64,
        pages: RefCell<Pages>,
    },
    /// A part of a file that is compressed there: inflated, and held whole, when something of it is asked for.
    Compressed {
        stored: SectionReader,
        compressed: Compressed,
        held: OnceCell<Vec<u8>>,
    },
    Nothing,
}

impl Bytes {
    /// One byte, without the detour over a buffer: most of DWARF is read so.
    fn byte(&self, at: u64) -> gimli::Result<u8> {
        let eof = || Error::UnexpectedEof(ReaderOffsetId(at));
        match self {
            Bytes::Paged { file, offset, pages } => {
                let mut pages = pages.borrow_mut();
                let page = pages.page(file, *offset, at / PAGE_BYTES)?;
                page.get((at % PAGE_BYTES) as usize).copied().ok_or_else(eof)
            }
            Bytes::Compressed { .. } | Bytes::Nothing => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                self.held().get(at).copied().ok_or_else(eof)
            }
        }
    }

    /// What could not be inflated is missing.
    fn held(&self) -> &[u8] {
        let Bytes::Compressed { stored, compressed, held } = self else { return &[] };
        held.get_or_init(|| compressed.inflated(stored.clone()))
    }
}

#[derive(Debug, Default)]
struct Pages {
    /// The one used last is first.
    pages: Vec<(u64, Box<[u8]>)>,
}

/// A place in a section, and how far may be read from there.
#[derive(Clone, Debug)]
pub(super) struct SectionReader {
    bytes: Rc<Bytes>,
    at: u64,
    end: u64,
    endian: RunTimeEndian,
}

impl SectionReader {
    pub(super) fn empty(endian: RunTimeEndian) -> SectionReader {
        SectionReader { bytes: Rc::new(Bytes::Nothing), at: 0, end: 0, endian }
    }

    /// The bytes that another reader's are once inflated.
    pub(super) fn compressed(stored: SectionReader, compressed: Compressed) -> SectionReader {
        let (endian, end) = (stored.endian, compressed.inflated_bytes);
        let bytes = Bytes::Compressed { stored, compressed, held: OnceCell::new() };
        SectionReader { bytes: Rc::new(bytes), at: 0, end, endian }
    }

    pub(super) fn paged(file: Rc<File>, offset: u64, length: u64, endian: RunTimeEndian) -> SectionReader {
        let bytes = Bytes::Paged { file, offset, pages: RefCell::default() };
        SectionReader { bytes: Rc::new(bytes), at: 0, end: length, endian }
    }

    fn eof(&self) -> Error {
        Error::UnexpectedEof(ReaderOffsetId(self.at))
    }

    /// Fills a buffer from a place that lies within.
    fn copy(&self, mut at: u64, mut into: &mut [u8]) -> gimli::Result<()> {
        match &*self.bytes {
            held @ (Bytes::Compressed { .. } | Bytes::Nothing) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let part = held.held().get(from..from.saturating_add(into.len())).ok_or_else(|| self.eof())?;
                into.copy_from_slice(part);
            }
            Bytes::Paged { file, offset, pages } => {
                let mut pages = pages.borrow_mut();
                while !into.is_empty() {
                    let page = pages.page(file, *offset, at / PAGE_BYTES)?;
                    let part = page.get((at % PAGE_BYTES) as usize..).unwrap_or_default();
                    let length = part.len().min(into.len());
                    if length == 0 {
                        return Err(self.eof());
                    }
                    let (now, later) = into.split_at_mut(length);
                    now.copy_from_slice(&part[..length]);
                    into = later;
                    at += length as u64;
                }
            }
        }
        Ok(())
    }
}

impl Pages {
    fn page(&mut self, file: &File, offset: u64, number: u64) -> gimli::Result<&[u8]> {
        if self.pages.first().is_none_or(|(first, _)| *first != number) {
            let page = match self.pages.iter().position(|(known, _)| *known == number) {
                Some(place) => self.pages.remove(place),
                None => {
                    if self.pages.len() == PAGES_MAX {
                        self.pages.pop();
                    }
                    (number, read_page(file, offset + number * PAGE_BYTES)?)
                }
            };
            self.pages.insert(0, page);
        }
        Ok(self.pages.first().map_or(&[], |(_, page)| page))
    }
}

fn read_page(file: &File, offset: u64) -> gimli::Result<Box<[u8]>> {
    let mut page = vec![0; PAGE_BYTES as usize];
    let mut filled = 0;
    while filled < page.len() {
        match file.read_at(&mut page[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Error::Io),
        }
    }
    page.truncate(filled);
    Ok(page.into())
}

impl Read for SectionReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = gimli::Reader::len(self).min(into.len());
        gimli::Reader::read_slice(self, &mut into[..length]).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        Ok(length)
    }
}

impl gimli::Reader for SectionReader {
    type Endian = RunTimeEndian;
    type Offset = usize;

    fn endian(&self) -> RunTimeEndian {
        self.endian
    }

    fn len(&self) -> usize {
        (self.end - self.at) as usize
    }

    fn empty(&mut self) {
        self.end = self.at;
    }

    fn truncate(&mut self, length: usize) -> gimli::Result<()> {
        if length > self.len() {
            return Err(self.eof());
        }
        self.end = self.at + length as u64;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.at.saturating_sub(base.at) as usize
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.at)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        (self.at..=self.end).contains(&id.0).then(|| (id.0 - self.at) as usize)
    }

    fn find(&self, byte: u8) -> gimli::Result<usize> {
        let mut buffer = [0; 64];
        let mut at = self.at;
        while at < self.end {
            let length = ((self.end - at) as usize).min(buffer.len());
            self.copy(at, &mut buffer[..length])?;
            if let Some(place) = buffer[..length].iter().position(|&other| other == byte) {
                return Ok((at - self.at) as usize + place);
            }
            at += length as u64;
        }
        Err(self.eof())
    }

    fn skip(&mut self, length: usize) -> gimli::Result<()> {
        if length > self.len() {
            return Err(self.eof());
        }
        self.at += length as u64;
        Ok(())
    }

    fn split(&mut self, length: usize) -> gimli::Result<Self> {
        let mut part = self.clone();
        part.truncate(length)?;
        self.skip(length)?;
        Ok(part)
    }

    fn to_slice(&self) -> gimli::Result<Cow<'_, [u8]>> {
        // Only names are read whole; one of this length is damage.
        if self.len() > NAME_BYTES_MAX {
            return Err(self.eof());
        }
        let mut bytes = vec![0; self.len()];
        self.copy(self.at, &mut bytes)?;
        Ok(bytes.into())
    }

    fn to_string(&self) -> gimli::Result<Cow<'_, str>> {
        String::from_utf8(self.to_slice()?.into_owned()).map(Cow::Owned).map_err(|_| Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> gimli::Result<Cow<'_, str>> {
        Ok(Cow::Owned(String::from_utf8_lossy(&self.to_slice()?).into_owned()))
    }

    fn read_u8(&mut self) -> gimli::Result<u8> {
        if self.at >= self.end {
            return Err(self.eof());
        }
        let byte = self.bytes.byte(self.at)?;
        self.at += 1;
        Ok(byte)
    }

    fn read_slice(&mut self, into: &mut [u8]) -> gimli::Result<()> {
        if into.len() > self.len() {
            return Err(self.eof());
        }
        self.copy(self.at, into)?;
        self.at += into.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use addr2line::gimli::Reader;

    use super::*;

    #[test]
    fn a_file_reads_like_the_bytes_in_it() {
        let bytes: Vec<u8> =
            (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let length = bytes.len() as u64 - 500;
        let whole = SectionReader::paged(Rc::new(file), 100, length, RunTimeEndian::Little);
        let bytes = &bytes[100..100 + length as usize];
        for at in [0, 1, 16_383, 16_384, 2_999_000, 1_000_000, 17] {
            let mut reader = whole.clone();
            reader.skip(at).unwrap();
            let mut part = reader.split(400).unwrap();
            assert_eq!(part.to_slice().unwrap(), &bytes[at..at + 400]);
            assert_eq!(part.read_u32().unwrap(), u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
            assert_eq!(part.offset_from(&whole), at + 4);
            assert_eq!(
                part.find(bytes[at + 300]).ok(),
                bytes[at + 4..at + 400].iter().position(|&b| b == bytes[at + 300])
            );
            assert!(part.skip(397).is_err() && part.truncate(397).is_err());
        }
        let Bytes::Paged { pages, .. } = &*whole.bytes else { panic!("it is paged") };
        assert!(pages.borrow().pages.len() <= PAGES_MAX);
    }

    #[test]
    fn what_is_compressed_reads_as_it_was_and_damage_ends_it() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(|number| (number / 3).to_le_bytes()).collect();
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        let mut stored = encoder.finish().unwrap();
        let reader = |stored: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(stored).unwrap();
            let stored = SectionReader::paged(Rc::new(file), 0, stored.len() as u64, RunTimeEndian::Little);
            let compressed = Compressed { form: Form::Zlib, inflated_bytes: bytes.len() as u64 };
            SectionReader::compressed(stored, compressed)
        };
        let mut whole = reader(&stored);
        whole.skip(1_200).unwrap();
        assert_eq!((whole.read_u32().unwrap(), whole.read_u8().unwrap()), (100, 100));
        assert_eq!(reader(&stored).to_slice().unwrap(), bytes);

        stored.truncate(stored.len() / 2);
        let mut cut = reader(&stored);
        assert_eq!(cut.read_u32().unwrap(), 0);
        cut.skip(bytes.len() - 5).unwrap();
        assert!(cut.read_u8().is_err() && reader(&[]).read_u8().is_err());
    }

    #[test]
    fn a_file_that_was_cut_off_is_an_error() {
        let file = Rc::new(tempfile::tempfile().unwrap());
        let mut reader = SectionReader::paged(file, 0, 100, RunTimeEndian::Little);
        assert!(reader.read_u8().is_err());
        assert!(SectionReader::empty(RunTimeEndian::Little).read_u8().is_err());
    }
}
