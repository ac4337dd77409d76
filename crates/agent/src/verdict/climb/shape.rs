//! Shapes of a rise: even or not, bent or not, and what has fallen.

use crate::history::Point;

/// Parts that a window is cut into.
const PARTS: usize = 8;

/// How a window rises, part by part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    /// Mean of the rises from part to part, in standard errors of it.
    pub(super) steadiness: f64,
    /// The largest rise from part to part, as a share of all.
    pub(super) largest_share: f64,
    /// Rise over the last third as a share of an even one, and over the first two.
    pub(super) late_share: f64,
    pub(super) early_share: f64,
    rises: usize,
}

impl Shape {
    pub(super) fn of(points: &[(f64, f64)], rate: f64) -> Self {
        let parts = PARTS.min(points.len() / 2).max(3);
        let middles = middles(points, parts);
        let rises: Vec<f64> = middles.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        let count = rises.len() as f64;
        let mean = rises.iter().sum::<f64>() / count;
        let variance = rises.iter().map(|rise| (rise - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let total = mean * count;
        let share = |from: usize, to: usize| {
            let even = rate * (middles[to].0 - middles[from].0);
            if even > 0.0 { (middles[to].1 - middles[from].1) / even } else { 0.0 }
        };
        let last = parts - 1;
        let third = (parts / 3).max(1);
        Self {
            steadiness: mean / (variance / count).sqrt().max(mean.abs() * 1e-9).max(f64::MIN_POSITIVE),
            largest_share: if total > 0.0 { rises.iter().copied().fold(0.0, f64::max) / total } else { 1.0 },
            late_share: share(last - third, last),
            early_share: share(0, last - third),
            rises: rises.len(),
        }
    }

    /// The share of each rise in a straight line.
    pub(super) fn even_share(&self) -> f64 {
        1.0 / self.rises as f64
    }
}

/// The middle of each of so many parts, which must not be more than the points.
pub(super) fn middles(points: &[(f64, f64)], parts: usize) -> Vec<(f64, f64)> {
    let part = |place: usize| &points[place * points.len() / parts..(place + 1) * points.len() / parts];
    (0..parts).map(|place| middle(part(place))).collect()
}

fn middle(points: &[(f64, f64)]) -> (f64, f64) {
    let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
    let place = values.len() / 2;
    let seconds = points.iter().map(|point| point.0).sum::<f64>() / points.len() as f64;
    (seconds, *values.select_nth_unstable_by(place, f64::total_cmp).1)
}

/// The most that values fell from any earlier one of the same life at most `within_seconds` before.
pub(super) fn largest_fall(points: &[Point], within_seconds: f64) -> f64 {
    // Peaks that may still matter, falling: the front is the highest in reach.
    let mut peaks: std::collections::VecDeque<Point> = std::collections::VecDeque::new();
    let mut fall: f64 = 0.0;
    for point in points {
        if peaks.back().is_some_and(|peak| peak.born_seconds != point.born_seconds) {
            peaks.clear();
        }
        while peaks.front().is_some_and(|peak| peak.seconds < point.seconds - within_seconds) {
            peaks.pop_front();
        }
        if let Some(peak) = peaks.front() {
            fall = fall.max(peak.bytes - point.bytes);
        }
        while peaks.back().is_some_and(|peak| peak.bytes <= point.bytes) {
            peaks.pop_back();
        }
        peaks.push_back(*point);
    }
    fall
}

/// The points as of one life: each life is moved to where the slope that they have in common puts it.
pub(super) fn joined(points: &[Point]) -> Vec<(f64, f64)> {
    let lives: Vec<&[Point]> = points.chunk_by(|a, b| a.born_seconds == b.born_seconds).collect();
    if lives.len() < 2 {
        return points.iter().map(|point| (point.seconds, point.bytes)).collect();
    }
    let mean = |life: &[Point], of: fn(&Point) -> f64| life.iter().map(of).sum::<f64>() / life.len() as f64;
    let (mut xy, mut xx) = (0.0, 0.0);
    for life in &lives {
        let (seconds, bytes) = (mean(life, |point| point.seconds), mean(life, |point| point.bytes));
        for point in *life {
            xy += (point.seconds - seconds) * (point.bytes - bytes);
            xx += (point.seconds - seconds).powi(2);
        }
    }
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    let newest = lives[lives.len() - 1];
    let anchor = mean(newest, |point| point.bytes) - slope * mean(newest, |point| point.seconds);
    lives
        .iter()
        .flat_map(|life| {
            let off = anchor + slope * mean(life, |point| point.seconds) - mean(life, |point| point.bytes);
            life.iter().map(move |point| (point.seconds, point.bytes + off))
        })
        .collect()
}

/// Where a line through the points bends, if a broken line explains them far better than a straight one: the index of
/// the first point after the bend, in the first half; else 0.
pub(super) fn bend(points: &[(f64, f64)]) -> usize {
    const GAIN_MIN: f64 = 0.35;
    /// Slopes this alike are one.
    const ALIKE: (f64, f64) = (0.6, 1.6);
    let count = points.len();
    if count < 8 {
        return 0;
    }
    let broken = Broken::of(points);
    let straight = broken.residual(0);
    let best = (2..count / 2).map(|place| (place, broken.residual(place))).min_by(|a, b| a.1.total_cmp(&b.1));
    let Some((place, residual)) = best else { return 0 };
    let ratio = plain_slope(&points[..=place]) / plain_slope(&points[place..]);
    if residual >= (1.0 - GAIN_MIN) * straight || (ALIKE.0..=ALIKE.1).contains(&ratio) { 0 } else { place }
}

/// Where the line that is best broken once bends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stop {
    /// What it leaves as a share of what a straight one leaves.
    pub(super) rest_share: f64,
    /// The slope after the bend as a share of that before.
    pub(super) slope_share: f64,
    /// The time since the bend as a share of all.
    pub(super) since_share: f64,
}

/// Whether the points stopped rising, as a cache that is full does.
pub(super) fn stop(points: &[(f64, f64)]) -> Stop {
    let none = Stop { rest_share: 1.0, slope_share: 1.0, since_share: 0.0 };
    let count = points.len();
    let broken = Broken::of(points);
    let straight = broken.residual(0).max(f64::MIN_POSITIVE);
    let bends = (2..count.saturating_sub(2)).map(|place| (place, broken.residual(place)));
    let Some((place, residual)) = bends.min_by(|a, b| a.1.total_cmp(&b.1)) else { return none };
    let slope_share = plain_slope(&points[place..]) / plain_slope(&points[..=place]);
    let span = points[count - 1].0 - points[0].0;
    Stop { rest_share: residual / straight, slope_share, since_share: (points[count - 1].0 - points[place].0) / span }
}

pub(super) fn plain_slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let seconds = points.iter().map(|point| point.0).sum::<f64>() / count;
    let bytes = points.iter().map(|point| point.1).sum::<f64>() / count;
    let (xy, xx) = points
        .iter()
        .fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + (x - seconds) * (y - bytes), xx + (x - seconds).powi(2)));
    xy / xx
}

