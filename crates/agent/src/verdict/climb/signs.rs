//! What can be seen of a rise in a window, in numbers: size, noise, evenness, age, and how well a line explains it
//! beside what is healthy. Shares are of the limit, `ln_` is a natural logarithm, lengths of time are in seconds.

use super::fills::{self, FILLS};
use super::rivals;
use super::shape::{self, Shape, Stop};
use crate::history::{Point, Series};
use crate::trend::Estimate;
use crate::trend::structure::Structure;

/// One value for each of [`NAMES`].
pub(super) type Signs = [f32; COUNT];

/// Signs that are weighed.
pub(super) const COUNT: usize = SIZES.len() + 2 * FILLS.len();

const SIZES: [&str; 35] = [
    "ln_window",
    "view",
    "series",
    "plain_rise",
    "trusted_rise",
    "structure_of_plain",
    "structure_significance",
    "ln_noise_multiple",
    "ln_noise",
    "line_low",
    "line_of_plain",
    "line_span",
    "line_rise",
    "steadiness",
    "largest_part",
    "late_share",
    "early_share",
    "even_share",
    "ln_fall_multiple",
    "ln_limit_seconds",
    "newborn",
    "climb_of_window",
    "ln_life",
    "ln_age",
    "lives",
    "points",
    "covered",
    "ln_interval",
    "level",
    "rise_of_level",
    "gap",
    "wave",
    "ln_stop_rest",
    "stop_slope",
    "since_stop",
];

/// Names of the signs, as the weights have them: those of the rise, then what fills since the onset, then what fills since the first point.
pub const NAMES: [&str; COUNT] = {
    let mut names = [""; COUNT];
    let mut place = 0;
    while place < SIZES.len() {
        names[place] = SIZES[place];
        place += 1;
    }
    let mut fill = 0;
    while fill < FILLS.len() {
        names[SIZES.len() + fill] = FILLS[fill].0;
        names[SIZES.len() + FILLS.len() + fill] = FILLS[fill].1;
        fill += 1;
    }
    names
};

/// A rise and what was found out about it.
#[derive(Debug)]
pub(super) struct Rise<'a> {
    pub(super) series: Series,
    /// Which of the views, in the order in which they are tried.
    pub(super) view: usize,
    pub(super) window_seconds: f64,
    pub(super) limit_bytes: f64,
    pub(super) interval_seconds: f64,
    /// When the first of all was seen.
    pub(super) first_seconds: f64,
    /// The window's and what lies before.
    pub(super) points: &'a [Point],
    pub(super) inside: &'a [Point],
    /// Least squares slope, and the time in which it was exposed and was seen.
    pub(super) plain: f64,
    pub(super) exposed_seconds: f64,
    pub(super) covered_seconds: f64,
    pub(super) structure: &'a Structure,
    /// A trusted slope: see the window.
    pub(super) trusted: f64,
    pub(super) line: &'a Estimate,
    pub(super) shape: Shape,
    pub(super) stop: Stop,
    pub(super) fall_bytes: f64,
}

impl Rise<'_> {
    pub(super) fn signs(&self) -> Signs {
        let Self { points, inside, line, structure, shape, stop, window_seconds: window, limit_bytes: limit, .. } =
            self;
        let (newest, oldest) = (points[points.len() - 1], points[0]);
        let onset = shape::onset(points);
        let lives = points.windows(2).filter(|pair| pair[0].born_seconds != pair[1].born_seconds).count();
        let newborn = lives > 0 || onset - oldest.born_seconds < 0.5 * (newest.seconds - onset);
        let gap = inside.windows(2).map(|pair| pair[1].seconds - pair[0].seconds).fold(0.0, f64::max);
        let (rise, line_rise) = (self.plain * self.exposed_seconds, line.bytes_per_second * line.span_seconds);
        let seen = self.plain * self.covered_seconds;
        let sizes: [f64; SIZES.len()] = [
            ln(*window),
            self.view as f64,
            self.series as usize as f64,
            rise / limit,
            self.trusted * self.exposed_seconds / limit,
            within(structure.bytes_per_second / self.plain, 5.0),
            within(structure.bytes_per_second / structure.deviation, 50.0),
            ln(seen / structure.residual_bytes),
            ln(structure.residual_bytes / limit),
            within(line.low / line.bytes_per_second, 5.0),
            within(line.bytes_per_second / self.plain, 5.0),
            line.span_seconds / window,
            line_rise / limit,
            within(shape.steadiness, 100.0),
            shape.largest_share / shape.even_share(),
            within(shape.late_share, 5.0),
            within(shape.early_share, 5.0),
            shape.even_share(),
            ln((seen.max(line_rise) / self.fall_bytes).min(100.0)),
            ln(limit / self.plain),
            f64::from(u8::from(newborn)),
            (newest.seconds - onset) / window,
            ln(newest.seconds - newest.born_seconds),
            ln(newest.seconds - self.first_seconds),
            lives as f64,
            inside.len() as f64,
            self.covered_seconds / window,
            ln(self.interval_seconds),
            newest.bytes / limit,
            within(rise / (newest.bytes - rise).max(0.01 * limit), 10.0),
            gap / window,
            within(rivals::wave(points, onset, newest.seconds, *limit), 100.0),
            ln(stop.rest_share),
            within(stop.slope_share, 5.0),
            stop.since_share,
        ];
        let since_onset = fills::fills(points, onset, *limit);
        let rises_at_once = onset <= oldest.seconds;
        let since_first = if rises_at_once { since_onset } else { fills::fills(points, oldest.seconds, *limit) };
        let mut signs = [0.0; COUNT];
        let all = sizes.into_iter().chain(since_onset.into_iter().chain(since_first).map(|value| within(value, 100.0)));
        signs.iter_mut().zip(all).for_each(|(sign, value)| *sign = value as f32);
        signs
    }
}

/// What is not known counts as the most.
fn within(value: f64, most: f64) -> f64 {
    if value.is_nan() { most } else { value.clamp(-most, most) }
}

fn ln(value: f64) -> f64 {
    value.max(1e-9).ln()
}
