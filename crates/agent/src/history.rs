//! What memory was, from seconds to weeks, in fixed memory.
//!
//! Four tiers of buckets. A bucket keeps, of each series, its *floor* (the least value: live bytes under load swing by
//! the work in hand, and the floor is what stays) and its *middle* (the median, for noise that is heavy-tailed; of a
//! coarser bucket the median of the finer ones' middles, after Rousseeuw and Bassett's remedian, 1990). A bucket knows
//! the birth of the process that it was seen in: a value far below all that a life has shown is a new life.
//! Where the host says what it has in hand and memory follows that, it is taken off when the history is read
//! ([`work`]), so that a better coefficient redraws the past.

mod clock;
mod life;
pub mod work;

use std::collections::VecDeque;
use std::mem::size_of;

use clock::Clock;
use life::Life;
use work::{Proportion, Sums};

/// Width and number of the buckets of each tier: two hours of 10 s, a day of 1 min, a week of 10 min, six weeks of 1 h.
pub const TIERS: [(f64, usize); 4] = [(10.0, 720), (60.0, 1_440), (600.0, 1_008), (3_600.0, 1_008)];

/// Middles of the finer tier that wait for a coarser bucket's median; or of observations, for the finest tier.
const PENDING_MAX: usize = 64;

/// What the history occupies at most, in bytes.
pub const MEMORY_BYTES: usize = (TIERS[0].1 + TIERS[1].1 + TIERS[2].1 + TIERS[3].1) * size_of::<Bucket>()
    + TIERS.len() * PENDING_MAX * size_of::<[Middle; 4]>()
    + size_of::<History>();

/// A series of the history, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// Allocated by the program and not freed.
    Live,
    /// Held by the allocator in pages in use, beyond what is live: active less allocated.
    Slack,
    /// Resident without the allocator's knowledge: RSS less the allocator's resident pages.
    Outside,
    /// Resident memory.
    Rss,
}

/// What of a bucket is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// Its least value.
    Floor,
    /// Its median.
    Middle,
}

/// One look at the process. What was not looked at is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observation {
    /// Seconds since the start of the process, or of a trace. A clock that was set back goes on from where it was.
    pub seconds: f64,
    /// [`Series::Live`].
    pub live_bytes: Option<i64>,
    /// [`Series::Slack`].
    pub slack_bytes: Option<i64>,
    /// [`Series::Outside`].
    pub outside_bytes: Option<i64>,
    /// [`Series::Rss`].
    pub rss_bytes: Option<i64>,
    /// Pieces of work in flight.
    pub in_flight: Option<u64>,
}

/// A value of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The middle of the bucket, in the history's time.
    pub seconds: f64,
    /// Its value without the work in flight.
    pub bytes: f64,
    /// When the process was born, in the history's time: equal for points of one life.
    pub born_seconds: f64,
}

/// Both values of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The middle of the bucket, in the history's time.
    pub seconds: f64,
    /// When the process was born.
    pub born_seconds: f64,
    /// The median, without the work in flight.
    pub middle: f64,
    /// The least value, or the median where the work in flight is known.
    pub floor: f64,
}

/// One stretch of time. NaN where nothing was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    index: u64,
    born_seconds: f64,
    looks: u32,
    floors: [f64; 4],
    middles: [Middle; 4],
}

/// A median and the work in flight when it was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Middle {
    bytes: f64,
    work: f64,
}

const UNSEEN: Middle = Middle { bytes: f64::NAN, work: f64::NAN };

/// Observations by time, newest last.
#[derive(Debug, Clone)]
pub struct History {
    tiers: [Tier; TIERS.len()],
    work: [Sums; TIERS.len()],
    proportions: [Option<Proportion>; 4],
    life: Life,
    clock: Clock,
    first_seconds: Option<f64>,
}

#[derive(Debug, Clone)]
struct Tier {
    width_seconds: f64,
    buckets_max: usize,
    closed: VecDeque<Bucket>,
    /// Buckets ever closed.
    closed_total: u64,
    open: Option<Bucket>,
    /// Of the open bucket, each series' middles so far.
    pending: Vec<[Middle; 4]>,
}

impl History {
    /// Empty, with all its memory reserved.
    pub fn new() -> Self {
        Self {
            tiers: TIERS.map(|(width_seconds, buckets_max)| Tier {
                width_seconds,
                buckets_max,
                closed: VecDeque::with_capacity(buckets_max),
                closed_total: 0,
                open: None,
                pending: Vec::with_capacity(PENDING_MAX),
            }),
            work: TIERS.map(|_| Sums::default()),
            proportions: [None; 4],
            life: Life::default(),
            clock: Clock::default(),
            first_seconds: None,
        }
    }

