//! A profile by numbers: each return address once, stacks as numbers of addresses.
//!
//! Ten thousand stacks of forty frames have a few hundred addresses. What is asked of an address (its name, whose code
//! it is, its place in the output) is asked once for each and not once a frame, and the stacks are one allocation of
//! four bytes a frame.

use super::model::{Count, Mapping, Profile, Sample, either};

/// A [`Profile`] in its small form.
#[derive(Debug, Default)]
pub(crate) struct Compact {
    pub(crate) period_bytes: u64,
    pub(crate) taken_unix_nanos: i64,
    pub(crate) duration_nanos: i64,
    pub(crate) mappings: Vec<Mapping>,
    pub(super) samples: Vec<Counted>,
    /// See [`Profile::has_allocations`].
    pub(crate) has_allocations: bool,
    /// See [`Profile::comments`].
    pub(crate) comments: Vec<String>,
    /// Return addresses by number.
    addresses: Vec<u64>,
    numbers: Numbers,
    /// All stacks, one after the other.
    frames: Vec<u32>,
    /// The stack that was added last: most share its leaves or its callers, and what is shared is not looked up again.
    last: Vec<u64>,
}

/// What one stack allocated: [`Sample`] with its stack elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    from: u32,
    to: u32,
    pub(super) inuse: Count,
    pub(super) alloc: Option<Count>,
}

impl Compact {
    /// Without samples.
    pub(super) fn new(period_bytes: u64, taken_unix_nanos: i64) -> Self {
        Self { period_bytes, taken_unix_nanos, ..Self::default() }
    }

    /// Makes room for so many frames of so many stacks.
    pub(super) fn reserve(&mut self, stacks: usize, frames: usize) {
        self.samples.reserve(stacks);
        self.frames.reserve(frames);
    }

    /// Adds a sample. What does not fit into 32-bit numbers is more than any source can have.
    pub(super) fn push(&mut self, stack: &[u64], inuse: Count, alloc: Option<Count>) {
        let Self { addresses, numbers, frames, last, .. } = self;
        let (from, last_from) = (frames.len(), frames.len() - last.len());
        let leaves = stack.iter().zip(&*last).take_while(|(one, other)| one == other).count();
        let (rest, last_rest) = (&stack[leaves..], &last[leaves..]);
        let callers = rest.iter().rev().zip(last_rest.iter().rev()).take_while(|(one, other)| one == other).count();
        frames.extend_from_within(last_from..last_from + leaves);
        frames.extend(rest[..rest.len() - callers].iter().map(|&address| numbers.of(address, addresses)));
        frames.extend_from_within(from - callers..from);
        last.clear();
        last.extend_from_slice(stack);
        self.samples.push(Counted { from: from as u32, to: self.frames.len() as u32, inuse, alloc });
    }

    /// A sample's addresses by number, the leaf first.
    pub(super) fn stack(&self, sample: &Counted) -> &[u32] {
        &self.frames[sample.from as usize..sample.to as usize]
    }

    /// Return addresses by number, each once.
    pub(super) fn return_addresses(&self) -> &[u64] {
        &self.addresses
    }

