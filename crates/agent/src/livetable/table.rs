//! The table as the hooks use it: a sample comes, a sample goes.
//!
//! Nothing here locks, allocates, calls the system or panics; each loop is bounded.

use super::atomic::Ordering::{Acquire, Relaxed, Release};
use super::atomic::{AtomicU64, fence};
use super::layout::{MAGIC, Regions, Sizes, VERSION, word};
use super::peak::Peak;
use super::samples::{LiveSample, Samples};
use super::stacks::Stacks;
use super::weight::Weighted;
use crate::verdict::Verdict;

/// Ticks of the table's clock in a second.
pub(crate) const TICKS_PER_SECOND: u64 = 10;

/// No interval is as long: an address space holds less.
pub(super) const INTERVAL_LG_MAX: u8 = 47;

/// Twenty years: no process has lived longer.
const TICKS_MAX: u64 = 20 * 365 * 86_400 * TICKS_PER_SECOND;

/// Why bytes are not a live table whose word can be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Another kind of file, or one that was never finished.
    #[error("it is no live table")]
    NoTable,
    /// Of another layout: of an older or a newer agent.
    #[error("it is of version {found}, not {VERSION}")]
    Version {
        /// What it says.
        found: u64,
    },
    /// What is written once does not match its own checksum.
    #[error("its header is damaged")]
    Header,
    /// Cut off, or something was added.
    #[error("its length is not what its header says")]
    Length,
    /// A process of more than twenty years.
    #[error("its clock is damaged")]
    Clock,
    /// More samples and stacks than a killed process leaves unfinished do not fit together.
    #[error("{0} of its samples and stacks are damaged")]
    Contents(u64),
}

/// Who writes a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u64,
    pub(crate) start_unix_nanos: u64,
    /// Bytes allocated between two samples at the start, on average.
    pub(crate) period_bytes: u64,
    /// The kernel's name for this boot; 40 bytes are kept.
    pub(crate) boot_id: String,
    /// Lower-case hex; 64 bytes are kept.
    pub(crate) build_id: String,
    /// How often the kernel had killed in the process's cgroup when it started.
    pub(crate) cgroup_oom_kills: u64,
}

/// What the table could and could not keep, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sampled: u64,
    pub(crate) freed: u64,
    /// Ends of samples that the table has not: taken before the hooks were there, or lost.
    pub(crate) unknown_frees: u64,
    /// Samples for whose stack there was no room: in no profile.
    pub(crate) lost_stacks: u64,
    /// Samples for which there was no room: counted as allocated, not as live.
    pub(crate) lost_samples: u64,
    /// Stacks whose slot was given to another.
    pub(crate) reused_stacks: u64,
    pub(crate) live_bytes: u64,
    pub(crate) stacks_used: u64,
    pub(crate) frames_used: u64,
}

impl Tally {
    /// Samples that a profile lacks.
    pub(crate) fn lost(&self) -> u64 {
        self.lost_stacks + self.lost_samples
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    pub(super) regions: Regions<'a>,
    pub(super) stacks: Stacks<'a>,
    pub(super) samples: Samples<'a>,
    period_bytes: u64,
}

impl<'a> Table<'a> {
    /// Makes a table of words that are all zero. `None` where their number is not that of the sizes.
    pub(crate) fn create(words: &'a [AtomicU64], sizes: Sizes, identity: &Identity) -> Option<Self> {
        let regions = Regions::split(words, sizes)?;
        let set = |field: usize, value: u64| regions.header[field].store(value, Relaxed);
        set(word::VERSION, VERSION);
        set(word::STACKS, sizes.stacks as u64);
        set(word::FRAMES, sizes.frames as u64);
        set(word::SAMPLES, sizes.samples as u64);
        set(word::PERIOD, identity.period_bytes);
        set(word::PID, identity.pid);
        set(word::START_UNIX_NANOS, identity.start_unix_nanos);
        set(word::CGROUP_OOM_KILLS, identity.cgroup_oom_kills);
        store_text(&regions.header[word::BOOT_ID..word::BUILD_ID], &identity.boot_id);
        store_text(&regions.header[word::BUILD_ID..word::CGROUP_OOM_KILLS], &identity.build_id);
        set(word::INTERVAL_LG, identity.period_bytes.checked_ilog2().unwrap_or(0).into());
        set(word::CHECK, check(regions.header));
        // Last: a file without it is none yet.
        regions.header[word::MAGIC].store(MAGIC, Release);
        Some(Self::of(regions, identity.period_bytes))
    }

