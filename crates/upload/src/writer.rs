//! Bytes into a spool file, and into SHA-256, off the async workers.
//!
//! Frames are collected while the batch before them is written, so at most two batches of an upload are in memory; a
//! file that may be held ([`Hold`]) is collected whole. Whatever is collected is paid for in the ledger; where that has
//! nothing left, a frame is written before the next one is asked for. Nothing waits for a batch to fill: the caller
//! settles in a lull.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::ledger::Permit;
use crate::sink::{DigestPlan, SealError, Sink};
use crate::spool::Hold;
use crate::store::{FileMeta, Sealed, Store, StoreError};

/// Written, and hashed, in one go. Larger batches save hand-overs and cost memory: two of them an upload.
const BATCH_BYTES: usize = 256 << 10;

/// The memory of a batch, where frames fill their buffers badly.
const BATCH_KEPT_BYTES_MAX: usize = 2 * BATCH_BYTES;

/// A frame is a slice of the connection's read buffer and keeps all of it alive: small ones are copied, and so are
/// those that are less than half of it.
///
/// Up to 32 KiB, jemalloc keeps what a thread frees in that thread's cache. The buffers of uploads are taken on an async
/// worker and freed on a blocking thread, which would collect hundreds of KiB each: so none of them is that small.
const COPIED_FRAME_BYTES_MAX: usize = 32 << 10;

/// The buffer of a file's first small frames, and of later ones.
const FIRST_COPY_BUFFER_BYTES: usize = 4 << 10;
const COPY_BUFFER_BYTES: usize = 64 << 10;

/// One file on its way in. Dropped, the file is gone.
pub(crate) struct FileWriter {
    stage: Stage,
    batch: Batch,
    hold: Hold,
    digest: DigestPlan,
    bytes: u64,
}

/// The file is made with its first batch, so that a small upload costs one hand-over in all.
enum Stage {
    Fresh(Store),
    Writing(JoinHandle<Result<Sink, StoreError>>),
    Open(Sink),
    /// An error was told.
    Failed,
}

impl FileWriter {
    pub(crate) fn new(store: Store, hold: Hold, digest: DigestPlan) -> Self {
        Self { stage: Stage::Fresh(store), batch: Batch::default(), hold, digest, bytes: 0 }
    }

    /// Bytes taken so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes a frame; waits only where the disk is a whole batch behind, or where there is no memory to collect in.
    pub(crate) async fn push(&mut self, frame: Bytes) -> Result<(), StoreError> {
        self.bytes += frame.len() as u64;
        let plan = self.batch.plan(&frame, self.hold.frame_bytes_kept());
        let paid = match plan.cost_bytes() {
            0 => None,
            bytes => match self.hold.keep(bytes) {
                Some(paid) => Some(paid),
                None => return self.write_through(frame).await,
            },
        };
        self.batch.push(frame, plan, paid);
        if self.batch.is_full() && !self.may_hold() { self.flush().await } else { Ok(()) }
    }

    /// Hands over what is collected and may not be held any longer.
    pub(crate) async fn settle(&mut self) -> Result<(), StoreError> {
        if self.may_hold() { Ok(()) } else { self.flush().await }
    }

    /// A file that has begun to go to the disk goes on that way.
    fn may_hold(&self) -> bool {
        matches!(self.stage, Stage::Fresh(_)) && self.bytes <= self.hold.bytes_max()
    }

    /// Hands over what is collected, after the batch before it.
    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let source = self.source().await?;
        let job = self.job();
        self.stage = Stage::Writing(spawn_blocking(move || job.run(source)));
        Ok(())
    }

    /// Writes all that there is and this frame, and comes back when it is done: nothing of it is in memory any more.
    async fn write_through(&mut self, frame: Bytes) -> Result<(), StoreError> {
        let source = self.source().await?;
        let mut job = self.job();
        job.frames.push(frame);
        self.stage = Stage::Writing(spawn_blocking(move || job.run(source)));
        if let Source::Open(sink) = self.source().await? {
            self.stage = Stage::Open(sink);
        }
        Ok(())
    }

    /// Writes the rest and seals the file; the work goes on in the background, its result is the handle's.
    pub(crate) async fn seal(mut self, meta: FileMeta) -> Result<JoinHandle<Result<Sealed, SealError>>, StoreError> {
        let source = self.source().await?;
        let job = self.job();
        Ok(spawn_blocking(move || job.run(source)?.seal(meta)))
    }

    /// Where the next job goes on, when the one before it is done.
    async fn source(&mut self) -> Result<Source, StoreError> {
        match &mut self.stage {
            Stage::Fresh(store) => Ok(Source::New(store.clone())),
            Stage::Writing(writing) => {
                let written = joined(writing.await);
                self.stage = Stage::Failed;
                Ok(Source::Open(written?))
            }
            stage => match std::mem::replace(stage, Stage::Failed) {
                Stage::Open(sink) => Ok(Source::Open(sink)),
                _ => Err(StoreError::new("go on after a failure", io::ErrorKind::Other.into())),
            },
        }
    }

    fn job(&mut self) -> Job {
        let (frames, paid) = self.batch.take();
        Job { frames, digest: self.digest, _paid: paid }
    }
}

