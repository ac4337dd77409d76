//! Steps by return address: a table that only grows, read without locks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Places of the table; a power of two. 256 KiB, of which only pages in use are resident.
const PLACES: usize = 1 << 14;
/// Addresses kept at most: fewer than places, so that a search ends soon.
const STEPS_MAX: u64 = (PLACES / 4 * 3) as u64;
/// Places looked at for one address.
const PROBES_MAX: usize = 32;
/// Addresses that wait to be learnt; further ones take the places of earlier ones, and come again.
const WANTED_MAX: usize = 1024;

/// What the caller's frame is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    StackPointer,
    FramePointer,
}

/// How to get from a frame to its caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Caller {
        base: Base,
        /// From there to the end of the frame, below which is the return address.
        offset_bytes: i32,
        /// From the end of the frame to where the caller's frame pointer is, if it was changed.
        saved_at: Option<i16>,
    },
    /// Nobody called it.
    Outermost,
    /// It takes more than this to tell.
    Unknown,
}

pub(super) struct Steps {
    /// Address and step in turn.
    places: [AtomicU64; 2 * PLACES],
    used: AtomicU64,
    wanted: [AtomicU64; WANTED_MAX],
    wanted_next: AtomicU64,
    wanted_seen: AtomicU64,
}

const CALLER_BY_STACK: u64 = 1;
const CALLER_BY_FRAME: u64 = 2;
const OUTERMOST: u64 = 3;
const UNKNOWN: u64 = 4;

impl Step {
    fn to_word(self) -> u64 {
        match self {
            Step::Caller { base, offset_bytes, saved_at } => {
                let kind = if base == Base::StackPointer { CALLER_BY_STACK } else { CALLER_BY_FRAME };
                let saved = saved_at.unwrap_or(0).cast_unsigned();
                u64::from(offset_bytes.cast_unsigned()) << 32 | u64::from(saved) << 16 | kind
            }
            Step::Outermost => OUTERMOST,
            Step::Unknown => UNKNOWN,
        }
    }

    fn from_word(word: u64) -> Step {
        let base = match word & 0xffff {
            CALLER_BY_STACK => Base::StackPointer,
            CALLER_BY_FRAME => Base::FramePointer,
            OUTERMOST => return Step::Outermost,
            _ => return Step::Unknown,
        };
        let saved = ((word >> 16) as u16).cast_signed();
        // Nothing is saved at the very end of a frame: that is the caller's.
        let saved_at = (saved != 0).then_some(saved);
        Step::Caller { base, offset_bytes: ((word >> 32) as u32).cast_signed(), saved_at }
    }
}

impl Steps {
    pub(super) const fn new() -> Steps {
        Steps {
            places: [const { AtomicU64::new(0) }; 2 * PLACES],
            used: AtomicU64::new(0),
            wanted: [const { AtomicU64::new(0) }; WANTED_MAX],
            wanted_next: AtomicU64::new(0),
            wanted_seen: AtomicU64::new(0),
        }
    }

    /// `None` where it was not learnt.
    pub(super) fn get(&self, address: u64) -> Option<Step> {
        for place in probes(address) {
            let key = self.places[2 * place].load(Acquire);
            if key == 0 {
                return None;
            }
            if key == address {
                return Some(Step::from_word(self.places[2 * place + 1].load(Relaxed)));
            }
        }
        None
    }

    /// Keeps a step, while there is room. For one thread at a time.
    pub(super) fn insert(&self, address: u64, step: Step) {
        if address == 0 || self.used.load(Relaxed) >= STEPS_MAX {
            return;
        }
        for place in probes(address) {
            match self.places[2 * place].load(Relaxed) {
                0 => {
                    self.places[2 * place + 1].store(step.to_word(), Relaxed);
                    self.places[2 * place].store(address, Release);
                    self.used.fetch_add(1, Relaxed);
                    return;
                }
                key if key == address => return,
                _ => {}
            }
        }
    }

    /// Notes an address, unless it was learnt or there is no room.
    pub(super) fn want(&self, address: u64) {
        if self.used.load(Relaxed) < STEPS_MAX && self.get(address).is_none() {
            let next = self.wanted_next.fetch_add(1, Relaxed);
            self.wanted[next as usize % WANTED_MAX].store(address, Relaxed);
        }
    }

    pub(super) fn has_wanted(&self) -> bool {
        self.wanted_next.load(Relaxed) != self.wanted_seen.load(Relaxed)
    }

    /// The addresses noted since the last time, each once. For one thread at a time.
    pub(super) fn take_wanted(&self) -> Vec<u64> {
        self.wanted_seen.store(self.wanted_next.load(Relaxed), Relaxed);
        let mut wanted: Vec<u64> = self.wanted.iter().map(|place| place.swap(0, Relaxed)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|&address| address != 0 && self.get(address).is_none());
        wanted
    }
}

fn probes(address: u64) -> impl Iterator<Item = usize> {
    let hash = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (0..PROBES_MAX).map(move |probe| (hash as usize).wrapping_add(probe) & (PLACES - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_found_and_nothing_else() {
        static STEPS: Steps = Steps::new();
        let step = |address: u64| match address % 5 {
            0 => Step::Outermost,
            1 => Step::Unknown,
            2 => Step::Caller { base: Base::FramePointer, offset_bytes: 16, saved_at: Some(-16) },
            3 => Step::Caller { base: Base::StackPointer, offset_bytes: address as i32, saved_at: None },
            _ => Step::Caller { base: Base::StackPointer, offset_bytes: -8, saved_at: Some(i16::MIN) },
        };
        let addresses = || (1..=4_000).map(|number| number * 8_191);
        addresses().for_each(|address| STEPS.want(address));
        assert!(STEPS.has_wanted());
        assert_eq!(STEPS.take_wanted().len(), WANTED_MAX, "the rest comes again");
        assert!(!STEPS.has_wanted() && STEPS.take_wanted().is_empty());
        addresses().for_each(|address| STEPS.insert(address, step(address)));
        assert!(addresses().all(|address| STEPS.get(address) == Some(step(address))));
        assert!(addresses().all(|address| STEPS.get(address + 1).is_none()) && STEPS.get(0).is_none());
        addresses().for_each(|address| STEPS.want(address));
        assert!(STEPS.take_wanted().is_empty());
    }

    #[test]
    fn a_full_table_keeps_what_it_has_and_wants_no_more() {
        static STEPS: Steps = Steps::new();
        for address in 1..=2 * PLACES as u64 {
            STEPS.insert(address, Step::Outermost);
        }
        assert!(STEPS.used.load(Relaxed) <= STEPS_MAX);
        assert_eq!(STEPS.get(1), Some(Step::Outermost));
        let unknown = 3 * PLACES as u64;
        assert_eq!(STEPS.get(unknown), None);
        STEPS.want(unknown);
        assert!(!STEPS.has_wanted());
    }
}
