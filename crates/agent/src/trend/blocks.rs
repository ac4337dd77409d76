//! A stretch of history cut into equal blocks, one value each.

use crate::history::{History, Point, Series, Statistic, TIERS};

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

/// The least of each block and the `width - 1` before it of the same life.
pub fn longer_floors(blocks: &[Point], width: usize) -> Vec<Point> {
    let mut floors = Vec::with_capacity(blocks.len());
    for (place, block) in blocks.iter().enumerate() {
        let Some(first) = (place + 1).checked_sub(width) else { continue };
        let stretch = &blocks[first..=place];
        if stretch[0].born_seconds == block.born_seconds {
            let bytes = stretch.iter().map(|point| point.bytes).fold(f64::INFINITY, f64::min);
            floors.push(Point { bytes, ..*block });
        }
    }
    floors
}