/// One hand-over to a blocking thread.
struct Job {
    frames: Vec<Bytes>,
    digest: DigestPlan,
    // Given back behind the frames: fields drop in order.
    _paid: Option<Permit>,
}

enum Source {
    New(Store),
    Open(Sink),
}

impl Job {
    fn run(self, source: Source) -> Result<Sink, StoreError> {
        let mut sink = match source {
            Source::New(store) => Sink::create(&store, self.digest)?,
            Source::Open(sink) => sink,
        };
        sink.write(&self.frames)?;
        Ok(sink)
    }
}

/// Frames in order, small ones put together, and what their memory costs.
#[derive(Default)]
struct Batch {
    frames: Vec<Bytes>,
    copied: BytesMut,
    bytes: usize,
    kept_bytes: usize,
    paid: Option<Permit>,
}

/// How a frame is to be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Into the buffer of copies, which has room for it.
    Copy,
    /// Into a new buffer of so many bytes.
    CopyInto(usize),
    /// As it is, with the so many bytes that it is a slice of.
    Keep(usize),
}

impl Plan {
    fn cost_bytes(self) -> usize {
        match self {
            Self::Copy => 0,
            Self::CopyInto(bytes) | Self::Keep(bytes) => bytes,
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.copied.is_empty()
    }

    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.kept_bytes >= BATCH_KEPT_BYTES_MAX
    }

    /// `slice_of_bytes`: the size of the buffer that the frame keeps alive.
    fn plan(&self, frame: &Bytes, slice_of_bytes: usize) -> Plan {
        if frame.len() > COPIED_FRAME_BYTES_MAX && frame.len() >= slice_of_bytes / 2 {
            Plan::Keep(slice_of_bytes.max(frame.len()))
        } else if frame.len() <= self.copied.capacity() - self.copied.len() {
            Plan::Copy
        } else {
            let bytes = if self.is_empty() { FIRST_COPY_BUFFER_BYTES } else { COPY_BUFFER_BYTES };
            Plan::CopyInto(bytes.max(frame.len()))
        }
    }

    fn push(&mut self, frame: Bytes, plan: Plan, paid: Option<Permit>) {
        self.bytes += frame.len();
        self.kept_bytes += plan.cost_bytes();
        match (&mut self.paid, paid) {
            (Some(paid), Some(more)) => paid.join(more),
            (paid, more) => *paid = more.or(paid.take()),
        }
        match plan {
            Plan::Keep(_) => {
                self.end_copied();
                self.frames.push(frame);
            }
            Plan::CopyInto(bytes) => {
                self.end_copied();
                self.copied = BytesMut::with_capacity(bytes);
                self.copied.extend_from_slice(&frame);
            }
            Plan::Copy => self.copied.extend_from_slice(&frame),
        }
    }

    fn take(&mut self) -> (Vec<Bytes>, Option<Permit>) {
        self.end_copied();
        (self.bytes, self.kept_bytes) = (0, 0);
        (std::mem::take(&mut self.frames), self.paid.take())
    }

    /// The rest of the buffer stays with what is in it.
    fn end_copied(&mut self) {
        if !self.copied.is_empty() {
            self.frames.push(std::mem::take(&mut self.copied).freeze());
        }
    }
}

/// A write that panicked is a failed write.
fn joined<T>(result: Result<Result<T, StoreError>, tokio::task::JoinError>) -> Result<T, StoreError> {
    result.unwrap_or_else(|error| Err(StoreError::new("write an upload", io::Error::other(error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::ledger::Ledger;

    #[test]
    fn a_batch_keeps_the_order_and_copies_small_frames() {
        let (ledger, slice_of) = (Ledger::new(1 << 20), 64 << 10);
        let large = Bytes::from(vec![7; slice_of / 2 + 1]);
        let mut batch = Batch::default();
        let mut plans = Vec::new();
        for frame in [Bytes::from_static(b"ab"), Bytes::from_static(b"c"), large.clone(), Bytes::from_static(b"d")] {
            let plan = batch.plan(&frame, slice_of);
            batch.push(frame, plan, ledger.keep(plan.cost_bytes()));
            plans.push(plan);
        }
        let copies = COPY_BUFFER_BYTES;
        assert_eq!(plans, [Plan::CopyInto(4 << 10), Plan::Copy, Plan::Keep(slice_of), Plan::CopyInto(copies)]);
        assert_eq!(ledger.used_bytes(), ((4 << 10) + slice_of + copies) as u64);
        let (frames, paid) = batch.take();
        assert_eq!(frames, [Bytes::from_static(b"abc"), large, Bytes::from_static(b"d")]);
        drop(paid);
        assert_eq!((ledger.used_bytes(), batch.kept_bytes, batch.is_empty()), (0, 0, true));
    }

    /// Or a frame of 33 KiB could keep 128 KiB in memory.
    #[test]
    fn less_than_half_of_a_buffer_is_copied() {
        let frame = Bytes::from(vec![7; 40 << 10]);
        assert_eq!(Batch::default().plan(&frame, 64 << 10), Plan::Keep(64 << 10));
        assert_eq!(Batch::default().plan(&frame, 128 << 10), Plan::CopyInto(40 << 10));
    }
}
