//! A file on its way to the disk: bytes into a spool file and into SHA-256, then sealed. All of it blocks.

use std::fs::File;
use std::io::{self, IoSlice, Write};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::digest::Sha256Value;
use crate::store::{FileMeta, Sealed, SpoolFile, Store, StoreError};

/// Why a file was not sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the content has another SHA-256 than promised")]
    DigestMismatch,
}

/// What becomes of the SHA-256 of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DigestPlan {
    /// Remember it.
    pub(crate) keep: bool,
    /// Refuse the file if it is another.
    pub(crate) promised: Option<Sha256Value>,
}

/// Dropped, the file is gone.
#[derive(Debug)]
pub(crate) struct Sink {
    spool: SpoolFile,
    sha256: Option<Sha256>,
    digest: DigestPlan,
    bytes: u64,
}

impl Sink {
    pub(crate) fn create(store: &Store, digest: DigestPlan) -> Result<Self, StoreError> {
        let sha256 = (digest.keep || digest.promised.is_some()).then(Sha256::new);
        Ok(Self { spool: store.create()?, sha256, digest, bytes: 0 })
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn write(&mut self, frames: &[Bytes]) -> Result<(), StoreError> {
        write_all(self.spool.file(), frames).map_err(|source| StoreError::new("write an upload", source))?;
        for frame in frames {
            self.bytes += frame.len() as u64;
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(frame);
            }
        }
        Ok(())
    }

    /// Makes the file durable; size and digest in `meta` are filled in here.
    pub(crate) fn seal(self, mut meta: FileMeta) -> Result<Sealed, SealError> {
        let sha256: Option<Sha256Value> = self.sha256.map(|hash| hash.finalize().into());
        if self.digest.promised.is_some() && self.digest.promised != sha256 {
            return Err(SealError::DigestMismatch);
        }
        meta.bytes = self.bytes;
        meta.sha256 = sha256.filter(|_| self.digest.keep);
        Ok(self.spool.seal(meta)?)
    }
}

fn write_all(mut file: &File, frames: &[Bytes]) -> io::Result<()> {
    if let [frame] = frames {
        return file.write_all(frame);
    }
    let mut slices: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
