//! What call sites hold at a moment, and how sure that is.

use std::collections::HashMap;

use crate::profile::model::{Count, Profile};

/// Objects of so many periods and more are large: each is sampled as good as for sure.
const LARGE_PERIODS: f64 = 4.0;
/// The assumed period of a profile that does not say it, bytes.
const PERIOD_BYTES_DEFAULT: u64 = 512 << 10;

/// What a site holds at one moment: estimates, and the variance of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) bytes: f64,
    pub(super) objects: f64,
    pub(super) variance: f64,
    /// Of these, what stacks hold whose objects are large: to seven digits, since memory is short here.
    pub(super) large_bytes: f32,
    pub(super) large_objects: f32,
    /// Of what was ever allocated, where that is counted: bytes, and their variance.
    pub(super) alloc: Option<(f64, f64)>,
    /// Bytes squared that one more sample would have added.
    pub(super) sample_variance: f64,
}

/// All sites at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) seconds: f64,
    /// All that lives, where the allocator says it.
    pub(super) live_bytes: Option<u64>,
    held: HashMap<u32, Held>,
    /// What the sites do not count, having been allocated only just before.
    pub(super) young: Held,
    /// The sites count less than what lived then: the heap's own account says nothing of what they miss.
    pub(super) is_part: bool,
}

impl Held {
    /// All samples of a profile together.
    pub(crate) fn of_all(profile: &Profile) -> Held {
        let mut all = Held::default();
        for sample in &profile.samples {
            all.add(sample.inuse, None, profile.period_bytes);
        }
        all
    }

    pub(super) fn add(&mut self, inuse: Count, alloc: Option<Count>, period_bytes: u64) {
        let sampled = variance_of(inuse, period_bytes);
        let large_bytes = LARGE_PERIODS * period(period_bytes);
        self.bytes += inuse.bytes;
        self.objects += inuse.objects;
        self.variance += sampled;
        if inuse.objects > 0.0 && inuse.bytes / inuse.objects >= large_bytes {
            self.large_bytes += inuse.bytes as f32;
            self.large_objects += inuse.objects as f32;
        }
        if let Some(alloc) = alloc {
            let (bytes, variance) = self.alloc.unwrap_or_default();
            self.alloc = Some((bytes + alloc.bytes, variance + variance_of(alloc, period_bytes)));
        }
        if inuse.bytes > 0.0 && sampled > 0.0 {
            let of_one = variance_by(inuse, period_bytes) * sample_share(inuse, period_bytes);
            self.sample_variance = self.sample_variance.max(of_one);
        }
    }

    /// Where what was ever allocated cannot be compared.
    pub(super) fn forget_allocations(&mut self) {
        self.alloc = None;
    }

    /// What is left without a part of it.
    pub(super) fn without(self, part: Held) -> Held {
        Held {
            bytes: (self.bytes - part.bytes).max(0.0),
            objects: (self.objects - part.objects).max(0.0),
            variance: (self.variance - part.variance).max(0.0),
            ..self
        }
    }

    pub(super) fn mean_bytes(self) -> f64 {
        if self.objects > 0.0 { self.bytes / self.objects } else { 0.0 }
    }
}

impl Moment {
    pub(crate) fn new(seconds: f64, live_bytes: Option<u64>, held: HashMap<u32, Held>) -> Moment {
        Moment { seconds, live_bytes, held, young: Held::default(), is_part: false }
    }

    /// Of sites that count only what has lived for a while: `all` is everything that lives.
    pub(crate) fn of_survivors(self, all: Held) -> Moment {
        let counted = self.held.values().fold(Held::default(), |sum, held| Held {
            bytes: sum.bytes + held.bytes,
            objects: sum.objects + held.objects,
            variance: sum.variance + held.variance,
            ..sum
        });
        Moment { young: all.without(counted), ..self }
    }

    /// The same moment, of which only so much counts.
    pub(crate) fn still(&self, held: HashMap<u32, Held>) -> Moment {
        Moment { held, is_part: true, ..*self }
    }

    pub(super) fn of(&self, site: u32) -> Held {
        self.held.get(&site).copied().unwrap_or_default()
    }

    pub(super) fn sites(&self) -> impl Iterator<Item = u32> {
        self.held.keys().copied()
    }

    pub(super) fn sum(&self, of: impl Fn(&Held) -> f64) -> f64 {
        self.held.values().map(of).sum()
    }

    /// About the memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Moment>() + self.held.capacity() * (size_of::<(u32, Held)>() + 1)
    }
}

fn period(period_bytes: u64) -> f64 {
    if period_bytes <= 1 { PERIOD_BYTES_DEFAULT as f64 } else { period_bytes as f64 }
}

fn variance_of(count: Count, period_bytes: u64) -> f64 {
    count.variance.unwrap_or_else(|| variance_by(count, period_bytes))
}

/// See [`growth`](super::growth).
fn variance_by(count: Count, period_bytes: u64) -> f64 {
    let period = period(period_bytes);
    let bytes = count.bytes.abs();
    if count.objects.abs() < f64::MIN_POSITIVE {
        return bytes * period;
    }
    let mean = bytes / count.objects.abs();
    let exponent = (mean / period).exp_m1();
    if exponent > 0.0 { bytes * mean / exponent } else { bytes * period }
}

/// One sample's share of a count's variance.
fn sample_share(count: Count, period_bytes: u64) -> f64 {
    (1.0 / count.sampled(period_bytes).objects.max(1.0)).min(1.0)
}
