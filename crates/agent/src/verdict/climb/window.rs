//! One look at a window: whether what it shows is a climb.

use super::falls::Falls;
use super::plain;
use super::shape::{self, Shape};
use super::signs::{Rise, Signs};
use super::weights;
use crate::history::{History, Pair, Point, Series, Statistic, TIERS};
use crate::trend::blocks::{Reel, View, blocks, longer_floors};
use crate::trend::structure::structure;
use crate::trend::{Estimate, estimate};

/// A window and what it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Its length.
    pub(super) seconds: f64,
    /// What the series must have gained in it to be weighed, as a share of the limit.
    rise_share: f64,
    /// The limit must be this near at that slope: of a rocket from where memory is, else from nothing.
    limit_seconds: f64,
    /// Part of the window that must hold data.
    coverage: f64,
    /// Where three times what it takes was gained, shorter windows tell as much, and only every fourth is looked at.
    is_between: bool,
}

const HOUR: f64 = 3_600.0;

/// Shortest first. The first tells rockets.
pub(super) const LOOKS: [Look; 1 + SLOW_LOOKS] = {
    let mut looks = [slow(SLOW_SECONDS_MIN); 1 + SLOW_LOOKS];
    looks[0] = Look { seconds: 480.0, rise_share: 0.011, limit_seconds: 4.4 * HOUR, coverage: 0.94, is_between: false };
    let mut place = 2;
    while place < looks.len() {
        looks[place] = slow(SLOW_RATIO * looks[place - 1].seconds);
        looks[place].is_between = !(place + 1).is_multiple_of(4);
        place += 1;
    }
    looks
};

/// Windows of the patient tier: so close that one of them is nearly as long as the climb is old.
const SLOW_LOOKS: usize = 33;
const SLOW_SECONDS_MIN: f64 = 1_200.0;
const SLOW_RATIO: f64 = 1.189_207;

/// See [`Look::rise_share`].
const SLOW_RISE_SHARE: f64 = 0.0375;

/// The longest window.
pub(super) const SECONDS_MAX: f64 = LOOKS[SLOW_LOOKS].seconds;

const fn slow(seconds: f64) -> Look {
    Look { seconds, rise_share: SLOW_RISE_SHARE, limit_seconds: 30.0 * 86_400.0, coverage: 0.55, is_between: false }
}

/// Points that a rocket's window must hold, and any other.
const POINTS_MIN: (usize, usize) = (6, 8);

/// Blocks of a window.
const BLOCKS: f64 = 48.0;

/// What lies before a window is looked at, too: this many times its length, itself included.
const CONTEXT: f64 = 3.0;

/// The rise in standard deviations of the noise around it, below which nothing is weighed.
const NOISE_MULTIPLE_MIN: f64 = 5.0;

/// The rise in multiples of the largest fall within two windows' length, in the last day or twelve windows.
const FALL_MULTIPLE_MIN: f64 = 1.2;
const FALL_SECONDS: (f64, f64) = (26.0 * HOUR, 7.0 * 86_400.0);

/// Falls are looked for in parts of a window.
const PARTS_A_FALL: f64 = 12.0;

/// A slope over a window is no more than this multiple of what was gained from its start to its end.
const SLOPE_OF_GAIN_MAX: f64 = 2.0;

/// A line from a bend on shows no more than this multiple of the plain one's rise.
const LINE_OF_PLAIN_MAX: f64 = 2.0;

/// Part of the rise that the plain line must show.
const LINE_SHARE_MIN: f64 = 0.5;

/// The plain slope counts up to this multiple of the one that allows for a warm-up, which takes part of any young climb.
const PLAIN_MULTIPLE_MAX: f64 = 2.0;

/// What a rocket's slope is uncertain by in any case, as a share of it.
const ROCKET_SHARE: f64 = 0.15;

/// In longer windows a daily wave may be part of the slope.
const WAVE_SECONDS: f64 = 9_000.0;

/// Floors over this many blocks, where sawteeth force it.
const LONG_FLOORS: [usize; 2] = [4, 12];

/// Looks a window, by what the last one showed: no rise that could soon be weighed, one that is not weighed, one that is
/// far from a climb, and one that is near.
const LOOKS_A_WINDOW: [f64; 4] = [12.0, 24.0, 24.0, BLOCKS];
const NEARLY_LOG_ODDS: f64 = weights::TELLING - 4.0;

/// What a window keeps from look to look.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) due_seconds: f64,
    /// Buckets that were completed before the window, as [`History::rise_bytes`] left it.
    before_start: u64,
    reel: Reel,
    blocks: Vec<Pair>,
    /// Whether the last of them may still grow.
    has_open: bool,
    falls: Falls,
}

/// What a look at a window shows.
#[derive(Debug)]
pub(super) enum Shown {
    Level,
    /// A rise that is not weighed.
    Doubtful,
    Rise(Box<Found>),
}

/// A rise on the scales.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) signs: Signs,
    pub(super) log_odds: f64,
    pub(super) line: Estimate,
}