    /// The address of every call, each once.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = u64> {
        self.addresses.iter().map(|return_address| return_address.saturating_sub(1))
    }

    /// Whether allocations since the start are counted next to live ones.
    pub(super) fn counts_allocations(&self) -> bool {
        self.has_allocations || self.samples.iter().any(|sample| sample.alloc.is_some())
    }

    /// Leaves out of each stack as many frames at the leaf as `count` says.
    pub(super) fn drop_leaves(&mut self, mut count: impl FnMut(&[u32]) -> usize) {
        for sample in &mut self.samples {
            let stack = &self.frames[sample.from as usize..sample.to as usize];
            sample.from += count(stack).min(stack.len()) as u32;
        }
    }

    /// Adds samples of equal stacks up. The order of first appearance is kept.
    pub(super) fn merge_equal_stacks(&mut self) {
        const EMPTY: u32 = u32::MAX;
        // Half full at most, so that a look at the next slot is rare.
        let mask = (self.samples.len() * 2).next_power_of_two() - 1;
        let mut slots = vec![EMPTY; mask + 1];
        let mut kept = 0;
        for index in 0..self.samples.len() {
            let sample = self.samples[index];
            let mut slot = hash(self.stack(&sample)) as usize & mask;
            while slots[slot] != EMPTY && self.stack(&self.samples[slots[slot] as usize]) != self.stack(&sample) {
                slot = (slot + 1) & mask;
            }
            if slots[slot] == EMPTY {
                slots[slot] = kept;
                self.samples[kept as usize] = sample;
                kept += 1;
            } else {
                let into = &mut self.samples[slots[slot] as usize];
                into.inuse = into.inuse.plus(sample.inuse);
                into.alloc = either(into.alloc, sample.alloc, Count::plus);
            }
        }
        self.samples.truncate(kept as usize);
    }

    /// The same in the form with whole stacks.
    pub(crate) fn into_profile(self) -> Profile {
        let sample = |counted: &Counted| Sample {
            stack: self.stack(counted).iter().map(|&number| self.addresses[number as usize]).collect(),
            inuse: counted.inuse,
            alloc: counted.alloc,
        };
        Profile {
            period_bytes: self.period_bytes,
            taken_unix_nanos: self.taken_unix_nanos,
            duration_nanos: self.duration_nanos,
            samples: self.samples.iter().map(sample).collect(),
            mappings: self.mappings,
            has_allocations: self.has_allocations,
            comments: self.comments,
        }
    }
}

impl From<Profile> for Compact {
    fn from(profile: Profile) -> Self {
        let mut compact = Self {
            period_bytes: profile.period_bytes,
            taken_unix_nanos: profile.taken_unix_nanos,
            duration_nanos: profile.duration_nanos,
            mappings: profile.mappings,
            has_allocations: profile.has_allocations,
            comments: profile.comments,
            ..Self::default()
        };
        compact.reserve(profile.samples.len(), profile.samples.iter().map(|sample| sample.stack.len()).sum());
        for sample in profile.samples {
            compact.push(&sample.stack, sample.inuse, sample.alloc);
        }
        compact
    }
}

/// The numbers of addresses: a hash table for half a million look-ups of some hundred addresses.
#[derive(Debug, Default)]
struct Numbers {
    /// Address and number; a power of two of them, half full at most.
    slots: Vec<(u64, u32)>,
}

impl Numbers {
    const NONE: u32 = u32::MAX;
    const SLOTS_MIN: usize = 1 << 10;

    /// The number of an address, which is added where it is new.
    #[inline]
    fn of(&mut self, address: u64, addresses: &mut Vec<u64>) -> u32 {
        let mask = self.slots.len().wrapping_sub(1);
        let mut slot = Self::first(address) & mask;
        while let Some(&(known, number)) = self.slots.get(slot) {
            if number == Self::NONE {
                break;
            }
            if known == address {
                return number;
            }
            slot = (slot + 1) & mask;
        }
        self.add(address, addresses)
    }

    #[cold]
    fn add(&mut self, address: u64, addresses: &mut Vec<u64>) -> u32 {
        let number = addresses.len() as u32;
        addresses.push(address);
        if addresses.len() * 2 > self.slots.len() {
            self.slots = vec![(0, Self::NONE); (addresses.len() * 4).next_power_of_two().max(Self::SLOTS_MIN)];
            for (number, &address) in addresses.iter().enumerate() {
                self.place(address, number as u32);
            }
        } else {
            self.place(address, number);
        }
        number
    }

