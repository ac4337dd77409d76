//! Memory, admitted in bytes from one budget.
//!
//! Whatever an upload keeps in memory is paid for here, by its size, before it is kept: read buffers beyond their first
//! 8 KiB, batches on their way to the disk, parts held below the spool threshold, the steps in which stored files are
//! read. So `RSS ≤ base + budget + connections × small`, whatever clients do; docs/operations.md has the constants.
//!
//! When the budget runs out, in this order: nothing more is held in memory and parts that were are written out
//! (`Pressure`); a new upload waits for room, [`Limits::memory_wait_max`] at most; then it is refused. An upload that was
//! admitted never waits for memory: it can always go on in the little that it was admitted with.
//!
//! [`Limits::memory_wait_max`]: crate::admission::Limits::memory_wait_max

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// What an upload is admitted with: a second read buffer of hyper's first size, and its state.
pub const UPLOAD_BYTES: u64 = 16 << 10;

/// The smallest budget that makes sense: sixty-four uploads with nothing to spare.
pub const BUDGET_BYTES_MIN: u64 = 1 << 20;

/// The part of the budget, one in so many, that only new uploads may take: those in flight cannot shut them out.
const ADMISSION_RESERVE: u64 = 4;

/// The part of the budget, one in so many, that read buffers may take.
const READ_AHEAD_PART: u64 = 4;

/// A read buffer grows by no more than one in so many of what is left to read buffers. The first connections get
/// large ones, and there is always something left for the next.
const READ_AHEAD_SHARE: u64 = 64;

/// Pressure ends once so much of the budget, one in so many, is free.
const RELIEF: u64 = 2;

/// The budget. Cheap to clone; every clone is the same budget.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit_bytes: u64,
    free: Arc<Semaphore>,
    /// A share set aside for parts on their way to an object store.
    parts: Arc<Semaphore>,
    parts_bytes: u64,
    read_ahead_bytes: AtomicU64,
    pressed: watch::Sender<bool>,
}

/// Bytes of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    ledger: Ledger,
    taken: Option<OwnedSemaphorePermit>,
    class: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Upload,
    Kept,
    ReadAhead,
    Part,
}

/// Whether the budget has run out, to be watched.
pub(crate) type Pressure = watch::Receiver<bool>;

impl Ledger {
    /// A budget of `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self::with_parts(limit_bytes, 0)
    }

    /// A budget of which `parts_bytes` are set aside for parts on their way to an object store.
    #[must_use]
    pub fn with_parts(limit_bytes: u64, parts_bytes: u64) -> Self {
        let permits = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (free, parts) = (permits(limit_bytes.saturating_sub(parts_bytes)), permits(parts_bytes));
        let (limit_bytes, parts_bytes) = (free as u64, parts as u64);
        let (free, parts) = (Arc::new(Semaphore::new(free)), Arc::new(Semaphore::new(parts)));
        let (pressed, _) = watch::channel(false);
        let read_ahead_bytes = AtomicU64::new(0);
        Self { shared: Arc::new(Shared { limit_bytes, free, parts, parts_bytes, read_ahead_bytes, pressed }) }
    }

    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.shared.limit_bytes + self.shared.parts_bytes
    }

    /// Bytes paid for at this moment.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let parts = self.shared.parts_bytes - self.shared.parts.available_permits() as u64;
        self.shared.limit_bytes - self.free_bytes() + parts
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.shared.pressed.subscribe()
    }

    pub(crate) fn is_pressed(&self) -> bool {
        *self.shared.pressed.borrow()
    }

    /// Admits an upload, at once or after a while; `None` where there was no room for it in all that time.
    pub(crate) async fn admit(&self, wait_max: Duration) -> Option<Permit> {
        let Ok(bytes) = u32::try_from(UPLOAD_BYTES) else { return None };
        let free = &self.shared.free;
        let taken = match Arc::clone(free).try_acquire_many_owned(bytes) {
            Ok(taken) => taken,
            Err(_) => {
                self.press();
                timeout(wait_max, Arc::clone(free).acquire_many_owned(bytes)).await.ok()?.ok()?
            }
        };
        Some(Permit { ledger: self.clone(), taken: Some(taken), class: Class::Upload })
    }

    /// For bytes to be kept in memory for a while. `None` tells those who keep some to write them out.
    pub(crate) fn keep(&self, bytes: usize) -> Option<Permit> {
        let kept = self.spare(bytes);
        if kept.is_none() {
            self.press();
        }
        kept
    }

    /// As [`keep`](Self::keep), for what can do with less: `None` has no consequences for others.
    pub(crate) fn spare(&self, bytes: usize) -> Option<Permit> {
        let reserve = self.shared.limit_bytes / ADMISSION_RESERVE;
        let room = self.free_bytes().saturating_sub(reserve);
        if bytes as u64 <= room { self.take(bytes, Class::Kept) } else { None }
    }

    /// For a read buffer that is to grow by `bytes`. `None` means that it is to stay as it is.
    pub(crate) fn read_ahead(&self, bytes: usize) -> Option<Permit> {
        let used = self.shared.read_ahead_bytes.load(Ordering::Relaxed);
        let left = (self.shared.limit_bytes / READ_AHEAD_PART).saturating_sub(used);
        if bytes as u64 > left / READ_AHEAD_SHARE || self.is_pressed() {
            return None;
        }
        let permit = self.take(bytes, Class::ReadAhead)?;
        self.shared.read_ahead_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Some(permit)
    }

    /// For a part on its way to an object store: waits its turn. A part larger than all that is set aside takes all.
    pub(crate) async fn part(&self, bytes: u64) -> Permit {
        let bytes = u32::try_from(bytes.min(self.shared.parts_bytes)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let taken = Arc::clone(&self.shared.parts).acquire_many_owned(bytes).await.ok();
        Permit { ledger: self.clone(), taken, class: Class::Part }
    }

    fn take(&self, bytes: usize, class: Class) -> Option<Permit> {
        let taken = Arc::clone(&self.shared.free).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()?;
        Some(Permit { ledger: self.clone(), taken: Some(taken), class })
    }

    fn free_bytes(&self) -> u64 {
        self.shared.free.available_permits() as u64
    }

    fn press(&self) {
        self.shared.pressed.send_if_modified(|pressed| !std::mem::replace(pressed, true));
    }

    fn relieve(&self) {
        if *self.shared.pressed.borrow() && self.free_bytes() >= self.shared.limit_bytes / RELIEF {
            self.shared.pressed.send_if_modified(|pressed| std::mem::replace(pressed, false));
        }
    }
}