/// When the points began to climb: where a broken line bends upwards, if that explains them far better; else the start.
pub(super) fn onset(points: &[Point]) -> f64 {
    const GAIN_MIN: f64 = 0.25;
    let joined = joined(points);
    let first = points[0].seconds;
    let count = joined.len();
    let broken = Broken::of(&joined);
    let straight = broken.residual(0);
    let bends = (2..count - count / 8 - 2).map(|place| (place, broken.residual(place)));
    let Some((place, residual)) = bends.min_by(|a, b| a.1.total_cmp(&b.1)) else { return first };
    if residual >= (1.0 - GAIN_MIN) * straight {
        return first;
    }
    let (before, after) = (plain_slope(&joined[..=place]), plain_slope(&joined[place..]));
    if before < 0.5 * after { points[place].seconds } else { first }
}

/// Sums over the points from each place on: what lines that bend there are fitted from.
struct Broken {
    /// Of 1, x, x², y and xy, where x is 0 and y is 0 at the newest point.
    sums: Vec<[f64; 5]>,
    xs: Vec<f64>,
    yy: f64,
}

impl Broken {
    fn of(points: &[(f64, f64)]) -> Self {
        let origin = points[points.len() - 1];
        let scale = (origin.0 - points[0].0).max(1.0);
        let mut sums = vec![[0.0; 5]; points.len()];
        let (mut sum, mut yy) = ([0.0; 5], 0.0);
        let xs: Vec<f64> = points.iter().map(|point| (point.0 - origin.0) / scale).collect();
        for (place, (point, x)) in points.iter().zip(&xs).enumerate().rev() {
            let y = point.1 - origin.1;
            sum.iter_mut().zip([1.0, *x, x * x, y, x * y]).for_each(|(sum, value)| *sum += value);
            sums[place] = sum;
            yy += y * y;
        }
        Self { sums, xs, yy }
    }

    /// Sum of squares around the best continuous line that bends at the point at `place`; at 0, around a straight one.
    fn residual(&self, place: usize) -> f64 {
        let [n, x, xx, y, xy] = self.sums[0];
        let [bent_n, bent_x, bent_xx, bent_y, bent_xy] = self.sums[place];
        let bend = self.xs[place];
        let (h, xh, hy) = (bent_x - bend * bent_n, bent_xx - bend * bent_x, bent_xy - bend * bent_y);
        let hh = bent_xx - bend * (2.0 * bent_x - bend * bent_n);
        let mut s = [[n, x, h, y], [x, xx, xh, xy], [h, xh, hh, hy]];
        if place == 0 {
            s[2] = [0.0, 0.0, 1.0, 0.0];
            s[0][2] = 0.0;
            s[1][2] = 0.0;
        }
        let right = [s[0][3], s[1][3], s[2][3]];
        for i in 0..3 {
            for k in i + 1..3 {
                if s[i][i].abs() < f64::MIN_POSITIVE {
                    return self.yy;
                }
                let pivot = s[i];
                let factor = s[k][i] / pivot[i];
                s[k].iter_mut().zip(pivot).skip(i).for_each(|(value, above)| *value -= factor * above);
            }
        }
        let mut x = [0.0; 3];
        for i in (0..3).rev() {
            let sum: f64 = (i + 1..3).map(|j| s[i][j] * x[j]).sum();
            x[i] = if s[i][i].abs() < 1e-12 { 0.0 } else { (s[i][3] - sum) / s[i][i] };
        }
        (self.yy - x.iter().zip(right).map(|(x, b)| x * b).sum::<f64>()).max(0.0)
    }
}
