//! A stretch of history cut into equal blocks, one value each.

use crate::history::{History, Pair, Point, Series, Statistic, TIERS};

/// What to read of a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// The series.
    pub series: Series,
    /// Blocks of floors or of medians.
    pub statistic: Statistic,
    /// Width of a block.
    pub block_seconds: f64,
}

/// The blocks from `since_seconds` on, oldest first; a block without data is absent, and so is what a life shows in its
/// first `skip_seconds`. Blocks begin at whole multiples of their width, and a life begins a new one.
pub fn blocks(history: &History, view: View, since_seconds: f64, skip_seconds: f64) -> Vec<Point> {
    let tier = TIERS.iter().rposition(|(width, _)| *width <= view.block_seconds).unwrap_or(0);
    let points = history.points(tier, view.series, view.statistic, since_seconds);
    let mut blocks = Vec::with_capacity(160);
    let mut gathered: Vec<Point> = Vec::with_capacity(32);
    let mut gathered_at = (0, 0.0);
    for point in points.filter(|point| point.seconds - point.born_seconds >= skip_seconds) {
        // Seconds are positive: rounding towards zero is rounding down, and needs no call.
        let at = ((point.seconds / view.block_seconds) as i64, point.born_seconds);
        if at != gathered_at {
            blocks.extend(one(&mut gathered, view.statistic));
            gathered.clear();
            gathered_at = at;
        }
        gathered.push(point);
    }
    blocks.extend(one(&mut gathered, view.statistic));
    blocks
}

fn one(points: &mut [Point], statistic: Statistic) -> Option<Point> {
    let first = *points.first()?;
    let seconds = f64::midpoint(first.seconds, points[points.len() - 1].seconds);
    let bytes = match statistic {
        Statistic::Floor => points.iter().map(|point| point.bytes).fold(f64::INFINITY, f64::min),
        Statistic::Middle => {
            let middle = points.len() / 2;
            points.select_nth_unstable_by(middle, |a, b| a.bytes.total_cmp(&b.bytes)).1.bytes
        }
    };
    Some(Point { seconds, bytes, ..first })
}

/// Blocks of medians and floors that are kept from look to look, so that only what is new is read.
#[derive(Debug, Clone)]
pub struct Reel {
    series: Series,
    tier: usize,
    block_seconds: f64,
    /// What a life shows in its first seconds is left out.
    skip_seconds: f64,
    /// Buckets of the tier that were read.
    read: u64,
    bytes_per_work: Option<f64>,
    /// The block that the newest buckets are in.
    open: Open,
}

/// A block that may still grow.
#[derive(Debug, Clone, Default)]
struct Open {
    place: i64,
    born_seconds: f64,
    first_seconds: f64,
    last_seconds: f64,
    floor: f64,
    middles: Vec<f64>,
}

impl Reel {
    /// Nothing was read yet.
    pub fn new(series: Series, block_seconds: f64, skip_seconds: f64) -> Self {
        let tier = TIERS.iter().rposition(|(width, _)| *width <= block_seconds).unwrap_or(0);
        let open = Open::default();
        Self { series, tier, block_seconds, skip_seconds, read: 0, bytes_per_work: None, open }
    }

    /// Whether blocks that were handed on hold. Where too much was missed, or the past was drawn anew, they do not, and
    /// [`Reel::read`] begins with the first bucket after `since_seconds`.
    pub fn holds(&mut self, history: &History, since_seconds: f64) -> bool {
        let from = history.completed_before(self.tier, since_seconds);
        let bytes_per_work = history.bytes_per_work(self.series);
        let holds = self.read >= from && self.bytes_per_work == bytes_per_work;
        if !holds {
            self.open.middles.clear();
            self.read = from;
            self.bytes_per_work = bytes_per_work;
        }
        holds
    }

    /// Hands on every block that was completed since the last time.
    pub fn read(&mut self, history: &History, mut take: impl FnMut(Pair)) {
        for pair in history.pairs_after(self.tier, self.series, self.read) {
            if pair.seconds - pair.born_seconds >= self.skip_seconds {
                // Seconds are positive: rounding towards zero is rounding down, and needs no call.
                let place = (pair.seconds / self.block_seconds) as i64;
                if self.open.place != place || self.open.born_seconds != pair.born_seconds {
                    self.open.block().into_iter().for_each(&mut take);
                    self.open.begin(place, &pair);
                }
                self.open.add(&pair);
            }
        }
        self.read = history.completed(self.tier);
    }

    /// The block that may still grow, as it is now.
    pub fn newest(&mut self) -> Option<Pair> {
        self.open.block()
    }
}

impl Open {
    fn begin(&mut self, place: i64, pair: &Pair) {
        (self.place, self.born_seconds, self.first_seconds) = (place, pair.born_seconds, pair.seconds);
        self.floor = f64::INFINITY;
        self.middles.clear();
    }

    fn add(&mut self, pair: &Pair) {
        // After what was read before was forgotten, the block is begun already.
        if self.middles.is_empty() {
            (self.first_seconds, self.floor) = (pair.seconds, f64::INFINITY);
        }
        self.last_seconds = pair.seconds;
        self.floor = self.floor.min(pair.floor);
        self.middles.push(pair.middle);
    }

    fn block(&mut self) -> Option<Pair> {
        let middle = self.middles.len() / 2;
        let (_, middle, _) =
            (!self.middles.is_empty()).then(|| self.middles.select_nth_unstable_by(middle, f64::total_cmp))?;
        Some(Pair {
            seconds: f64::midpoint(self.first_seconds, self.last_seconds),
            born_seconds: self.born_seconds,
            middle: *middle,
            floor: self.floor,
        })
    }
}

/// The least of each block and the `width - 1` before it of the same life.
pub fn longer_floors(blocks: &[Point], width: usize) -> Vec<Point> {
    // Of one, two, four … and then of two stretches that overlap or touch.
    let mut least: Vec<f64> = blocks.iter().map(|block| block.bytes).collect();
    let mut reach = 1;
    while reach < width {
        let further = reach.min(width - reach);
        for place in (further..least.len()).rev() {
            least[place] = least[place].min(least[place - further]);
        }
        reach += further;
    }
    let whole = blocks.iter().zip(least).enumerate().skip(width - 1);
    whole
        .filter(|(place, (block, _))| blocks[place + 1 - width].born_seconds == block.born_seconds)
        .map(|(_, (block, bytes))| Point { bytes, ..*block })
        .collect()
}
