//! Something that fills and settles, against the line of a leak: how well each explains a rise.

use super::rivals::{CONSTANT_SECONDS_MAX, CONSTANTS, Fit, POINTS_MIN, QUICK_SECONDS};
use crate::history::Point;

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
    let settling = |point: &Point| -(-(point.seconds - point.born_seconds) / QUICK_SECONDS).exp();
    let quick = usize::from(length >= 10.0 * QUICK_SECONDS);
    let even = |point: &Point| (point.seconds - newest.seconds) / length;
    let columns: [&dyn Fn(&Point) -> f64; 2] = [&even, &settling];
    let line = Fit::of(climb, &columns[..1 + quick]);
    let line_noise = line.noise(climb);

    let mut best = Filled { squares: f64::INFINITY, noise: f64::INFINITY, constant: f64::NAN, to_come: f64::NAN };
    let mut least = [f64::INFINITY; TO_COME_SHARES.len()];
    for constant in CONSTANTS.map(|share| (share * oldest).min(CONSTANT_SECONDS_MAX)) {
        let full = |point: &Point| -(-since(point) / constant).exp();
        let columns: [&dyn Fn(&Point) -> f64; 2] = [&full, &settling];
        let fit = Fit::of(climb, &columns[..1 + quick]);
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

    let bent = |point: &Point| even(point) * even(point);
    let columns: [&dyn Fn(&Point) -> f64; 3] = [&even, &bent, &settling];
    let bent = Fit::of(climb, &columns[..2 + quick]);
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
        (one_step(climb) / line.squares.max(f64::MIN_POSITIVE)).ln(),
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
fn one_step(climb: &[Point]) -> f64 {
    const PLACES: usize = 24;
    let places = (1..climb.len()).step_by((climb.len() / PLACES).max(1));
    let left = places.map(|place| {
        let after = |point: &Point| if point.seconds >= climb[place].seconds { 1.0 } else { 0.0 };
        Fit::of(climb, &[&after]).squares
    });
    left.fold(f64::INFINITY, f64::min)
}