    fn place(&mut self, address: u64, number: u32) {
        let mask = self.slots.len() - 1;
        let mut slot = Self::first(address) & mask;
        while self.slots[slot].1 != Self::NONE {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = (address, number);
    }

    fn first(address: u64) -> usize {
        (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
    }
}

/// The numbers are given in order of appearance: somebody who wants them to collide has to write the profile.
///
/// Four at a time, each with its own product: one after the other, half a million multiplications would wait for each other.
fn hash(stack: &[u32]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, number: u32| (hash.rotate_left(25) ^ u64::from(number)).wrapping_mul(ODD);
    let (fours, rest) = stack.as_chunks::<4>();
    let mut lanes = [ODD, !ODD, ODD >> 1, !ODD >> 1];
    for four in fours {
        lanes = std::array::from_fn(|lane| mix(lanes[lane], four[lane]));
    }
    let hash = rest.iter().fold(stack.len() as u64, |hash, &number| mix(hash, number));
    let hash = lanes.iter().fold(hash, |hash, lane| (hash.rotate_left(25) ^ lane).wrapping_mul(ODD));
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(stack: &[u64], bytes: f64, alloc: Option<f64>) -> Sample {
        let count = |bytes| Count { objects: 1.0, bytes, ..Count::default() };
        Sample { stack: stack.into(), inuse: count(bytes), alloc: alloc.map(count) }
    }

    #[test]
    fn nothing_is_lost_on_the_way_there_and_back() {
        let profile = Profile {
            period_bytes: 7,
            taken_unix_nanos: 8,
            duration_nanos: 9,
            has_allocations: true,
            comments: vec!["a line".to_owned()],
            mappings: vec![Mapping { filename: "/srv/shop".to_owned(), ..Mapping::default() }],
            samples: vec![
                sample(&[u64::MAX, 2, 0, 2], 1.0, None),
                sample(&[], 2.0, Some(3.0)),
                sample(&[2], 4.0, None),
            ],
        };
        let compact = Compact::from(profile.clone());
        assert_eq!(compact.return_addresses(), [u64::MAX, 2, 0]);
        assert_eq!(compact.addresses().collect::<Vec<_>>(), [u64::MAX - 1, 1, 0]);
        assert_eq!(compact.into_profile(), profile);
    }

    #[test]
    fn stacks_that_became_equal_add_up_in_order() {
        let samples = (0..1_000_u64).map(|index| sample(&[index, index % 7, 5], index as f64, Some(1.0))).collect();
        let mut compact = Compact::from(Profile { samples, ..Profile::default() });
        compact.drop_leaves(|_| 1);
        compact.merge_equal_stacks();
        let merged = compact.into_profile().samples;
        let sum = |rest: u64| (0..1_000).filter(|index| index % 7 == rest).sum::<u64>() as f64;
        let expected: Vec<_> = (0..7).map(|rest| (vec![rest, 5], sum(rest))).collect();
        assert_eq!(merged.iter().map(|s| (s.stack.to_vec(), s.inuse.bytes)).collect::<Vec<_>>(), expected);
        assert_eq!(merged.iter().filter_map(|s| s.alloc).map(|alloc| alloc.objects).sum::<f64>(), 1_000.0);
    }

    #[test]
    fn stacks_that_share_leaves_and_callers_with_the_one_before_are_what_they_were() {
        let stacks: [&[u64]; 9] =
            [&[1, 2, 3], &[1, 2, 3], &[1, 9, 3], &[1, 3], &[], &[3], &[3, 3], &[3, 3, 3, 1, 3, 3], &[3, 3, 3]];
        let samples: Vec<Sample> = stacks.iter().map(|stack| sample(stack, 1.0, None)).collect();
        let profile = Profile { samples, ..Profile::default() };
        let compact = Compact::from(profile.clone());
        assert_eq!(compact.return_addresses(), [1, 2, 3, 9]);
        assert_eq!(compact.into_profile(), profile);
    }

    #[test]
    fn more_frames_than_a_stack_has_leave_nothing_of_it() {
        let mut compact = Compact::from(Profile { samples: vec![sample(&[1, 2], 1.0, None)], ..Profile::default() });
        compact.drop_leaves(|stack| stack.len() + 3);
        compact.merge_equal_stacks();
        assert!(compact.into_profile().samples[0].stack.is_empty());
        Compact::default().merge_equal_stacks();
    }
}
