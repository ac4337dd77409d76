//! The buffers of uploads on their threads: one after the other has the same, as long as there are uploads.
//!
//! A new one for each would be sampled by the heap profiler every other time, and get pages that are not in the cache.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::ledger::{Ledger, Permit};

/// Read and written in one go: large enough that calls cost little, small enough to stay in the core's cache. With half
/// of it an upload takes 4 to 7% more CPU, to memory as to a disk, whose file system makes larger folios of larger writes.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// The same where the memory budget has no room: what every upload was admitted with.
const BUFFER_BYTES_MIN: usize = 8 << 10;

/// A spare buffer that nobody took for so long is freed.
const SPARE_TIME_MAX: Duration = Duration::from_secs(1);

/// Memory to read into. Never two of them: one is paid for.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    /// `None` where there was no room for more than the least.
    paid: Option<Permit>,
}

impl Buffer {
    fn new(ledger: &Ledger) -> Self {
        let paid = ledger.spare(BUFFER_BYTES);
        let bytes = if paid.is_some() { BUFFER_BYTES } else { BUFFER_BYTES_MIN };
        Self { bytes: Vec::with_capacity(bytes), paid }
    }

    /// What is in it. The memory is gone, until [`reclaim`](Self::reclaim).
    pub(super) fn frame(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.bytes))
    }

    /// The frame's own memory for what comes next; new memory where somebody kept a piece of it.
    pub(super) fn reclaim(&mut self, mut frame: Bytes) {
        if frame.is_unique() && !frame.is_empty() {
            // Without a byte in it, a frame has no memory.
            frame.truncate(1);
            self.bytes = Vec::from(frame);
            self.bytes.clear();
        } else {
            drop(frame);
            self.bytes = Vec::with_capacity(if self.paid.is_some() { BUFFER_BYTES } else { BUFFER_BYTES_MIN });
        }
    }
}

/// Spare buffers of a server, no more than uploads are read at the same time. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Buffers {
    spare: Arc<Mutex<Spare>>,
}

#[derive(Default)]
struct Spare {
    /// The last one is taken first: it may still be in the cache.
    buffers: Vec<Buffer>,
    /// The fewest that there were since the last look.
    fewest: usize,
    is_watched: bool,
}

impl Buffers {
    pub(super) fn take(&self, ledger: &Ledger) -> Buffer {
        let mut spare = self.locked();
        let buffer = spare.buffers.pop();
        spare.fewest = spare.fewest.min(spare.buffers.len());
        drop(spare);
        buffer.unwrap_or_else(|| Buffer::new(ledger))
    }

    /// For the next upload, unless memory is short.
    pub(super) fn give(&self, mut buffer: Buffer, ledger: &Ledger) {
        if buffer.paid.is_none() || buffer.bytes.capacity() < BUFFER_BYTES || ledger.is_pressed() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        buffer.bytes.clear();
        let mut spare = self.locked();
        spare.buffers.push(buffer);
        if !std::mem::replace(&mut spare.is_watched, true) {
            spare.fewest = 0;
            drop(spare);
            runtime.spawn(self.clone().free_idle(ledger.clone()));
        }
    }

    /// Frees what nobody takes, and all of it when memory is short; ends with the last one.
    async fn free_idle(self, ledger: Ledger) {
        let mut pressure = ledger.pressure();
        loop {
            let pressed = timeout(SPARE_TIME_MAX, pressure.wait_for(|&pressed| pressed)).await.is_ok();
            let mut spare = self.locked();
            let idle = if pressed { spare.buffers.len() } else { spare.fewest };
            let freed: Vec<_> = spare.buffers.drain(..idle).collect();
            spare.fewest = spare.buffers.len();
            spare.is_watched = !spare.buffers.is_empty();
            let ends = !spare.is_watched;
            drop(spare);
            drop(freed);
            if ends {
                return;
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_as_large_as_it_was() {
        let ledger = Ledger::new(16 << 20);
        let mut buffer = Buffer::new(&ledger);
        for filled in [1, 100, BUFFER_BYTES] {
            buffer.bytes.resize(filled, 7);
            let at = buffer.bytes.as_ptr();
            let frame = buffer.frame();
            drop(frame.slice(filled / 2..));
            buffer.reclaim(frame);
            assert_eq!((buffer.bytes.len(), buffer.bytes.capacity(), buffer.bytes.as_ptr()), (0, BUFFER_BYTES, at));
        }
        buffer.bytes.resize(4096, 7);
        let frame = buffer.frame();
        let _kept = frame.slice(1..);
        buffer.reclaim(frame);
        assert_eq!(buffer.bytes.capacity(), BUFFER_BYTES);
    }

    #[tokio::test]
    async fn spare_buffers_are_paid_for_taken_again_and_freed_when_idle() {
        let (ledger, buffers) = (Ledger::new(16 << 20), Buffers::default());
        let (one, two) = (buffers.take(&ledger), buffers.take(&ledger));
        let at = two.bytes.as_ptr();
        buffers.give(one, &ledger);
        buffers.give(two, &ledger);
        assert_eq!(ledger.used_bytes(), 2 * BUFFER_BYTES as u64);
        let again = buffers.take(&ledger);
        assert_eq!(again.bytes.as_ptr(), at);
        buffers.give(again, &ledger);
        settles(&ledger, 0).await;
        // And once more, from the beginning.
        buffers.give(buffers.take(&ledger), &ledger);
        assert_eq!(ledger.used_bytes(), BUFFER_BYTES as u64);
        settles(&ledger, 0).await;
    }

    /// Spare buffers must not keep an upload out.
    #[tokio::test]
    async fn spare_buffers_go_at_once_when_memory_is_short() {
        let (ledger, buffers) = (Ledger::new(1 << 20), Buffers::default());
        let taken: Vec<_> = (0..3).map(|_| buffers.take(&ledger)).collect();
        taken.into_iter().for_each(|buffer| buffers.give(buffer, &ledger));
        assert_eq!(ledger.used_bytes(), 3 * BUFFER_BYTES as u64);
        // There is no room for another one: who asks for it in need has the spare ones freed.
        assert!(ledger.keep(BUFFER_BYTES).is_none());
        settles(&ledger, 0).await;
    }

    /// Waits, for much longer than a buffer stays spare.
    async fn settles(ledger: &Ledger, bytes: u64) {
        let waited = timeout(10 * SPARE_TIME_MAX, async {
            while ledger.used_bytes() != bytes {
                tokio::time::sleep(SPARE_TIME_MAX / 100).await;
            }
        });
        assert!(waited.await.is_ok(), "{} bytes are still paid for", ledger.used_bytes());
    }
}