    /// A table that was made before, by this process or another.
    pub(super) fn open(words: &'a [AtomicU64]) -> Result<Self, Damage> {
        let load = |field: usize| words.get(field).map_or(0, |word| word.load(Acquire));
        if load(word::MAGIC) != MAGIC {
            return Err(Damage::NoTable);
        }
        if load(word::VERSION) != VERSION {
            return Err(Damage::Version { found: load(word::VERSION) });
        }
        let sizes =
            Sizes::checked(load(word::STACKS), load(word::FRAMES), load(word::SAMPLES)).ok_or(Damage::Header)?;
        let regions = Regions::split(words, sizes).ok_or(Damage::Length)?;
        if load(word::CHECK) != check(regions.header) {
            return Err(Damage::Header);
        }
        let table = Self { stacks: Stacks::of_file(&regions), ..Self::of(regions, load(word::PERIOD)) };
        if table.ticks() > TICKS_MAX { Err(Damage::Clock) } else { Ok(table) }
    }

    fn of(regions: Regions<'a>, period_bytes: u64) -> Self {
        Self { stacks: Stacks::new(&regions), samples: Samples::new(&regions), regions, period_bytes }
    }

    /// An allocation was sampled, as one each 2^`interval_lg` bytes. `bytes` is its size as the allocator rounded it up.
    pub(crate) fn sampled(&self, address: u64, stack: &[usize], bytes: u64, interval_lg: u8) {
        let interval_lg = interval_lg.min(INTERVAL_LG_MAX);
        let order = self.add(word::SAMPLED, 1);
        let Some(id) = self.stacks.pin(stack) else {
            self.add(word::LOST_STACKS, 1);
            return;
        };
        let weighted = Weighted::of(bytes, 1 << interval_lg);
        self.stacks.allocated(id, weighted);
        let sample = LiveSample { address, bytes, interval_lg, order, stack: id, birth_ticks: self.load(word::TICKS) };
        if !self.samples.insert(&sample) {
            self.stacks.freed(id, weighted);
            self.stacks.unpin(id);
            self.add(word::LOST_SAMPLES, 1);
            return;
        }
        let live_bytes = self.add(word::LIVE_BYTES, weighted.bytes).wrapping_add(weighted.bytes);
        self.peak().passed(live_bytes, 1 << interval_lg);
    }

    /// A sampled allocation was freed.
    pub(crate) fn freed(&self, address: u64, bytes: u64) {
        let Some(sample) = self.samples.remove(address, bytes) else {
            self.add(word::UNKNOWN_FREES, 1);
            return;
        };
        let weighted = Weighted::of(bytes, 1 << sample.interval_lg.min(INTERVAL_LG_MAX));
        self.stacks.freed(sample.stack, weighted);
        // Last: the slot may be another stack's from here on.
        self.stacks.unpin(sample.stack);
        self.add(word::LIVE_BYTES, weighted.bytes.wrapping_neg());
        self.add(word::FREED, 1);
    }

    /// Sets the clock that births are told by: tenths of a second since the start.
    pub(crate) fn set_ticks(&self, ticks: u64) {
        self.store(word::TICKS, ticks);
    }

    pub(crate) fn ticks(&self) -> u64 {
        self.load(word::TICKS)
    }

    /// Whether the process said that it ended.
    pub(crate) fn set_clean_end(&self, clean: bool) {
        self.store(word::CLEAN_END, clean.into());
    }

    pub(crate) fn has_clean_end(&self) -> bool {
        self.load(word::CLEAN_END) == 1
    }

    /// What the process's memory is doing, for whoever reads the table after it.
    pub(crate) fn set_verdict(&self, verdict: Verdict) {
        let place = Verdict::ALL.iter().position(|&other| other == verdict).map_or(0, |place| place + 1);
        self.store(word::VERDICT, place as u64);
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let place = usize::try_from(self.load(word::VERDICT)).ok()?.checked_sub(1)?;
        Verdict::ALL.get(place).copied()
    }