    /// Takes an observation in. Returns whether a bucket of the finest tier was completed by it, so that there is
    /// something new to judge. An observation out of order is ignored.
    pub fn observe(&mut self, observation: &Observation) -> bool {
        let Some(seconds) = self.clock.read(observation.seconds) else { return false };
        self.first_seconds.get_or_insert(seconds);
        let values =
            [observation.live_bytes, observation.slack_bytes, observation.outside_bytes, observation.rss_bytes]
                .map(|value| value.map_or(f64::NAN, |bytes| bytes as f64));
        let born_seconds = self.life.observe(seconds, &values);
        let work = observation.in_flight.map_or(f64::NAN, |count| count as f64);
        let bucket = Bucket {
            index: (seconds / self.tiers[0].width_seconds) as u64,
            born_seconds,
            looks: 1,
            floors: values,
            middles: values.map(|bytes| Middle { bytes, work }),
        };
        let mut complete = false;
        if let Some(closed) = self.tiers[0].merge(bucket, &self.proportions) {
            self.take_closed(closed);
            complete = true;
        }
        // Where looks are as far apart as buckets are wide, waiting for the next one would only be late.
        let lone = self.clock.interval_seconds >= self.tiers[0].width_seconds;
        if let Some(closed) = if lone { self.tiers[0].close(&self.proportions) } else { None } {
            self.take_closed(closed);
            complete = true;
        }
        complete
    }

    /// The history's own time of the newest observation: that of the observations until a clock is set back.
    pub fn now_seconds(&self) -> f64 {
        self.clock.last_seconds
    }

    /// The time between the last two observations.
    pub fn interval_seconds(&self) -> f64 {
        self.clock.interval_seconds
    }

    /// When the first observation was made; `None` before it.
    pub fn first_seconds(&self) -> Option<f64> {
        self.first_seconds
    }

    /// Completed buckets' values of a series in `tier` (an index into [`TIERS`]), oldest first, at or after
    /// `since_seconds`.
    pub fn points(
        &self,
        tier: usize,
        series: Series,
        statistic: Statistic,
        since_seconds: f64,
    ) -> impl DoubleEndedIterator<Item = Point> {
        let Tier { width_seconds, closed, .. } = &self.tiers[tier];
        let start = self.tiers[tier].place_of(since_seconds);
        let proportion = self.proportions[series as usize];
        closed.range(start..).filter_map(move |bucket| {
            let bytes = bucket.value(series, statistic, proportion);
            let seconds = (bucket.index as f64 + 0.5) * width_seconds;
            (!bytes.is_nan()).then_some(Point { seconds, bytes, born_seconds: bucket.born_seconds })
        })
    }

    /// How many buckets of `tier` were completed so far.
    pub fn completed(&self, tier: usize) -> u64 {
        self.tiers[tier].closed_total
    }

    /// How many of them were before the first that is still held and is not before `since_seconds`.
    pub fn completed_before(&self, tier: usize, since_seconds: f64) -> u64 {
        let tier = &self.tiers[tier];
        tier.closed_total - (tier.closed.len() - tier.place_of(since_seconds)) as u64
    }

    /// Median and floor of a series in each bucket of `tier` that was completed after the first `before`, oldest first, as
    /// far as they are still held.
    pub fn pairs_after(&self, tier: usize, series: Series, before: u64) -> impl Iterator<Item = Pair> {
        let Tier { width_seconds, closed, closed_total, .. } = &self.tiers[tier];
        let wanted = usize::try_from(closed_total.saturating_sub(before)).unwrap_or(usize::MAX);
        let proportion = self.proportions[series as usize];
        closed.range(closed.len().saturating_sub(wanted)..).filter_map(move |bucket| {
            let middle = bucket.value(series, Statistic::Middle, proportion);
            let floor = bucket.value(series, Statistic::Floor, proportion);
            let seconds = (bucket.index as f64 + 0.5) * width_seconds;
            let born_seconds = bucket.born_seconds;
            (!middle.is_nan() && !floor.is_nan()).then_some(Pair { seconds, born_seconds, middle, floor })
        })
    }