impl Permit {
    pub(crate) fn bytes(&self) -> u64 {
        self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) as u64
    }

    /// Takes over what another of the same kind holds.
    pub(crate) fn join(&mut self, mut other: Self) {
        debug_assert!(self.class == other.class, "permits of two kinds");
        match (&mut self.taken, other.taken.take()) {
            (Some(taken), Some(more)) => taken.merge(more),
            (taken, more) => *taken = more.or(taken.take()),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let bytes = self.bytes();
        if self.class == Class::ReadAhead {
            self.ledger.shared.read_ahead_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        drop(self.taken.take());
        self.ledger.relieve();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BUDGET: u64 = 64 << 20;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let ledger = Ledger::new(BUDGET);
        let mut first = ledger.keep(1000).unwrap();
        first.join(ledger.keep(500).unwrap());
        assert_eq!((first.bytes(), ledger.used_bytes()), (1500, 1500));
        drop(first);
        assert_eq!(ledger.used_bytes(), 0);
    }

    #[test]
    fn what_is_kept_leaves_room_for_new_uploads_and_tells_when_there_is_no_more() {
        let ledger = Ledger::new(BUDGET);
        let pressure = ledger.pressure();
        let kept = ledger.keep((BUDGET / 4 * 3) as usize).unwrap();
        assert!(!*pressure.borrow());
        assert!(ledger.keep(1).is_none());
        assert!(*pressure.borrow());
        runtime().block_on(async {
            let admitted = ledger.admit(Duration::ZERO).await.unwrap();
            assert_eq!(admitted.bytes(), UPLOAD_BYTES);
        });
        drop(kept);
        assert!(!*pressure.borrow(), "relieved");
    }

    #[test]
    fn a_new_upload_waits_for_room_and_not_forever() {
        let ledger = Ledger::new(2 * UPLOAD_BYTES);
        runtime().block_on(async {
            let first = ledger.admit(Duration::ZERO).await.unwrap();
            let _second = ledger.admit(Duration::ZERO).await.unwrap();
            assert!(ledger.admit(Duration::from_millis(10)).await.is_none());
            let waiting = tokio::spawn({
                let ledger = ledger.clone();
                async move { ledger.admit(Duration::from_secs(60)).await.is_some() }
            });
            tokio::task::yield_now().await;
            drop(first);
            assert!(waiting.await.unwrap());
        });
        assert_eq!(ledger.used_bytes(), 0, "who gave up waiting took nothing along");
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// The rule that keeps five hundred paused uploads small and sixty-four busy ones fast.
    #[test]
    fn read_buffers_shrink_as_connections_come() {
        let ledger = Ledger::new(BUDGET);
        let mut permits = Vec::new();
        let mut sizes = Vec::new();
        for _ in 0..1000 {
            let mut size = 8 << 10;
            while size < 128 << 10
                && let Some(permit) = ledger.read_ahead(2 * size)
            {
                permits.push(permit);
                size *= 2;
            }
            sizes.push(size);
        }
        assert!(sizes[..32].iter().all(|&size| size == 128 << 10), "{sizes:?}");
        assert!(sizes[..64].iter().all(|&size| size >= 64 << 10), "{sizes:?}");
        assert!(sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
        assert!(sizes[..500].iter().sum::<usize>() / 500 < 28 << 10);
        assert!(ledger.used_bytes() <= BUDGET / 4);
        drop(permits);
        assert_eq!((ledger.used_bytes(), ledger.shared.read_ahead_bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