impl Look {
    pub(super) fn kept(&self, series: Series) -> Kept {
        let reel = |block_seconds| Reel::new(series, block_seconds, self.skip_seconds());
        let horizon_seconds = (12.0 * self.seconds).clamp(FALL_SECONDS.0, FALL_SECONDS.1);
        let falls = reel((self.seconds / PARTS_A_FALL).max(60.0));
        Kept {
            due_seconds: 0.0,
            before_start: 0,
            reel: reel(self.seconds / BLOCKS),
            blocks: Vec::new(),
            has_open: false,
            falls: Falls::new(falls, 2.0 * self.seconds, horizon_seconds),
        }
    }

    /// How long the next look may wait.
    pub(super) fn wait_seconds(&self, shown: &Shown) -> f64 {
        if self.is_rocket() {
            return if matches!(shown, Shown::Level) { 20.0 } else { 10.0 };
        }
        let looks = match shown {
            Shown::Level => LOOKS_A_WINDOW[0],
            Shown::Doubtful => LOOKS_A_WINDOW[1],
            Shown::Rise(found) if found.log_odds < NEARLY_LOG_ODDS => LOOKS_A_WINDOW[2],
            Shown::Rise(_) => LOOKS_A_WINDOW[3],
        };
        (self.seconds / looks).max(30.0)
    }

    /// The slope where a rise is a climb.
    pub(super) fn climbs(&self, shown: &Shown) -> Option<Estimate> {
        let Shown::Rise(found) = shown else { return None };
        let Found { signs, log_odds, line } = found.as_ref();
        let told = *log_odds >= if plain::may_be_a_day(signs) { weights::CERTAIN } else { weights::TELLING };
        let plain = plain::is_straight(signs) || (self.is_rocket() && plain::is_rocket(signs));
        (told || plain).then_some(*line)
    }

    /// Whether a gain is so far from what is weighed that it will not be that for a while, as a share of the limit.
    pub(super) fn is_level(&self, gained_share: f64) -> bool {
        gained_share < 0.4 * self.rise_share
    }

    /// What there is to weigh, and the line with its bounds.
    pub(super) fn look(
        &self,
        history: &History,
        series: Series,
        since: f64,
        limit_bytes: f64,
        kept: &mut Kept,
    ) -> Shown {
        let now = history.now_seconds();
        let Some(first) = history.first_seconds().map(|first| first.max(since)) else { return Shown::Level };
        if now - first < self.coverage * self.seconds || history.is_learning(series) {
            return Shown::Doubtful;
        }
        let gained = self.gained(history, series, first, &mut kept.before_start);
        let share = gained / limit_bytes;
        let is_elsewhere = self.is_between && share.is_finite() && share > 3.0 * self.rise_share;
        if share < 0.8 * self.rise_share || is_elsewhere {
            return if self.is_level(share) { Shown::Level } else { Shown::Doubtful };
        }
        let earlier_fall = kept.falls.largest(history);
        if SLOPE_OF_GAIN_MAX * gained < FALL_MULTIPLE_MIN * earlier_fall {
            return Shown::Doubtful;
        }
        let blocks = kept.read(history, (now - CONTEXT * self.seconds).max(first));
        let points = |of: fn(&Pair) -> f64| -> Vec<Point> {
            let point = |pair: &Pair| Point { seconds: pair.seconds, bytes: of(pair), born_seconds: pair.born_seconds };
            blocks.iter().map(point).collect()
        };
        let middles = points(|pair| pair.middle);
        if let Some(found) = self.rise(history, series, (0, &middles), first, limit_bytes, earlier_fall) {
            return Shown::Rise(Box::new(found));
        }
        let floors = points(|pair| pair.floor);
        let found = self.rise(history, series, (1, &floors), first, limit_bytes, earlier_fall).or_else(|| {
            LONG_FLOORS.iter().enumerate().find_map(|(place, width)| {
                let points = longer_floors(&floors, *width);
                self.rise(history, series, (2 + place, &points), first, limit_bytes, earlier_fall)
            })
        });
        found.map_or(Shown::Doubtful, |found| Shown::Rise(Box::new(found)))
    }

    pub(super) fn is_rocket(&self) -> bool {
        self.seconds < SLOW_SECONDS_MIN
    }

    fn skip_seconds(&self) -> f64 {
        (self.seconds / 20.0).clamp(96.0, 1_200.0)
    }

    /// What was gained from the start to the end. Cheap, so that the rest is seldom done.
    fn gained(&self, history: &History, series: Series, first: f64, before: &mut u64) -> f64 {
        let tier = TIERS.iter().rposition(|(width, _)| *width <= self.seconds / BLOCKS).unwrap_or(0);
        let start = (history.now_seconds() - self.seconds).max(first);
        history.rise_bytes(tier, series, start, before)
    }

