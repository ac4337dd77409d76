//! Something that fills and settles, against the line of a leak: how well each explains a rise.

use super::fit::{Column, Fit};
use crate::history::Point;

/// Time constants tried, in lengths of the stretch.
const CONSTANTS: [f64; 10] = [0.07, 0.15, 0.25, 0.4, 0.65, 1.0, 1.6, 2.6, 4.2, 7.0];

/// Nothing healthy settles more slowly.
const CONSTANT_SECONDS_MAX: f64 = 8.0 * 3_600.0;

/// A quick part of any start, which neither explanation is asked to follow.
const QUICK_SECONDS: f64 = 150.0;

/// Fewer say nothing of a bend.
const POINTS_MIN: usize = 6;

/// What is still to come of what fills, at most, as a share of the limit.
const TO_COME_SHARES: [f64; 5] = [0.1, 0.2, 0.3, 0.4, 0.6];

/// The signs' names since the onset and since the first point.
pub(super) const FILLS: [(&str, &str); TO_COME_SHARES.len() + 6] = [
    ("fill_10", "whole_fill_10"),
    ("fill_20", "whole_fill_20"),
    ("fill_30", "whole_fill_30"),
    ("fill_40", "whole_fill_40"),
    ("fill_60", "whole_fill_60"),
    ("fill_any", "whole_fill_any"),
    ("ln_constant", "whole_ln_constant"),
    ("to_come", "whole_to_come"),
    ("bend", "whole_bend"),
    ("ln_step", "whole_ln_step"),
    ("ln_correlation", "whole_ln_correlation"),
];

/// Of the points from `onset_seconds` on: what the best exponentials that have at most so much to come leave beyond what
/// the line leaves, in units of the noise, then for any that is to come; the time constant of the best as a share of the
/// stretch, and what it has to come as a share of the limit; what a parabola explains beyond the line, negative where it
/// slackens; what one step leaves of what the line leaves; and how much the noise counts for more because it is
/// correlated. NaN of too few points.
pub(super) fn fills(points: &[Point], onset_seconds: f64, limit_bytes: f64) -> [f64; FILLS.len()] {
    let climb = &points[points.partition_point(|point| point.seconds < onset_seconds)..];
    if climb.len() < POINTS_MIN {
        return [f64::NAN; FILLS.len()];
    }
    let newest = climb[climb.len() - 1];
    let length = newest.seconds - climb[0].seconds;
    let start = onset_seconds.min(climb[0].seconds);
    let since = |point: &Point| point.seconds - point.born_seconds.max(start);
    // Where lives are shorter than the stretch, a warm-up is a matter of each life.
    let oldest = climb.iter().map(since).fold(0.0, f64::max).min(length);
    let settling = Column::of(climb, |point| -(-(point.seconds - point.born_seconds) / QUICK_SECONDS).exp());
    let quick = usize::from(length >= 10.0 * QUICK_SECONDS);
    let bytes = Column::of(climb, |point| point.bytes);
    let even = |point: &Point| (point.seconds - newest.seconds) / length;
    let straight = Column::of(climb, even);
    let line = Fit::of(&bytes, &[&straight, &settling][..1 + quick]);
    let line_noise = line.noise(climb);

    let mut best = Filled { squares: f64::INFINITY, noise: f64::INFINITY, constant: f64::NAN, to_come: f64::NAN };
    let mut least = [f64::INFINITY; TO_COME_SHARES.len()];
    for constant in CONSTANTS.map(|share| (share * oldest).min(CONSTANT_SECONDS_MAX)) {
        let full = Column::of(climb, |point| -(-since(point) / constant).exp());
        let fit = Fit::of(&bytes, &[&full, &settling][..1 + quick]);
        let to_come = fit.coefficients[0] * (-since(&newest) / constant).exp() / limit_bytes;
        if fit.coefficients[0] <= 0.0 {
            continue;
        }
        if fit.squares < best.squares {
            best = Filled { squares: fit.squares, noise: fit.noise(climb), constant, to_come };
        }
        for (share, least) in TO_COME_SHARES.iter().zip(&mut least) {
            if to_come <= *share {
                *least = least.min(fit.squares);
            }
        }
    }
    let noise = line_noise.min(best.noise);
    let beyond = |squares: f64| (squares - line.squares) / noise;

    let square = Column::of(climb, |point| even(point) * even(point));
    let bent = Fit::of(&bytes, &[&straight, &square, &settling][..2 + quick]);
    let bend = (line.squares - bent.squares) / bent.noise(climb) * bent.coefficients[1].signum();
    let correlation = line_noise / (line.squares / climb.len() as f64).max(f64::MIN_POSITIVE);

    let [a, b, c, d, e] = least.map(beyond);
    [
        a,
        b,
        c,
        d,
        e,
        beyond(best.squares),
        (best.constant / length).max(1e-9).ln(),
        best.to_come.min(3.0),
        bend,
        (one_step(climb, &bytes) / line.squares.max(f64::MIN_POSITIVE)).ln(),
        correlation.ln(),
    ]
}

struct Filled {
    squares: f64,
    noise: f64,
    constant: f64,
    to_come: f64,
}

/// What the best single step leaves, of some two dozen places.
fn one_step(climb: &[Point], bytes: &Column) -> f64 {
    const PLACES: usize = 24;
    let every = (climb.len() / PLACES).max(1);
    let all: f64 = bytes.values().iter().map(|value| value * value).sum();
    let (mut explained, mut from): (f64, usize) = (0.0, 0);
    // A step is within one life; the levels of the others take it up.
    for life in climb.chunk_by(|a, b| a.born_seconds == b.born_seconds) {
        let (length, mut before) = (life.len() as f64, 0.0);
        for place in 1..life.len() {
            before += bytes.values()[from + place - 1];
            if (from + place) % every == 1 % every {
                let (early, late) = (place as f64, length - place as f64);
                explained = explained.max(before * before * length / (early * late));
            }
        }
        from += life.len();
    }
    (all - explained).max(0.0)
}
