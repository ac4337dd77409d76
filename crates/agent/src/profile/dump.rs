//! A profile by way of jemalloc's heap dump.

use std::io::{self, BufReader, Seek};
use std::time::{SystemTime, UNIX_EPOCH};

use super::jeheap::{self, JeheapError};
use super::model::Profile;
use crate::jemalloc::prof::{self, DumpError};
use crate::symbols::resolve;

/// Bytes of a dump that are in memory at a time, besides the file itself.
const READ_BYTES: usize = 64 << 10;

/// Why no profile was taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    #[error(transparent)]
    Dump(#[from] DumpError),
    #[error("jemalloc's heap dump cannot be read back")]
    Rewind(#[source] io::Error),
    #[error(transparent)]
    Parse(#[from] JeheapError),
}

/// The live heap now. Blocks for as long as the dump and its parsing take.
///
/// # Errors
///
/// jemalloc's profiler is not there, or its dump is not as expected.
pub(super) fn capture() -> Result<Profile, CaptureError> {
    let taken = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut file = prof::dump()?;
    file.rewind().map_err(CaptureError::Rewind)?;
    let taken_unix_nanos = i64::try_from(taken.as_nanos()).unwrap_or(i64::MAX);
    let mut profile = jeheap::parse(BufReader::with_capacity(READ_BYTES, file), taken_unix_nanos)?;
    resolve::identify(&mut profile.mappings);
    Ok(profile)
}