    /// The most that a series can have risen in `tier` since `since_seconds`: a few of the newest values against a few
    /// then, floors or medians. Infinite where that was another life. Much cheaper than to look at all of them, and where
    /// `before` is what it was left as for an earlier time, there is nothing to search.
    pub fn rise_bytes(&self, tier: usize, series: Series, since_seconds: f64, before: &mut u64) -> f64 {
        const NEIGHBOURS: usize = 4;
        let tier = &self.tiers[tier];
        let Some(newest) = tier.closed.back() else { return f64::NEG_INFINITY };
        let proportion = self.proportions[series as usize];
        let start = tier.place_near(since_seconds, *before);
        *before = tier.closed_total - (tier.closed.len() - start) as u64;
        let mut low = [f64::INFINITY; 2];
        let mut high = [f64::NEG_INFINITY; 2];
        for bucket in tier.closed.range(start..).take(NEIGHBOURS) {
            if bucket.born_seconds != newest.born_seconds {
                return f64::INFINITY;
            }
            low[0] = low[0].min(bucket.value(series, Statistic::Middle, proportion));
            low[1] = low[1].min(bucket.value(series, Statistic::Floor, proportion));
        }
        for bucket in tier.closed.iter().rev().take(NEIGHBOURS) {
            high[0] = high[0].max(bucket.value(series, Statistic::Middle, proportion));
            high[1] = high[1].max(bucket.value(series, Statistic::Floor, proportion));
        }
        (high[0] - low[0]).max(high[1] - low[1])
    }

    /// [`History::points`] as seconds and bytes of floors.
    pub fn floors(&self, tier: usize, series: Series, since_seconds: f64) -> impl Iterator<Item = (f64, f64)> {
        self.points(tier, series, Statistic::Floor, since_seconds).map(|point| (point.seconds, point.bytes))
    }

    /// Looks in the newest complete bucket of the finest tier.
    pub fn looks_per_floor(&self) -> u32 {
        self.tiers[0].closed.back().map_or(0, |bucket| bucket.looks)
    }

    /// The newest floor: of the last completed bucket of the finest tier, or of the first one while it fills.
    pub fn floor_bytes(&self, series: Series) -> Option<i64> {
        let finest = &self.tiers[0];
        let bucket = finest.closed.back().or(finest.open.as_ref())?;
        let floor = bucket.floors[series as usize];
        (!floor.is_nan()).then_some(floor as i64)
    }

    /// Bytes that a piece of work in flight holds, where memory was seen to follow it.
    pub fn bytes_per_work(&self, series: Series) -> Option<f64> {
        self.proportions[series as usize].map(|proportion| proportion.bytes)
    }

    fn take_closed(&mut self, bucket: Bucket) {
        self.life.settle(&bucket, self.tiers[0].width_seconds);
        self.cascade(bucket);
    }

    /// Whether there is work in flight of which it is not known yet what it holds.
    pub fn is_learning(&self, series: Series) -> bool {
        self.work[0].is_open(series as usize)
    }

    /// Passes a completed bucket on to the coarser tiers, and learns from it.
    fn cascade(&mut self, mut bucket: Bucket) {
        for tier in 0..TIERS.len() {
            self.learn(tier, &bucket);
            let Some(coarser) = self.tiers.get_mut(tier + 1) else { return };
            let scale = (TIERS[tier + 1].0 / TIERS[tier].0).round() as u64;
            let closed = coarser.merge(Bucket { index: bucket.index / scale, ..bucket }, &self.proportions);
            let Some(closed) = closed else { return };
            bucket = closed;
        }
    }