    /// A rise that stands out of the noise and of what fell before.
    fn rise(
        &self,
        history: &History,
        series: Series,
        (view, points): (usize, &[Point]),
        first: f64,
        limit_bytes: f64,
        earlier_fall: f64,
    ) -> Option<Found> {
        let newest = points.last()?.seconds;
        let start = newest - self.seconds;
        let inside = &points[points.partition_point(|point| point.seconds < start)..];
        if inside.len() < if self.is_rocket() { POINTS_MIN.0 } else { POINTS_MIN.1 } {
            return None;
        }
        let covered_seconds = covered_seconds(inside, self.seconds);
        if covered_seconds < 0.75 * self.coverage * self.seconds {
            return None;
        }
        // Cheap, so that the rest is seldom done.
        let exposed_seconds = (newest - start.max(first)).max(covered_seconds);
        let stitched = shape::joined(inside);
        let plain = shape::plain_slope(&stitched);
        let room = if self.is_rocket() { limit_bytes - points.last()?.bytes } else { limit_bytes };
        if plain * exposed_seconds < self.rise_share * limit_bytes || plain * self.limit_seconds < room {
            return None;
        }
        // What is gone counts whether it was seen to go or not; what stands out of falls and noise must have been seen.
        let seen = plain * covered_seconds;
        if LINE_OF_PLAIN_MAX * seen < FALL_MULTIPLE_MIN * earlier_fall {
            return None;
        }
        let line = line(inside)?;
        let line_rise = line.bytes_per_second * line.span_seconds;
        // Eight minutes of noise that wanders are few independent points: a rocket's bounds may be wide.
        let is_doubtful = line.low <= 0.0 && !self.is_rocket();
        if line_rise < LINE_SHARE_MIN * self.rise_share * limit_bytes || is_doubtful {
            return None;
        }
        if seen.max(line_rise) < FALL_MULTIPLE_MIN * earlier_fall {
            return None;
        }
        let structure = structure(points, inside[0].seconds, limit_bytes)?;
        if seen < NOISE_MULTIPLE_MIN * structure.residual_bytes {
            return None;
        }
        let fall_bytes = shape::largest_fall(&structure.rest, 2.0 * self.seconds).max(earlier_fall);
        if seen.max(line_rise) < FALL_MULTIPLE_MIN * fall_bytes {
            return None;
        }
        // Besides the heap nothing warms up for hours.
        let stands_alone = matches!(series, Series::Outside | Series::Slack);
        let warm = plain.min(PLAIN_MULTIPLE_MAX * structure.bytes_per_second);
        let rise = Rise {
            series,
            view,
            window_seconds: self.seconds,
            limit_bytes,
            interval_seconds: history.interval_seconds(),
            first_seconds: first,
            points,
            inside,
            plain,
            exposed_seconds,
            covered_seconds,
            structure: &structure,
            trusted: if stands_alone { plain } else { warm },
            line: &line,
            shape: Shape::of(&stitched, plain),
            stop: shape::stop(&stitched),
            fall_bytes,
        };
        let margin = if self.seconds > WAVE_SECONDS { 1.0 } else { 0.5 };
        let signs = rise.signs();
        let log_odds = weights::weigh(&signs);
        // Of a rocket's few minutes some may be from before it.
        let early = if self.is_rocket() { ROCKET_SHARE * line.bytes_per_second } else { 0.0 };
        Some(Found { signs, log_odds, line: line.widened((margin * structure.deviation).hypot(early)) })
    }
}

impl Kept {
    /// The blocks from `since_seconds` on.
    fn read(&mut self, history: &History, since_seconds: f64) -> &[Pair] {
        let Self { reel, blocks, has_open, .. } = self;
        if *has_open {
            blocks.pop();
        }
        if !reel.holds(history, since_seconds) {
            blocks.clear();
        }
        reel.read(history, |block| blocks.push(block));
        let newest = reel.newest();
        *has_open = newest.is_some();
        blocks.extend(newest);
        let old = blocks.partition_point(|block| block.seconds < since_seconds);
        if old > BLOCKS as usize {
            blocks.drain(..old);
            return blocks;
        }
        &blocks[old..]
    }
}

/// The recent slope over about `seconds`, of the life that is lived now or of all lives together.
pub(super) fn recent(history: &History, series: Series, seconds: f64) -> Option<Estimate> {
    let view = View { series, statistic: Statistic::Middle, block_seconds: seconds / 30.0 };
    let skip = (seconds / 20.0).clamp(60.0, 1_200.0);
    let points = blocks(history, view, history.now_seconds() - seconds, skip);
    if points.len() < 6 || covered_seconds(&points, seconds) < 0.5 * seconds {
        return None;
    }
    estimate(&shape::joined(&points))
}

/// Time that the points cover without gaps and restarts.
fn covered_seconds(points: &[Point], window_seconds: f64) -> f64 {
    points
        .windows(2)
        .filter(|pair| pair[0].born_seconds == pair[1].born_seconds)
        .map(|pair| (pair[1].seconds - pair[0].seconds).min(window_seconds / 4.0))
        .sum()
}

/// The slope of the part of a window that climbs: from the bend on, where there is one.
fn line(points: &[Point]) -> Option<Estimate> {
    let joined = shape::joined(points);
    let from = shape::bend(&joined);
    estimate(&joined[from..])
}
