//! Where everything stands in the table: one array of 64-bit words, the same in memory and in the file.
//!
//! ```text
//! header   512 words   what the table is, who wrote it, counters
//! maps    4096 words   the executable mappings of the process, as text
//! stacks     8 a slot  key, state, frames, allocated and live counts, the variance of what was allocated
//! frames     1 each    return addresses, the leaf first
//! keys       1 a slot  live samples by address
//! samples    4 a slot  size and interval, order, stack, birth
//! peaks    2 × 3 a stack slot   live counts at the peak
//! ```
//!
//! Words are in the machine's byte order: a file is read by the same program, on the same machine, or not at all.

use super::atomic::AtomicU64;

/// `HEAPLINE`, read as a little-endian number: a file of another byte order does not match.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"HEAPLINE");
/// Raised with every change of the layout.
pub(crate) const VERSION: u64 = 2;

pub(super) const HEADER_WORDS: usize = 512;
pub(super) const MAPS_WORDS: usize = 4096;
pub(super) const STACK_WORDS: usize = 8;
pub(super) const SAMPLE_WORDS: usize = 4;
pub(super) const PEAK_WORDS: usize = 3;
/// Keys of one bucket: two cache lines.
pub(super) const BUCKET: usize = 16;

/// Words of the header. Those that every hook writes have cache lines of their own.
pub(super) mod word {
    pub(in super::super) const MAGIC: usize = 0;
    pub(in super::super) const VERSION: usize = 1;
    pub(in super::super) const STACKS: usize = 2;
    pub(in super::super) const FRAMES: usize = 3;
    pub(in super::super) const SAMPLES: usize = 4;
    pub(in super::super) const PERIOD: usize = 5;
    pub(in super::super) const PID: usize = 6;
    pub(in super::super) const START_UNIX_NANOS: usize = 7;
    /// Bytes of the boot's name, then those of the build id: 40 and 64 at most, zero-padded.
    pub(in super::super) const BOOT_ID: usize = 8;
    pub(in super::super) const BUILD_ID: usize = 13;
    pub(in super::super) const CGROUP_OOM_KILLS: usize = 21;
    /// Over the words before it: they never change once written.
    pub(in super::super) const CHECK: usize = 23;

    /// Tenths of a second since the start: the clock of the hooks, and the sign of life.
    pub(in super::super) const TICKS: usize = 32;
    pub(in super::super) const CLEAN_END: usize = 33;
    pub(in super::super) const MAPS_BYTES: usize = 34;
    /// Place in `Verdict::ALL`, from 1; 0: none yet.
    pub(in super::super) const VERDICT: usize = 35;
    /// Samples are 2^this bytes apart now, on average; `PERIOD` is what they were at the start.
    pub(in super::super) const INTERVAL_LG: usize = 36;

    pub(in super::super) const SAMPLED: usize = 64;
    pub(in super::super) const FREED: usize = 72;
    pub(in super::super) const UNKNOWN_FREES: usize = 80;
    pub(in super::super) const LIVE_BYTES: usize = 88;
    pub(in super::super) const LOST_STACKS: usize = 96;
    pub(in super::super) const LOST_SAMPLES: usize = 97;
    pub(in super::super) const REUSED_STACKS: usize = 98;
    pub(in super::super) const FORGOTTEN_OBJECTS: usize = 99;
    pub(in super::super) const FORGOTTEN_BYTES: usize = 100;
    pub(in super::super) const STACKS_USED: usize = 101;
    pub(in super::super) const FRAMES_USED: usize = 104;

    pub(in super::super) const PEAK_NEXT_BYTES: usize = 112;
    pub(in super::super) const PEAK_BUSY: usize = 113;
    /// 0: none yet; 1 or 2: which of the two is whole.
    pub(in super::super) const PEAK_SELECT: usize = 114;
    /// Two each.
    pub(in super::super) const PEAK_LEN: usize = 115;
    pub(in super::super) const PEAK_TICKS: usize = 117;
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Distinct stacks; a power of two.
    pub(crate) stacks: usize,
    /// Return addresses of all stacks together.
    pub(crate) frames: usize,
    /// Live samples; a power of two, at least one bucket.
    pub(crate) samples: usize,
}

