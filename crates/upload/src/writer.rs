//! Bytes into a spool file, and into SHA-256, off the async workers.
//!
//! Frames are collected while the batch before them is written, so at most two batches of an upload are in memory.
//! Nothing waits for a batch to fill: the caller flushes in a lull.

use std::fs::File;
use std::io::{self, IoSlice, Write};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::digest::Sha256Value;
use crate::store::{FileMeta, Sealed, SpoolFile, Store, StoreError};

/// Written, and hashed, in one go. Larger batches save hand-overs and cost memory: two of them an upload.
const BATCH_BYTES: usize = 256 << 10;

/// A frame is a slice of the connection's read buffer and keeps all of it alive: small ones are copied.
const COPIED_FRAME_BYTES_MAX: usize = 16 << 10;

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

/// One file on its way in. Dropped, the file is gone.
pub(crate) struct FileWriter {
    stage: Stage,
    batch: Batch,
    digest: DigestPlan,
    bytes: u64,
}

/// The file is made with its first batch, so that a small upload costs one hand-over in all.
enum Stage {
    Fresh(Store),
    Writing(JoinHandle<Result<Sink, StoreError>>),
}

struct Sink {
    spool: SpoolFile,
    sha256: Option<Sha256>,
}

impl FileWriter {
    pub(crate) fn new(store: Store, digest: DigestPlan) -> Self {
        Self { stage: Stage::Fresh(store), batch: Batch::default(), digest, bytes: 0 }
    }

    /// Bytes taken so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes a frame; waits only where the disk is a whole batch behind.
    pub(crate) async fn push(&mut self, frame: Bytes) -> Result<(), StoreError> {
        self.bytes += frame.len() as u64;
        self.batch.push(frame);
        if self.batch.bytes >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Hands over what is collected, after the batch before it.
    pub(crate) async fn flush(&mut self) -> Result<(), StoreError> {
        if self.batch.bytes == 0 {
            return Ok(());
        }
        let job = self.job();
        let source = match &mut self.stage {
            Stage::Fresh(store) => Source::New(store.clone()),
            Stage::Writing(writing) => Source::Open(joined(writing.await)?),
        };
        self.stage = Stage::Writing(spawn_blocking(move || job.run(source)));
        Ok(())
    }

    /// Writes the rest and seals the file; the work goes on in the background, its result is the handle's.
    pub(crate) async fn seal(
        mut self,
        mut meta: FileMeta,
    ) -> Result<JoinHandle<Result<Sealed, SealError>>, StoreError> {
        let (job, digest, bytes) = (self.job(), self.digest, self.bytes);
        let source = match self.stage {
            Stage::Fresh(store) => Source::New(store),
            Stage::Writing(writing) => Source::Open(joined(writing.await)?),
        };
        Ok(spawn_blocking(move || {
            let sink = job.run(source)?;
            let sha256: Option<Sha256Value> = sink.sha256.map(|hash| hash.finalize().into());
            if digest.promised.is_some() && digest.promised != sha256 {
                return Err(SealError::DigestMismatch);
            }
            meta.bytes = bytes;
            meta.sha256 = sha256.filter(|_| digest.keep);
            Ok(sink.spool.seal(meta)?)
        }))
    }

    fn job(&mut self) -> Job {
        Job { frames: self.batch.take(), hash: self.digest.keep || self.digest.promised.is_some() }
    }
}

/// One hand-over to a blocking thread.
struct Job {
    frames: Vec<Bytes>,
    hash: bool,
}

enum Source {
    New(Store),
    Open(Sink),
}

impl Job {
    fn run(self, source: Source) -> Result<Sink, StoreError> {
        let mut sink = match source {
            Source::New(store) => Sink { spool: store.create()?, sha256: self.hash.then(Sha256::new) },
            Source::Open(sink) => sink,
        };
        write_all(sink.spool.file(), &self.frames).map_err(|source| StoreError::new("write an upload", source))?;
        if let Some(sha256) = &mut sink.sha256 {
            self.frames.iter().for_each(|frame| sha256.update(frame));
        }
        Ok(sink)
    }
}

/// Frames in order, small ones put together.
#[derive(Default)]
struct Batch {
    frames: Vec<Bytes>,
    copied: BytesMut,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        if frame.len() <= COPIED_FRAME_BYTES_MAX {
            self.copied.extend_from_slice(&frame);
        } else {
            self.end_copied();
            self.frames.push(frame);
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.end_copied();
        self.bytes = 0;
        std::mem::take(&mut self.frames)
    }

    fn end_copied(&mut self) {
        if !self.copied.is_empty() {
            self.frames.push(std::mem::take(&mut self.copied).freeze());
        }
    }
}

fn write_all(mut file: &File, frames: &[Bytes]) -> io::Result<()> {
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

/// A write that panicked is a failed write.
fn joined<T>(result: Result<Result<T, StoreError>, tokio::task::JoinError>) -> Result<T, StoreError> {
    result.unwrap_or_else(|error| Err(StoreError::new("write an upload", io::Error::other(error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_the_order_and_copies_small_frames() {
        let large = Bytes::from(vec![7; COPIED_FRAME_BYTES_MAX + 1]);
        let mut batch = Batch::default();
        for frame in [Bytes::from_static(b"ab"), Bytes::from_static(b"c"), large.clone(), Bytes::from_static(b"d")] {
            batch.push(frame);
        }
        assert_eq!(batch.bytes, large.len() + 4);
        assert_eq!(batch.take(), [Bytes::from_static(b"abc"), large, Bytes::from_static(b"d")]);
        assert_eq!((batch.take().len(), batch.bytes), (0, 0));
    }
}