    fn learn(&mut self, tier: usize, bucket: &Bucket) {
        let closed = &self.tiers[tier].closed;
        let before = closed.len().checked_sub(2).and_then(|place| closed.get(place));
        let Some(before) = before.filter(|before| before.born_seconds == bucket.born_seconds) else { return };
        let at = |middle: &Middle| (middle.work, middle.bytes);
        for series in [Series::Live, Series::Rss] {
            let series = series as usize;
            let changed = self.work[tier].add(series, at(&before.middles[series]), at(&bucket.middles[series]));
            if changed && tier > 0 {
                let found = self.work.iter().filter_map(|sums| sums.proportion(series));
                let best = found.max_by(|a, b| a.certainty.total_cmp(&b.certainty));
                if let Some(best) = best {
                    let held = self.proportions[series];
                    // A held one moves only as far as the evidence clearly does.
                    if held.is_none_or(|held| (held.bytes - best.bytes).abs() > 2.0 * best.bytes.abs() / best.certainty)
                    {
                        self.proportions[series] = Some(best);
                    }
                }
            }
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl Tier {
    /// The first closed bucket whose middle is at or after `seconds`.
    fn place_of(&self, seconds: f64) -> usize {
        let before = |bucket: &Bucket| (bucket.index as f64 + 0.5) * self.width_seconds < seconds;
        let Some(newest) = self.closed.back() else { return 0 };
        // Where buckets are evenly apart it is as far from the end as it is old; else it is near.
        let oldest = self.closed[0].index;
        let apart = (newest.index - oldest) as f64 / (self.closed.len() - 1).max(1) as f64;
        let age = (newest.index as f64 + 0.5) - seconds / self.width_seconds;
        let guess = self.closed.len().saturating_sub(1 + (age / apart.max(1.0)).max(0.0) as usize);
        let is_first = |place: usize| {
            self.closed.get(place).is_some_and(|bucket| !before(bucket))
                && (place == 0 || before(&self.closed[place - 1]))
        };
        let near = [guess, guess.saturating_sub(1), guess + 1].into_iter().find(|place| is_first(*place));
        near.unwrap_or_else(|| self.closed.partition_point(before))
    }

    /// The same, looked for a few places on from where `before` buckets were completed.
    fn place_near(&self, seconds: f64, before: u64) -> usize {
        const STEPS_MAX: usize = 16;
        let unheld = self.closed_total - self.closed.len() as u64;
        let is_before = |bucket: &Bucket| (bucket.index as f64 + 0.5) * self.width_seconds < seconds;
        let start = before.checked_sub(unheld).and_then(|place| usize::try_from(place).ok());
        let known = start.filter(|start| *start > 0 && self.closed.get(start - 1).is_some_and(is_before));
        let near = known.and_then(|start| {
            (start..start + STEPS_MAX).find(|place| self.closed.get(*place).is_none_or(|bucket| !is_before(bucket)))
        });
        near.unwrap_or_else(|| self.place_of(seconds))
    }

    /// Takes a finer bucket in, and returns the one that it completes.
    fn merge(&mut self, finer: Bucket, proportions: &[Option<Proportion>; 4]) -> Option<Bucket> {
        let mut completed = None;
        match &mut self.open {
            Some(open) if open.index == finer.index && open.born_seconds == finer.born_seconds => {
                open.looks = open.looks.saturating_add(finer.looks);
                for (floor, value) in open.floors.iter_mut().zip(finer.floors) {
                    *floor = floor.min(value);
                }
            }
            _ => {
                completed = self.close(proportions);
                self.open = Some(finer);
            }
        }
        if self.pending.len() < PENDING_MAX {
            self.pending.push(finer.middles);
        }
        completed
    }
}

impl Tier {
    /// Completes the open bucket.
    fn close(&mut self, proportions: &[Option<Proportion>; 4]) -> Option<Bucket> {
        let mut done = self.open.take()?;
        done.middles = medians(&mut self.pending, proportions);
        self.pending.clear();
        if self.closed.len() == self.buckets_max {
            self.closed.pop_front();
        }
        self.closed.push_back(done);
        self.closed_total += 1;
        Some(done)
    }
}

impl Bucket {
    fn value(&self, series: Series, statistic: Statistic, proportion: Option<Proportion>) -> f64 {
        let middle = self.middles[series as usize];
        match proportion {
            Some(proportion) if !middle.work.is_nan() => middle.bytes - proportion.bytes * middle.work,
            _ if statistic == Statistic::Middle => middle.bytes,
            _ => self.floors[series as usize],
        }
    }
}

/// Of each series the median by its value without the work in flight.
fn medians(pending: &mut [[Middle; 4]], proportions: &[Option<Proportion>; 4]) -> [Middle; 4] {
    if let [only] = pending {
        return *only;
    }
    let mut medians = [UNSEEN; 4];
    for (series, median) in medians.iter_mut().enumerate() {
        let rate = proportions[series].map_or(0.0, |proportion| proportion.bytes);
        let own = |middle: &Middle| if rate == 0.0 { middle.bytes } else { middle.bytes - rate * middle.work };
        let key = |middles: &[Middle; 4]| {
            let own = own(&middles[series]);
            if own.is_nan() { f64::INFINITY } else { own }
        };
        let seen = pending.iter().filter(|middles| !own(&middles[series]).is_nan()).count();
        if seen > 0 {
            let (_, middle, _) = pending.select_nth_unstable_by(seen / 2, |a, b| key(a).total_cmp(&key(b)));
            *median = middle[series];
        }
    }
    medians
}

#[cfg(test)]
mod tests;