impl Sizes {
    /// 10,000 stacks of 53 frames (40 of the program's) fill the frames to four fifths, a heap of 24 GiB at a sample each 512 KiB the samples
    /// to three quarters.
    pub(crate) const AGENT: Sizes = Sizes { stacks: 1 << 14, frames: 5 << 17, samples: 1 << 16 };

    const MAX: Sizes = Sizes { stacks: 1 << 20, frames: 1 << 24, samples: 1 << 22 };

    /// Sizes from a file: `None` for those that no program writes.
    pub(super) fn checked(stacks: u64, frames: u64, samples: u64) -> Option<Sizes> {
        let within = |size: u64, max: usize| usize::try_from(size).ok().filter(|size| (1..=max).contains(size));
        let sizes = Sizes {
            stacks: within(stacks, Self::MAX.stacks)?,
            frames: within(frames, Self::MAX.frames)?,
            samples: within(samples, Self::MAX.samples)?,
        };
        let whole = sizes.stacks.is_power_of_two() && sizes.samples.is_power_of_two() && sizes.samples >= BUCKET;
        whole.then_some(sizes)
    }

    /// Words of the whole table.
    pub(crate) const fn words(self) -> usize {
        HEADER_WORDS
            + MAPS_WORDS
            + self.stacks * (STACK_WORDS + 2 * PEAK_WORDS)
            + self.frames
            + self.samples * (1 + SAMPLE_WORDS)
    }

    /// Bytes of the whole table, and of its file.
    pub(crate) const fn bytes(self) -> usize {
        self.words() * size_of::<u64>()
    }
}

/// A table's words, by what they are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Regions<'a> {
    pub(super) header: &'a [AtomicU64],
    pub(super) maps: &'a [AtomicU64],
    pub(super) stacks: &'a [AtomicU64],
    pub(super) frames: &'a [AtomicU64],
    pub(super) keys: &'a [AtomicU64],
    pub(super) samples: &'a [AtomicU64],
    pub(super) peaks: [&'a [AtomicU64]; 2],
}

impl<'a> Regions<'a> {
    /// `None` unless there are exactly as many words as the sizes say.
    pub(super) fn split(words: &'a [AtomicU64], sizes: Sizes) -> Option<Self> {
        if words.len() != sizes.words() {
            return None;
        }
        let mut rest = words;
        let mut take = |count: usize| {
            let (taken, after) = rest.split_at(count);
            rest = after;
            taken
        };
        Some(Self {
            header: take(HEADER_WORDS),
            maps: take(MAPS_WORDS),
            stacks: take(sizes.stacks * STACK_WORDS),
            frames: take(sizes.frames),
            keys: take(sizes.samples),
            samples: take(sizes.samples * SAMPLE_WORDS),
            peaks: [take(sizes.stacks * PEAK_WORDS), take(sizes.stacks * PEAK_WORDS)],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_size_is_the_size() {
        assert_eq!(Sizes::AGENT.bytes(), super::super::TABLE_BYTES);
        const { assert!(super::super::TABLE_BYTES < 10 << 20) };
    }

    #[test]
    fn sizes_that_no_program_writes_are_refused() {
        assert_eq!(Sizes::checked(1 << 14, 5 << 17, 1 << 16), Some(Sizes::AGENT));
        for (stacks, frames, samples) in
            [(0, 1, 16), (3, 1, 16), (1, 0, 16), (1, 1, 8), (1 << 40, 1, 16), (1, 1, 1 << 60)]
        {
            assert_eq!(Sizes::checked(stacks, frames, samples), None);
        }
    }
}
