//! Growth between two profile files, by streaming each of them twice: names first, then samples.
//!
//! A file's samples stand before the names that they need, so that one pass would hold all of them. Two hold the names
//! and one number for each call site, however long the file is.

use std::io::{self, Read, Seek};

use flate2::bufread::MultiGzDecoder;

use super::{Grouped, Held, Moment, Patience, Report, Sites, rank};

mod calls;
mod feed;
mod pprof;
mod text;

use feed::Feed;

/// Names of one file: functions, source files and stacks' addresses together, bytes.
pub const NAMES_BYTES_MAX: usize = 512 << 20;
/// One sample, location or function of a pprof file, bytes; and a line of jemalloc's text.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// Input is read in pieces of this size.
const BUFFER_BYTES: usize = 256 << 10;

/// Why a file is not a heap profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// The file fails, or is no whole gzip stream.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// Not a profile in pprof's format, nor jemalloc's text.
    #[error("it is neither a pprof profile nor a heap_v2 dump: {0}")]
    Malformed(String),
    /// More names than fit, or one piece that is all too long.
    #[error("it is too large: {0}")]
    TooLarge(&'static str),
    /// A CPU profile, say.
    #[error("it has no sample type inuse_space")]
    NotAHeap,
}

/// Which of the two files an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Before,
    /// The second.
    After,
}

/// Ranks the call sites that grew from one profile file to the other: pprof, gzipped or not, or jemalloc's text, whose
/// addresses are named by the files that it lists, as they are here and now; else addresses stand for names.
///
/// The two may be of different processes: sites are compared by name. Memory: the names in each file, and its sites. Each
/// file is read twice.
///
/// # Errors
///
/// One of them is no heap profile, or goes beyond the bounds of this module.
pub fn diff(before: impl Read + Seek, after: impl Read + Seek) -> Result<Report, (Side, DiffError)> {
    let mut sites = Sites::default();
    let mut before = read(before, &mut sites).map_err(|error| (Side::Before, error))?;
    let after = read(after, &mut sites).map_err(|error| (Side::After, error))?;
    if before.allocated_bytes > after.allocated_bytes {
        // Of another process, or the counts began anew: what was ever allocated cannot be compared.
        before.grouped.held.values_mut().for_each(Held::forget_allocations);
    }
    let moment = |read: &OneSide| Moment::new(read.seconds, None, read.grouped.held.clone());
    let ranking = rank(&[&moment(&before), &moment(&after)], Patience::NONE, &mut |_| None);
    Ok(Report::new(&ranking, &after.grouped))
}

/// A profile by its sites.
#[derive(Default)]
struct OneSide {
    seconds: f64,
    grouped: Grouped,
    /// Ever, where that is counted.
    allocated_bytes: f64,
}

fn read(mut input: impl Read + Seek, sites: &mut Sites) -> Result<OneSide, DiffError> {
    let mut start = [0; 8];
    input.rewind()?;
    let length = read_up_to(&mut input, &mut start)?;
    let is_gzip = start[..length].starts_with(b"\x1f\x8b");
    let mut pass = |work: &mut dyn FnMut(&mut dyn Read) -> Result<(), DiffError>| {
        input.rewind()?;
        if is_gzip {
            work(&mut MultiGzDecoder::new(io::BufReader::with_capacity(BUFFER_BYTES, &mut input)))
        } else {
            work(&mut input)
        }
    };
    let mut is_text = false;
    pass(&mut |input| {
        let length = read_up_to(input, &mut start)?;
        is_text = start[..length].starts_with(b"heap_v2/");
        Ok(())
    })?;
    if is_text {
        let mut names = text::Names::default();
        pass(&mut |input| names.read(&mut Feed::new(input)))?;
        let mut calls = names.resolve();
        pass(&mut |input| text::samples(&mut Feed::new(input), &mut calls, sites))?;
        return Ok(calls.into_read(0.0));
    }
    let mut names = pprof::Names::default();
    pass(&mut |input| names.read(&mut Feed::new(input)))?;
    let (mut calls, columns, seconds) = names.resolve()?;
    pass(&mut |input| pprof::samples(&mut Feed::new(input), &columns, &mut calls, sites))?;
    Ok(calls.into_read(seconds))
}

fn read_up_to(input: &mut (impl Read + ?Sized), into: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < into.len() {
        match input.read(&mut into[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
#[path = "diff/tests.rs"]
mod tests;