    /// Keeps the text of the process's executable mappings, cut to what fits.
    pub(crate) fn set_maps(&self, text: &str) {
        let room = self.regions.maps.len() * size_of::<u64>();
        let lines = text.split_inclusive('\n');
        let fitting = lines
            .scan(0, |end, line| {
                *end += line.len();
                Some(*end)
            })
            .take_while(|end| *end <= room)
            .last();
        let fitting = fitting.unwrap_or(0);
        // Without a length, a text that is half written is none.
        self.store(word::MAPS_BYTES, 0);
        fence(Release);
        store_text(self.regions.maps, &text[..fitting]);
        self.regions.header[word::MAPS_BYTES].store(fitting as u64, Release);
    }

    pub(crate) fn maps(&self) -> String {
        let bytes = usize::try_from(self.load(word::MAPS_BYTES)).unwrap_or(0);
        load_text(self.regions.maps, bytes)
    }

    pub(crate) fn identity(&self) -> Identity {
        let header = self.regions.header;
        let text = |from: usize, to: usize| load_text(&header[from..to], (to - from) * size_of::<u64>());
        Identity {
            pid: self.load(word::PID),
            start_unix_nanos: self.load(word::START_UNIX_NANOS),
            period_bytes: self.period_bytes,
            boot_id: text(word::BOOT_ID, word::BUILD_ID),
            build_id: text(word::BUILD_ID, word::CGROUP_OOM_KILLS),
            cgroup_oom_kills: self.load(word::CGROUP_OOM_KILLS),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            sampled: self.load(word::SAMPLED),
            freed: self.load(word::FREED),
            unknown_frees: self.load(word::UNKNOWN_FREES),
            lost_stacks: self.load(word::LOST_STACKS),
            lost_samples: self.load(word::LOST_SAMPLES),
            reused_stacks: self.load(word::REUSED_STACKS),
            live_bytes: self.load(word::LIVE_BYTES),
            stacks_used: self.load(word::STACKS_USED),
            frames_used: self.load(word::FRAMES_USED),
        }
    }

    /// Samples that came or went, together: as long as it stays the same, the heap hardly changes.
    pub(crate) fn turnover(&self) -> u64 {
        self.load(word::SAMPLED).wrapping_add(self.load(word::FREED)).wrapping_add(self.load(word::UNKNOWN_FREES))
    }

    /// Bytes allocated between two samples now, on average. Earlier ones may have been at another interval: each has its
    /// own weight.
    pub(crate) fn period_bytes(&self) -> u64 {
        1 << self.interval_lg()
    }

    /// The same as a power of two.
    pub(crate) fn interval_lg(&self) -> u8 {
        self.load(word::INTERVAL_LG).min(INTERVAL_LG_MAX.into()) as u8
    }

    /// Samples are so far apart from now on.
    pub(crate) fn set_interval_lg(&self, lg: u8) {
        self.store(word::INTERVAL_LG, lg.into());
    }

    /// Ends of samples since the start, also of those that are not in the table.
    pub(crate) fn ended(&self) -> u64 {
        self.load(word::FREED).wrapping_add(self.load(word::UNKNOWN_FREES))
    }

    pub(super) fn peak(&self) -> Peak<'a> {
        Peak::new(&self.regions, self.stacks)
    }

    fn load(&self, field: usize) -> u64 {
        self.regions.header[field].load(Relaxed)
    }

    fn store(&self, field: usize, value: u64) {
        self.regions.header[field].store(value, Relaxed);
    }

    fn add(&self, field: usize, amount: u64) -> u64 {
        self.regions.header[field].fetch_add(amount, Relaxed)
    }
}

/// Over what is written once.
fn check(header: &[AtomicU64]) -> u64 {
    let words = header[word::VERSION..word::CHECK].iter().map(|word| word.load(Relaxed));
    words.fold(MAGIC, |check, word| (check.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Zero-padded, cut to what fits.
fn store_text(words: &[AtomicU64], text: &str) {
    let mut chunks = text.as_bytes().chunks(size_of::<u64>());
    for word in words {
        let mut bytes = [0; size_of::<u64>()];
        let Some(chunk) = chunks.next() else { break };
        bytes[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(bytes), Relaxed);
    }
}

fn load_text(words: &[AtomicU64], bytes_max: usize) -> String {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    bytes.truncate(bytes_max);
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
